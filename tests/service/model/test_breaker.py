"""The circuit breaker, by a clock that the test turns."""

from __future__ import annotations

import asyncio

import pytest

from ilab_chat_service.failures import Cause, ModelUnavailable
from ilab_chat_service.model.breaker import (
    FAILURES_TO_OPEN,
    TRY_SECONDS,
    TRY_SECONDS_MOST,
    Breaker,
)


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        breaker.check()
        breaker.failed({})
    return breaker


def test_an_open_one_refuses_and_says_until_when(breaker: Breaker) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        breaker.check()
    assert caught.value.retry_after_seconds == TRY_SECONDS


def test_failures_that_are_not_in_a_row_do_not_open_it(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN * 2):
        breaker.failed({})
        breaker.answered()
    breaker.check()


def test_one_call_tries_when_the_pause_is_over(breaker: Breaker, clock: Clock) -> None:
    clock.now = TRY_SECONDS
    breaker.check()
    with pytest.raises(ModelUnavailable):
        breaker.check()


def test_a_try_that_hangs_does_not_keep_the_next_from_trying(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        clock.now += TRY_SECONDS
        breaker.check()


def test_pauses_grow_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    for _ in range(10):
        clock.now += TRY_SECONDS_MOST
        breaker.check()
        breaker.failed({})
    clock.now += TRY_SECONDS_MOST
    breaker.check()


def test_an_answer_closes_it(breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    clock.now = TRY_SECONDS
    breaker.check()
    breaker.answered()
    for _ in range(3):
        breaker.check()
    assert [record.message for record in caplog.records] == ["the model answers again"]


async def test_calls_that_wait_to_repeat_are_woken_when_it_opens(clock: Clock) -> None:
    breaker = Breaker(clock)
    waiting = asyncio.ensure_future(breaker.wait(1000))
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed({})
    await waiting


def test_calls_that_fail_at_once_say_why_it_opened(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed({"upstream.errno": "ECONNREFUSED"})
    with pytest.raises(ModelUnavailable) as caught:
        breaker.check()
    assert caught.value.cause == {"upstream.errno": "ECONNREFUSED", "breaker": "open"}


def test_failures_of_one_user_do_not_open_it_for_others(clock: Clock) -> None:
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
def test_api_that_is_not_reached_is_down_for_everybody(clock: Clock, cause: Cause) -> None:
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(cause, "alice")
    with pytest.raises(ModelUnavailable):
        breaker.check()
