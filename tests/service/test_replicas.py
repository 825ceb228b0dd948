"""Both clients in front of several servers that come and go."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from callers import CALLS, USER, Callers
from client.terminal import Finished, run
from processes import ServerProcess, running_server
from upstream import Reply, Upstream


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
        running.push_async_callback(callers.close)

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
