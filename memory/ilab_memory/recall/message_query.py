"""A message to what to look up for its prompt: terms with weights, and what kind of question it is. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from ilab_memory.recall import dates, languages
from ilab_memory.recall.analysis import MOST_FORMED, UNSPACED, folded, forms, terms, word_forms
from ilab_memory.recall.dates import Dated
from ilab_memory.recall.languages import LANGUAGES
from ilab_memory.recall.text_language import languages_by_word

#: Maximum number of distinct terms of a query that are looked up, from its beginning. A question has ten, a pasted page
#: thousands.
MAX_TERMS = 32
#: Characters of a query that are analyzed.
QUERY_CHARACTERS = 8_192
#: Weight of a term with little content, such as "remember".
LIGHT = 0.3
#: Weight of the terms of a follow-up question, and of those of the message before, which has the subject.
FOLLOW_UP, PREVIOUS = 0.5, 0.5
#: Terms of the message before that join.
MAX_PREVIOUS = 6
#: Words that decide the language and the kind of a message.
MAX_WORDS = 400
#: Weight of a pair of characters with one that has no content by itself, and of a pair of hiragana.
HALF_CONTENT, HIRAGANA = 0.4, 0.15
#: A message has something to look up if one of its terms weighs this much.
CONTENT = 0.4
#: A language is used if the message has this share of the words that the most likely language has in it.
LIKELY = 0.7
#: Function words of one language, and of no other, by which it is clear.
CLEAR = 2
#: A question with more terms than this has a subject of its own.
FOLLOW_UP_TERMS = 3
#: English function words that are also names; in lower case they count if they end a message without other terms.
NAMES_TOO = frozenset({"may", "will"})

_WORDS = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_HYPHENATED = re.compile(r"(?<![^\W\d_])[^\W\d_]++(?:[-\u2010][^\W\d_]++)+")
_PARTS = re.compile(r"['\u2019]")
_RUN = re.compile(f"[{UNSPACED}]+")
_QUESTION_MARK = re.compile("[?\uff1f\u061f\xbf\u037e]")
# The text before a word at the beginning of a sentence.
_SENTENCE_START = re.compile(r"(?:^|[.!?:;\n\"“„«¿¡(-])[\s\"'“„«¿¡(-]*$")
_HIRAGANA = re.compile("[\u3041-\u309f]")
_HANGUL = re.compile("[\uac00-\ud7af]")
# A larger share of capitals is a headline.
_CAPITALS_OF_A_HEADLINE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A message as the search for the prompt reads it."""

    terms: Mapping[str, float] = field(default_factory=dict)
    """The terms of the message by their weight, in (0, 1]. Empty: nothing to look up."""
    previous: Mapping[str, float] = field(default_factory=dict)
    """The terms of the message before, if this one refers to it."""
    names: frozenset[str] = frozenset()
    """Terms that are capitalized inside a sentence."""
    cased: Mapping[str, str] = field(default_factory=dict)
    """Names that are function words otherwise, as they must be written in a row."""
    compounds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The terms of hyphenated words, joined, and those of their parts."""
    forms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other forms of the terms, see `analysis.forms`."""
    spoken: tuple[str, ...] = ("en",)
    """Its likely languages."""
    speaks_of_user: bool = False
    asks_assistant: bool = False
    """It asks for what the assistant said."""
    wants_all: bool = False
    """It asks for a complete list or a number."""
    dated: Dated | None = None
    """The time in the past that it names."""
    asks_when: bool = False
    """It asks for a time."""

    @property
    def asks_period(self) -> bool:
        """If no words are found, rows of that time may answer it."""
        dated = self.dated
        return dated is not None and (not self.terms or (self.speaks_of_user and (dated.asks_talk or dated.is_past)))


class _Table(NamedTuple):
    """The words of a language as sets, and its regular expressions."""

    function: frozenset[str]
    light: frozenset[str]
    user: frozenset[str]
    user_endings: tuple[str, ...]
    pronouns: frozenset[str]
    pronoun_endings: tuple[str, ...]
    question: re.Pattern[str]
    request: re.Pattern[str]
    lists: re.Pattern[str]
    generic: re.Pattern[str]
    assistant: re.Pattern[str]


_NEVER = r"(?!)"


def _set(text: str) -> frozenset[str]:
    return frozenset(word for word in text.split() if not word.startswith("*"))


def _endings(text: str) -> tuple[str, ...]:
    return tuple(word[1:] for word in text.split() if word.startswith("*"))


def _pattern(text: str, *, template: str = "{}") -> re.Pattern[str]:
    return re.compile(template.format(text.strip() or _NEVER), re.VERBOSE)


_TABLES = {
    name: _Table(
        _set(language.function),
        _set(language.light),
        _set(language.user),
        _endings(language.user),
        _set(language.pronouns),
        _endings(language.pronouns),
        _pattern(language.questions),
        _pattern(language.requests),
        _pattern(language.lists, template=r"(?<![^\W_])(?:{})(?![^\W_])"),
        _pattern(language.generic),
        _pattern(language.assistant),
    )
    for name, language in LANGUAGES.items()
}
_LANGUAGES_OF = languages_by_word({name: table.function | table.light for name, table in _TABLES.items()})


@lru_cache(maxsize=64)
def _weightless(names: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the function terms and the light terms of these languages."""
    function = frozenset(terms(" ".join(word for name in names for word in _TABLES[name].function)))
    light = frozenset(terms(" ".join(word for name in names for word in _TABLES[name].light)))
    return function, light - function


@lru_cache(maxsize=64)
def _light_forms(names: tuple[str, ...]) -> frozenset[str]:
    """Return the terms of light words in texts in these languages."""
    return frozenset(
        form for name in names for word in _TABLES[name].light for form in word_forms(folded(word), (name,))
    )


def read(message: str, previous: str | None = None, now: datetime | None = None) -> Asked:
    """Read *message*, and *previous*, the message before, if this one is a follow-up question.

    *now*: the time in the user's time zone. None: dates are words like others.
    """
    text = languages.GREETINGS.sub(" ", message[:QUERY_CHARACTERS])
    words = [match[0].lower() for match in _WORDS.finditer(text)][:MAX_WORDS]
    spoken = languages_of(words)
    whole = text
    dated = dates.find(text, spoken, now) if now else None
    if dated is not None and (dated.is_past or dated.asks_talk):
        text = dated.rest
    weights = _weights(text, spoken)
    names = _names(text, spoken)
    function, _ = _weightless(spoken)
    cased = {term: word for term, word in names.items() if term in function}
    if not weights and not cased and words and words[-1] in NAMES_TOO:
        cased = {term: words[-1].capitalize() for term in terms(words[-1])}
    weights |= dict.fromkeys((*names, *cased), 1.0)
    if (
        dated is not None
        and dated.named
        and text is not whole
        and any(weight >= CONTENT for weight in weights.values())
    ):
        weights |= {term: LIGHT for term in _weights(dated.named, spoken) if term not in weights}
    joined = {}
    if previous is not None and dated is None and _is_follow_up(text, words, spoken, weights, names):
        joined = {term: PREVIOUS for term in content_terms(previous[:QUERY_CHARACTERS]) if term not in weights}
    if joined:
        pronouns = frozenset(terms(" ".join(word for name in spoken for word in _TABLES[name].pronouns)))
        weights = {term: FOLLOW_UP * weight for term, weight in weights.items() if term not in pronouns}
    if not joined and not any(weight >= CONTENT for weight in weights.values()):
        if not asks(whole, spoken):
            return Asked()
        if dated is not None and (dated.asks_talk or dated.is_past):
            return Asked(dated=dated)
        return Asked(spoken=spoken, speaks_of_user=_speaks_of_user(whole, whole.lower(), words, spoken))
    text = whole
    lowered = text.lower()
    weights = dict(list(weights.items())[:MAX_TERMS])
    joined = dict(list(joined.items())[:MAX_PREVIOUS])
    return Asked(
        terms=weights,
        previous=joined,
        forms=_forms(text, words, weights, names, spoken) | _forms(previous or "", words, joined, (), spoken),
        names=frozenset(names) | cased.keys(),
        cased=cased,
        compounds=_compounds(text),
        spoken=spoken,
        speaks_of_user=_speaks_of_user(text, lowered, words, spoken),
        asks_assistant=any(_TABLES[name].assistant.search(lowered) for name in spoken)
        or languages.UNSPACED_ASSISTANT.search(text) is not None,
        wants_all=any(_TABLES[name].lists.search(lowered) for name in spoken)
        or languages.UNSPACED_LISTS.search(text) is not None,
        dated=dated,
        asks_when=dates.asks_when(lowered, spoken),
    )


def languages_of(words: Iterable[str]) -> tuple[str, ...]:
    """Return the likely languages of *words*, in lower case; English if nothing is known of them."""
    counts: dict[str, int] = {}
    for word in words:
        for part in (word,) if word.isalpha() else (word, *_parts(word)):
            for name in _LANGUAGES_OF.get(part, ()):
                counts[name] = counts.get(name, 0) + 1
    most = max(counts.values(), default=0)
    return tuple(sorted(name for name, count in counts.items() if count >= LIKELY * most)) or ("en",)


def _parts(word: str) -> Iterable[str]:
    """Return the parts of a word with apostrophes, without English endings: "s" is French in "s'appelle"."""
    first, *others = _PARTS.split(word)
    return first, *(part for part in others if len(part) > 1 or not part.isascii())


def languages_in(text: str) -> tuple[str, ...]:
    """Return the likely languages of *text*, see `languages_of`."""
    return languages_of([match[0].lower() for match in _WORDS.finditer(text)][:MAX_WORDS])


def is_question(sentence: str, spoken: Iterable[str] = ("en",)) -> bool:
    """Return whether *sentence* asks something: by its end, or by how it begins in the languages *spoken*."""
    if _QUESTION_MARK.search(sentence) or languages.UNSPACED_QUESTION.search(sentence):
        return True
    begins = sentence.lstrip(" \"'“„«¿¡(-").lower()
    return not begins.rstrip().endswith(".") and any(_TABLES[name].question.match(begins) for name in spoken)


def asks(sentence: str, spoken: Iterable[str]) -> bool:
    """Return whether *sentence* is a question, or asks the assistant to do something."""
    return is_question(sentence, spoken) or _is_request(sentence, spoken)


def _is_request(sentence: str, spoken: Iterable[str]) -> bool:
    if languages.UNSPACED_REQUEST.search(sentence.strip()):
        return True
    begins = sentence.lstrip(" \"'“„«¿¡(-").lower()
    return any(_TABLES[name].request.match(begins) for name in spoken)


def function_terms(spoken: tuple[str, ...]) -> frozenset[str]:
    """Return the terms without content in these languages."""
    return _weightless(spoken)[0]


def speaks_of_user(text: str) -> bool:
    """Return whether *text* contains a word by which its author speaks of themself."""
    words = [match[0].lower() for match in _WORDS.finditer(text)]
    return _speaks_of_user(text, text.lower(), words, languages_of(words))


def content_terms(text: str) -> list[str]:
    """Return the terms of *text* that have content, without those of greetings, fillers and function words."""
    spoken = languages_in(text)
    return [term for term, weight in _weights(text, spoken).items() if weight >= CONTENT]


def _weights(text: str, spoken: tuple[str, ...]) -> dict[str, float]:
    """Return the terms of *text* that are not function words, with their weights, in order."""
    function, light = _weightless(spoken)
    weights: dict[str, float] = {}
    if not text.isascii():
        plain = folded(text)[:QUERY_CHARACTERS]
        for match in _RUN.finditer(plain):
            for term, weight in _pairs(match[0]):
                weights[term] = max(weight, weights.get(term, 0.0))
        text = _RUN.sub(" ", plain)
    joined = {term for term, parts in _compounds(text).items() if function.issuperset(parts)}
    for term in terms(text, most=QUERY_CHARACTERS):
        if term not in function and term not in joined:
            # A single letter is the part of an abbreviation or of a hyphenated word.
            weights[term] = LIGHT if term in light or (len(term) == 1 and term.isalpha()) else 1.0
    if light_forms := _light_forms(spoken):
        # Other forms of light words are light as well.
        others = forms(text, weights, most=QUERY_CHARACTERS, spoken=spoken, formed=0)
        weights |= {term: LIGHT for term, each in others.items() if not light_forms.isdisjoint(each)}
    return {term: weight for term, weight in weights.items() if weight}


def _forms(
    text: str, words: Sequence[str], weights: Mapping[str, float], names: Collection[str], spoken: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Return other forms of the terms in *text*: in the languages *spoken*, and of some terms in all languages.

    That is of the *names*, and if few *words* tell the language, of the terms with the most content.
    """
    if not weights:
        return {}
    is_clear = len(spoken) == 1 and sum(word in _TABLES[spoken[0]].function for word in words) >= CLEAR
    ordered = sorted(weights, key=lambda term: (term in names, weights[term]), reverse=True)
    formed = sum(term in names for term in ordered) if is_clear else len(ordered)
    return forms(text, ordered, most=QUERY_CHARACTERS, spoken=spoken, formed=min(formed, MOST_FORMED))


def _pairs(run: str) -> Iterable[tuple[str, float]]:
    """Yield the terms of a run of characters of a script without spaces, with their weights."""
    content = [HIRAGANA if _HIRAGANA.match(character) else 1.0 for character in run]
    for match in languages.PHRASES.finditer(run):
        content[match.start() : match.end()] = [0.0] * len(match[0])
    if len(run) == 1:
        # A single Hangul syllable is a particle that a phrase has left behind.
        yield run, min(content[0], HIRAGANA) if _HANGUL.match(run) else content[0]
    for place in range(len(run) - 1):
        least, most = sorted(content[place : place + 2])
        weight = most if least == most else HALF_CONTENT if most == 1.0 else min(most, HALF_CONTENT)
        yield run[place : place + 2], weight


def _compounds(text: str) -> dict[str, tuple[str, ...]]:
    return {found[-1]: tuple(found[:-1]) for match in _HYPHENATED.findall(text) if len(found := terms(match)) > 1}


def _names(text: str, spoken: tuple[str, ...]) -> dict[str, str]:
    """Return the words that are capitalized inside a sentence, by their terms.

    In German, all nouns are: names are those without a determiner.
    """
    if text.isupper():
        return {}
    _, light = _weightless(spoken)
    found: dict[str, str] = {}
    inside = 0
    before = ""
    for match in _WORDS.finditer(text):
        is_noun, before = "de" in spoken and before.startswith(languages.GERMAN_DETERMINERS), match[0].lower()
        if is_noun or _SENTENCE_START.search(text, max(0, match.start() - 4), match.start()):
            continue
        inside += 1
        word = _PARTS.split(match[0])[0]
        if len(word) > 1 and word[0].isupper() and not _RUN.match(word):
            found |= {term: word for term in terms(word) if "de" not in spoken or term not in light}
    return found if len(found) <= max(1, _CAPITALS_OF_A_HEADLINE * inside) else {}


def _speaks_of_user(text: str, lowered: str, words: Iterable[str], spoken: tuple[str, ...]) -> bool:
    if any(_TABLES[name].generic.search(lowered) for name in spoken):
        for name in spoken:
            lowered = _TABLES[name].generic.sub(" ", lowered)
        words = _WORDS.findall(lowered)
    if "US" in text:
        words = [word for word in words if word != "us"]
    for word in words:
        parts = (word, *_PARTS.split(word))
        for name in spoken:
            table = _TABLES[name]
            if not table.user.isdisjoint(parts) or (table.user_endings and word.endswith(table.user_endings)):
                return True
    return languages.UNSPACED_USER.search(text) is not None


def _is_follow_up(
    text: str,
    words: Sequence[str],
    spoken: tuple[str, ...],
    weights: Mapping[str, float],
    names: Mapping[str, str],
) -> bool:
    """Return whether *text* is a question about the subject of the message before."""
    if names or sum(weight == 1.0 for weight in weights.values()) > FOLLOW_UP_TERMS or not is_question(text, spoken):
        return False
    tables = [_TABLES[name] for name in spoken]
    endings = tuple(ending for table in tables for ending in table.pronoun_endings)
    if any(not table.pronouns.isdisjoint(words) for table in tables) or any(word.endswith(endings) for word in words):
        return True
    return languages.UNSPACED_PRONOUNS.search(text) is not None
