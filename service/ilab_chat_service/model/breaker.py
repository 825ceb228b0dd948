"""The circuit breaker: while the model is down its calls fail at once, and one now and then tries if it is back."""

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

#: Failures in a row, of any calls, after which the model counts as down.
FAILURES_TO_OPEN = 5

#: Seconds until the first try, doubled with each that fails, and the most that they become: a model that is back is
#: found within the latter.
TRY_SECONDS = 0.5
TRY_SECONDS_MOST = 2.0


#: Users whose failures in a row say that the model is down, not that it fails on what one of them sends.
ENOUGH_USERS = 2

#: Errors of a connection on which nothing was sent yet.
UNREACHABLE = frozenset({"ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"})


def is_unreachable(cause: Cause) -> bool:
    """Return whether the API was not reached, so that the request cannot be the reason."""
    return cause.get("upstream.errno") in UNREACHABLE or cause.get("upstream.error") in {"name not found", "TLS"}


class Breaker:
    """Counts how calls of the model end. Closed at first; open while the model is down."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the time in seconds from *clock*, which never goes back."""
        self._clock = clock
        self._failures = 0
        self._pause = TRY_SECONDS
        self._next_try = 0.0
        self._cause: Cause = {}
        #: Of the failures in a row: two are enough to tell.
        self._users: set[str] = set()
        self._opened = asyncio.Event()

    def check(self) -> None:
        """Let a call pass: any while closed; while open one, each time that the pause since the last is over.

        Raises:
            ModelUnavailable: this one may not pass.
        """
        if not self._opened.is_set():
            return
        now = self._clock()
        if now < self._next_try:
            raise ModelUnavailable("the model is down", retry_after_seconds=self._next_try - now, cause=self._cause)
        # By time, and not when the try has ended: one that hangs must not keep the next from finding the model back.
        self._next_try = now + self._pause

    def answered(self) -> None:
        """Note that the model's API answered, if only to refuse."""
        if self._opened.is_set():
            log.warning("the model answers again")
        self._failures = 0
        self._users.clear()
        self._pause = TRY_SECONDS
        self._opened.clear()

    def failed(self, cause: Cause, user_id: str = "") -> None:
        """Note that the model could not be reached, or failed, and why: calls that fail at once are told.

        Where the API was reached, the failures of one user alone do not open it: they may be about what this user
        sends. Empty: the user is not known.
        """
        self._failures += 1
        self._cause = {**cause, "breaker": "open"}
        if len(self._users) < ENOUGH_USERS:
            self._users.add(user_id)
        concerns_all = len(self._users) == ENOUGH_USERS or not user_id or is_unreachable(cause)
        if self._opened.is_set():
            self._pause = min(self._pause * 2, TRY_SECONDS_MOST)
        elif self._failures >= FAILURES_TO_OPEN and concerns_all:
            log.error("the model is down: its calls fail at once until it answers again", extra={"fields": cause})
            self._opened.set()
            self._next_try = self._clock() + self._pause

    async def wait(self, seconds: float) -> None:
        """Return after *seconds*, or as soon as the model counts as down."""
        try:
            async with asyncio.timeout(seconds):
                await self._opened.wait()
        except TimeoutError:
            return
