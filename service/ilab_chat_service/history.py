"""The conversation in the prompt: which turns, in which form. Pure functions."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ilab_chat_service.values import PastTurn

T = TypeVar("T")

#: Stands for the rest of a text that was cut.
CUT = " [...]"
#: A message that was sent again after it had been repeated is an edit of it if its beginning and its end are those of
#: the repeated one, up to this share of the longer of both.
EDIT_SHARE = 0.6


def spoken_once(turns: Iterable[PastTurn], message: str) -> list[PastTurn]:
    """Return *turns*, oldest first, without those whose message was sent again right after them; *message* is next.

    Of a message that was sent again, for another reply, only the last turn counts. If it was then edited, only the edit
    does.
    """
    once: list[PastTurn] = []
    repeated = False
    for turn in turns:
        again = bool(once) and is_same(once[-1].message, turn.message)
        if again or (repeated and is_edit(once[-1].message, turn.message)):
            once.pop()
        repeated = again
        once.append(turn)
    if once and (is_same(once[-1].message, message) or (repeated and is_edit(once[-1].message, message))):
        once.pop()
    return once


def is_same(one: str, other: str) -> bool:
    """Return whether two messages differ in case and white space at most."""
    return one == other or one.casefold().split() == other.casefold().split()


def is_edit(one: str, other: str) -> bool:
    """Return whether *other* differs from *one* in one place that is not large."""
    longer, shorter = max(len(one), len(other)), min(len(one), len(other))
    head = next((index for index in range(shorter) if one[index] != other[index]), shorter)
    tail = next((index for index in range(shorter - head) if one[-1 - index] != other[-1 - index]), shorter - head)
    return head + tail >= longer * EDIT_SHARE


def shortened(turn: PastTurn, most_bytes: int) -> PastTurn:
    """Return *turn* with the ends of message and reply cut, so that each has at most half of *most_bytes* of UTF-8.

    What the one does not need, the other gets.
    """
    message, reply = (
        len(turn.message.encode("utf-8", "surrogatepass")),
        len(turn.reply.encode("utf-8", "surrogatepass")),
    )
    if message + reply <= most_bytes:
        return turn
    half = most_bytes // 2
    return replace(
        turn,
        message=cut(turn.message, max(half, most_bytes - reply)),
        reply=cut(turn.reply, max(half, most_bytes - message)),
    )


def cut(text: str, most_bytes: int) -> str:
    """Return *text*, its end cut off if it has more bytes of UTF-8."""
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= most_bytes:
        return text
    return encoded[: max(0, most_bytes - len(CUT))].decode(errors="ignore") + CUT


def newest_fitting(
    items: Sequence[T], budget: int, *, size: Callable[[T], int], id_of: Callable[[T], int], block: int = 0
) -> list[T]:
    """Return the newest of *items*, which are oldest first, whose sizes fit into *budget*.

    Where not all fit, items leave in blocks of ids. So the first item stays the same for a while, and with it the
    beginning of the prompt. *block*: ids in a block. 0: about half of what fits, as a power of two, so that a block
    begins where larger blocks begin.
    """
    sizes = accumulate(size(item) for item in reversed(items))
    fits = sum(1 for _ in takewhile(lambda total: total <= budget, sizes))
    if fits == len(items):
        return list(items)
    newest = list(items[len(items) - fits :])
    block = block or 1 << max(0, fits.bit_length() - 2)
    before = id_of(items[len(items) - fits - 1]) // block
    whole = [item for item in newest if id_of(item) // block != before]
    return whole or newest
