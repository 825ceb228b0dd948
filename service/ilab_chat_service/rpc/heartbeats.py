"""The events of a stream, with a heartbeat wherever it would be silent for long."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc.aio

from ilab_chat.v1 import chat_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HEARTBEAT = chat_pb2.StreamChatResponse(heartbeat=chat_pb2.Heartbeat())


class EventWriter:
    """Writes events, and from the first one on a heartbeat after each silence, until it is closed.

    Never before the first: that one tells proxies that the call may no longer be repeated.

    Args:
        write: sends one message of the call, and returns when there is room for the next.
        heartbeat_seconds: how long a silence is; 0: no heartbeats.
    """

    def __init__(
        self, write: Callable[[chat_pb2.StreamChatResponse], Awaitable[None]], heartbeat_seconds: float
    ) -> None:
        self._write = write
        self._heartbeat_seconds = heartbeat_seconds
        self._heartbeats: asyncio.Task[None] | None = None
        # gRPC does not take a message of a call before it is done with the one before.
        self._writing = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._wrote_at = 0.0

    async def write(self, event: chat_pb2.StreamChatResponse) -> None:
        """Send *event*. A caller who does not read holds it up."""
        async with self._writing:
            await self._write(event)
            self._wrote_at = self._clock()
        if self._heartbeats is None and self._heartbeat_seconds:
            self._heartbeats = asyncio.create_task(self._beat())

    def close(self) -> None:
        """Send no heartbeat any more."""
        if self._heartbeats:
            self._heartbeats.cancel()

    async def _beat(self) -> None:
        # Raised when the caller is gone: gRPC then cancels the call, which closes this.
        with suppress(grpc.aio.BaseError):
            while True:
                await asyncio.sleep(self._wrote_at + self._heartbeat_seconds - self._clock())
                async with self._writing:
                    if self._clock() >= self._wrote_at + self._heartbeat_seconds:
                        await self._write(HEARTBEAT)
                        self._wrote_at = self._clock()
