"""Words of a message that the user never said, as they may have been meant: misspelled, or an id written differently.

The words that a user said are known by their keys only, so the ways to misspell a word are looked up, a bounded number,
instead of comparing it with all words. Nothing is stored for it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from ilab_memory.recall.analysis import ENGLISH, UNSPACED, folded, terms, word_forms
from ilab_memory.recall.message_query import QUERY_CHARACTERS, Asked, asks, function_terms

#: Words of a message whose spelling is corrected, the longest ones; a message with more than MOST_WORDS is a text.
MOST_CORRECTED, MOST_WORDS = 2, 15
#: Ways to write these words that are looked up, in all; and for a question or a request that does not speak of the
#: user, which are often about the world. A look-up takes 25 microseconds.
MOST_WAYS, MOST_WAYS_OF_WORLD = 96, 20
#: Maximum number of ids of a message that are looked up, and of characters of an id.
MOST_IDS, LONGEST_ID = 8, 64
#: Runs of letters or digits of an id, and digits of a run that the user may have written as two.
MOST_PARTS, LONGEST_SPLIT = 8, 8
#: Lengths of words that are corrected. Shorter ones have too many neighbours.
SHORTEST, LONGEST = 4, 20
#: Names up to this length are only corrected where two letters are exchanged or one is doubled: they are near to words,
#: like "Evan" to "even".
SHORT_NAME = 5
#: Share of its weight that a corrected word keeps.
CORRECTED = 0.9

_VOWELS = {"latin": "eaiou", "cyrillic": "еаиоуыя"}
_WORD = re.compile(r"[^\W\d_]+")
# Letters and digits in one token, with or without hyphens, dots or slashes. Whether it has a digit is checked
# afterwards: a lookahead for one takes time in proportion to the square of a long word, and does not release the GIL.
# In a text without spaces, an id ends where the script does.
_TOKEN = re.compile(rf"[^\W_{UNSPACED}]+(?:[-./][^\W_{UNSPACED}]+)*")
_SPACED = re.compile(rf"(?<![^\s])(?:\d{{2,}}(?: \d{{2,}})+|[^\W_{UNSPACED}]{{1,16}} \d{{2,16}}(?! \d{{2}}))(?![^\W_])")
_SEPARATOR = re.compile(r"[-./]")
_DIGIT = re.compile(r"\d")
_PARTS = re.compile(r"\d+|[^\W\d_]+")

#: Returns the terms that occur in any row of the user.
Known = Callable[[Sequence[str]], Iterable[str]]


def corrected(
    asked: Asked, text: str, unknown: Collection[str], known: Known, *, most_ways: int = MOST_WAYS
) -> Asked | None:
    """Return *asked*, which *text* asks, with words that the user said; None if there is nothing to correct.

    *unknown*: those of its terms that the user never said. *most_ways*: to write its words that are looked up.
    """
    text = text[:QUERY_CHARACTERS]
    words = [match[0] for match in _WORD.finditer(folded(text))]
    if len(words) > MOST_WORDS or not asked.terms:
        return None
    ids = {token.lower(): _id_forms(token) for token in islice(_ids(text), MOST_IDS)}
    short = (word for word in words if len(word) <= LONGEST)
    typed = {term: word for word in short if (term := _term(word)) in unknown and term in asked.terms}
    longest = sorted(typed.values(), key=len, reverse=True)[:MOST_CORRECTED]
    is_of_world = not asked.speaks_of_user and asks(text, asked.spoken)
    most = min(most_ways, MOST_WAYS_OF_WORLD if is_of_world else MOST_WAYS) // max(1, len(longest))
    ways = {_term(word): _ways(word, asked.spoken, is_name=_term(word) in asked.names)[:most] for word in longest}
    of_ids = [*(term for forms in ids.values() for form in forms for term in form)]
    of_ids += [term for token in ids for term in terms(token)]
    others = {term: word_forms(term) for term in of_ids}
    wanted = dict.fromkeys([*(term for each in ways.values() for term in each), *of_ids])
    if not wanted:
        return None
    said = frozenset(known([*wanted, *(form for forms in others.values() for form in forms)]))
    said |= {term for term, forms in others.items() if not said.isdisjoint(forms)}
    changes = {**_respelled(asked, typed, ways, said), **_rewritten(ids, said)}
    if not changes:
        return None
    weights: dict[str, float] = {}
    for term, weight in asked.terms.items():
        for new in changes.get(term, (term,)):
            weights[new] = max(weights.get(new, 0.0), weight if new == term else CORRECTED * weight)
    names = {new for name in asked.names for new in changes.get(name, (name,))}
    forms = {**asked.forms, **{term: others[term] for term in weights if others.get(term)}}
    return replace(asked, terms=weights, names=frozenset(names), forms=forms) if weights else None


def _respelled(
    asked: Asked, typed: Mapping[str, str], ways: Mapping[str, Sequence[str]], said: frozenset[str]
) -> Mapping[str, tuple[str, ...]]:
    """Return the replacements of misspelled terms: of each the first spelling that the user said, if there is one."""
    function = function_terms(asked.spoken)
    found: dict[str, tuple[str, ...]] = {}
    for term, word in typed.items():
        if any(_term(way) in function for way in _transposed(word)):
            found[term] = ()
        elif way := next((each for each in ways.get(term, ()) if each in said), ""):
            found[term] = (way,)
    return found if any(found.values()) else {}


def _rewritten(ids: Mapping[str, Sequence[Sequence[str]]], said: frozenset[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the replacements of the terms of ids: the terms of the form that the user wrote."""
    found: dict[str, tuple[str, ...]] = {}
    for token, forms in ids.items():
        own = terms(token)
        form = next((each for each in forms if said.issuperset(each)), None)
        if form is not None and not said.issuperset(own):
            found |= dict.fromkeys(own, ())
            found[own[0]] = tuple(form)
    return found


def _ids(text: str) -> Iterator[str]:
    """Yield the ids in *text*: tokens with a digit, without the parts before the one that precedes it."""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if len(token) <= LONGEST_ID and (digit := _DIGIT.search(token)):
            starts = [0, *(separator.end() for separator in _SEPARATOR.finditer(token, 0, digit.start()))]
            yield token[starts[-2:][0] :]
    # A word or a number before a number, as "AB12 345" of "AB12345", and groups of digits.
    for match in _SPACED.finditer(text[:QUERY_CHARACTERS]):
        if len(match[0]) <= LONGEST_ID:
            yield match[0].replace(" ", "-")


def _id_forms(token: str) -> list[list[str]]:
    """Return the terms of an id: as one word, as its letters and digits, as two words, with a number split in two."""
    parts = _PARTS.findall(token)[:MOST_PARTS]
    halves = [["".join(parts[:place]), "".join(parts[place:])] for place in range(1, len(parts))]
    split = [
        [*parts[:place], run[:at], run[at:], *parts[place + 1 :]]
        for place, run in enumerate(parts)
        if run.isdigit() and len(run) <= LONGEST_SPLIT
        for at in range(2, len(run) - 1)
    ]
    return [[term for word in form for term in terms(word)] for form in (["".join(parts)], parts, *halves, *split)]


def _ways(word: str, spoken: tuple[str, ...], *, is_name: bool) -> list[str]:
    """Return the terms of words that *word* may stand for in texts in the languages *spoken*, likely ones first."""
    if not SHORTEST <= len(word) <= LONGEST:
        return []
    is_short_name = is_name and len(word) <= SHORT_NAME
    variants = [way for way in _variants(word, is_short_name=is_short_name) if len(way) >= SHORTEST]
    own = [term for way in variants if (term := _term(way))]
    foreign = [term for way in variants for term in word_forms(way, spoken)]
    # First the same word in a text in another language.
    ways = dict.fromkeys([*word_forms(word), *([*own, *foreign] if ENGLISH in spoken else [*foreign, *own])])
    ways.pop(_term(word), None)
    return list(ways)


def _variants(word: str, *, is_short_name: bool) -> Iterator[str]:
    """Yield *word* with letters transposed, doubled, left out, exchanged and added."""
    yield from _transposed(word)
    places = range(1, len(word))
    vowels = _VOWELS["latin" if word[0] < "\u0370" else "cyrillic"]
    yield from (word[:place] + word[place + 1 :] for place in places if word[place] == word[place - 1])
    yield from (word[:place] + word[place] + word[place:] for place in places if word[place - 1] in vowels)
    if is_short_name:
        return
    yield from (
        word[:place] + vowel + word[place + 1 :] for place in places if word[place] in vowels for vowel in vowels
    )
    yield from (word[:place] + word[place + 1 :] for place in range(len(word)))
    yield from (word[:place] + vowel + word[place:] for place in places for vowel in vowels)


def _transposed(word: str) -> Iterator[str]:
    for place in range(len(word) - 1):
        yield word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _term(word: str) -> str:
    return "".join(terms(word)[:1])
