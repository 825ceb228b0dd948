"""The log line of a failed call: what an operator needs to know of the cause, and no text of anybody."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.model.breaker import FAILURES_TO_OPEN
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from upstream import Reply, Upstream, chunk

WORD = chunk([{"index": 0, "delta": {"content": "word"}}])

SECRET = "SECRET-words"
PIN = "98 76"


async def failed(settings: Settings, caplog: pytest.LogCaptureFixture, *, calls: int = 1) -> dict[str, Any]:
    """Let calls fail, and return the log line of the last one."""
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        for _ in range(calls):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message=f"say {SECRET} {PIN}"))
    # Read after the server has ended: a call's line comes after its status.
    lines: list[dict[str, Any]] = [vars(record)["fields"] for record in caplog.records if record.message == "call"]
    assert SECRET not in json.dumps(lines)
    return lines[-1]


def error(**fields: Any) -> bytes:
    return json.dumps({"error": {"message": f"no {SECRET}", **fields}}).encode()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            Reply(status=401, body=error(code="invalid_api_key"), headers={"x-request-id": "req_7"}),
            {"upstream.status_code": 401, "upstream.error_code": "invalid_api_key", "upstream.request_id": "req_7"},
        ),
        (
            Reply(status=400, body=error(code="unsupported_value", param="seed")),
            {"upstream.status_code": 400, "upstream.error_param": "seed"},
        ),
        (Reply(status=418, body=error(code="vendor_code_9")), {"upstream.error_code": "vendor_code_9"}),
        (Reply(status=503), {"upstream.status_code": 503}),
        (Reply(events=[WORD, '{"error": {"code": 502}}']), {"upstream.status_code": 502}),
        (Reply(cut_before=1), {"upstream.error": "incomplete body"}),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else "",
)
async def test_cause_in_the_error_of_the_api_is_logged(
    settings: Settings,
    upstream: Upstream,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    expected: dict[str, str | int],
) -> None:
    upstream.replies(reply)
    line = await failed(settings, caplog)
    assert line["gen_ai.request.model"] == "test-model"
    assert line["server.address"] == f"127.0.0.1:{upstream.server_port}"
    assert line.items() >= expected.items()


@pytest.mark.parametrize(
    "code", [SECRET, "secretWORDS", "9876", "pin-98.76", 9876, f"say {SECRET}", "x" * 100, {"a": SECRET}]
)
async def test_code_or_request_id_that_quotes_the_prompt_is_left_out(
    settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture, code: object
) -> None:
    upstream.replies(Reply(status=400, body=error(code=code, param=SECRET), headers={"x-request-id": SECRET}))
    assert "upstream.error_code" not in await failed(settings, caplog)


async def test_number_that_is_not_a_status_is_left_out_once_the_model_has_begun(
    settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.replies(Reply(events=[WORD, '{"error": {"code": 9876}}']))
    assert "upstream.error_code" not in await failed(settings, caplog)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


async def test_refused_connection(settings: Settings, caplog: pytest.LogCaptureFixture, nobody: str) -> None:
    line = await failed(replace(settings, openai_base_url=nobody), caplog)
    assert (line["upstream.error"], line["upstream.errno"]) == ("connection failed", "ECONNREFUSED")


async def test_name_that_is_not_known(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    line = await failed(replace(settings, openai_base_url="http://no-such-host.invalid/v1"), caplog)
    assert line["upstream.error"] == "name not found"
    assert line["upstream.errno"].startswith("EAI_")


async def test_server_without_tls(settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    url = upstream.base_url.replace("http:", "https:")
    line = await failed(replace(settings, openai_base_url=url), caplog)
    assert line["upstream.error"] == "TLS"


async def test_open_breaker_tells_what_opened_it(
    settings: Settings, caplog: pytest.LogCaptureFixture, nobody: str
) -> None:
    line = await failed(replace(settings, openai_base_url=nobody), caplog, calls=FAILURES_TO_OPEN + 1)
    assert (line["breaker"], line["upstream.errno"]) == ("open", "ECONNREFUSED")


async def test_memory_that_cannot_be_read(
    settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(settings):
        pass
    await asyncio.to_thread(break_memory, settings.memory_db_path)
    line = await failed(settings, caplog)
    assert line["error.type"] == "MEMORY_UNAVAILABLE"
    assert line["memory.error_code"].startswith("SQLITE_")
    assert line["memory.error"].startswith("could not ")


def break_memory(path: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE sessions RENAME TO elsewhere")
    connection.close()


async def test_code_that_repeats_the_key_is_left_out(
    settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.replies(Reply(status=400, body=error(code="sk-SECRET-words-7")))
    assert "upstream.error_code" not in await failed(replace(settings, openai_api_key="sk-SECRET-words-7"), caplog)


@pytest.mark.slow
async def test_deadline_names_the_model_that_was_silent(
    settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.replies(Reply(hold_before=0))
    line = await failed(replace(settings, default_deadline_seconds=3), caplog)
    assert line["error.type"] == "DEADLINE_EXCEEDED"
    assert line["server.address"] == f"127.0.0.1:{upstream.server_port}"
    assert line["upstream.error"] == "no answer yet"
    assert "first_token_ms" not in line


async def test_page_of_a_web_server(settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    upstream.replies(Reply(body=b"<html>Log in</html>", headers={"content-type": "text/html"}))
    assert "base URL" in (await failed(settings, caplog))["upstream.error"]
