"""Private text that a model repeats in its reply, found so that it is not stored. Pure, and linear in both texts.

Case, accents, width, spaces and punctuation make no difference: letters and digits are compared. These count as a
repetition:

- the whole of a private text, anywhere;
- a code of it, which has letters and digits, anywhere: `ab12 cd34` and `AB-12CD34` for `AB12-CD34`;
- a number of it, or six digits of one in a row, anywhere; its last four digits, and a number of four or five, unless
  another digit stands directly beside them: `1234` in `12 34` and `PIN1234`, and not in `51234`;
- each telling word of it, also with an ending or cut short, or with separators inside;
- a name of it, two or more words in title case there or in the reply, common ones too: `Will May`, `WillMay`.

What a reply says of a secret in other words, spells out, or puts into another order is not found.
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from ilab_memory.redaction import private_spans, strip_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REDACTED = "[REDACTED]"

#: Words that never identify a secret. A list of its own: changing how memory is searched must not change redaction.
FUNCTION_WORDS = frozenset(
    """
    a about after again all also am an and any are aren as at be because been before being but by can cannot could
    couldn d did didn do does doesn don done down each few for from further had hadn has hasn have haven having he
    her here hers him his how i if in into is isn it its just let ll m may me might more most must my need nor not
    now of off on once only or other our out over own re s same shall she should shouldn so some such t than that
    the their them then there these they this those through to too under until up us ve very want was wasn we were
    weren what when where which while who whom whose why will with won would wouldn you your yours
    """.split()
)

#: A private text with so many letters and digits is redacted wherever it stands, a shorter one only between others.
CERTAIN_LETTERS = 4

#: A word of the reply that begins like a telling word for so many letters is a form of it.
COMMON_BEGINNING = 5

#: The same for the last word of a reply, which may have been cut off in its middle.
CUT_BEGINNING = 3

#: A code with so many letters and digits is redacted wherever it stands, a shorter one only between others.
CERTAIN_CODE = 6

#: A longer code is found as a whole private text, or by its digits, and this bounds the memory that they take.
CODE_CHARACTERS = 256

#: A word in capitals with at most so many letters can be a part of a code beside it.
CAPITALS = 4

#: So many digits in a row of a private number are redacted wherever they stand: by chance, one reply in a thousand with
#: a hundred longer numbers has six that a card number has too.
NUMBER_PART = 6

#: Longest name or word that is looked for with separators inside.
PHRASE_LETTERS = 64

#: Most pieces of the reply that such a name or word is put together from.
PHRASE_WORDS = 16

#: A name with so many letters and digits of a message in a row quotes it. Fewer may be the name of a model that the
#: message asks about.
QUOTED_LETTERS = 12

#: Neighbouring characters that are told apart in scripts without spaces.
GRAM = 3

#: Scripts without spaces: Thai to Khmer, kana, Chinese characters, Hangul (which joins words).
UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"

WORD = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}]+")
NUMBER = re.compile(f"[0-9]{{{CERTAIN_LETTERS},}}")
HAS_DIGIT = re.compile(r"\d")
CODE_SEPARATOR = re.compile(r"[\s:=,;|()<>\[\]{}\"']+")
NAME_WORD = re.compile("[a-z0-9]+")
LETTERS_OR_DIGITS = re.compile("[a-z]+|[0-9]+")
NO_LETTERS = re.compile("[^a-z0-9]+")
TAG = re.compile(
    "</?private(?:\\s[^<>]*)?/?>|(?:[<\uff1c\ufe64]|&(?:amp;)*+lt;?)/?private/?(?:[>\uff1e\ufe65]|&(?:amp;)*+gt;?)",
    re.IGNORECASE,
)
ATTRIBUTES = re.compile(r"<private\s([^<>]*)>", re.IGNORECASE)


def redact_leaks(reply: str, message: str) -> str:
    """Return *reply* with what it repeats of the private text of *message* redacted."""
    secrets = secrets_of(message)
    if not secrets:
        return reply
    public_text = strip_private(message)
    public = {folded(word) for word in WORD.findall(public_text)}
    telling = {folded(word) for secret in secrets for word in WORD.findall(secret)} - public - FUNCTION_WORDS
    text, places = letters(reply)
    whole = {bare for secret in secrets if (bare := letters(secret)[0])}
    codes = {code for secret in secrets for code in codes_of(secret)} - set(codes_of(public_text))
    whole.update(code for code in codes if len(code) >= CERTAIN_CODE)
    phrases = Phrases.of(secrets, public_text, telling)
    phrases.anywhere.update(code for code in codes if len(code) < CERTAIN_CODE)
    found = (
        whole_echoes(reply, text, places, whole),
        number_echoes(reply, text, places, Numbers.of(secrets) - Numbers.of([public_text])),
        phrases.echoes(reply),
        word_echoes(reply, Vocabulary.of(telling)),
    )
    return redacted(reply, heapq.merge(*found))


def is_quoted(name: str, message: str, known: str) -> bool:
    """Return whether *name*, of a model, repeats a word or number of private text, or much of *message* in a row.

    What it has in common with *known*, a name that is not secret, does not count. Compares ASCII letters and digits
    only. Cheap enough for the event loop.
    """
    said, public, asked = bare(name), bare(message), bare(known)
    if said == public:
        return True
    words = NAME_WORD.findall(name.lower())
    parts = {*words, *LETTERS_OR_DIGITS.findall(said)}
    private = " ".join(secrets_of(message)).lower()
    telling = {*NAME_WORD.findall(private)} - FUNCTION_WORDS if private else frozenset()
    secret = bare(private)
    return any(
        part not in asked and (part in telling or (len(part) >= CERTAIN_LETTERS and part in secret)) for part in parts
    ) or any(
        part in public and part not in asked
        for part in (said[at : at + QUOTED_LETTERS] for at in range(len(said) - QUOTED_LETTERS + 1))
    )


def bare(text: str) -> str:
    """Return the ASCII letters and digits of *text* in lower case."""
    return NO_LETTERS.sub("", text.lower())


def secrets_of(message: str) -> set[str]:
    """Return the private texts of *message*, those in the attributes of tags among them."""
    return {*map(without_tags, private_spans(message)), *ATTRIBUTES.findall(message)}


def codes_of(text: str) -> Iterator[str]:
    """Yield the codes of *text*, bare: what has letters and digits, alone and with the codes and capitals beside it."""
    beside: list[str] = []
    for chunk in (*CODE_SEPARATOR.split(text), ""):
        bare = letters(chunk)[0] if len(chunk) <= CODE_CHARACTERS else ""
        has_digit = any("0" <= character <= "9" for character in bare)
        if bare and (has_digit or (len(bare) <= CAPITALS and chunk.isupper())):
            beside.append(bare)
            if is_code(bare):
                yield bare
        elif beside:
            if is_code(joined := "".join(beside)):
                yield joined
            beside.clear()


def is_code(bare: str) -> bool:
    """Return whether bare text is a code. Digits alone are a number."""
    return CERTAIN_LETTERS <= len(bare) <= CODE_CHARACTERS and not bare.isalpha() and not bare.isdigit()


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of texts, whatever separates their digits."""

    short: frozenset[str]
    """Those of CERTAIN_LETTERS digits or one more, and the last CERTAIN_LETTERS of longer ones."""
    parts: frozenset[str]
    """Each NUMBER_PART digits in a row of longer ones."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Numbers:
        """Return the numbers of *texts*: digits without letters between, and each group of digits for itself."""
        short: set[str] = set()
        parts: set[str] = set()
        for text in texts:
            if not HAS_DIGIT.search(text):
                continue
            for number in {*NUMBER.findall(letters(text)[0]), *NUMBER.findall(folded(text))}:
                short.add(number if len(number) < NUMBER_PART else number[-CERTAIN_LETTERS:])
                parts.update(number[at : at + NUMBER_PART] for at in range(len(number) - NUMBER_PART + 1))
        return cls(frozenset(short), frozenset(parts))

    def __sub__(self, other: Numbers) -> Numbers:
        return Numbers(self.short - other.short, self.parts - other.parts)


def number_echoes(reply: str, text: str, places: array[int], numbers: Numbers) -> Iterator[tuple[int, int]]:
    """Yield where *reply*, whose letters and digits are *text* at *places*, has a part of *numbers*."""
    if not (numbers.short or numbers.parts):
        return
    for run in NUMBER.finditer(text):
        for first in range(run.start(), run.end() - CERTAIN_LETTERS + 1):
            if numbers.parts and text[first : first + NUMBER_PART] in numbers.parts:
                yield places[first], places[first + NUMBER_PART - 1] + 1
            if numbers.short:
                for end in range(first + CERTAIN_LETTERS, min(first + NUMBER_PART, run.end() + 1)):
                    if text[first:end] in numbers.short and is_apart(reply, places[first], places[end - 1] + 1):
                        yield places[first], places[end - 1] + 1


def is_apart(reply: str, start: int, end: int) -> bool:
    """Return whether no digit stands directly before or after a place of *reply*."""
    return not (reply[start - 1 : start].isdecimal() or reply[end : end + 1].isdecimal())


@dataclass(frozen=True, slots=True)
class Phrases:
    """Bare texts that are looked for from the beginning of a word of the reply to the end of one."""

    anywhere: set[str]
    """Found whatever the words are."""
    in_title_case: set[str]
    """Two words that are a name only if the reply writes them like one."""
    as_one_word: set[str]
    """Found where they are one word."""

    @classmethod
    def of(cls, secrets: Iterable[str], public: str, telling: frozenset[str] | set[str]) -> Phrases:
        """Return the telling words and the names of *secrets*, without pairs of words that *public* has."""
        phrases = cls({word for word in telling if CERTAIN_LETTERS <= len(word) <= PHRASE_LETTERS}, set(), set())
        for secret in secrets:
            phrases._add(secret, telling)
        words = [folded(word) for word in WORD.findall(public)]
        known = {f"{one}{other}" for one, other in pairwise(words)}
        return cls(phrases.anywhere - known, phrases.in_title_case - known, phrases.as_one_word - known)

    def echoes(self, reply: str) -> Iterator[tuple[int, int]]:
        """Yield where *reply* has one of them."""
        wanted = self.anywhere | self.in_title_case | self.as_one_word
        if not wanted:
            return
        lengths = set(map(len, wanted))
        longest = max(lengths)
        heads = {each[:CERTAIN_LETTERS] for each in wanted}
        starts, ends, offsets = array("L"), array("L"), array("L", [0])
        words = []
        for word in WORD.finditer(reply):
            # A longer one is part of none of them, and folding it takes time.
            words.append(folded(word[0]) if len(word[0]) <= longest else "\0" * (longest + 1))
            starts.append(word.start())
            ends.append(word.end())
            offsets.append(offsets[-1] + len(words[-1]))
        bare = "".join(words)
        del words
        for first, start in enumerate(starts):
            offset = offsets[first]
            if bare[offset : offset + CERTAIN_LETTERS] not in heads:
                continue
            found = 0
            for last in range(first, min(first + PHRASE_WORDS, len(ends))):
                if (length := offsets[last + 1] - offset) > longest:
                    break
                if (
                    length in lengths
                    and (phrase := bare[offset : offset + length]) in wanted
                    and self._is_one(phrase, reply, starts[first : last + 1])
                ):
                    found = ends[last]
            if found:
                yield start, found

    def _is_one(self, phrase: str, reply: str, starts: array[int]) -> bool:
        """Return whether *phrase*, of the words of *reply* that begin at *starts*, is one of these texts."""
        if phrase in self.anywhere or (len(starts) == 1 and phrase in self.as_one_word):
            return True
        return phrase in self.in_title_case and all(reply[start].isupper() for start in starts)

    def _add(self, secret: str, telling: frozenset[str] | set[str]) -> None:
        name: list[str] = []
        before = ""
        for word in (*WORD.findall(secret), ""):
            if not word.istitle():
                self._add_name(name)
                name = []
            pair = folded(before) + folded(word)
            if len(before) > 1 and len(word) > 1 and CERTAIN_LETTERS <= len(pair) <= PHRASE_LETTERS:
                if word.istitle() and before.istitle():
                    self.anywhere.add(pair)
                elif folded(before) in telling and folded(word) in telling:
                    self.as_one_word.add(pair)
                else:
                    self.in_title_case.add(pair)
                    if {folded(before), folded(word)} & telling:
                        self.as_one_word.add(pair)
            if word.istitle():
                name.append(folded(word))
            before = word

    def _add_name(self, words: list[str]) -> None:
        if len(words) > 1 and CERTAIN_LETTERS <= len(name := "".join(words)) <= PHRASE_LETTERS:
            self.anywhere.add(name)


def whole_echoes(reply: str, text: str, places: array[int], whole: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield where *reply*, whose letters and digits are *text* at *places*, has one of *whole*; joins what overlaps."""
    patterns = Patterns.of(whole)
    # Not tuples: a place may be every second character.
    starts, ends = array("L"), array("L")
    for first, last in patterns.found(text):
        start, end = places[first], places[last] + 1
        certain = last + 1 - first >= CERTAIN_LETTERS or not text[first : last + 1].isascii()
        if certain or not (reply[start - 1 : start].isalnum() or reply[end : end + 1].isalnum()):
            # Ends come in order; a later one may start before several others.
            while ends and ends[-1] >= start:
                start = min(start, starts.pop())
                ends.pop()
            starts.append(start)
            ends.append(end)
    return zip(starts, ends, strict=True)


class Patterns:
    """Texts that are looked for in one pass, however many there are (Aho and Corasick, CACM 18(6), 1975).

    A state is a beginning of a pattern: the longest that the text read so far ends in. State 0 is the empty one.
    """

    def __init__(self) -> None:
        # Of each state, the first character that continues it, and the state that this leads to. The other ones are in
        # a dictionary: most states have none, and a dictionary for each would take ten times the memory.
        self._code = array("L", [0])
        self._following = array("L", [0])
        self._others: dict[tuple[int, int], int] = {}
        # Of each state, that of its longest proper ending, and the lengths of the patterns that it ends in: the longest
        # one, and a bit for each that is shorter than CERTAIN_LETTERS.
        self._ending = array("L", [0])
        self._longest = array("L", [0])
        self._short = bytearray(1)

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Patterns:
        """Return what finds *patterns*, of which none is empty."""
        made = cls()
        # One character of each at a time: what a new state ends in is shorter, so it is there already.
        growing = [(pattern, 0) for pattern in patterns]
        length = 0
        while growing:
            length += 1
            grown = [(pattern, made._grow(state, ord(pattern[length - 1]))) for pattern, state in growing]
            growing = []
            for pattern, state in grown:
                if len(pattern) > length:
                    growing.append((pattern, state))
                else:
                    made._longest[state] = length
                    made._short[state] |= (length < CERTAIN_LETTERS) << length
        return made

    def found(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the first and the last place of patterns in *text*, by rising last place.

        Of those that end in one place, the longest, and each that is shorter than CERTAIN_LETTERS.
        """
        step, all_longest, all_short = self._step, self._longest, self._short
        state = 0
        for last, character in enumerate(text):
            state = step(state, ord(character))
            if longest := all_longest[state]:
                yield last + 1 - longest, last
            if short := all_short[state]:
                yield from ((last + 1 - length, last) for length in range(1, CERTAIN_LETTERS) if short >> length & 1)

    def _grow(self, state: int, code: int) -> int:
        """Return the state that *code* leads to from *state*; make it if there is none."""
        if found := self._child(state, code):
            return found
        new = len(self._ending)
        ending = self._step(self._ending[state], code) if state else 0
        if self._following[state]:
            self._others[state, code] = new
        else:
            self._code[state], self._following[state] = code, new
        for column, value in (
            (self._code, 0), (self._following, 0), (self._ending, ending), (self._longest, self._longest[ending]),
            (self._short, self._short[ending]),
        ):  # fmt: skip
            column.append(value)
        return new

    def _step(self, state: int, code: int) -> int:
        """Return the state after *state* and a character."""
        while not (found := self._child(state, code)) and state:
            state = self._ending[state]
        return found

    def _child(self, state: int, code: int) -> int:
        if self._code[state] == code:
            return self._following[state]
        return self._others.get((state, code), 0)


def word_echoes(reply: str, vocabulary: Vocabulary) -> Iterator[tuple[int, int]]:
    """Yield where *reply* has a telling word."""
    last = None
    for last in WORD.finditer(reply):
        if vocabulary.has(folded(last[0])):
            yield last.span()
    if last and vocabulary.has_beginning(folded(last[0])):
        yield last.span()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The telling words of private texts. Beginnings are looked up in order: all of one long word would fill memory."""

    words: frozenset[str]
    spaced: list[str]
    """Those of scripts with spaces, sorted."""
    stems: list[str]
    """Those that longer forms are told by, sorted. None begins with another, so one alone can begin a given word."""
    grams: frozenset[str]

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """Return the vocabulary of *words*, which are folded."""
        words = frozenset(words)
        spaced = sorted(word for word in words if not re.match(f"[{UNSPACED}]", word))
        stems: list[str] = []
        for word in sorted(words):
            if len(word) >= COMMON_BEGINNING and not (stems and word.startswith(stems[-1])):
                stems.append(word)
        return cls(words, spaced, stems, frozenset(gram for word in words.difference(spaced) for gram in grams(word)))

    def has(self, word: str) -> bool:
        """Whether *word* is a telling word, a longer form of one, cut short, or shares characters in a row with one."""
        if word in self.words or (len(word) >= COMMON_BEGINNING and self._is_beginning(word)):
            return True
        before = bisect_right(self.stems, word)
        longer = before > 0 and word.startswith(self.stems[before - 1])
        return longer or (bool(self.grams) and not self.grams.isdisjoint(grams(word)))

    def has_beginning(self, word: str) -> bool:
        """Whether *word* may be the beginning of a telling word."""
        return len(word) >= CUT_BEGINNING and self._is_beginning(word)

    def _is_beginning(self, word: str) -> bool:
        # Whatever begins with it comes right after it in order.
        after = bisect_left(self.spaced, word)
        return after < len(self.spaced) and self.spaced[after].startswith(word)


def grams(word: str) -> list[str]:
    """Return each GRAM neighbouring characters of *word*; all of it, and its pairs, if it is shorter."""
    length = min(GRAM, max(len(word), 1))
    return [word[start : start + length] for start in range(len(word) - length + 1)]


def letters(text: str) -> tuple[str, array[int]]:
    """Return the letters and digits of *text*, folded and without accents, and where each stands in it."""
    if text.isascii():
        lowered = text.lower()
        return NO_LETTERS.sub("", lowered), array("L", (at for at, each in enumerate(lowered) if each.isalnum()))
    kept = []
    # Not a list: a text may become eighteen times as long.
    places = array("L")
    for place, character in enumerate(text):
        found = "".join(filter(str.isalnum, folded(character)))
        kept.append(found)
        places.extend((place,) * len(found))
    return "".join(kept), places


def folded(text: str) -> str:
    """Return *text* without differences of case, accent and width."""
    if text.isascii():
        return text.lower()
    return "".join(map(folded_character, text))


@lru_cache(maxsize=4096)
def folded_character(character: str) -> str:
    """Return what `folded` makes of one character: texts have few different ones."""
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    decomposed = unicodedata.normalize("NFKD", character).casefold()
    return "".join(each for each in decomposed if not unicodedata.combining(each))


def without_tags(span: str) -> str:
    """Return a private span without the tags nested in it."""
    return TAG.sub(" ", span)


def redacted(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Return *text* with what lies in *places*, which are in order and may overlap, redacted."""
    pieces = []
    position = 0
    end_of_last = -1
    for start, end in places:
        if start > end_of_last:
            pieces += [text[position:start], REDACTED]
        position = end_of_last = max(end, end_of_last)
    return "".join([*pieces, text[position:]])
