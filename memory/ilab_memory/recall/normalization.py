"""Unicode normalization in linear time. Pure.

`unicodedata.normalize` sorts each run of combining marks by insertion, in quadratic time and holding the GIL. So runs
are first truncated to the limit of the Stream-Safe Text Format, which no written language reaches
(https://www.unicode.org/reports/tr15/#Stream_Safe_Text_Format).
"""

import re
import unicodedata
from typing import Literal

#: Longest run of combining marks (non-starters) that is kept.
MAX_MARKS = 30
#: Marks in the compatibility decomposition of a character that is not itself one mark of a non-zero combining class.
MARKS_OF = {"\u0344": 2, "\u0f73": 2, "\u0f75": 2, "\u0f81": 2, "\uff9e": 1, "\uff9f": 1}

# Only two marks, those of halfwidth kana, are word characters. The lookbehind makes the search linear: it starts once
# in each run.
_MAYBE_MARKS = r"[\W\uff9e\uff9f]"
_LONG_RUN = re.compile(rf"(?<!{_MAYBE_MARKS}){_MAYBE_MARKS}{{{MAX_MARKS + 1},}}")


def normalize(form: Literal["NFC", "NFKC", "NFKD"], text: str) -> str:
    """Return *text* in the normalization form *form*, without the marks beyond MAX_MARKS of each run."""
    return unicodedata.normalize(form, limit_marks(text))


def limit_marks(text: str) -> str:
    """Return *text* without the marks beyond MAX_MARKS of each run. Other text is returned unchanged."""
    return text if text.isascii() else _LONG_RUN.sub(_limited, text)


def _limited(found: re.Match[str]) -> str:
    run: str = found[0]
    if run.isascii():
        return run
    kept: list[str] = []
    marks = 0
    for character in run:
        more = MARKS_OF.get(character) or int(unicodedata.combining(character) != 0)
        marks = marks + more if more else 0
        if marks <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)
