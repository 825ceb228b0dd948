"""`ilab-memory mcp`: the documented methods as tools, called by the official SDK's client over a real pipe."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from ilab_memory import ILabMemory, Observation, SaveResult, Session, SessionStartResponse
from ilab_memory.transports.mcp_server import create_server
from ilab_memory.transports.methods import METHODS
from mcp_calls import call, fault

pytestmark = pytest.mark.process


@asynccontextmanager
async def served(file: Path) -> AsyncIterator[Client]:
    """Run `ilab-memory mcp`, and connect to it."""
    arguments = ["-m", "ilab_memory", "mcp", "--db-path", str(file)]
    command = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
    async with Client(stdio_client(command)) as client:
        yield client


async def test_tools_are_the_documented_methods_and_answer_as_the_library_does(tmp_path: Path) -> None:
    alice = {"user_id": "alice"}
    async with served(tmp_path / "memory.db") as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == list(METHODS)
        assert all(tool.description and tool.output_schema for tool in tools)
        assert tools[3].input_schema["required"] == ["user_id", "content", "type", "title"]

        session = SessionStartResponse.model_validate(await call(client, "mem_session_start", **alice))
        saved = SaveResult.model_validate(
            await call(client, "mem_save", **alice, content="I love hiking.", type="preference", title="Hobby")
        )
        assert saved.session_id == session.session_id
        one = {**alice, "observation_id": saved.id}
        observation = Observation.model_validate((await call(client, "mem_get_observation", **one))["result"])
        assert (observation.content, observation.title) == ("I love hiking.", "Hobby")
        assert (await call(client, "mem_timeline", **one))["result"] == [observation.model_dump()]
        [found] = (await call(client, "mem_search", **alice, query="hiking"))["result"]
        assert found["id"] == saved.id
        await call(client, "mem_session_summary", **alice, summary="So far.")
        ended = Session.model_validate(await call(client, "mem_session_end", **alice, summary="Talked."))
        assert ended.status == "completed"
        assert await call(client, "mem_stats", **alice) == {"observations": 2, "sessions": 1}
        assert (await call(client, "mem_get_observation", user_id="bob", observation_id=saved.id))["result"] is None
    assert await asyncio.to_thread(stored, tmp_path / "memory.db", saved.id) == observation


def stored(file: Path, observation_id: int) -> Observation | None:
    with ILabMemory.from_path(file) as mem:
        return mem.mem_get_observation("alice", observation_id)


async def test_error_names_the_field_and_quotes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path / "memory.db") as client:
        whole = {"user_id": "alice", "content": "x", "type": "decision", "title": "x"}
        for field, value in {
            "title": " ", "type": "secret", "content": "secret\0", "user_id": "secret" * 50, "unknown": "secret",
        }.items():  # fmt: skip
            text = await fault(client, "mem_save", **{**whole, field: value})
            assert text.startswith(field), text
            assert "secret" not in text
        assert "content: Field required" in await fault(client, "mem_save", user_id="alice")
        assert (await fault(client, "mem_search", user_id="a", query="x", limit=True)).startswith("limit")
        assert await fault(client, "mem_session_end", user_id="a", summary="x") == "the user has no active session"
        assert "mem_save" in await fault(client, "mem_forget", user_id="alice")
        assert await call(client, "mem_stats", user_id="alice") == {"observations": 0, "sessions": 0}


async def test_calls_leave_the_event_loop_to_others(tmp_path: Path) -> None:
    # In this process, where a blocking call of the library on the event loop fails the test.
    mem = await asyncio.to_thread(ILabMemory.from_path, tmp_path / "memory.db")
    async with Client(create_server(mem)) as client:
        await call(client, "mem_save", user_id="alice", content="I hike.", type="preference", title="Hobby")
        assert len((await call(client, "mem_search", user_id="alice", query="hike"))["result"]) == 1
    await asyncio.to_thread(mem.close)


def test_every_request_is_answered_when_the_input_ends(tmp_path: Path) -> None:
    def request(number: int, method: str, params: object) -> str:
        return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})

    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    note = {"user_id": "a", "type": "decision", "title": "x"}
    lines = [
        request(1, "initialize", client),
        '{"jsonrpc":"2.0","method":"notifications/initialized"}',
        *(
            request(number, "tools/call", {"name": "mem_save", "arguments": {**note, "content": f"Number {number}."}})
            for number in range(2, 12)
        ),
        request(12, "tools/call", {"name": "mem_stats", "arguments": {"user_id": "a"}}),
    ]
    command = [sys.executable, "-m", "ilab_memory", "mcp", "--db-path", str(tmp_path / "m.db")]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=120, check=True)
    answers = {answer["id"]: answer["result"] for answer in map(json.loads, done.stdout.splitlines())}
    assert sorted(answers) == list(range(1, 13))
    assert answers[1]["serverInfo"] == {"name": "ilab-memory", "version": version("ilab-memory")}
    assert done.stderr == ""


def test_lines_that_are_not_messages_are_refused_and_do_not_end_the_server(tmp_path: Path) -> None:
    hello = (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},'
        b'"clientInfo":{"name":"t","version":"1"}}}\n'
    )
    surrogate = (
        b'{"jsonrpc":"2.0","id":2,"method":"tools/call",'
        b'"params":{"name":"mem_stats","arguments":{"user_id":"\\ud800"}}}\n'
    )
    no_id = (
        b'not json\n\xff\xfe\n{"jsonrpc":"2.0","id":"\\ud800","method":"tools/list"}\n[]\n'
        + b"[" * 100_000
        + b'\n{"jsonrpc":"2.0","id":true,"method":5}\n'
    )
    cancelled = b"".join(
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":%s}\n' % params
        for params in (b'{"requestId":{"a":1}}', b'{"requestId":[1]}', b'{"requestId":7}', b"{}", b"null")
    )
    good = b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"mem_stats","arguments":{"user_id":"a"}}}\n'
    command = [sys.executable, "-m", "ilab_memory", "mcp", "--db-path", str(tmp_path / "m.db")]
    lines = hello + b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n' + surrogate + no_id + cancelled + good
    done = subprocess.run(command, input=lines, capture_output=True, timeout=60, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(str(answer.get("id")) for answer in answers) == ["1", "2", "3", *["None"] * 6]
    assert {answer["error"]["code"] for answer in answers if answer.get("id") in {None, 2}} == {-32700}
    [answered] = [answer for answer in answers if answer.get("id") == 3]
    assert answered["result"]["structuredContent"] == {"observations": 0, "sessions": 0}
