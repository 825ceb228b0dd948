"""Draining: reject new calls, wait for running ones, and finally cancel them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ilab_chat_service.rpc.errors import InterruptedByDrain, ServerDraining
from ilab_chat_service.telemetry.call_record import CALL

if TYPE_CHECKING:
    from ilab_chat_service.rpc.interceptors.layers import CallDetails, Context, Method, Requests

#: Time for cancelled calls to send their status.
END_SECONDS = 1.0


class RunningCalls:
    """The running calls of our own methods.

    gRPC's own stop ends calls that arrive during its grace period as CANCELLED, as if the caller had cancelled, and
    does not wait for handlers that aborted (https://github.com/grpc/grpc/issues/37239).
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._draining = False
        self._ending = False

    @property
    def running(self) -> int:
        """Number of running calls."""
        return len(self._running)

    async def drain(self, seconds: float) -> None:
        """Reject new calls as SERVER_DRAINING from now on, and wait up to *seconds* for running ones."""
        self._draining = True
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def end(self) -> None:
        """End the remaining calls as SERVER_DRAINING: UNAVAILABLE before their answer has begun, else ABORTED.

        That includes a stored answer: a call that has told its caller that the answer begins is never UNAVAILABLE.

        Returns after at most END_SECONDS, even if a call does not end, for instance because its caller does not read.
        """
        self._ending = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=END_SECONDS)

    async def tracked(self, _details: CallDetails, method: Method, requests: Requests, context: Context) -> Any:
        """Await *method*, unless the server drains; a layer of every call."""
        if self._draining:
            raise ServerDraining("the server is shutting down")
        task = asyncio.current_task()
        assert task  # noqa: S101 - gRPC runs handlers in tasks
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await method(requests, context)
        except asyncio.CancelledError:
            if not self._ending:
                raise
            failure = InterruptedByDrain if CALL.get().answer_began else ServerDraining
            raise failure("the server is shutting down") from None
