"""Limits and end of a connection, against a real server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc._cython import cygrpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certificates import Authority
from fuzz import http2
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.limits import CHAT_BYTES, CONTENT_BYTES, HEADER_BYTES, HEADER_FIELD_BYTES, REQUEST_BYTES
from ilab_chat_service.rpc import grpc_server
from ilab_chat_service.rpc.errors import RequestTooLarge
from ilab_chat_service.rpc.grpc_server import connection_options
from ilab_chat_service.rpc.interceptors.layers import header_bytes
from ilab_chat_service.rpc.interceptors.status import check_headers
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from rpcs import reason
from upstream import Reply, Upstream

OPERATIONS, ERRORS = ((Path(__file__).parents[2] / f"docs/{name}.md").read_text() for name in ("operations", "errors"))
WIDE = "\U0001f600"
CHAT = "/ilab_chat.v1.ChatService/Chat"
PING = http2.frame(http2.PING, 0, 0, bytes(8))
SAVE = "/ilab_chat.v1.MemoryService/SaveObservation"


def largest_chat() -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(
        user_id=WIDE * 256,
        message=WIDE * 32_768,
        request_id="r" * 64,
        generation=chat_pb2.GenerationOptions(
            model="m" * 128,
            temperature=0.1,
            top_p=0.1,
            max_output_tokens=1_048_576,
            stop_sequences=[WIDE * 256] * 4,
            seed=-1,
        ),
        memory_mode=chat_pb2.MEMORY_MODE_READ_WRITE,
        turn_retention=chat_pb2.TURN_RETENTION_LATEST_ONLY,
        conversation_id="c" * 64,
        instructions=WIDE * 16_384,
        context=[chat_pb2.ContextDocument(title="t" * 512, text="x" * 3584)] * 32,
        time_zone="America/Argentina/ComodRivadavia",
        memory_types=[WIDE * 64] * 16,
    )


def largest_save() -> memory_pb2.SaveObservationRequest:
    return memory_pb2.SaveObservationRequest(
        user_id=WIDE * 256,
        content="word " * (CONTENT_BYTES // 5),
        type="preference",
        title=WIDE * 512,
        topic_key=WIDE * 256,
    )


def with_unknown_field(data: bytes, size: int) -> bytes:
    """Return *data* with an unknown field appended, so that it has *size* bytes or a few more."""
    return data + b"\xfa\x3f" + varint(size - len(data)) + bytes(size - len(data))


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


async def failure(channel: grpc.aio.Channel, path: str, data: bytes) -> grpc.aio.AioRpcError:
    method: Any = channel.unary_unary(path)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(data)
    return caught.value


async def test_largest_valid_requests_are_answered(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await chat_pb2_grpc.ChatServiceStub(channel).Chat(largest_chat())
        assert answer.reply == "Hello there."
        saved = await memory_pb2_grpc.MemoryServiceStub(channel).SaveObservation(largest_save())
        assert saved.result.id > 0


async def test_requests_have_room_for_fields_of_later_versions(address: str) -> None:
    data = with_unknown_field(largest_chat().SerializeToString(), CHAT_BYTES - 10)
    async with grpc.aio.insecure_channel(address) as channel:
        method: Any = channel.unary_unary(CHAT)
        assert b"Hello there." in await method(data)


async def test_chat_over_its_limits_is_invalid_argument(address: str, upstream: Upstream) -> None:
    data = with_unknown_field(chat_pb2.ChatRequest(user_id="alice", message="Hi").SerializeToString(), CHAT_BYTES + 1)
    async with grpc.aio.insecure_channel(address) as channel:
        error = await failure(channel, CHAT, data)
    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert f"at most {CHAT_BYTES:,} bytes" in str(error.details())
    assert upstream.requests == []


@pytest.mark.parametrize("path", [CHAT, SAVE])
async def test_request_larger_than_any_method_accepts_is_rejected_by_size(
    settings: Settings, upstream: Upstream, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # Left before the log is read: a call's line comes after its status has gone out.
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        error = await failure(channel, path, bytes(REQUEST_BYTES + 1))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await failure(channel, path, bytes(REQUEST_BYTES))).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert upstream.requests == []
    codes = [
        vars(record)["fields"]["rpc.response.status_code"] for record in caplog.records if record.message == "call"
    ]
    assert codes == ["CANCELLED", "INVALID_ARGUMENT"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_call_with_too_many_header_fields_is_rejected(address: str, upstream: Upstream) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        method: Any = channel.unary_unary(CHAT)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"", metadata=[(f"x-{number}", "v") for number in range(500)])
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        token = "t" * (HEADER_BYTES - 1000)
        assert await method(largest_chat().SerializeToString(), metadata=[("authorization", f"Bearer {token}")])
    assert len(upstream.requests) == 1


async def test_header_limit_applies_before_a_client_acknowledges_settings(address: str) -> None:
    assert await asyncio.to_thread(status_with, address, 500) == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert await asyncio.to_thread(status_with, address, 40) == 0


def status_with(address: str, fields: int) -> int | None:
    """Call with *fields* extra header fields without acknowledging the server's settings; return the status."""
    pairs = http2.fields(CHAT, b"application/grpc", *((b"x-%d" % number, b"v") for number in range(fields)))
    request = chat_pb2.ChatRequest(user_id="alice", message="Hi").SerializeToString()
    with http2.Connection(address) as connection:
        connection.send([http2.OPENING, http2.request(pairs, http2.message(request))])
        return connection.status()


async def test_content_type_is_ignored_as_documented(address: str) -> None:
    def status() -> int | None:
        request = chat_pb2.ChatRequest(user_id="alice", message="Hi").SerializeToString()
        with http2.Connection(address) as connection:
            connection.send([http2.OPENING, http2.request(http2.fields(CHAT, b"text/plain"), http2.message(request))])
            return connection.status()

    assert await asyncio.to_thread(status) == 0
    assert "does not look at the `content-type`" in OPERATIONS


def test_header_size_is_computed_as_in_http_2() -> None:
    fields = HEADER_BYTES // (HEADER_FIELD_BYTES + 4)
    check_headers(header_bytes([("a-b", "v")] * fields))
    with pytest.raises(RequestTooLarge, match="header fields"):
        check_headers(header_bytes([("a-b", "v")] * (fields + 1)))


@pytest.mark.parametrize("references", [100, 20_000])
async def test_headers_that_refer_to_others_are_converted_once(
    address: str, monkeypatch: pytest.MonkeyPatch, references: int
) -> None:
    """A reference is one byte (RFC 7541, 6.1). gRPC lets 16 MiB of headers through in a few KB."""
    converted = 0
    pair = cygrpc._Metadatum

    def counted(*arguments: Any) -> Any:
        nonlocal converted
        converted += 1
        return pair(*arguments)

    monkeypatch.setattr(cygrpc, "_Metadatum", counted)
    block = http2.hpack(http2.fields(CHAT)) + b"\x40" + http2.string(b"k") + http2.string(b"v") + b"\xbe" * references
    pieces = [block[start : start + 16_384] for start in range(0, len(block), 16_384)]
    frames = [
        http2.frame(
            http2.CONTINUATION if number else http2.HEADERS, http2.END_HEADERS * (piece is pieces[-1]), 1, piece
        )
        for number, piece in enumerate(pieces)
    ]
    request = chat_pb2.ChatRequest(user_id="alice", message="Hi").SerializeToString()

    def status() -> int | None:
        with http2.Connection(address) as connection:
            data = http2.frame(http2.DATA, http2.END_STREAM, 1, http2.message(request))
            connection.send([http2.OPENING, *frames, data])
            return connection.status()

    # gRPC refuses some of the large ones by chance.
    assert await asyncio.to_thread(status) in ({0} if references == 100 else {3, 8})
    assert references <= converted < references + 20


async def test_pitfall_06_client_that_pings_too_often_is_disconnected(address: str) -> None:
    with http2.Connection(address) as connection:
        connection.send([http2.OPENING, *[PING] * 5])
        assert b"too_many_pings" in await asyncio.to_thread(connection.until, http2.GOAWAY)


async def test_pitfall_06_ping_interval_is_set_by_a_key_that_works(settings: Settings) -> None:
    """Under the same key, an interval of 0 allows pings that gRPC's default would reject."""
    key = "grpc.http2.min_ping_interval_without_data_ms"
    options = dict(connection_options(settings))
    assert options[key] == 5000
    async with running(options | {key: 0}) as address:
        assert http2.GOAWAY not in await asyncio.to_thread(pinging, address, 20)


@asynccontextmanager
async def running(options: Mapping[str, int]) -> AsyncIterator[str]:
    """Run a server with these options and without methods."""
    server = grpc.aio.server(options=list(options.items()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_calls_wait_for_a_busy_event_loop_by_a_key_that_works(settings: Settings) -> None:
    """Under the same key, a time of 0 ends calls that were not accepted at once as CANCELLED."""
    key = "grpc.server_max_unrequested_time_in_server"
    options = dict(connection_options(settings))
    assert options[key] >= settings.max_deadline_seconds
    async with running(options) as address:
        assert await codes_of_burst(address) == {grpc.StatusCode.UNIMPLEMENTED}
    async with running(options | {key: 0}) as address:
        assert grpc.StatusCode.CANCELLED in await codes_of_burst(address)


async def codes_of_burst(address: str) -> set[grpc.StatusCode]:
    """Return the codes of calls of which the server's event loop, this one, can accept only some at once."""
    async with grpc.aio.insecure_channel(address) as channel:
        method: Any = channel.unary_unary("/no/method")
        calls = [method(b"") for _ in range(100)]
        return {await call.code() for call in calls}


@pytest.mark.slow
async def test_calls_of_eight_connections_wait_by_keys_that_work(settings: Settings) -> None:
    """Without the keys, gRPC ends calls as CANCELLED while 1,000 wait."""
    keys = ["grpc.server.max_pending_requests", "grpc.server.max_pending_requests_hard_limit"]
    options = dict(connection_options(settings))
    streams = options["grpc.max_concurrent_streams"]
    async with running(options) as address:
        assert await refused_by_core(address, streams) == 0
    async with running({key: value for key, value in options.items() if key not in keys}) as address:
        assert await refused_by_core(address, streams) > 0


async def refused_by_core(address: str, streams: int) -> int:
    """Begin *streams* calls on each of 8 connections at once; return how many of them this event loop never saw."""
    pairs = http2.fields("/no/method")
    calls = [http2.request(pairs, http2.message(b""), stream=2 * number + 1) for number in range(streams)]
    unimplemented = 0
    with ExitStack() as stack:
        clients = [stack.enter_context(http2.Connection(address)) for _ in range(8)]
        for client in clients:
            # The event loop stands still until gRPC's core has all calls: it answers the ping after them.
            client.send([http2.OPENING, http2.frame(http2.SETTINGS, 1, 0), *calls, PING])
        received = [client.until(http2.PING) for client in clients]
        for client, already in zip(clients, received, strict=True):
            unimplemented += await asyncio.to_thread(count_unimplemented, client, already, streams)
    return 8 * streams - unimplemented


def count_unimplemented(client: http2.Connection, received: bytes, streams: int) -> int:
    """Read on until *streams* calls have ended, and return how many of them were UNIMPLEMENTED."""
    while received.count(b"grpc-status") + list(http2.kinds_in(received)).count(http2.RST_STREAM) < streams:
        received += client.more()
    return received.count(b"grpc-status\x0212")


def pinging(address: str, times: int) -> set[int]:
    """Send *times* pings, each after the previous answer; return the frame types received."""
    kinds: set[int] = set()
    with http2.Connection(address) as connection:
        connection.send([http2.OPENING])
        for _ in range(times):
            connection.send([PING])
            kinds |= set(http2.kinds_in(connection.until(http2.PING, http2.GOAWAY)))
    return kinds


async def test_client_that_does_not_answer_pings_is_disconnected(settings: Settings) -> None:
    """Shorten the times under the same keys."""
    times = {"grpc.keepalive_time_ms": 100, "grpc.http2.ping_timeout_ms": 100}
    options = dict(connection_options(settings))
    assert times.keys() <= options.keys()
    async with running(options | times) as address:
        with http2.Connection(address) as connection:
            # Acknowledge the settings: the server also disconnects clients that never do.
            connection.send([http2.OPENING, http2.frame(http2.SETTINGS, 1, 0)])
            await asyncio.to_thread(connection.hung_up)


async def test_client_that_does_not_finish_its_handshake_is_disconnected(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(grpc_server, "HANDSHAKE_SECONDS", 1)
    certificate, key = Authority().server().write(tmp_path, "server")
    async with serving(replace(settings, tls_cert_file=certificate, tls_key_file=key)) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        # The beginning of a ClientHello.
        writer.write(b"\x16\x03\x01\x02\x00")
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()


async def test_number_of_calls_per_connection_is_bounded(settings: Settings) -> None:
    async with (
        serving(replace(settings, max_calls=3, max_queued_calls=2)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest())
        # Calls whose requests do not arrive.
        calls: Any = [channel.stream_stream("/ilab_chat.v1.ChatService/StreamChat")() for _ in range(5 + 100)]
        last = asyncio.ensure_future(stub.Check(health_pb2.HealthCheckRequest()))
        async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as other:
            stub = health_pb2_grpc.HealthStub(other)
            for _ in range(10):
                check = await stub.Check(health_pb2.HealthCheckRequest())
                assert check.status == health_pb2.HealthCheckResponse.SERVING
        assert not last.done()
        calls[0].cancel()
        assert (await last).status == health_pb2.HealthCheckResponse.SERVING


async def test_pitfall_20_compressed_request_is_rejected_before_decompression(address: str, upstream: Upstream) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await chat_pb2_grpc.ChatServiceStub(channel).Chat(
                chat_pb2.ChatRequest(user_id="alice", message="Hi" * 1000), compression=grpc.Compression.Gzip
            )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert upstream.requests == []


def ages(options: Mapping[str, int]) -> tuple[int | None, int | None]:
    return options.get("grpc.max_connection_age_ms"), options.get("grpc.max_connection_age_grace_ms")


def test_connection_age_is_a_setting_and_0_disables_it(settings: Settings) -> None:
    assert ages(connection_options(replace(settings, connection_age_seconds=0))) == (None, None)
    assert ages(connection_options(replace(settings, connection_age_seconds=9, max_deadline_seconds=7))) == (
        9000,
        67_000,
    )


async def test_pitfall_17_stream_outlives_the_age_of_its_connection(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with (
        serving(replace(settings, connection_age_seconds=0.2)) as address,
        grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        stream = stub.StreamChat(chat_pb2.StreamChatRequest(user_id="alice", message="Hi"))
        await stream.read()
        # The client reconnects, while the stream continues on the old connection.
        while (state := channel.get_state()) is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(state)
        assert (await stub.Chat(chat_pb2.ChatRequest(user_id="bob", message="Hi"))).reply == "Hello there."
        upstream.release()
        events = []
        while (event := await stream.read()) is not grpc.aio.EOF:
            events.append(event)
    assert events[-1].completed.reply == "Hello there."


def test_documented_limit_is_the_actual_one() -> None:
    assert all(f"{CHAT_BYTES:,} bytes" in page for page in (OPERATIONS, ERRORS))
