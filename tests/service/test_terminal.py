"""The server in a terminal: what a person sees from its start to its end."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import grpc.aio
import pytest

from client.terminal import CTRL_C, Terminal, terminal
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from processes import SERVER, environment
from upstream import Reply, Upstream

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def server(tmp_path: Path, upstream: Upstream, **more: str) -> AbstractAsyncContextManager[Terminal]:
    settings = {
        "ILAB_CHAT_ADDRESS": "127.0.0.1:0",
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_MODEL": "test-model",
        **more,
    }
    return terminal(cwd=tmp_path, columns=200, env=environment(settings), command=str(SERVER))


@pytest.fixture
async def started(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Terminal]:
    async with server(tmp_path, upstream) as screen:
        await screen.until('say hello to him."')
        yield screen


def address_of(screen: Terminal) -> str:
    found = re.search(r"--address (\S+)", screen.seen)
    assert found
    return found[1]


async def test_start_is_a_short_block_that_ends_with_a_command_that_works(
    started: Terminal, upstream: Upstream
) -> None:
    lines = [ESCAPES.sub("", line).rstrip() for line in started.seen.strip().splitlines()]
    assert [line.split()[0] for line in lines[:-2]] == [
        "ilab-chat-server",
        "address",
        "model",
        "memory",
        "search",
        "facts",
    ]
    assert "127.0.0.1:" in lines[1]
    assert lines[2].endswith(f"test-model at {upstream.base_url.split('/')[2]}")
    assert lines[-2] == "Ready. Ctrl-C stops. In another terminal:"
    said = await asyncio.to_thread(
        subprocess.run, shlex.split(lines[-1]), capture_output=True, text=True, timeout=60, check=False
    )
    assert (said.returncode, said.stdout) == (0, "Hello there.\n")


async def test_draining_says_how_many_calls_run_and_ctrl_c_again_stops_at_once(
    started: Terminal, upstream: Upstream
) -> None:
    upstream.replies(Reply(hold_before=1))
    async with grpc.aio.insecure_channel(address_of(started)) as channel:
        call = chat_pb2_grpc.ChatServiceStub(channel).Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"))
        request = await asyncio.to_thread(upstream.wait_for, 1)
        assert await asyncio.to_thread(request.held.wait, 10)
        started.type(CTRL_C)
        await started.until("draining: 1 call running, at most 30 s; Ctrl-C again stops now")
        started.type(CTRL_C)
        assert await started.exit_code() == 130
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_without_calls_the_server_ends_after_one_ctrl_c(started: Terminal) -> None:
    started.type(CTRL_C)
    await started.until("draining: no calls running")
    assert await started.exit_code() == 0


async def test_json_on_a_terminal_stays_json(tmp_path: Path, upstream: Upstream) -> None:
    async with server(tmp_path, upstream, ILAB_CHAT_LOG_FORMAT="json") as screen:
        await screen.until("serving on")
    assert all(line.startswith("{") for line in screen.seen.strip().splitlines()[:-1])
