"""Streams: write their events, and heartbeats while they are silent; end those whose callers do not read.

A stream waits while flow control has no room for its next message. It keeps its slot, and the model's API waits with
it. A caller that never reads would keep the slot until the call's deadline.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self

import grpc.aio

from ilab_chat.v1 import chat_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from ilab_chat_service.rpc.admission import Admission
    from ilab_chat_service.rpc.deadlines import CallDeadline

HEARTBEAT = chat_pb2.StreamChatResponse(heartbeat=chat_pb2.Heartbeat())

#: Seconds after which a stream ends whose caller does not read.
UNREAD_SECONDS = 30.0
#: The same while other calls wait for a slot, or if such streams have more than their share of the slots.
CROWDED_SECONDS = 1.0
#: Part of the slots that such streams leave to others.
SHARE_OF_OTHERS = 4
#: Time between two looks at the streams.
INTERVAL_SECONDS = 0.25


class EventWriter:
    """Writes events and, after the first event, a heartbeat whenever the stream is silent, until it is closed.

    No heartbeat precedes the first event, which tells proxies that they must not retry the call.

    gRPC sends the initial metadata with the first event, and must not be interrupted: see `send_initial_metadata`. So
    the first event is sent even if the call is cancelled, and the end of the context manager waits for it. By then, the
    call has released its slot.

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
        self.unread_since: float | None = None
        """Since when a write waits for the caller to read, by the event loop's clock. None: no write does."""
        self._first: asyncio.Future[None] | None = None
        # gRPC allows one write at a time per call.
        self._heartbeat: asyncio.Task[None] | None = None
        # One timer for all events, because setting one per event is expensive.
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._first and not self._first.done():
                await asyncio.wait([self._first])
        finally:
            self.close()

    async def write_first(self, event: chat_pb2.StreamChatResponse) -> None:
        """Send the first event, like `write`. If this is cancelled, it is sent all the same."""
        self._first = asyncio.ensure_future(self.write(event))
        # Retrieve the exception, or asyncio logs it as never retrieved: sending fails if the caller is gone.
        self._first.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._first)

    async def write(self, event: chat_pb2.StreamChatResponse) -> None:
        """Send *event*. Wait while the caller does not read."""
        while self._heartbeat:
            await asyncio.wait([self._heartbeat])
        await self._send(event)
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
        if self.unread_since is not None:
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
                await self._send(HEARTBEAT)
                self._wrote_at = self._loop.time()
                self._wait_for_silence()
        finally:
            self._heartbeat = None

    async def _send(self, message: chat_pb2.StreamChatResponse) -> None:
        self.unread_since = self._loop.time()
        try:
            await self._write(message)
        finally:
            self.unread_since = None


class OpenStreams:
    """The open streams of the calls that *admission* admits."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._streams: dict[EventWriter, CallDeadline] = {}

    @contextmanager
    def entered(self, writer: EventWriter, deadline: CallDeadline) -> Iterator[None]:
        """Watch the stream of *writer* during the block. It is ended through *deadline*."""
        self._streams[writer] = deadline
        try:
            yield
        finally:
            self._streams.pop(writer, None)

    async def watch(self) -> NoReturn:
        """End streams that are not read, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            self._end_unread(asyncio.get_running_loop().time())

    def _end_unread(self, now: float) -> None:
        unread = [(now - writer.unread_since, writer) for writer in self._streams if writer.unread_since is not None]
        unread.sort(key=lambda each: each[0], reverse=True)
        number = number_to_end(
            [seconds for seconds, _ in unread], slots=self._admission.limit, waiting=self._admission.waiting
        )
        for seconds, writer in unread[:number]:
            self._streams.pop(writer).end(f"the caller did not read for {seconds:.0f} s")


def number_to_end(unread: Sequence[float], *, slots: int, waiting: int) -> int:
    """Return how many streams to end, of those unread longest.

    Args:
        unread: for how many seconds each has been unread, the longest first.
        slots: number of slots, each of a running call.
        waiting: number of calls that wait for a slot.
    """
    overdue = sum(seconds >= UNREAD_SECONDS for seconds in unread)
    idle = sum(seconds >= CROWDED_SECONDS for seconds in unread)
    beyond_share = idle - (slots - slots // SHARE_OF_OTHERS)
    return max(overdue, min(idle, max(beyond_share, waiting)))


async def send_initial_metadata(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Send the initial metadata to its end, even if this is cancelled, so that the call can be aborted at any time.

    grpc.aio records only at its end that the metadata was sent. If it is cancelled earlier, `abort` sends the metadata
    again, gRPC core rejects that, and the caller waits for a status forever.
    """
    task = asyncio.ensure_future(context.send_initial_metadata(()))
    # Retrieve the exception, or asyncio logs it as never retrieved: sending fails if the caller is gone.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
