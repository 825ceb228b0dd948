"""How much of the event loop streams of model APIs may take, computed with a clock of our own."""

from __future__ import annotations

import heapq

import pytest

from ilab_chat_service.model.pacing import (
    BURST_SECONDS,
    COMMON_SHARE,
    OWN_SHARE,
    READ_SECONDS,
    LoopShare,
    Pace,
)

#: Simulated seconds.
PERIOD = 30.0


def used(streams: int, step: float) -> float:
    """Return the CPU seconds of *streams* that never end and use *step* whenever they do not wait."""
    share = LoopShare()
    now = total = 0.0
    waiting = [(0.0, number, Pace(share, 0.0)) for number in range(streams)]
    while waiting[0][0] < PERIOD:
        at, number, pace = heapq.heappop(waiting)
        now = max(now, at) + step
        total += step
        heapq.heappush(waiting, (now + pace.use(step, now), number, pace))
    return total


@pytest.mark.parametrize("streams", [1, 4, 16])
@pytest.mark.parametrize("step", [0.0001, 0.002, 0.02])
def test_streams_without_a_pause_use_a_bounded_share_of_the_loop(streams: int, step: float) -> None:
    allowed = PERIOD * (COMMON_SHARE + streams * OWN_SHARE) + streams * (BURST_SECONDS + 2 * step)
    assert used(streams, step) <= allowed


def test_stream_of_a_model_never_waits() -> None:
    pace = Pace(LoopShare(), 0.0)
    waits = [pace.use(READ_SECONDS + 0.00001, number / 100) for number in range(10_000)]
    assert max(waits) == 0


def test_fast_stream_waits_for_milliseconds_only() -> None:
    pace = Pace(LoopShare(), 0.0)
    now = waited = 0.0
    for _ in range(10_000):
        wait = pace.use(READ_SECONDS + 0.00001, now)
        waited = max(waited, wait)
        now += wait + 1 / 2000
    assert 0 < waited < 0.001


def test_unused_allowance_is_not_saved_up() -> None:
    pace = Pace(LoopShare(), 0.0)
    assert pace.use(0.0, 1_000_000.0) == 0
    assert pace.use(2 * BURST_SECONDS, 1_000_000.0) == pytest.approx(BURST_SECONDS / COMMON_SHARE)
