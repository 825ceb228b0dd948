"""Compare texts by their letters and digits only."""

from __future__ import annotations

import re
import unicodedata
from array import array
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress, count
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Start and end of a part of a text, as in a slice.
Span: TypeAlias = tuple[int, int]

#: Words that never identify a private text. Separate from the stop words of the memory search, so that a change there
#: does not change what is redacted.
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

#: Minimum number of letters and digits that identify a private text inside other text. A shorter private text matches
#: whole words only.
MIN_MATCH = 4

#: Scripts written without spaces: Thai to Khmer, kana, Chinese characters; and Hangul, whose words take suffixes.
UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"

#: Characters of a text that are compared at once, in about a millisecond.
SLICE_CHARACTERS = 16_384

#: Letters that look like a Latin one, in lower or upper case, after case folding.
LOOKALIKES = str.maketrans(
    # Cyrillic, Greek, Armenian, and Latin letters that do not decompose.
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458\u04bb\u04cf\u0501\u051b\u051d\u0475"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03f2"
    "\u0570\u0578\u057d\u0585\u0131\u0251\u0261\u026a",
    "abekmhopctyxsijhldqwvabezhikmvoptyxchnuoiagi",
)

WORD = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}]+")
NOT_ALPHANUMERIC = re.compile("[^a-z0-9]+")


def words_of(text: str) -> Iterator[str]:
    """Yield the words of *text*, folded."""
    return map(folded, WORD.findall(text))


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The letters and digits of a text, folded, and the position of each in the text."""

    source: str
    text: str
    positions: array[int]

    @classmethod
    def of(cls, source: str) -> Skeleton:
        """Return the skeleton of *source*."""
        kept = []
        # An array, not a list: folding can make a text eighteen times as long.
        positions = array("L")
        if source.isascii():
            # In slices, because none of these functions releases the GIL.
            for begin in range(0, len(source), SLICE_CHARACTERS):
                lowered = source[begin : begin + SLICE_CHARACTERS].lower()
                kept.append(NOT_ALPHANUMERIC.sub("", lowered))
                positions.extend(compress(count(begin), map(str.isalnum, lowered)))
            return cls(source, "".join(kept), positions)
        for position, character in enumerate(source):
            found = "".join(filter(str.isalnum, folded(character)))
            kept.append(found)
            positions.extend((position,) * len(found))
        return cls(source, "".join(kept), positions)

    def span(self, first: int, last: int) -> Span:
        """Return the span in the source of the characters *first* to *last*, inclusive."""
        return self.positions[first], self.positions[last] + 1


def skeleton(text: str) -> str:
    """Return the letters and digits of *text*, folded."""
    return Skeleton.of(text).text


def folded(text: str) -> str:
    """Return *text* without differences of case, accent and width, and between letters that look the same."""
    if text.isascii():
        return text.lower()
    return "".join(map(folded_character, text))


# A text has few distinct characters.
@lru_cache(maxsize=4096)
def folded_character(character: str) -> str:
    """Return the folded form of one character."""
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    decomposed = unicodedata.normalize("NFKD", character).casefold()
    return "".join(each for each in decomposed if not unicodedata.combining(each)).translate(LOOKALIKES)
