"""Choose and shorten the turns of the conversation for the prompt. Pure functions."""

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
#: After a message was sent twice, a third one counts as an edit of it if their common beginning and end have at least
#: this share of the longer message.
EDIT_SHARE = 0.6
#: Multiplier of a Fibonacci hash of 32 bits: 2**32 divided by the golden ratio.
SCRAMBLER = 2_654_435_769
#: Periods whose statements leave the prompt together, in seconds: three days, a day, an hour, ten minutes.
PERIODS = (259_200, 86_400, 3_600, 600)


def without_resent(turns: Iterable[PastTurn], message: str) -> list[PastTurn]:
    """Return *turns*, oldest first, without those whose message was sent again next. *message* follows the last turn.

    If a message was sent again for another reply, only its last turn counts. If it was then edited, only the edit
    counts.
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
    """Return whether two messages are equal, apart from case and white space."""
    return one == other or one.casefold().split() == other.casefold().split()


def is_edit(one: str, other: str) -> bool:
    """Return whether *other* differs from *one* in a single, short place."""
    longer, shorter = max(len(one), len(other)), min(len(one), len(other))
    head = next((index for index in range(shorter) if one[index] != other[index]), shorter)
    tail = next((index for index in range(shorter - head) if one[-1 - index] != other[-1 - index]), shorter - head)
    return head + tail >= longer * EDIT_SHARE


def shortened(turn: PastTurn, most_bytes: int) -> PastTurn:
    """Return *turn* with the ends of message and reply cut, so that each has at most half of *most_bytes* of UTF-8.

    If one of them needs less, the other gets more.
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
    """Return *text*, cut at its end to *most_bytes* of UTF-8."""
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= most_bytes:
        return text
    return encoded[: max(0, most_bytes - len(CUT))].decode(errors="ignore") + CUT


def without_middle(text: str, most_bytes: int) -> str:
    """Return *text*, cut in its middle to *most_bytes* of UTF-8: the end of a summary has the outcome."""
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= most_bytes:
        return text
    half = max(0, most_bytes - len(MIDDLE_CUT)) // 2
    return encoded[:half].decode(errors="ignore") + MIDDLE_CUT + encoded[len(encoded) - half :].decode(errors="ignore")


def in_blocks(items: Sequence[T], sizes: Sequence[int], most: int, *, kept: int) -> list[T]:
    """Return the newest of *items*, which are oldest first, whose *sizes* fit into *most*, but always the last one.

    Items are added in their order. When they exceed *most*, the oldest are dropped until the rest fits into *kept*. So
    the first item, and with it the beginning of the prompt, stays the same for several turns.
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
    """Return *items*, oldest first, without those before the anchor, which stays the same while new items are added.

    `in_blocks` needs a stable first item, because the items that it drops depend on it. The anchor is the one of the
    first *among* items with the greatest scrambled id: the greatest plain id would always be that of the last one.
    """
    first = max(range(min(among, len(items))), key=lambda place: id_of(items[place]) * SCRAMBLER % 2**32, default=0)
    return items[first:]


def in_periods(items: Sequence[T], sizes: Sequence[int], most: int, *, time_of: Callable[[T], datetime]) -> list[T]:
    """Return the newest of *items*, which are oldest first, whose *sizes* fit into *most*.

    If not all fit, all items of a period of three days are dropped together, or of a shorter period if that would drop
    a quarter of the items that fit.
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
