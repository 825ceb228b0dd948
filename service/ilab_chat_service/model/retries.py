"""Retry requests that failed before the model began, within the call's deadline and while the breaker is closed."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from ilab_chat_service.failures import RETRY_AFTER_SECONDS, Failure, ModelRateLimited, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ilab_chat_service.model.breaker import Breaker

T = TypeVar("T")

#: Upper bound of the first delay. The bound doubles with each retry up to the maximum. Full jitter, so that calls that
#: failed together do not retry together: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 4.0

#: Longest Retry-After of the model's API that we wait for. For a longer one the caller should retry, because a waiting
#: call occupies a slot.
MAX_RETRY_AFTER_SECONDS = 2.0


async def with_retries(
    attempt: Callable[[], Awaitable[T]], breaker: Breaker, *, retries: int, until: float, user_id: str = ""
) -> T:
    """Return the result of *attempt*. Retry outages only: the API would answer an invalid request the same way again.

    Args:
        attempt: asks the model once.
        breaker: checked before each attempt, and informed of its outcome.
        retries: maximum number of retries.
        until: event loop time after which no retry starts.
        user_id: user of the call, for the breaker.

    Raises:
        Failure: the failure of the last attempt.
    """
    loop = asyncio.get_running_loop()
    for made in range(1, retries + 2):
        breaker.check()
        try:
            result = await attempt()
        except ModelUnavailable as failure:
            breaker.failed(failure.cause, user_id)
            wait = wait_before(made, failure.retry_after_seconds)
            too_long = (failure.retry_after_seconds or 0.0) > MAX_RETRY_AFTER_SECONDS
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
    """Set the default retry delay of *failure* if the API did not send one."""
    if failure.retry_after_seconds is None:
        failure.retry_after_seconds = RETRY_AFTER_SECONDS


def wait_before(retry: int, retry_after_seconds: float | None) -> float:
    """Return the delay before a retry, counted from 1. It is at least the API's Retry-After."""
    bound = min(BACKOFF_SECONDS * 2 ** (retry - 1), MAX_BACKOFF_SECONDS)
    return (retry_after_seconds or 0.0) + random.uniform(0, bound)  # noqa: S311 - jitter, not a secret
