"""Traces: what a collector gets of calls, however they end, and the trace context that is passed on."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from collector import Collector, Span, collecting
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError, read
from processes import run_server, running_server
from upstream import Reply, Upstream

CHAT, STREAM = "ilab_chat.v1.ChatService/Chat", "ilab_chat.v1.ChatService/StreamChat"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
USER, SECRET = "alice-of-the-traces", "my secret is quokka"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def traced(settings: Settings, collector: Collector) -> Settings:
    return replace(settings, otlp_endpoint=collector.url)


def request(message: str = "Hi", **fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(**{"user_id": USER, "message": message} | fields)


async def called(
    settings: Settings,
    *requests: chat_pb2.ChatRequest,
    codes: Sequence[grpc.StatusCode] = (),
    trace: str = "",
    **metadata: str,
) -> None:
    """Send chats to a server, which end with *codes* (default: OK), and stop it, so that everything is exported."""
    ended = []
    pairs = tuple((({"traceparent": trace} if trace else {}) | metadata).items())
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        for each in requests:
            call = chat_pb2_grpc.ChatServiceStub(channel).Chat(each, metadata=pairs)
            ended.append(await call.code())
    assert ended == (list(codes) or [grpc.StatusCode.OK] * len(requests))
    # A server does not wait longer than CLOSE_SECONDS for its last export, which goes on.
    for closing in (each for each in threading.enumerate() if each.name == "traces"):
        await asyncio.to_thread(closing.join, 30)


def children(spans: list[Span], parent: Span) -> dict[str, Span]:
    return {span.name: span for span in spans if span.parent_id == parent.span_id}


async def test_answered_call_has_a_span_for_each_part_with_its_times(
    traced: Settings, collector: Collector, upstream: Upstream
) -> None:
    began = time.time_ns()
    await called(traced, request("My name is Alice"), trace=TRACEPARENT)
    ended = time.time_ns()
    spans = collector.spans
    call, parts = spans[0], children(spans, spans[0])
    assert (call.name, call.kind, call.trace_id, call.parent_id) == (CHAT, "SERVER", TRACE, PARENT)
    assert set(parts) - {"queue"} == {"idempotency", "hydrate", "chat test-model", "persist"}
    assert all(span.trace_id == TRACE for span in spans)
    assert not any(span.failed for span in spans)
    assert began <= call.began <= call.ended <= ended
    order = [parts[name] for name in ("idempotency", "hydrate", "chat test-model", "persist")]
    assert all(call.began <= span.began <= span.ended <= call.ended for span in order)
    assert all(one.ended <= next_one.began for one, next_one in pairwise(order))
    assert call.attributes["rpc.system.name"] == "grpc"
    assert call.attributes["rpc.method"] == CHAT
    assert call.attributes["rpc.response.status_code"] == "OK"
    assert call.attributes["ilab_chat.stored"] is True
    assert "error.type" not in call.attributes
    [attempt] = children(spans, parts["chat test-model"]).values()
    assert (attempt.name, attempt.kind) == ("POST", "CLIENT")
    assert attempt.attributes["http.response.status_code"] == 200
    model = parts["chat test-model"]
    assert model.kind == "CLIENT"
    assert model.attributes["gen_ai.operation.name"] == "chat"
    assert model.attributes["gen_ai.provider.name"] == "openai"
    assert model.attributes["gen_ai.request.model"] == "test-model"
    assert model.attributes["server.address"] == "127.0.0.1"
    assert model.attributes["server.port"] == upstream.server_port
    assert model.attributes["gen_ai.usage.input_tokens"] == 20
    assert model.attributes["gen_ai.usage.output_tokens"] == 5
    assert model.attributes["gen_ai.response.model"] == "upstream-model"
    assert 0 < model.attributes["gen_ai.response.time_to_first_chunk"] * 1e9 <= model.ended - model.began
    assert call.resource["service.name"] == "ilab-chat"
    [(path, headers, _)] = collector.requests
    assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")


async def test_each_attempt_has_a_span_that_the_model_continues(
    traced: Settings, collector: Collector, upstream: Upstream
) -> None:
    soon = {"retry-after": "0.01"}
    upstream.replies(Reply(status=503, headers=soon), Reply(status=500, headers=soon), Reply())
    await called(replace(traced, model_retries=2), request())
    attempts = collector.named("POST")
    assert [span.attributes["http.response.status_code"] for span in attempts] == [503, 500, 200]
    assert [span.attributes.get("error.type") for span in attempts] == ["503", "500", None]
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    assert [span.failed for span in attempts] == [True, True, False]
    assert [span.traceparent for span in attempts] == [sent.headers["traceparent"] for sent in upstream.requests]
    assert len({span.span_id for span in attempts}) == 3
    assert all(one.ended <= next_one.began for one, next_one in pairwise(attempts))
    [model] = collector.named("chat test-model")
    assert {span.parent_id for span in attempts} == {model.span_id}
    assert not model.failed


async def test_failed_call_is_an_error_with_its_reason(
    traced: Settings, collector: Collector, upstream: Upstream
) -> None:
    upstream.replies(Reply(status=503))
    await called(traced, request(), codes=[grpc.StatusCode.UNAVAILABLE])
    [call], [model] = collector.named(CHAT), collector.named("chat test-model")
    assert call.failed
    assert call.attributes["rpc.response.status_code"] == "UNAVAILABLE"
    assert call.attributes["error.type"] == "MODEL_UNAVAILABLE"
    assert (model.failed, model.attributes["error.type"]) == (True, "MODEL_UNAVAILABLE")
    assert not collector.named("persist")


async def test_error_of_the_caller_is_not_an_error_of_the_server(traced: Settings, collector: Collector) -> None:
    await called(traced, request(user_id=""), codes=[grpc.StatusCode.INVALID_ARGUMENT])
    [call] = collector.spans
    assert not call.failed
    assert call.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert call.attributes["ilab_chat.reason"] == "INVALID_FIELD"
    assert "error.type" not in call.attributes


async def test_answer_that_breaks_off_is_an_error_of_its_attempt(
    traced: Settings, collector: Collector, upstream: Upstream
) -> None:
    upstream.replies(Reply(cut_before=1))
    await called(traced, request(), codes=[grpc.StatusCode.ABORTED])
    for span in (*collector.named("chat test-model"), *collector.named("POST")):
        assert (span.failed, span.attributes["error.type"]) == (True, "MODEL_INTERRUPTED")
    [call] = collector.named(CHAT)
    assert call.attributes["rpc.response.status_code"] == "ABORTED"


async def test_cancelled_stream_is_reported_as_cancelled_with_what_was_stored(
    traced: Settings, collector: Collector, upstream: Upstream
) -> None:
    upstream.replies(Reply(hold_before=1))
    async with serving(traced) as address, grpc.aio.insecure_channel(address) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        stream = stub.StreamChat(chat_pb2.StreamChatRequest(user_id=USER, message="Hi"))
        await stream.read()
        assert (await stream.read()).HasField("text_delta")
        stream.cancel()
        assert await asyncio.to_thread(upstream.requests[0].gone.wait, 10)
    [call] = collector.named(STREAM)
    assert call.attributes["rpc.response.status_code"] == "CANCELLED"
    assert not any(span.failed for span in collector.spans)
    for span in (*collector.named("chat test-model"), *collector.named("POST")):
        assert span.attributes["ilab_chat.cancelled"] is True
    # Stored after the call has ended.
    [persist] = collector.named("persist")
    assert (persist.parent_id, persist.trace_id) == (call.span_id, call.trace_id)
    assert persist.ended > call.ended


async def test_passed_deadline_is_an_error(traced: Settings, collector: Collector, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=0))
    limited = replace(traced, default_deadline_seconds=0.3)
    await called(limited, request(), codes=[grpc.StatusCode.DEADLINE_EXCEEDED])
    [call] = collector.named(CHAT)
    assert (call.failed, call.attributes["error.type"]) == (True, "DEADLINE_EXCEEDED")


async def test_replay_asks_no_model(traced: Settings, collector: Collector) -> None:
    await called(traced, request(request_id="r-1"), request(request_id="r-1"))
    first, repeated = collector.named(CHAT)
    assert first.attributes["ilab_chat.replayed"] is False
    assert repeated.attributes["ilab_chat.replayed"] is True
    assert set(children(collector.spans, repeated)) - {"queue"} == {"idempotency"}


async def test_methods_of_the_memory_have_spans(traced: Settings, collector: Collector) -> None:
    async with serving(traced) as address, grpc.aio.insecure_channel(address) as channel:
        await memory_pb2_grpc.MemoryServiceStub(channel).GetStats(memory_pb2.GetStatsRequest(user_id=USER))
    [call, *_] = collector.spans
    assert call.name == "ilab_chat.v1.MemoryService/GetStats"


@pytest.mark.parametrize("answer", ['{"set": [], "retire": [], "summaries": []}', "no JSON"])
async def test_consolidation_has_a_trace_of_its_own(
    traced: Settings, collector: Collector, upstream: Upstream, answer: str
) -> None:
    upstream.replies(Reply(), Reply(pieces=(answer,)))
    async with (
        serving(replace(traced, consolidation="on", consolidation_turns=1)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        await chat_pb2_grpc.ChatServiceStub(channel).Chat(request())
        await asyncio.to_thread(upstream.wait_for, 2)
    [call], [work] = collector.named(CHAT), collector.named("consolidation")
    assert (work.kind, work.parent_id) == ("INTERNAL", "")
    assert work.trace_id != call.trace_id
    assert work.attributes["ilab_chat.consolidation.turns"] == 1
    parts = children(collector.spans, work)
    assert parts["chat test-model"].attributes["gen_ai.usage.input_tokens"] == 20
    [attempt] = children(collector.spans, parts["chat test-model"]).values()
    assert attempt.traceparent == upstream.requests[1].headers["traceparent"]
    if answer.startswith("{"):
        assert not work.failed
        assert "store" in parts
    else:
        assert (work.failed, work.attributes["error.type"]) == (True, "INVALID_ANSWER")


async def test_spans_have_no_content_and_no_user(traced: Settings, collector: Collector, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=(SECRET,)), Reply(status=400, body=SECRET.encode()), Reply(pieces=(SECRET,)))
    one = request(SECRET, request_id="request-of-the-traces", conversation_id="thread-of-the-traces")
    ok = grpc.StatusCode.OK
    codes = [ok, grpc.StatusCode.INTERNAL, ok, grpc.StatusCode.INVALID_ARGUMENT]
    requests = one, request(SECRET), request(SECRET, instructions=SECRET), request(SECRET * 9999)
    await called(traced, *requests, codes=codes)
    assert len(collector.named(CHAT)) == 4
    for said in (USER, SECRET, "quokka", "request-of-the-traces", "thread-of-the-traces"):
        assert said.encode() not in collector.bytes


async def test_call_that_its_caller_does_not_sample_has_no_spans(
    traced: Settings, collector: Collector, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await called(traced, request(), trace=f"00-{TRACE}-{PARENT}-00")
    assert collector.spans == []
    sent = upstream.requests[0].headers["traceparent"]
    assert sent.startswith(f"00-{TRACE}-")
    assert sent.endswith("-00")
    [fields] = [vars(record)["fields"] for record in caplog.records if record.message == "call"]
    assert fields["trace_id"] == TRACE


async def test_log_names_the_trace_of_a_call_without_traceparent(
    traced: Settings, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await called(traced, request())
    [fields] = [vars(record)["fields"] for record in caplog.records if record.message == "call"]
    [call] = collector.named(CHAT)
    assert fields["trace_id"] == call.trace_id
    assert call.attributes["ilab_chat.correlation_id"] == fields["correlation_id"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (TRACEPARENT, TRACEPARENT),
        (f"01-{TRACE}-{PARENT}-01-of a later version", TRACEPARENT),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        ("nonsense", None),
    ],
)
async def test_trace_context_reaches_the_model_without_traces(
    settings: Settings, upstream: Upstream, given: str, sent: str | None
) -> None:
    await called(settings, request(), trace=given)
    [asked] = upstream.requests
    assert asked.headers.get("traceparent") == sent
    assert "tracestate" not in asked.headers


async def test_unreachable_collector_does_not_fail_calls(
    traced: Settings, collector: Collector, upstream: Upstream
) -> None:
    async with (
        serving(replace(traced, otlp_endpoint="http://127.0.0.1:1")) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        assert (await chat_pb2_grpc.ChatServiceStub(channel).Chat(request())).reply


def test_traces_are_off_and_nothing_is_imported_by_default(tmp_path: Path, upstream: Upstream) -> None:
    program = (
        "import asyncio, sys\n"
        "from ilab_chat_service.server import serving\n"
        "from ilab_chat_service.settings import Settings\n"
        "async def main():\n"
        f"    settings = Settings(address='127.0.0.1:0', memory_db_path={str(tmp_path / 'memory.db')!r},\n"
        f"                        openai_base_url={upstream.base_url!r}, embedder='none', propagation_seconds=0)\n"
        "    async with serving(settings):\n"
        "        print([name for name in sys.modules if name.startswith('opentelemetry.sdk')\n"
        "               or name.startswith('opentelemetry.exporter')])\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_variables_of_opentelemetry_configure_the_server(
    tmp_path: Path, collector: Collector, upstream: Upstream, workers: str
) -> None:
    with running_server(
        ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
        OPENAI_BASE_URL=upstream.base_url,
        ILAB_CHAT_WORKERS=workers,
        ILAB_CHAT_LOG_FORMAT="text",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"{collector.url}/",
        OTEL_EXPORTER_OTLP_HEADERS="x-token=secret-of-the-collector",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_SERVICE_NAME="my-chat",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    ) as server:
        with grpc.insecure_channel(server.address) as channel:
            chat_pb2_grpc.ChatServiceStub(channel).Chat(request(), timeout=30)
        assert server.stop() == 0
    [call] = collector.named(CHAT)
    assert call.resource["service.name"] == "my-chat"
    assert call.resource["deployment.environment.name"] == "test"
    path, headers, _ = collector.requests[0]
    assert (path, headers["x-token"]) == ("/v1/traces", "secret-of-the-collector")
    log = "".join(server.log)
    assert f"traces: OTLP at 127.0.0.1:{collector.server_port}" in log
    assert "secret-of-the-collector" not in log


@pytest.mark.parametrize(
    "variables", [{"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}], ids=lambda each: next(iter(each))
)
def test_traces_can_be_turned_off(
    tmp_path: Path, collector: Collector, upstream: Upstream, variables: dict[str, str]
) -> None:
    with running_server(
        ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
        OPENAI_BASE_URL=upstream.base_url,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        **variables,
    ) as server:
        with grpc.insecure_channel(server.address) as channel:
            chat_pb2_grpc.ChatServiceStub(channel).Chat(request(), timeout=30)
        assert server.stop() == 0
    assert collector.requests == []


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: must be otlp or none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT: must be a URL that begins"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: must be a URL"),
    ],
)
def test_invalid_settings_are_refused(variables: dict[str, str], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        read(variables)


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    ended = run_server(
        ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
        OPENAI_BASE_URL="http://127.0.0.1:1",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
    )
    assert ended.returncode == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL: must be http/protobuf" in ended.stderr
