"""The circuit breaker, with a clock that the test advances."""

from __future__ import annotations

import asyncio

import pytest

from ilab_chat_service.failures import Cause, ModelUnavailable
from ilab_chat_service.model.breaker import (
    FAILURES_TO_OPEN,
    MAX_PROBE_SECONDS,
    PROBE_SECONDS,
    Breaker,
)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """Return a breaker that has just opened."""
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        breaker.check()
        breaker.failed({})
    return breaker


def test_open_breaker_rejects_calls_with_a_retry_delay(breaker: Breaker) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        breaker.check()
    assert caught.value.retry_after_seconds == PROBE_SECONDS


def test_nonconsecutive_failures_do_not_open_the_breaker(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN * 2):
        breaker.failed({})
        breaker.answered()
    breaker.check()


def test_one_call_probes_after_the_pause(breaker: Breaker, clock: Clock) -> None:
    clock.now = PROBE_SECONDS
    breaker.check()
    with pytest.raises(ModelUnavailable):
        breaker.check()


def test_hanging_probe_does_not_delay_the_next(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        clock.now += PROBE_SECONDS
        breaker.check()


def test_pauses_grow_up_to_the_maximum(breaker: Breaker, clock: Clock) -> None:
    for _ in range(10):
        clock.now += MAX_PROBE_SECONDS
        breaker.check()
        breaker.failed({})
    clock.now += MAX_PROBE_SECONDS
    breaker.check()


def test_answer_closes_the_breaker(breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    clock.now = PROBE_SECONDS
    breaker.check()
    breaker.answered()
    for _ in range(3):
        breaker.check()
    assert [record.message for record in caplog.records] == ["the model is available again"]


async def test_opening_wakes_calls_that_wait_to_retry(clock: Clock) -> None:
    breaker = Breaker(clock)
    waiting = asyncio.ensure_future(breaker.wait(1000))
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed({})
    await waiting


def test_rejected_calls_report_the_cause(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed({"upstream.errno": "ECONNREFUSED"})
    with pytest.raises(ModelUnavailable) as caught:
        breaker.check()
    assert caught.value.cause == {"upstream.errno": "ECONNREFUSED", "breaker": "open"}


def test_failures_of_one_user_do_not_open_the_breaker(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN * 3):
        breaker.failed({"upstream.status_code": 500}, "alice")
        breaker.check()
    breaker.failed({"upstream.status_code": 500}, "bob")
    with pytest.raises(ModelUnavailable):
        breaker.check()


@pytest.mark.parametrize(
    "cause", [{"upstream.errno": "ECONNREFUSED"}, {"upstream.error": "name not found"}, {"upstream.error": "TLS"}]
)
def test_unreachable_api_opens_the_breaker_for_all(clock: Clock, cause: Cause) -> None:
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(cause, "alice")
    with pytest.raises(ModelUnavailable):
        breaker.check()
