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
        self._loop = asyncio.get_running_loop()
        self._wrote_at = 0.0
        # gRPC does not take a message of a call before it is done with the one before.
        self._writing = False
        self._heartbeat: asyncio.Task[None] | None = None
        # One for all events: nothing is set up for each of them.
        self._timer: asyncio.TimerHandle | None = None

    async def write(self, event: chat_pb2.StreamChatResponse) -> None:
        """Send *event*. A caller who does not read holds it up."""
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
        """Send no heartbeat any more."""
        if self._timer:
            self._timer.cancel()
        if self._heartbeat:
            self._heartbeat.cancel()

    def _wait_for_silence(self) -> None:
        self._timer = self._loop.call_at(self._wrote_at + self._heartbeat_seconds, self._beat)

    def _beat(self) -> None:
        """Send a heartbeat, unless there was an event since the timer was set."""
        now = self._loop.time()
        if self._writing:
            # A caller who has no room for an event has none for a heartbeat.
            self._wrote_at = now
        if now >= self._wrote_at + self._heartbeat_seconds:
            self._heartbeat = self._loop.create_task(self._write_heartbeat())
        else:
            self._wait_for_silence()

    async def _write_heartbeat(self) -> None:
        try:
            # Raised when the caller is gone: gRPC then cancels the call, which closes this.
            with suppress(grpc.aio.BaseError):
                await self._write(HEARTBEAT)
                self._wrote_at = self._loop.time()
                self._wait_for_silence()
        finally:
            self._heartbeat = None
