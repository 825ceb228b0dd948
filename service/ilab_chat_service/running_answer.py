"""One running answer for several callers: the first, and others that join it with the same request_id.

The answer runs in a task of its own. Each caller reads the events in order, at its own pace; one that falls too far
behind misses deltas (see `Caller`). The fastest caller sets the pace of the model. When the last caller leaves, the
answer is stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import replace
from io import StringIO
from typing import TYPE_CHECKING

from ilab_chat_service.turn_events import Completed, Delta, Generated, ReasoningDelta, Started

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from ilab_chat_service.turn_events import Event
    from ilab_chat_service.values import TurnRequest

#: Characters of text that are buffered per answer for callers that join, and per caller that reads slowly. Beyond this
#: limit, such a caller gets the rest of the reply at the end, without the rest of the reasoning.
JOIN_CHARACTERS = 65_536

#: Characters that each piece, or each change between text and reasoning, counts in addition, for its Python objects.
PIECE_CHARACTERS = 64

#: Number of events that may wait for the fastest caller before backpressure stops reading from the model.
EVENTS_AHEAD = 4


class RunningAnswer:
    """The events of a turn, for all its callers.

    Args:
        request: the request. Only an equal request may join, private text included.
    """

    def __init__(self, request: TurnRequest) -> None:
        self.request = request
        #: Whether the task has begun to run. A task that is cancelled earlier does not close its generator of events.
        self.has_begun = False
        self._task: asyncio.Task[None] | None = None
        self._past: Past | None = Past()
        self._started: Started | None = None
        self._generated: Generated | None = None
        self._callers: set[Caller] = set()
        self._has_room: asyncio.Future[None] | None = None
        self._ended = False

    @property
    def is_open(self) -> bool:
        """Whether a caller may join: the answer is still running and has a caller."""
        return not self._ended

    def start(self, events: AsyncGenerator[Event, None]) -> asyncio.Task[None]:
        """Run *events* in a task, which never fails, and return the task. Call `listen` before it runs."""
        self._task = asyncio.create_task(self._run(events))
        return self._task

    async def listen(self) -> AsyncGenerator[Event, None]:
        """Yield the events so far, then the later ones. Wrap it in `aclosing`.

        A caller that joins or reads too late gets fewer deltas: see `Caller`.

        When the last caller leaves, stop the answer and wait for its end.

        Raises:
            Failure: the failure of the answer.
        """
        caller = Caller(self._so_far(), is_behind=self._past is None)
        self._callers.add(caller)
        try:
            while True:
                event = await caller.next()
                if isinstance(event, BaseException):
                    try:
                        raise event
                    finally:
                        del event  # break the reference cycle between the error and this frame
                self._room_made()
                yield event
                if isinstance(event, Completed):
                    return
        finally:
            self._callers.discard(caller)
            self._room_made()
            if not self._callers and not self._ended:
                self._ended = True
                assert self._task  # noqa: S101 - see `start`
                self._task.cancel()
                await asyncio.wait([self._task])

    async def _run(self, events: AsyncGenerator[Event, None]) -> None:
        self.has_begun = True
        try:
            async with aclosing(events):
                async for event in events:
                    self._publish(event)
                    while not self._ended and all(caller.is_full for caller in self._callers):
                        await self._room()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - every caller raises it
            self._ended = True
            for caller in self._callers:
                caller.end(error)

    def _publish(self, event: Event) -> None:
        match event:
            case Started():
                self._started = event
            case Delta() | ReasoningDelta():
                if self._past and not self._past.add(event):
                    self._past = None
            case Generated():
                self._generated = event
            case Completed():
                self._ended = True
        for caller in self._callers:
            caller.put(event)

    def _so_far(self) -> Iterator[Event]:
        if self._started:
            yield self._started
        if self._past:
            yield from self._past.events()
        if self._generated:
            yield self._generated

    async def _room(self) -> None:
        """Wait until a caller has taken an event or left."""
        self._has_room = asyncio.get_running_loop().create_future()
        try:
            await self._has_room
        finally:
            self._has_room = None

    def _room_made(self) -> None:
        if self._has_room and not self._has_room.done():
            self._has_room.set_result(None)


class Past:
    """The deltas so far. Consecutive deltas of one kind are joined."""

    def __init__(self) -> None:
        self._runs: list[tuple[type[Delta | ReasoningDelta], StringIO]] = []
        self._size = 0

    def add(self, event: Delta | ReasoningDelta) -> bool:
        """Add *event*; return False if it does not fit."""
        self._size += len(event.text)
        if not self._runs or self._runs[-1][0] is not type(event):
            self._runs.append((type(event), StringIO()))
            self._size += PIECE_CHARACTERS
        self._runs[-1][1].write(event.text)
        return self._size <= JOIN_CHARACTERS

    def events(self) -> Iterator[Delta | ReasoningDelta]:
        """Yield the deltas."""
        for kind, text in self._runs:
            yield kind(text.getvalue())


class Caller:
    """One caller's queue of events.

    A caller is behind if it joins or reads so late that more than JOIN_CHARACTERS would be buffered for it. It gets the
    rest of the reply in one Delta before Completed, and no more reasoning.
    """

    def __init__(self, events: Iterator[Event], *, is_behind: bool) -> None:
        self._events: deque[Event | BaseException] = deque(events)
        self._size = 0
        self._is_behind = is_behind
        self._sent_characters = 0
        self._arrived: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether the caller must take an event before the queue has room for another."""
        return len(self._events) >= EVENTS_AHEAD and not self._is_behind

    def put(self, event: Event) -> None:
        """Add *event*."""
        match event:
            case Delta(text) | ReasoningDelta(text):
                if self._is_behind:
                    return
                self._size += len(text) + PIECE_CHARACTERS
                if self.is_full and self._size > JOIN_CHARACTERS:
                    self._fall_behind()
                    return
            case Completed(answered) if self._is_behind and (rest := answered.reply[self._sent_characters :]):
                self._add(Delta(rest))
        self._add(event)

    def end(self, failure: BaseException) -> None:
        """Raise *failure* after the events so far."""
        self._add(failure)

    async def next(self) -> Event | BaseException:
        """Wait for the next event, or the failure that ends them, and return it."""
        while not self._events:
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        event = self._events.popleft()
        if isinstance(event, Delta | ReasoningDelta):
            self._size = max(0, self._size - len(event.text) - PIECE_CHARACTERS)
            if isinstance(event, Delta):
                self._sent_characters += len(event.text)
        return event

    def _add(self, event: Event | BaseException) -> None:
        self._events.append(event)
        if self._arrived and not self._arrived.done():
            self._arrived.set_result(None)

    def _fall_behind(self) -> None:
        self._is_behind = True
        started = [event for event in self._events if isinstance(event, Started)]
        self._events = deque(started)


async def joined(running: RunningAnswer) -> AsyncGenerator[Event, None]:
    """Yield the events of *running* for a caller that joins it: `completed` is marked as replayed."""
    async with aclosing(running.listen()) as events:
        async for event in events:
            yield replace(event, replayed=True) if isinstance(event, Completed) else event
