"""Circuit breaker: while a model is down, its calls fail at once, except for occasional probes."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from ilab_chat_service.failures import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ilab_chat_service.failures import Cause

log = logging.getLogger(__name__)

#: Consecutive failures, of any calls, that open the breaker.
FAILURES_TO_OPEN = 5

#: Time until the first probe. It doubles with each failed probe up to the maximum, so a recovered model is found within
#: that time.
PROBE_SECONDS = 0.5
MAX_PROBE_SECONDS = 2.0

#: Failures of this many users mean that the model is down. Failures of one user may be caused by that user's input.
ENOUGH_USERS = 2

#: Connection errors before anything was sent.
UNREACHABLE = frozenset({"ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"})


def is_unreachable(cause: Cause) -> bool:
    """Return whether the API was not reached, so that the request cannot be the cause."""
    return cause.get("upstream.errno") in UNREACHABLE or cause.get("upstream.error") in {"name not found", "TLS"}


class Breaker:
    """Records the outcomes of a model's calls. Closed at first; open while the model is down."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """*clock* returns monotonic time in seconds."""
        self._clock = clock
        self._failures = 0
        self._pause = PROBE_SECONDS
        self._next_probe = 0.0
        self._cause: Cause = {}
        #: Users of the consecutive failures, at most ENOUGH_USERS.
        self._users: set[str] = set()
        self._opened = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether calls fail at once, except for probes."""
        return self._opened.is_set()

    def check(self) -> None:
        """Let a call pass if the breaker is closed, or if a probe is due.

        Raises:
            ModelUnavailable: the breaker is open and no probe is due.
        """
        if not self._opened.is_set():
            return
        now = self._clock()
        if now < self._next_probe:
            raise ModelUnavailable("the model is down", retry_after_seconds=self._next_probe - now, cause=self._cause)
        # Schedule the next probe now, not at the end of this one: a probe that hangs must not delay the next.
        self._next_probe = now + self._pause

    def answered(self) -> None:
        """Record that the model's API answered, even with an error. Closes the breaker."""
        if self._opened.is_set():
            log.warning("the model is available again")
        self._failures = 0
        self._users.clear()
        self._pause = PROBE_SECONDS
        self._opened.clear()

    def failed(self, cause: Cause, user_id: str = "") -> None:
        """Record that the model could not be reached, or failed. Rejected calls report the last cause.

        If the API was reached, failures of a single user do not open the breaker, because that user's input may cause
        them. An empty *user_id* means that the user is unknown.
        """
        self._failures += 1
        self._cause = {**cause, "breaker": "open"}
        if len(self._users) < ENOUGH_USERS:
            self._users.add(user_id)
        concerns_all = len(self._users) == ENOUGH_USERS or not user_id or is_unreachable(cause)
        if self._opened.is_set():
            self._pause = min(self._pause * 2, MAX_PROBE_SECONDS)
        elif self._failures >= FAILURES_TO_OPEN and concerns_all:
            log.error("the model is down: calls fail at once until it answers again", extra={"fields": cause})
            self._opened.set()
            self._next_probe = self._clock() + self._pause

    async def wait(self, seconds: float) -> None:
        """Return after *seconds*, or as soon as the breaker opens."""
        try:
            async with asyncio.timeout(seconds):
                await self._opened.wait()
        except TimeoutError:
            return
