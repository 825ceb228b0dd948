"""How long a call may take, and how much of that the model may."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilab_chat_service.rpc.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """The limits of one server, in seconds."""

    default: float
    """For a call whose caller sets no deadline."""
    most: float
    """However late the caller's deadline is."""
    reserve: float
    """What storing the turn may take, kept from the model."""

    def call_seconds(self, remaining: float | None) -> float:
        """Return how long a call may take whose caller's deadline is *remaining* seconds away; None: there is none."""
        return min(self.default if remaining is None else remaining, self.most)

    def model_seconds(self, call_seconds: float) -> float:
        """Return how much of a call may pass until the model is done: all but the reserve, and at least half."""
        return max(call_seconds - self.reserve, call_seconds / 2)


@dataclass(frozen=True, slots=True)
class Limit:
    """The time of a running call: two moments of the event loop's clock, and what ends it."""

    model_until: float
    call_until: float
    timer: asyncio.Timeout

    def model_is_done(self) -> None:
        """Let the rest of the call have its reserve."""
        self.timer.reschedule(self.call_until)


@asynccontextmanager
async def limited(deadlines: Deadlines, remaining: float | None) -> AsyncIterator[Limit]:
    """End the block when the model's time is over or, once the model is done, the call's.

    It ends as if the caller had left, so that what the model has written is stored. *remaining*: seconds until the
    caller's deadline, None if there is none.

    Raises:
        DeadlineExceeded: it was ended.
    """
    seconds = deadlines.call_seconds(remaining)
    now = asyncio.get_running_loop().time()
    model_until = now + deadlines.model_seconds(seconds)
    timer = asyncio.timeout_at(model_until)
    try:
        async with timer:
            yield Limit(model_until, now + seconds, timer)
    except TimeoutError:
        if not timer.expired():
            raise
        raise DeadlineExceeded("the call's time is over") from None
