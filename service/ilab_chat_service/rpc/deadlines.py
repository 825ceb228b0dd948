"""How long a call may take, and how much of that the model may."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ilab_chat_service.rpc.errors import DeadlineExceeded

if TYPE_CHECKING:
    from types import TracebackType


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


class Limit:
    """The time of a call: ends its block when the model's time is over or, once the model is done, the call's.

    It ends as if the caller had left, so that what the model has written is stored.

    Raises:
        DeadlineExceeded: it was ended.
    """

    __slots__ = ("_call_until", "_timer", "model_until")

    def __init__(self, deadlines: Deadlines, remaining: float | None) -> None:
        """Begin now. *remaining*: seconds until the caller's deadline, None if there is none."""
        seconds = deadlines.call_seconds(remaining)
        now = asyncio.get_running_loop().time()
        self.model_until = now + deadlines.model_seconds(seconds)
        self._call_until = now + seconds
        self._timer = asyncio.timeout_at(self.model_until)

    def model_is_done(self) -> None:
        """Let the rest of the call have its reserve."""
        self._timer.reschedule(self._call_until)

    async def __aenter__(self) -> Self:
        await self._timer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timer.__aexit__(kind, error, trace)
        except TimeoutError:
            raise DeadlineExceeded("the call's time is over") from None
