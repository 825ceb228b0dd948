"""Health needs no credentials: its open calls are bounded, and no client locks out others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from batch import cases
from fuzz import http2
from ilab_chat import AsyncChatClient
from ilab_chat_service.rpc import health
from ilab_chat_service.rpc.interceptors import layers
from ilab_chat_service.rpc.open_calls import OpenCalls
from ilab_chat_service.rpc.transport import host_of
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from processes import running_server
from upstream import Upstream

SERVING = health_pb2.HealthCheckResponse.SERVING
WATCH = http2.fields("/grpc.health.v1.Health/Watch")
CHECK = http2.fields("/grpc.health.v1.Health/Check")
CHAT = http2.fields("/ilab_chat.v1.ChatService/Chat")
ASKED = health_pb2.HealthCheckRequest(service="ilab_chat.v1.ChatService").SerializeToString()
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
#: Number of calls that the attack sends at once.
BATCH = 64
#: Maximum memory for the calls of one client, in bytes.
MEMORY = 100 * 1024 * 1024


def requests(pairs: http2.Pairs, count: int, *, complete: bool = True, first: int = 0) -> bytes:
    """Return the frames of *count* calls, skipping *first* + 1 stream ids. Unless *complete*, only their headers."""
    head = http2.hpack(pairs)
    streams = range(3 + 2 * first, 3 + 2 * (first + count), 2)
    if complete:
        return b"".join(http2.request(pairs, http2.message(ASKED), stream) for stream in streams)
    return b"".join(http2.frame(http2.HEADERS, http2.END_HEADERS, stream, head) for stream in streams)


def attack(address: str, pairs: http2.Pairs, opened: ExitStack, *, complete: bool) -> None:
    """Open 640 calls on each of 8 connections, and wait for the answers to complete ones.

    Each connection has made a call with valid credentials before: otherwise the server would cut it.
    """
    for _ in range(8):
        connection = opened.enter_context(http2.Connection(address))
        connection.send([http2.OPENING, http2.frame(http2.SETTINGS, 1, 0), http2.request(CHAT, http2.message(b""))])
        received = b""
        while http2.status_in(received) is None:
            received += more(connection)
        received = b""
        for first in range(0, 640, BATCH):
            connection.send([requests(pairs, BATCH, complete=complete, first=first)])
            while complete and list(http2.kinds_in(received)).count(http2.HEADERS) < first + BATCH:
                received += more(connection)
        connection.send([http2.frame(http2.PING, 0, 0, b"all read")])
        while b"all read" not in received:
            received += more(connection)


def more(connection: http2.Connection) -> bytes:
    """Return the next bytes of an open connection."""
    received = connection.more()
    assert received
    return received


def watch(channel: grpc.aio.Channel) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest())


async def check(channel: grpc.aio.Channel) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
    return int(answer.status)


async def until_started(address: str) -> None:
    """Wait until the server has started the watches and checks that it has received.

    It starts calls in order. gRPC core rejects some while more than 1,000 of a method are pending.
    """
    async with connect(address) as channel:
        for call in (lambda: watch(channel).read(), lambda: check(channel)):
            while True:
                with suppress(grpc.aio.AioRpcError):
                    await call()
                    break


def connect(address: str) -> grpc.aio.Channel:
    """Return a channel with its own connection."""
    return grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("pairs", [WATCH, CHECK], ids=["watches", "checks"])
async def test_5000_health_calls_of_one_client_lock_out_no_new_client(
    tmp_path: Path,
    upstream: Upstream,
    pairs: http2.Pairs,
    complete: bool,  # noqa: FBT001
) -> None:
    with running_server(ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"), OPENAI_BASE_URL=upstream.base_url) as server:
        status = Path(f"/proc/{server.process.pid}/status")
        before = resident(status)
        with ExitStack() as opened:
            await asyncio.to_thread(attack, server.address, pairs, opened, complete=complete)
            await until_started(server.address)
            port = server.address.rpartition(":")[2]
            # Two addresses: a balancing client watches health, and skips servers that do not answer.
            async with AsyncChatClient(f"127.0.0.1:{port},127.0.0.2:{port}") as client:
                answer = await client.chat("alice", "Hi", timeout=60)
            assert answer.reply == "Hello there."
            async with connect(server.address) as channel:
                assert await check(channel) == SERVING
            assert resident(status) - before < MEMORY
        assert server.stop() == 0


def resident(status: Path) -> int:
    """Return the resident memory of a process, in bytes."""
    found = re.search(r"VmRSS:\s+(\d+)", status.read_text())
    assert found
    return int(found[1]) * 1024


@pytest.fixture
async def small(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Run a server with room for six watches: four per host, three per connection."""
    monkeypatch.setattr(health, "WATCHES", 6)
    monkeypatch.setattr(health, "WATCHES_PER_HOST", 4)
    monkeypatch.setattr(health, "WATCHES_PER_CONNECTION", 3)
    monkeypatch.setattr(health, "CROWDED_SECONDS", 0)
    async with serving(settings) as address:
        yield address


async def begun(channel: grpc.aio.Channel, count: int) -> list[Any]:
    """Open watches and wait for the first status of each; return them, oldest first."""
    watches = []
    for _ in range(count):
        each = watch(channel)
        # One after the other, because concurrent calls may reach the server in another order.
        assert (await each.read()).status == SERVING
        watches.append(each)
    return watches


async def test_connection_over_its_limit_loses_its_oldest_watch(small: str) -> None:
    async with connect(small) as channel:
        watches = await begun(channel, 3)
        watches += await begun(channel, 1)
        assert await watches[0].code() is EXHAUSTED
        assert not any(each.done() for each in watches[1:])


async def test_host_over_its_limit_loses_a_watch_of_its_largest_connection(small: str) -> None:
    async with connect(small) as big, connect(small) as new:
        watches = await begun(big, 3)
        await begun(new, 1)
        last = await begun(new, 1)
        assert await watches[0].code() is EXHAUSTED
        assert not any(each.done() for each in (*watches[1:], *last))


async def test_server_over_its_limit_evicts_a_watch_of_the_largest_host(small: str) -> None:
    def watching(source: str, count: int) -> http2.Connection:
        connection = http2.Connection(small, source)
        connection.send([http2.OPENING, requests(WATCH, count)])
        received = b""
        while list(http2.kinds_in(received)).count(http2.DATA) < count:
            received += more(connection)
        return connection

    async with connect(small) as big, connect(small) as own:
        with await asyncio.to_thread(watching, "127.0.0.2", 2):
            watches = await begun(big, 2) + await begun(own, 2)
            with await asyncio.to_thread(watching, "127.0.0.3", 1):
                assert await watches[0].code() is EXHAUSTED
                assert not any(each.done() for each in watches[1:])


async def test_watch_of_a_client_that_does_not_read_is_evicted_too(small: str) -> None:
    with await asyncio.to_thread(http2.Connection, small) as stuck:
        await asyncio.to_thread(stuck.send, [http2.PREFACE, http2.window(0), requests(WATCH, 3)])
        await asyncio.to_thread(stuck.until, http2.SETTINGS)
        async with connect(small) as channel:
            for _ in range(9):
                await begun(channel, 1)
            assert await check(channel) == SERVING
        # It gets the status when it reads again, although it was evicted during its first write.
        await asyncio.to_thread(stuck.send, [http2.window(65_535)])
        assert await asyncio.to_thread(stuck.status) == EXHAUSTED.value[0]


async def test_crowded_client_still_gets_its_watch(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CROWDED_SECONDS", 0.01)
    async with connect(small) as channel:
        await begun(channel, 3)
        await begun(channel, 3)


@pytest.mark.parametrize("path", ["Check", "Watch"])
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([], grpc.StatusCode.UNIMPLEMENTED),
        ([ASKED, ASKED], grpc.StatusCode.UNIMPLEMENTED),
        ([b"\xff"], grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_health_call_takes_exactly_one_request(
    address: str, path: str, sent: list[bytes], code: grpc.StatusCode
) -> None:
    async with connect(address) as channel:
        method: Any = channel.stream_stream(f"/grpc.health.v1.Health/{path}")
        assert await method(iter(sent)).code() is code


async def test_health_call_without_a_request_ends(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "REQUEST_SECONDS", 0.01)
    async with connect(address) as channel:
        method: Any = channel.stream_stream("/grpc.health.v1.Health/Watch")
        assert await method().code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_health_call_without_a_request_does_not_delay_the_stop(settings: Settings) -> None:
    async with connect("127.0.0.1:1"), serving(settings) as address:
        channel = connect(address)
        method: Any = channel.stream_stream("/grpc.health.v1.Health/Watch")
        call = method()
        assert await check(channel) == SERVING
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    await channel.close()


@cases(
    ("peer", "host"),
    [
        ("ipv4:192.0.2.1:50000", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3::4%5D:50000", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2:5::6]:50000", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:50000", "192.0.2.1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50000", "fe80::/64"),
        ("unix:", "unix:"),
    ],
)
def test_host_of_a_peer(peer: str, host: str) -> None:
    assert host_of(peer) == host


async def test_ended_calls_are_removed() -> None:
    calls = OpenCalls(in_all=4, per_host=3, per_connection=2)

    async def call(number: int) -> None:
        with calls.enter(f"ipv4:127.0.0.{number % 3}:{number % 5}"):
            await asyncio.sleep(0)
            assert len(set(calls.tasks())) <= calls.in_all

    await asyncio.gather(*map(call, range(100)), return_exceptions=True)
    assert not vars(calls)["_hosts"]
    assert not vars(calls)["_of_host"]
