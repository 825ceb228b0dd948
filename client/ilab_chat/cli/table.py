"""Tables for a terminal. Needs wcwidth, from the extra `cli`."""

import re
from collections.abc import Sequence
from typing import Final

from ilab_chat.cli import output

GAP: Final = "  "
NARROWEST: Final = 8
"""Columns of a terminal that the last cell gets at least; where there are fewer, lines are cut at the edge."""

WIDEST: Final = 20
"""Maximum number of columns of any other cell."""

# They reorder the text around them, beyond their own cell.
BIDI_CONTROLS: Final = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "")


def lines(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the head and each row as a line of at most *width* columns; the last cell is cut first.

    Columns of numbers are aligned to the right. Control characters do not come through, and each run of
    white space is one blank.

    Raises:
        CommandError: wcwidth is not installed.
    """
    try:
        import wcwidth  # noqa: PLC0415 - from an optional extra
    except ImportError:
        raise output.missing_extra("a table") from None

    def fit(text: str, columns: int) -> str:
        if wcwidth.width(text) <= columns:
            return text
        return wcwidth.clip(text, 0, max(columns - 1, 0)).rstrip() + "…"[:columns]

    cells = [[plain(cell) for cell in row] for row in (heads, *rows)]
    columns = [min(max(map(wcwidth.width, column)), WIDEST) for column in list(zip(*cells, strict=True))[:-1]]
    left = max(width - sum(columns) - len(GAP) * len(columns), NARROWEST)

    def line(row: Sequence[str], numbers: Sequence[bool]) -> str:
        padded = [
            wcwidth.rjust(fit(cell, column), column) if number else wcwidth.ljust(fit(cell, column), column)
            for cell, column, number in zip(row, columns, numbers, strict=False)
        ]
        return fit(GAP.join([*padded, fit(row[-1], left)]).rstrip(), width)

    numbers = [all(re.fullmatch(r"[0-9.]+", row[index]) for row in cells[1:]) for index in range(len(columns))]
    return [line(row, numbers) for row in cells]


def plain(text: str) -> str:
    """Return *text* as one line without characters that steer a terminal."""
    return " ".join(" ".join(text.split()).translate(output.CONTROLS | BIDI_CONTROLS).split())
