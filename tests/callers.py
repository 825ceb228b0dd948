"""Both clients, calling several servers at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TypeVar

from ilab_chat import AsyncChatClient, ChatClient
from upstream import Upstream

CALLS = 3
"""Of each kind in a burst: by either client, unary and streamed."""

PAUSE_SECONDS = 0.1

USER = "alice"


T = TypeVar("T")


class Callers:
    """Calls of both clients on all replicas. Each replica asks for a model of its own name."""

    def __init__(self, target: str, upstream: Upstream) -> None:
        self.sync = ChatClient(target)
        self.aio = AsyncChatClient(target)
        self.turns = 0
        self._upstream = upstream
        self._numbers = count(1)
        # One for each call: those of asyncio are too few for all to be on their way at once.
        self._threads = ThreadPoolExecutor(2 * CALLS)

    async def burst(self) -> Counter[str]:
        """Make many calls at once, none of which may fail. Return how often each replica asked its model."""
        before = len(self._upstream.requests)
        calls = [
            call(f"message {next(self._numbers)}")
            for _ in range(CALLS)
            for call in (self.aio_chat, self.aio_stream, self.sync_chat, self.sync_stream)
        ]
        replies = await asyncio.gather(*calls)
        assert set(replies) == {"Hello there."}
        self.turns += len(replies)
        return Counter(request.body["model"] for request in self._upstream.requests[before:])

    async def burst_until(self, *replicas: str, each: int | None = None) -> None:
        """Make calls until just these replicas are asked, and *each* of them this often if it is given."""
        while True:
            asked = await self.burst()
            if asked.keys() == set(replicas) and (each is None or set(asked.values()) == {each}):
                return
            # Clients connect to a new server after a second: without a pause, the calls until then fill the CPUs.
            await asyncio.sleep(PAUSE_SECONDS)

    async def burst_while(self, doing: asyncio.Task[int]) -> None:
        """Make calls until that is done."""
        while not doing.done():
            await self.burst()
            await asyncio.sleep(PAUSE_SECONDS)

    async def aio_chat(self, message: str) -> str:
        return (await self.aio.chat(USER, message)).reply

    async def aio_stream(self, message: str) -> str:
        async with self.aio.stream_chat(USER, message) as stream:
            return "".join([text async for text in stream.text])

    async def sync_chat(self, message: str) -> str:
        return (await self._in_thread(self.sync.chat, USER, message)).reply

    async def sync_stream(self, message: str) -> str:
        def read() -> str:
            with self.sync.stream_chat(USER, message) as stream:
                return "".join(stream.text)

        return await self._in_thread(read)

    async def close(self) -> None:
        """Close both clients."""
        self.sync.close()
        await self.aio.aclose()

    async def _in_thread(self, call: Callable[..., T], *arguments: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
