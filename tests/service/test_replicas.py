"""Both clients in front of several servers that come and go."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import TypeVar

from client.terminal import Finished, run
from ilab_chat import AsyncChatClient, ChatClient
from processes import ServerProcess, running_server
from upstream import Reply, Upstream

CALLS = 6
"""Of each kind in a burst: by either client, unary and streamed."""

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

    async def burst_until(self, *replicas: str) -> None:
        """Make calls until just these replicas are asked."""
        while (await self.burst()).keys() != set(replicas):
            pass

    async def burst_while(self, doing: asyncio.Task[int]) -> None:
        while not doing.done():
            await self.burst()

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

    async def _in_thread(self, call: Callable[..., T], *arguments: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)


async def test_replicas_come_and_go_and_no_call_fails(tmp_path: Path, upstream: Upstream) -> None:
    async with AsyncExitStack() as running:

        def start(name: str, address: str = "127.0.0.1:0") -> ServerProcess:
            return running.enter_context(
                running_server(
                    ILAB_CHAT_ADDRESS=address,
                    ILAB_CHAT_PROPAGATION_SECONDS="1",
                    ILAB_CHAT_MAX_CALLS_PER_USER="64",
                    ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
                    OPENAI_BASE_URL=upstream.base_url,
                    OPENAI_MODEL=name,
                )
            )

        drained, killed, kept = servers = await asyncio.gather(
            *(asyncio.to_thread(start, name) for name in ("drained", "killed", "kept"))
        )
        callers = Callers(",".join(server.address for server in servers), upstream)
        running.callback(callers.sync.close)
        running.push_async_callback(callers.aio.aclose)

        await callers.burst_until("drained", "killed", "kept")
        assert set((await callers.burst()).values()) == {4 * CALLS // 3}

        await callers.burst_while(asyncio.create_task(asyncio.to_thread(drained.stop)))
        assert drained.process.returncode == 0
        assert not any("SERVER_DRAINING" in line for line in drained.log), "health had told the clients before"
        assert set((await callers.burst()).values()) == {4 * CALLS // 2}

        upstream.otherwise = lambda _request: Reply(hold_before=0)
        sent = len(upstream.requests)
        burst = asyncio.create_task(callers.burst())
        await asyncio.to_thread(upstream.wait_for, sent + 4 * CALLS)
        killed.stop(signal.SIGKILL)
        await asyncio.to_thread(upstream.wait_for, sent + 4 * CALLS * 3 // 2)
        upstream.release()
        assert await burst == {"killed": 4 * CALLS // 2, "kept": 4 * CALLS}

        await asyncio.to_thread(start, "new", killed.address)
        await callers.burst_until("kept", "new")

        said = await run("chat", "--address", f"{killed.address},{kept.address}", "--user", "bob", "hi")
        assert said == Finished(0, "Hello there.\n", "")
        assert (await callers.aio.memory.stats(USER)).observations == callers.turns
