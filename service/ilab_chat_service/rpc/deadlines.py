"""Deadlines: how much time a call has, and how much of it the model gets."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ilab_chat_service.rpc.errors import DeadlineExceeded
from ilab_chat_service.telemetry.call_record import CALL

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """The time limits of one server, in seconds."""

    default: float
    """Time for a call whose caller sets no deadline."""
    maximum: float
    """Maximum time for a call, whatever its deadline."""
    reserve: float = 0.0
    """Time reserved at the end of a call for storing the turn. 0 for calls that ask no model."""

    def call_seconds(self, remaining: float | None) -> float:
        """Return the time of a call whose deadline is *remaining* seconds away. None: it has no deadline."""
        return min(self.default if remaining is None else remaining, self.maximum)

    def model_seconds(self, call_seconds: float) -> float:
        """Return the time until the model must be done: everything but the reserve, and at least half."""
        return max(call_seconds - self.reserve, call_seconds / 2)


class CallDeadline:
    """The deadline of one call, a context manager around its work.

    It cancels the block when the model's time is up or, after `model_is_done`, when the call's time is up. The block
    sees the same as when its caller cancels, so what the model has written is stored.

    Raises:
        DeadlineExceeded: the time was up, or the call was ended.
    """

    __slots__ = ("_call_until", "_text", "_timer", "model_until")

    def __init__(self, deadlines: Deadlines, remaining: float | None) -> None:
        """Start the time now. *remaining*: seconds until the caller's deadline, or None without one."""
        seconds = deadlines.call_seconds(remaining)
        now = asyncio.get_running_loop().time()
        self.model_until = now + deadlines.model_seconds(seconds)
        self._call_until = now + seconds
        self._text = "deadline exceeded"
        self._timer = asyncio.timeout_at(self.model_until)
        if call := CALL.get(None):
            # For reads of the memory: the threads that they run on cannot be cancelled.
            call.until = time.monotonic() + seconds

    def model_is_done(self) -> None:
        """Allow the rest of the call to use the reserve."""
        self._timer.reschedule(self._call_until)

    def end(self, text: str) -> None:
        """End the call now, unless its time is up; *text* says why. Call it while the block runs."""
        if not self._timer.expired():
            self._text = text
            self._timer.reschedule(0)

    async def __aenter__(self) -> Self:
        await self._timer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timer.__aexit__(kind, error, trace)
        except TimeoutError:
            raise DeadlineExceeded(self._text) from None
