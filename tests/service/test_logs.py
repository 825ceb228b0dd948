"""The log of a server process: JSON lines, one per call, without content of users."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from contract.process import ROOT
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from processes import ServerProcess, running_server
from rpcs import METHODS
from upstream import Reply, Upstream

USER = "user-id-of-someone"
MESSAGE = "message-of-someone"
REPLY = "reply-to-someone"
PRIVATE = "private-to-someone"
KEY = "key-of-the-api"
TRACE = "0af7651916cd43dd8448eb211c80319c"
METADATA = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)
RETRYING = {
    "methodConfig": [
        {
            "name": [{"service": "ilab_chat.v1.ChatService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.01s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
SAID = (USER, MESSAGE, REPLY, PRIVATE, KEY)
LOG_KEY = "key-of-the-log"
OPERATIONS = (ROOT / "docs/operations.md").read_text()


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, upstream: Upstream) -> Iterator[ServerProcess]:
    # The openai package logs requests and responses if the variable is set. It is read at its import, so such a server
    # cannot be forked.
    log = {"ILAB_CHAT_LOG_LEVEL": request.param, "OPENAI_LOG": "debug"} if hasattr(request, "param") else {}
    with running_server(
        ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
        OPENAI_BASE_URL=upstream.base_url,
        OPENAI_API_KEY=KEY,
        ILAB_CHAT_MODEL_RETRIES="0",
        ILAB_CHAT_LOG_KEY=LOG_KEY,
        **log,
    ) as process:
        yield process


def lines_of(server: ServerProcess) -> list[dict[str, Any]]:
    """Stop the server and return every line that it logged."""
    assert server.stop() == 0
    return [json.loads(line) for line in server.log]


def calls_of(server: ServerProcess) -> list[dict[str, Any]]:
    return [line for line in lines_of(server) if line["message"] == "call"]


def keyed_hash(text: str) -> str:
    return hmac.new(LOG_KEY.encode(), text.encode(), "sha256").hexdigest()[:16]


def trailers_of(call: Any) -> dict[str, Any]:
    return dict(call.trailing_metadata())


def request(**fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(**{"user_id": USER, "message": f"{MESSAGE} <private>{PRIVATE}</private>"} | fields)


def test_call_is_one_line_with_durations(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        _, call = stub.Chat.with_call(request(request_id="r-1"), metadata=METADATA, timeout=30)
        stub.Chat(request(request_id="r-1"), timeout=30)
        trailers = trailers_of(call)
    first, repeated = calls_of(server)
    assert first["rpc.method"] == "ilab_chat.v1.ChatService/Chat"
    assert first["rpc.response.status_code"] == "OK"
    assert "error.type" not in first
    assert (first["trace_id"], first["retry_attempt"]) == (TRACE, 0)
    assert (first["gen_ai.usage.input_tokens"], first["gen_ai.usage.output_tokens"]) == (20, 5)
    assert first["correlation_id"] == trailers["x-correlation-id"]
    phases = [first[f"{phase}_ms"] for phase in ("queue", "idempotency", "hydrate", "first_token", "model", "persist")]
    assert all(0 <= phase <= first["duration_ms"] for phase in phases)
    assert (first["replayed"], repeated["replayed"]) == (False, True)
    assert first["stored"] is repeated["stored"] is True
    assert first["user.hash"] == repeated["user.hash"] == keyed_hash(USER)
    assert first["request_id.hash"] == repeated["request_id.hash"] == keyed_hash("r-1")


def test_documented_command_prints_the_hash_of_an_id() -> None:
    [command] = [line for line in OPERATIONS.splitlines() if line.startswith("python3 -c 'import hmac")]
    ended = subprocess.run(
        ["/bin/sh", "-c", command],
        env=os.environ | {"ILAB_CHAT_LOG_KEY": LOG_KEY},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == keyed_hash("r-1")


def test_failed_call_is_one_line_with_the_callers_correlation_id(server: ServerProcess, upstream: Upstream) -> None:
    upstream.replies(Reply(status=503))
    with grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            chat_pb2_grpc.ChatServiceStub(channel).Chat(request(), timeout=30)
        trailers = trailers_of(caught.value)
    [line] = calls_of(server)
    assert line["level"] == "warning"
    assert (line["rpc.response.status_code"], line["error.type"]) == ("UNAVAILABLE", "MODEL_UNAVAILABLE")
    assert line["correlation_id"] == trailers["x-correlation-id"]
    assert line["exception_chain"].startswith("ModelUnavailable at model_api.py")


@pytest.mark.parametrize("replies", [[Reply(status=503)] * 3, [Reply(status=503), Reply()]], ids=["failed", "answered"])
async def test_every_model_request_is_counted(
    settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture, replies: list[Reply]
) -> None:
    caplog.set_level(logging.INFO)
    upstream.replies(*(replace(reply, headers={"retry-after": "0.01"}) for reply in replies))
    async with serving(replace(settings, model_retries=2)) as address, grpc.aio.insecure_channel(address) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        answered = replies[-1].status == 200
        assert await stub.Chat(request()).code() == (grpc.StatusCode.OK if answered else grpc.StatusCode.UNAVAILABLE)
    [fields] = [vars(record)["fields"] for record in caplog.records if record.message == "call"]
    assert fields["model_attempts"] == len(upstream.requests) == len(replies)


def test_retry_attempts_are_logged(server: ServerProcess, upstream: Upstream) -> None:
    upstream.replies(Reply(status=503), Reply(status=503))
    with grpc.insecure_channel(server.address, [("grpc.service_config", json.dumps(RETRYING))]) as channel:
        chat_pb2_grpc.ChatServiceStub(channel).Chat(request(), timeout=30)
    assert [line["retry_attempt"] for line in calls_of(server)] == [0, 1, 2]


async def test_each_failure_is_one_line_without_content_of_users(
    settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"error": {"message": "SECRET", "type": ["x"], "code": {"a": 1}}}'
    upstream.replies(
        Reply(status=401, body=body), Reply(status=429, body=body, headers={"retry-after": "inf"}), Reply(cut_before=1)
    )
    # Stop the server before reading the log: a call is logged after its status is sent.
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await chat_pb2_grpc.ChatServiceStub(channel).Chat(request(message="a SECRET message"))
    lines = [vars(record)["fields"] for record in caplog.records if record.message == "call"]
    assert [(line["rpc.response.status_code"], line["error.type"]) for line in lines] == [
        ("INTERNAL", "MODEL_REJECTED"),
        ("RESOURCE_EXHAUSTED", "MODEL_RATE_LIMITED"),
        ("ABORTED", "MODEL_INTERRUPTED"),
    ]
    assert "HTTP 401" in lines[0]["status_message"]
    assert "AuthenticationError" in lines[0]["exception_chain"]
    assert "SECRET" not in caplog.text + repr(lines)


async def test_rejected_and_cancelled_calls_are_logged(
    settings: Settings, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    upstream.replies(Reply(hold_before=1))
    # Stop the server before reading the log: a call is logged after its status is sent.
    async with (
        serving(replace(settings, max_calls=1, max_queued_calls=0)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        running: Any = stub.StreamChat(chat_pb2.StreamChatRequest(user_id=USER, message=MESSAGE))
        while not (await running.read()).HasField("text_delta"):
            pass
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Chat(request())
        running.cancel()
        assert await asyncio.to_thread(upstream.requests[0].gone.wait, 10)
    calls = {vars(record)["fields"]["rpc.method"]: record for record in caplog.records if record.message == "call"}
    refused, left = calls["ilab_chat.v1.ChatService/Chat"], calls["ilab_chat.v1.ChatService/StreamChat"]
    fields = vars(refused)["fields"]
    assert refused.levelname == "WARNING"
    assert (fields["rpc.response.status_code"], fields["error.type"]) == ("RESOURCE_EXHAUSTED", "SERVER_BUSY")
    assert fields["correlation_id"] == trailers_of(caught.value)["x-correlation-id"]
    assert "first_token_ms" not in fields
    fields = vars(left)["fields"]
    assert left.levelname == "INFO"
    assert (fields["rpc.response.status_code"], fields["error.type"]) == ("CANCELLED", "CANCELLED")
    assert fields["first_token_ms"] > 0
    # Our estimate: the model's API counts tokens at the end of an answer only.
    assert fields["gen_ai.usage.input_tokens"] > fields["gen_ai.usage.output_tokens"] > 0
    assert fields["gen_ai.usage.estimated"] is fields["stored"] is True


def test_invalid_traceparent_is_ignored(server: ServerProcess) -> None:
    invalid = [
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331-01-more",
        '"}',
    ]
    with grpc.insecure_channel(server.address) as channel:
        for traceparent in invalid:
            chat_pb2_grpc.ChatServiceStub(channel).Chat(request(), metadata=(("traceparent", traceparent),), timeout=30)
    lines = calls_of(server)
    assert len(lines) == len(invalid)
    assert [line for line in lines if "trace_id" in line] == []


def test_model_name_and_usage_of_the_api_leak_no_text(
    server: ServerProcess, upstream: Upstream, tmp_path: Path
) -> None:
    names = [f"gpt-{PRIVATE}", PRIVATE.upper(), MESSAGE, f"{MESSAGE}-{REPLY}", f"I am {MESSAGE}", "a b"]
    end = {"index": 0, "delta": {"content": "ok"}, "finish_reason": f"stop {MESSAGE}"}
    usage = {"prompt_tokens": MESSAGE, "completion_tokens": 5, "total_tokens": PRIVATE}
    upstream.replies(*(Reply(events=[json.dumps({"model": name, "choices": [end], "usage": usage})]) for name in names))
    with grpc.insecure_channel(server.address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        for name in names:
            answered = stub.Chat(request(request_id=f"r-{names.index(name)}"), timeout=30)
            repeated = stub.Chat(request(request_id=f"r-{names.index(name)}"), timeout=30)
            assert answered.model == repeated.model == "gpt-4o-mini", name
            assert (answered.finish_reason, answered.usage.output_tokens) == (chat_pb2.FINISH_REASON_OTHER, 5), name
    assert [line["gen_ai.response.model"] for line in calls_of(server)] == ["gpt-4o-mini"] * 2 * len(names)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert PRIVATE.encode() not in stored.lower()


# WARNING and ERROR log a subset.
@pytest.mark.parametrize("server", ["DEBUG", "INFO"], indirect=True)
def test_no_log_level_logs_content_of_users(server: ServerProcess, upstream: Upstream) -> None:
    quoting = json.dumps({"error": {"message": f"{MESSAGE} {PRIVATE} {KEY}", "code": MESSAGE}}).encode()
    upstream.replies(
        Reply(pieces=(REPLY, f" {PRIVATE}")),
        Reply(pieces=(REPLY,)),
        Reply(status=400, body=quoting),
        Reply(status=500, body=quoting),
        Reply(pieces=(REPLY, "more"), cut_before=1),
        Reply(events=[MESSAGE]),
        Reply(pieces=(REPLY, "more"), hold_before=1),
    )
    with grpc.insecure_channel(server.address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        stub.Chat(request(request_id="r-1"), timeout=30)
        list(stub.StreamChat(chat_pb2.StreamChatRequest(user_id=USER, message=MESSAGE), timeout=30))
        for bad in [request()] * 4 + [request(user_id=f"{USER}\ud7ff" * 100), request(message=MESSAGE * 9999)]:
            with pytest.raises(grpc.RpcError):
                stub.Chat(bad, timeout=30)
        stream = stub.StreamChat(chat_pb2.StreamChatRequest(user_id=USER, message=MESSAGE), timeout=30)
        assert next(stream).HasField("started")
        stream.cancel()
        garbage: Any = channel.unary_unary("/ilab_chat.v1.ChatService/Chat")
        with pytest.raises(grpc.RpcError):
            garbage(f"\x01{MESSAGE}".encode(), timeout=30)
        for method in METHODS:
            call_with_message_in_every_field(channel, method)
    assert {line["rpc.method"].partition("/")[2] for line in calls_of(server)} == {method.name for method in METHODS}
    log = "".join(server.log)
    assert not [said for said in SAID if said in log]


def call_with_message_in_every_field(channel: grpc.Channel, method: MethodDescriptor) -> None:
    """Call *method* with the message in every string field, first within the limits and then beyond them."""
    for text in (MESSAGE, MESSAGE * 9999):
        said = message_factory.GetMessageClass(method.input_type)(user_id=USER)
        for each in method.input_type.fields:
            if each.cpp_type == each.CPPTYPE_STRING and not each.is_repeated and each.name != "user_id":
                setattr(said, each.name, text)
        rpc: Any = channel.unary_stream(f"/{method.containing_service.full_name}/{method.name}")
        with suppress(grpc.RpcError):
            list(rpc(said.SerializeToString(), timeout=30))


def test_text_format_escapes_control_characters(tmp_path: Path, upstream: Upstream) -> None:
    with running_server(
        ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
        OPENAI_BASE_URL=upstream.base_url,
        OPENAI_MODEL="odd\x1b[31mmodel",
        ILAB_CHAT_LOG_FORMAT="text",
    ) as server:
        assert server.stop() == 0
    assert [line for line in server.log if "odd\\x1b[31mmodel" in line]
    assert not [line for line in server.log if line.startswith("{")]
