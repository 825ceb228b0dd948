"""The conversation in the prompt: which turns, in which form. Pure functions."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from ilab_chat_service.values import PastTurn

T = TypeVar("T")

#: Stands for the rest of a text that was cut.
CUT = " [...]"
#: Stands for the middle of a text that was cut.
MIDDLE_CUT = " [...] "
#: A message that was sent again after it had been repeated is an edit of it if its beginning and its end are those of
#: the repeated one, up to this share of the longer of both.
EDIT_SHARE = 0.6
#: Multiplier of a Fibonacci hash of 32 bits: 2**32 divided by the golden ratio.
SCRAMBLER = 2_654_435_769
#: Periods in which statements leave the prompt, in seconds: three days, a day, an hour, ten minutes.
PERIODS = (259_200, 86_400, 3_600, 600)


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


def without_middle(text: str, most_bytes: int) -> str:
    """Return *text*, cut in its middle if it has more bytes of UTF-8: what came out in the end is at its end."""
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= most_bytes:
        return text
    half = max(0, most_bytes - len(MIDDLE_CUT)) // 2
    return encoded[:half].decode(errors="ignore") + MIDDLE_CUT + encoded[len(encoded) - half :].decode(errors="ignore")


def in_blocks(items: Sequence[T], sizes: Sequence[int], most: int, *, kept: int) -> list[T]:
    """Return the newest of *items*, which are oldest first, whose *sizes* fit into *most*; the last one in any case.

    Items are added one by one, as they came. When they exceed *most*, the oldest leave until the rest fits into *kept*.
    So the beginning stays the same for a while, and with it that of the prompt.
    """
    first = total = 0
    for last, size in enumerate(sizes):
        total += size
        if total > most:
            while first < last and total > kept:
                total -= sizes[first]
                first += 1
    return list(items[first:])


def since_anchor(items: Sequence[T], among: int, *, id_of: Callable[[T], int]) -> Sequence[T]:
    """Return *items*, oldest first, from one of the first *among* on, which stays the same while new ones come.

    `in_blocks` needs it: which items it drops depends on where it begins. It is the one whose scrambled id is greatest.
    Ids themselves would not do: those of one user have gaps of any size.
    """
    first = max(range(min(among, len(items))), key=lambda place: id_of(items[place]) * SCRAMBLER % 2**32, default=0)
    return items[first:]


def in_periods(items: Sequence[T], sizes: Sequence[int], most: int, *, time_of: Callable[[T], datetime]) -> list[T]:
    """Return the newest of *items*, which are oldest first, whose *sizes* fit into *most*.

    If not all fit, those of three days leave together, or of a shorter period if a quarter of what fits would leave
    with them.
    """
    fits = sum(1 for _ in takewhile(lambda total: total <= most, accumulate(reversed(sizes))))
    newest = list(items[len(items) - fits :])
    if fits == len(items):
        return newest
    left_out = time_of(items[len(items) - fits - 1]).timestamp()
    for period in PERIODS:
        whole = [item for item in newest if time_of(item).timestamp() // period > left_out // period]
        if len(whole) > fits * 0.75:
            return whole
    return newest
