"""`ilab-memory serve`: the documented methods over HTTP, on real sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from batch import cases
from http_gateway import Answer, Client, running
from ilab_memory import ILabMemory, SaveResult, SessionStartResponse
from ilab_memory.limits import MAX_CONTENT_BYTES
from ilab_memory.transports import http_server
from ilab_memory.transports.http_server import MAX_BODY_BYTES, MOST_BODIES_BYTES, create_app
from ilab_memory.transports.methods import METHODS
from processes import run_forked

TOKEN = "token-of-sixteen-characters"
DOCUMENTED = [
    "mem_session_start", "mem_session_end", "mem_session_summary", "mem_save",
    "mem_search", "mem_get_observation", "mem_timeline", "mem_stats",
]  # fmt: skip


@pytest.fixture
def library(tmp_path: Path) -> Iterator[ILabMemory]:
    with ILabMemory.from_path(tmp_path / "memory.db") as mem:
        yield mem


@pytest.fixture
async def memory(library: ILabMemory) -> AsyncIterator[Client]:
    async with running(create_app(library)) as client:
        yield client


async def save(memory: Client, **changed: Any) -> Answer:
    request = {"user_id": "alice", "content": "I love hiking.", "type": "preference", "title": "Hobby", **changed}
    return await memory.post("/mem_save", request)


async def test_each_documented_method_answers_as_the_library_does(memory: Client, library: ILabMemory) -> None:
    started = await memory.post("/mem_session_start", {"user_id": "alice"})
    session = SessionStartResponse.model_validate(started.json)
    assert session.is_new
    saved = SaveResult.model_validate((await save(memory, topic_key="hobby")).json)
    assert (saved.outcome, saved.session_id, saved.topic_key) == ("created", session.session_id, "hobby")
    observation = await asyncio.to_thread(library.mem_get_observation, "alice", saved.id)
    assert observation is not None
    one = {"user_id": "alice", "observation_id": saved.id}
    assert (await memory.post("/mem_get_observation", one)).json == observation.model_dump()
    assert (await memory.post("/mem_timeline", one)).json == [observation.model_dump()]
    [found] = (await memory.post("/mem_search", {"user_id": "alice", "query": "hiking", "limit": 3})).json
    assert set(found) == {"id", "type", "title", "topic_key", "score", "snippet", "updated_at"}
    assert (await memory.post("/mem_session_summary", {"user_id": "alice", "summary": "So far."})).json["id"] > saved.id
    ended = await memory.post("/mem_session_end", {"user_id": "alice", "summary": "Talked."})
    assert (ended.json["status"], ended.json["summary"], ended.json["is_auto_generated"]) == (
        "completed", "Talked.", False,
    )  # fmt: skip
    assert (await memory.post("/mem_stats", {"user_id": "alice"})).json == await asyncio.to_thread(
        library.mem_stats, "alice"
    )


async def test_data_of_another_user_is_null_or_empty(memory: Client) -> None:
    saved = (await save(memory)).json
    assert (await memory.post("/mem_get_observation", {"user_id": "bob", "observation_id": saved["id"]})).json is None
    assert (await memory.post("/mem_timeline", {"user_id": "bob", "observation_id": saved["id"]})).json == []
    assert (await memory.post("/mem_search", {"user_id": "bob", "query": "hiking"})).json == []


@cases(
    ("changed", "field"),
    [
        ({"title": " "}, "title"),
        ({"title": "secret" * 100}, "title"),
        ({"user_id": "u" * 257}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"content": "secret\0"}, "content"),
        ({"content": "\ud800"}, "content"),
        ({"content": "é" * 600_000}, "content"),
        ({"type": "secret"}, "type"),
        ({"type": "summary"}, "type"),
        ({"topic_key": ""}, "topic_key"),
        ({"topic_keys": "secret"}, "topic_keys"),
        ({"content": None}, "content"),
    ],
)
async def test_error_names_the_field_and_quotes_nothing(memory: Client, changed: dict[str, Any], field: str) -> None:
    answer = await save(memory, **changed)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    [violation] = answer.json["field_violations"]
    assert violation["field"] == field
    assert violation["description"]
    assert answer.json["detail"].startswith(field)
    assert b"secret" not in answer.body


@cases(
    ("changed", "field"),
    [
        ({"types": [1] * 1000}, "types.0"),
        ({"types_exclude": [None] * 1000}, "types_exclude.0"),
        ({str(number): 0 for number in range(1000)}, "body"),
    ],
)
async def test_a_request_with_many_faults_is_answered_with_the_first(
    memory: Client, changed: dict[str, Any], field: str
) -> None:
    answer = await memory.post("/mem_search", {"user_id": "alice", "query": "x", **changed})
    assert answer.status == 422
    assert [each["field"] for each in answer.json["field_violations"]] == [field]


async def test_numbers_are_numbers(memory: Client) -> None:
    for limit in (0, -1, True, "5", 1.5, 2**63):
        answer = await memory.post("/mem_search", {"user_id": "alice", "query": "x", "limit": limit})
        assert (answer.status, answer.json["field_violations"][0]["field"]) == (422, "limit"), limit
    for observation_id in (0, "1", True):
        answer = await memory.post("/mem_timeline", {"user_id": "alice", "observation_id": observation_id})
        assert (answer.status, answer.json["field_violations"][0]["field"]) == (422, "observation_id")


async def test_both_filters_are_refused(memory: Client) -> None:
    answer = await memory.post("/mem_search", {"user_id": "a", "query": "x", "types": [], "types_exclude": []})
    assert (answer.status, answer.json["detail"]) == (422, "types and types_exclude must not both be given")


async def test_end_without_a_session_is_a_conflict(memory: Client) -> None:
    answer = await memory.post("/mem_session_end", {"user_id": "alice", "summary": "Done."})
    assert (answer.status, answer.json["detail"]) == (409, "the user has no active session")


async def test_failing_storage_is_unavailable(memory: Client, tmp_path: Path) -> None:
    assert (await save(memory)).status == 200
    (tmp_path / "memory.db").unlink()
    answer = await save(memory, title="Another")
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.json["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff"])
async def test_other_bodies_are_refused(memory: Client, body: bytes) -> None:
    answer = await memory.send("POST", "/mem_stats", body)
    assert answer.status in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_pages_of_other_sites_cannot_call(memory: Client) -> None:
    body = b'{"user_id": "alice"}'
    assert (await memory.send("POST", "/mem_session_start", body, {"host": "evil.example"})).status == 400
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert (await memory.send("POST", "/mem_session_start", body, {"content-type": kind})).status == 415
    assert (await memory.post("/mem_stats", {"user_id": "alice"})).json["sessions"] == 0


async def test_largest_content_fits_in_its_longest_json_and_more_is_refused(memory: Client) -> None:
    content = b"\\u0001" * 2**20
    head = b'{"user_id":"alice","type":"decision","title":"t","content":"'
    assert (await memory.send("POST", "/mem_save", head + content + b'"}')).status == 200
    declared = {"content-length": str(MAX_BODY_BYTES + 1)}
    assert (await memory.send("POST", "/mem_save", b"{}", declared)).status == 413


def test_undeclared_body_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    with served("--db-path", str(tmp_path / "m.db")) as (address, _):
        connection = http.client.HTTPConnection(address, timeout=30)
        pieces = (b" " * 65_536 for _ in range(MAX_BODY_BYTES // 65_536 + 2))
        connection.request("POST", "/mem_stats", pieces, {"content-type": "application/json"}, encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()


async def begun(memory: Client, size: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request of which a byte of the body is missing."""
    host, _, port = memory.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    fields = ("host: localhost", "content-type: application/json", f"content-length: {size}")
    head = "".join(f"{line}\r\n" for line in ("POST /mem_save HTTP/1.1", *fields, ""))
    writer.write(head.encode() + b" " * (size - 1))
    return reader, writer


async def test_slow_bodies_share_a_limit_and_others_are_answered(memory: Client) -> None:
    slow = [await begun(memory, MAX_BODY_BYTES) for _ in range(MOST_BODIES_BYTES // MAX_BODY_BYTES + 2)]
    refused = [asyncio.create_task(reader.readline()) for reader, _ in slow]
    await asyncio.wait(refused, return_when=asyncio.FIRST_COMPLETED)
    for _, writer in slow:
        writer.close()
    answered = {task.result() for task in (await asyncio.wait(refused))[0]}
    assert answered == {b"HTTP/1.1 503 Service Unavailable\r\n", b""}
    assert (await save(memory, content="x" * MAX_CONTENT_BYTES)).status == 200


async def test_a_body_that_does_not_arrive_in_time_is_refused(memory: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "BODY_SECONDS", 0.1)
    reader, writer = await begun(memory, 100)
    assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
    writer.close()


async def test_token_is_required_when_one_is_set(library: ILabMemory) -> None:
    async with running(create_app(library, token=TOKEN)) as memory:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": "Bearer "}):
            answer = await memory.send("POST", "/mem_stats", {"user_id": "alice"}, headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        allowed = {"authorization": f"bearer {TOKEN}", "host": "memory.example"}
        assert (await memory.send("POST", "/mem_stats", {"user_id": "alice"}, allowed)).status == 200
        assert (await memory.get("/livez")).status == 200


async def test_openapi_names_the_documented_methods(memory: Client) -> None:
    document = (await memory.get("/openapi.json")).json
    assert document["openapi"].startswith("3.1")
    assert list(document["paths"]) == [f"/{name}" for name in DOCUMENTED] == [f"/{name}" for name in METHODS]
    for name in DOCUMENTED:
        operation = document["paths"][f"/{name}"]["post"]
        assert operation["operationId"] == name
        assert operation["description"]
    saved = document["components"]["schemas"]["Save"]
    assert saved["required"] == ["user_id", "content", "type", "title"]
    assert "SaveResult" in document["components"]["schemas"]


async def test_unknown_paths_and_methods_are_problems(memory: Client) -> None:
    assert (await memory.get("/docs")).status == 404
    answer = await memory.get("/mem_stats")
    assert (answer.status, answer.headers["content-type"]) == (405, "application/problem+json")


@contextmanager
def served(*arguments: str, **environ: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `ilab-memory serve` on a free port of loopback."""
    command = [sys.executable, "-m", "ilab_memory", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            matched = re.search(r"on http://(\S+)$", line)
            assert matched, line
            yield matched[1], process
        finally:
            process.terminate()


def test_command_serves_a_file_until_sigterm(tmp_path: Path) -> None:
    file = tmp_path / "memory.db"
    with served("--db-path", str(file)) as (address, process):
        answer = Client(address)._send("POST", "/mem_session_start", {"user_id": "alice"}, {})
        assert answer.json["is_new"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with ILabMemory.from_path(file) as mem:
        assert mem.mem_session_start("alice").is_new is False


@pytest.mark.parametrize(
    ("arguments", "environ", "fault"),
    [
        (["--host", "0.0.0.0"], {}, "--host: other machines can reach this address"),
        (["--host", "memory.example"], {}, "--host: other machines"),
        (["--host", "0.0.0.0"], {"ILAB_MEMORY_TOKEN": "short"}, "$ILAB_MEMORY_TOKEN: the token must have at least 16"),
        (["--token-file", "missing"], {}, "--token-file: cannot be read"),
        (["--token-file", "/dev/null"], {}, "--token-file: the token must have"),
        (["--port", "70000"], {}, "--port: must be a number from 0 to 65535"),
        (["--host", "127.0.0.1", "--db-path", "/proc/none/m.db"], {}, "ilab-memory: "),
    ],
)
def test_command_refuses_to_start(arguments: list[str], environ: dict[str, str], fault: str, tmp_path: Path) -> None:
    variables = {"ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"), **environ}
    done = run_forked("ilab-memory", "serve", "--port", "0", *arguments, stdin=b"", **variables)
    assert done.returncode == 2
    assert fault in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "memory.db").exists()


def test_command_serves_other_machines_with_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    arguments = ("--db-path", str(tmp_path / "m.db"), "--host", "0.0.0.0", "--token-file", str(tmp_path / "token"))
    with served(*arguments) as (address, _):
        client = Client(address.replace("0.0.0.0", "127.0.0.1"))
        assert client._send("POST", "/mem_stats", {"user_id": "alice"}, {}).status == 401
        allowed = client._send("POST", "/mem_stats", {"user_id": "alice"}, {"authorization": f"Bearer {TOKEN}"})
        assert allowed.json == {"observations": 0, "sessions": 0}


def test_library_imports_no_transport() -> None:
    names = "fastapi uvicorn starlette mcp anyio ilab_memory.transports"
    program = f"import ilab_memory, sys; print(json.dumps(sorted(set({names.split()!r}) & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", f"import json; {program}"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(("command", "extra", "package"), [("serve", "http", "fastapi"), ("mcp", "mcp", "mcp")])
def test_command_names_the_missing_extra(command: str, extra: str, package: str, tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None; from ilab_memory.command import main;"
        f"sys.exit(main([{command!r}, '--db-path', {str(tmp_path / 'm.db')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        2, f"ilab-memory: {command} needs the extra {extra}: in the repository, pip install './memory[{extra}]'\n",
    )  # fmt: skip
