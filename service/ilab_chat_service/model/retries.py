"""Retries of a model call that failed before the model began: within the call's time, and while the model is up."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from ilab_chat_service.failures import RETRY_AFTER_SECONDS, Failure, ModelRateLimited, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ilab_chat_service.model.breaker import Breaker

T = TypeVar("T")

#: The first wait is at most so long, in seconds, and each at most twice the one before. Full jitter, so that calls that
#: failed together do not come back together: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
WAIT_SECONDS = 0.25
WAIT_SECONDS_MOST = 4.0

#: Longest Retry-After of the model's API that is waited for here, in seconds. The caller waits better for a longer one:
#: its call would keep others out meanwhile.
ASKED_SECONDS_MOST = 2.0


async def repeated(
    attempt: Callable[[], Awaitable[T]], breaker: Breaker, *, retries: int, until: float, user_id: str = ""
) -> T:
    """Return what *attempt* returns. Only an outage is repeated: whatever the API says of the request, it says again.

    Args:
        attempt: asks the model, once.
        breaker: is asked before each attempt, and told how it ended.
        retries: how often an attempt may be repeated.
        until: no repetition begins after this moment of the event loop's clock.
        user_id: whose call it is, for the breaker.

    Raises:
        Failure: that of the last attempt.
    """
    loop = asyncio.get_running_loop()
    for made in range(1, retries + 2):
        breaker.check()
        try:
            result = await attempt()
        except ModelUnavailable as failure:
            breaker.failed(failure.cause, user_id)
            wait = wait_before(made, failure.retry_after_seconds)
            too_long = (failure.retry_after_seconds or 0.0) > ASKED_SECONDS_MOST
            if made > retries or too_long or loop.time() + wait >= until:
                add_wait(failure)
                raise
            await breaker.wait(wait)
        except Failure as failure:
            breaker.answered()
            if isinstance(failure, ModelRateLimited):
                add_wait(failure)
            raise
        else:
            breaker.answered()
            return result
    raise AssertionError("the last attempt neither returned nor raised")


def add_wait(failure: Failure) -> None:
    """Let *failure* tell the caller how long to wait, where the API did not."""
    if failure.retry_after_seconds is None:
        failure.retry_after_seconds = RETRY_AFTER_SECONDS


def wait_before(repetition: int, asked_seconds: float | None) -> float:
    """Return the seconds to wait before a repetition, counted from 1; at least what the model's API asked for."""
    most = min(WAIT_SECONDS * 2 ** (repetition - 1), WAIT_SECONDS_MOST)
    return (asked_seconds or 0.0) + random.uniform(0, most)  # noqa: S311 - jitter is no secret
