"""Write the events of a stream, and heartbeats while it is silent."""

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
    """Writes events and, after the first event, a heartbeat whenever the stream is silent, until it is closed.

    No heartbeat precedes the first event, which tells proxies that they must not retry the call.

    Args:
        write: sends one message, and returns when flow control has room for the next.
        heartbeat_seconds: silence before a heartbeat. 0: no heartbeats.
    """

    def __init__(
        self, write: Callable[[chat_pb2.StreamChatResponse], Awaitable[None]], heartbeat_seconds: float
    ) -> None:
        self._write = write
        self._heartbeat_seconds = heartbeat_seconds
        self._loop = asyncio.get_running_loop()
        self._wrote_at = 0.0
        # gRPC allows one write at a time per call.
        self._writing = False
        self._heartbeat: asyncio.Task[None] | None = None
        # One timer for all events, because setting one per event is expensive.
        self._timer: asyncio.TimerHandle | None = None

    async def write(self, event: chat_pb2.StreamChatResponse) -> None:
        """Send *event*. Wait while the caller does not read."""
        while self._heartbeat:
            await asyncio.wait([self._heartbeat])
        self._writing = True
        try:
            await self._write(event)
        finally:
            self._writing = False
        self._wrote_at = self._loop.time()
        if self._timer is None and self._heartbeat_seconds:
            self._wait_for_silence()

    def close(self) -> None:
        """Stop the heartbeats."""
        if self._timer:
            self._timer.cancel()
        if self._heartbeat:
            self._heartbeat.cancel()

    def _wait_for_silence(self) -> None:
        self._timer = self._loop.call_at(self._wrote_at + self._heartbeat_seconds, self._beat)

    def _beat(self) -> None:
        """Send a heartbeat, unless an event was written since the timer was set."""
        now = self._loop.time()
        if self._writing:
            # A write that waits for flow control would delay the heartbeat too.
            self._wrote_at = now
        if now >= self._wrote_at + self._heartbeat_seconds:
            self._heartbeat = self._loop.create_task(self._write_heartbeat())
        else:
            self._wait_for_silence()

    async def _write_heartbeat(self) -> None:
        try:
            # Raised when the caller is gone. gRPC then cancels the call, and the handler closes this writer.
            with suppress(grpc.aio.BaseError):
                await self._write(HEARTBEAT)
                self._wrote_at = self._loop.time()
                self._wait_for_silence()
        finally:
            self._heartbeat = None
