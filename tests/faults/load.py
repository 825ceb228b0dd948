"""The load of a faults run: users who say one message after the other and repeat each until it is answered."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from faults.talk import Moment, Moments, message_of, reply_to
from ilab_chat import AsyncChatClient, ChatError

USERS = 12

#: The usual deadline of a call, and how late its end may be noticed on a busy machine. Beyond that the call hangs.
DEADLINE_SECONDS = 10.0
NOTICED_SECONDS = 10.0

#: How often one message is tried, and the longest pause in between.
ATTEMPTS = 500
PAUSE_SECONDS = 0.25

CHANNEL_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    *((f"grpc.{which}_reconnect_backoff_ms", 100) for which in ("initial", "min", "max")),
]


@dataclass(frozen=True, slots=True)
class Said:
    """A message that was sent. `answered`: its turn was acknowledged; otherwise its user gave it up."""

    user: str
    message: str
    answered: bool


@dataclass(slots=True)
class Ledger:
    """The outcomes that callers observed."""

    said: list[Said] = field(default_factory=list)
    """In the order of each user."""
    endings: Counter[str] = field(default_factory=Counter)
    """How many calls ended how: "OK", "left", or code and reason."""
    replayed: int = 0
    hung: int = 0
    """Calls that had not ended long after their deadline."""
    wrong: list[str] = field(default_factory=list)
    """Answers that are not the reply to their message, by message."""
    open_at: float = math.inf
    """From when on the slowest failure counts, by the monotonic clock."""
    slowest: float = 0.0
    """Longest time from the begin of a call, or from `open_at` if that was later, to its failure, in seconds."""
    figures: dict[str, float] = field(default_factory=dict)
    """Measurements of a scenario."""
    _waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return sum(said.answered for said in self.said)

    @property
    def failed(self) -> Counter[str]:
        """The endings that are failures."""
        return Counter({ending: count for ending, count in self.endings.items() if ending not in {"OK", "left"}})

    def note(self, ending: str, began: float) -> None:
        """Count the end of a call that *began* then, by the monotonic clock."""
        self.endings[ending] += 1
        now = time.monotonic()
        if ending != "OK" and now >= self.open_at:
            self.slowest = max(self.slowest, now - max(began, self.open_at))
        for reached, future in self._waiting:
            if not future.done() and reached():
                future.set_result(None)

    async def until(self, reached: Callable[[], bool], seconds: float) -> None:
        """Wait until *reached*, which is asked whenever a call has ended, or raise TimeoutError."""
        future = asyncio.get_running_loop().create_future()
        entry = (reached, future)
        self._waiting.append(entry)
        try:
            if not reached():
                await asyncio.wait_for(future, seconds)
        finally:
            self._waiting.remove(entry)

    async def more(self, count: int, ending: str = "OK", seconds: float = 60) -> None:
        """Wait until *count* more calls have ended with this in their ending."""

        def so_far() -> int:
            return sum(times for name, times in self.endings.items() if ending in name)

        goal = so_far() + count
        await self.until(lambda: so_far() >= goal, seconds)


@dataclass(slots=True)
class User:
    """One user with a connection of its own."""

    name: str
    ledger: Ledger
    moments: Moments
    rng: random.Random
    leaving: float
    options: Sequence[tuple[str, Any]]
    deadline: float

    async def talk(self, target: str, over: asyncio.Event) -> None:
        """Say one message after the other until it is *over*; each is answered or given up before the next."""
        async with (
            grpc.aio.insecure_channel(target, [*CHANNEL_OPTIONS, *self.options]) as channel,
            AsyncChatClient(channel=channel, timeout=self.deadline) as client,
        ):
            number = 0
            while not over.is_set():
                number += 1
                message = message_of(self.name, number)
                answered = await self._say(client, message, f"{self.name}/{number}")
                self.ledger.said.append(Said(self.name, message, answered))

    async def _say(self, client: AsyncChatClient, message: str, request_id: str) -> bool:
        for _ in range(ATTEMPTS):
            leaves = self.rng.random() < self.leaving
            began = time.monotonic()
            try:
                async with asyncio.timeout(self.deadline + NOTICED_SECONDS):
                    ending = await (self._leave if leaves else self._ask)(client, message, request_id)
            except ChatError as error:
                ending = f"{error.code.name} {error.reason}".rstrip()
            except TimeoutError:
                self.ledger.hung += 1
                ending = "hung"
            self.ledger.note(ending, began)
            if ending == "OK":
                self.moments.note(Moment.ACKNOWLEDGED)
                return True
            if leaves and self.rng.random() < 0.5:
                return False
            await asyncio.sleep(self.rng.uniform(0, PAUSE_SECONDS))
        return False

    async def _ask(self, client: AsyncChatClient, message: str, request_id: str) -> str:
        if self.rng.random() < 0.5:
            answer = await client.chat(self.name, message, request_id=request_id)
        else:
            async with client.stream_chat(self.name, message, request_id=request_id) as stream:
                async for _ in stream:
                    pass
                answer = stream.response
        if answer.reply != reply_to(message):
            self.ledger.wrong.append(message)
        self.ledger.replayed += answer.replayed
        return "OK"

    async def _leave(self, client: AsyncChatClient, message: str, request_id: str) -> str:
        """Call and leave: a stream after some events, a unary call by a deadline that is too short."""
        if self.rng.random() < 0.5:
            await client.chat(self.name, message, request_id=request_id, timeout=self.rng.uniform(0.001, 0.1))
            return "OK"
        async with client.stream_chat(self.name, message, request_id=request_id) as stream:
            for _ in range(self.rng.randrange(5)):
                await anext(stream, None)
        return "left"


@asynccontextmanager
async def load(
    target: str,
    moments: Moments,
    seed: int,
    *,
    leaving: float = 0.0,
    options: Sequence[tuple[str, Any]] = (),
    deadline: float = DEADLINE_SECONDS,
) -> AsyncIterator[Ledger]:
    """Let USERS talk to *target*; leaving waits until the last message of each is answered.

    Args:
        target: where the service listens.
        moments: is told of every acknowledgement.
        seed: of everything random.
        leaving: the share of calls whose caller leaves early and then repeats the call or gives the message up.
        options: of the users' channels, beyond CHANNEL_OPTIONS.
        deadline: of each call, in seconds.
    """
    ledger = Ledger()
    over = asyncio.Event()
    async with asyncio.TaskGroup() as talking:
        for number in range(USERS):
            name = f"user-{number}"
            user = User(name, ledger, moments, random.Random(f"{seed} {name}"), leaving, options, deadline)
            talking.create_task(user.talk(target, over))
        try:
            yield ledger
        finally:
            over.set()
