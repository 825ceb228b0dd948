"""Which calls without valid credentials wait, and which connections are cut."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from batch import cases
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.rpc import strangers, transport
from ilab_chat_service.rpc.strangers import Strangers
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from rpcs import bearer

TOKEN = "0123456789abcdef"
VALID, WRONG = bearer(TOKEN), bearer("fedcba9876543210")
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
REQUEST = chat_pb2.ChatRequest(user_id="alice", message="Hi", memory_mode=chat_pb2.MEMORY_MODE_OFF)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow few calls, none of which is forgotten."""
    monkeypatch.setattr(strangers, "CALLS", 5)
    monkeypatch.setattr(strangers, "CALLS_PER_SECOND", 0)
    monkeypatch.setattr(strangers, "HOST_CALLS", 20)
    monkeypatch.setattr(strangers, "HOST_CALLS_PER_SECOND", 0)
    monkeypatch.setattr(strangers, "CROWDED_CALLS", 2)
    monkeypatch.setattr(strangers, "SHARED_CALLS", 12)
    monkeypatch.setattr(strangers, "STALL_SECONDS", 0.01)


@pytest.fixture
async def guarded(settings: Settings, tmp_path: Path) -> AsyncIterator[str]:
    """Run a server that wants a token."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    async with serving(replace(settings, auth="tokens", auth_tokens_file=str(tokens))) as address:
        yield address


def connect(address: str) -> grpc.aio.Channel:
    """Return a channel with its own connection, which does not repeat a call that was cut on the next connection."""
    return grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)])


async def chat(channel: grpc.aio.Channel, metadata: Any = None) -> grpc.StatusCode:
    stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
    code: grpc.StatusCode = await stub.Chat(REQUEST, metadata=metadata, timeout=60).code()
    return code


def about(limit: int) -> range:
    """Return how many calls may be refused: the next one may begin before the last one has ended for the server."""
    return range(limit, limit + 2)


async def calls_until_cut(channel: grpc.aio.Channel, metadata: Any = None) -> int:
    """Call until the connection is lost; return the number of calls that were refused."""
    lost = asyncio.ensure_future(until_lost(channel))
    for number in range(1000):
        # A call on a connection that is lost already would connect again.
        is_lost = number and channel.get_state() is not grpc.ChannelConnectivity.READY
        if is_lost or await chat(channel, metadata) is not UNAUTHENTICATED:
            await lost
            return number
    raise AssertionError("it was not cut")


async def until_lost(channel: grpc.aio.Channel) -> None:
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        await channel.wait_for_state_change(state)
        state = channel.get_state()
    await channel.wait_for_state_change(state)


@pytest.mark.parametrize("metadata", [None, WRONG], ids=["none", "wrong"])
async def test_connection_that_goes_on_without_valid_credentials_is_cut(guarded: str, metadata: Any) -> None:
    async with connect(guarded) as channel:
        assert await calls_until_cut(channel, metadata) in about(strangers.CALLS)
        # The client connects again.
        assert await chat(channel, VALID) is grpc.StatusCode.OK


async def test_connection_with_valid_credentials_is_never_cut(guarded: str) -> None:
    async with connect(guarded) as channel:
        lost = asyncio.ensure_future(until_lost(channel))
        assert await chat(channel, VALID) is grpc.StatusCode.OK
        # Their credentials expire, or they are those of another client of the same proxy.
        assert {await chat(channel, WRONG) for _ in range(2 * strangers.SHARED_CALLS)} == {UNAUTHENTICATED}
        assert await chat(channel, VALID) is grpc.StatusCode.OK
        assert not lost.done()
        lost.cancel()


async def test_connection_of_a_host_with_valid_credentials_is_cut_later(guarded: str) -> None:
    async with connect(guarded) as valid, connect(guarded) as wrong:
        assert await chat(valid, VALID) is grpc.StatusCode.OK
        assert await calls_until_cut(wrong) in about(strangers.SHARED_CALLS)


async def test_connections_of_a_host_with_too_many_calls_are_cut_sooner(guarded: str) -> None:
    refused = []
    for _ in range(6):
        async with connect(guarded) as channel:
            refused.append(await calls_until_cut(channel))
    assert all(number in about(strangers.CALLS) for number in refused[:3])
    # It may reach the limit of the host before its own, if one call more of some of the first three was refused.
    assert strangers.CROWDED_CALLS <= refused[3] <= max(about(strangers.CALLS))
    assert all(number in about(strangers.CROWDED_CALLS) for number in refused[4:])


async def test_health_checks_count_and_their_answers_arrive(guarded: str) -> None:
    async with connect(guarded) as channel:
        lost = asyncio.ensure_future(until_lost(channel))
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(strangers.CALLS):
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        await asyncio.wait_for(lost, 60)


async def test_calls_without_authentication_are_never_cut(address: str) -> None:
    async with connect(address) as channel:
        assert {await chat(channel) for _ in range(30)} == {grpc.StatusCode.OK}


async def test_calls_begin_by_turns_of_hosts_and_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "BEGUN_AT_ONCE", 1)
    begun: list[str] = []
    with Strangers() as waiting:
        for peer in ["192.0.2.1:1", "192.0.2.1:1", "192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"]:
            waiting.arrived(f"ipv4:{peer}", lambda peer=peer: begun.append(peer))  # type: ignore[misc]
        for _ in range(10):
            await asyncio.sleep(0)
    assert begun == ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:2", "192.0.2.1:1", "192.0.2.1:1"]


async def test_valid_credentials_let_the_calls_that_wait_begin() -> None:
    begun = []
    with Strangers() as waiting:
        for number in range(100):
            waiting.arrived("ipv4:192.0.2.1:1", lambda number=number: begun.append(number))  # type: ignore[misc]
        assert begun == []
        waiting.authenticated("ipv4:192.0.2.1:1")
        assert begun == [*range(100)]
        waiting.arrived("ipv4:192.0.2.1:1", lambda: begun.append(100))
        assert begun[-1] == 100


async def test_calls_that_wait_are_bounded_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "WAITING", 10)
    begun: list[str] = []
    with Strangers() as waiting:
        for peer in ["192.0.2.1:1"] * 50 + ["192.0.2.2:1"] * 3:
            waiting.arrived(f"ipv4:{peer}", lambda peer=peer: begun.append(peer))  # type: ignore[misc]
        for _ in range(50):
            await asyncio.sleep(0)
    assert (begun.count("192.0.2.1:1"), begun.count("192.0.2.2:1")) == (10, 3)


async def test_stop_of_the_server_drops_the_calls_that_wait() -> None:
    begun: list[int] = []
    with Strangers() as waiting:
        for number in range(100):
            waiting.arrived(f"ipv4:192.0.2.1:{number % 3}", lambda: begun.append(0))
        waiting.drop()
        for _ in range(100):
            await asyncio.sleep(0)
        assert begun == []
        waiting.arrived("ipv4:192.0.2.1:1", lambda: begun.append(1))
        await asyncio.sleep(0)
    assert begun == [1]


async def test_remembered_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "REMEMBERED", 10)
    with Strangers() as waiting:
        for number in range(100):
            peer = f"ipv4:192.0.2.{number}:1"
            waiting.authenticated(peer)
            waiting.ended(peer)
        assert len(vars(waiting)["_connections"]) == len(vars(waiting)["_hosts"]) == 10


@cases(
    ("peer", "end"),
    [
        ("ipv4:192.0.2.1:50000", ("192.0.2.1", 50000)),
        ("ipv6:%5B2001:db8::1%5D:50000", ("2001:db8::1", 50000)),
        ("ipv6:%5Bfe80::1%25eth0%5D:50000", ("fe80::1", 50000)),
        ("ipv6:%5B::ffff:192.0.2.1%5D:50000", ("192.0.2.1", 50000)),
        ("unix:", None),
        ("unix:/run/chat", None),
    ],
)
def test_remote_end_of_a_peer(peer: str, end: tuple[str, int] | None) -> None:
    assert transport.endpoint(peer) == end


def found(peers: set[tuple[str, int]], port: int) -> list[socket.socket]:
    return transport.connections(transport.descriptor_numbers(), peers, port)


@contextmanager
def connected(host: str = "127.0.0.1") -> Iterator[tuple[socket.socket, socket.socket, int]]:
    """Yield both ends of a connection, and the port of its server."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as server:
        port = server.getsockname()[1]
        with (
            socket.create_connection(("127.0.0.1" if host == "::" else host, port), 60) as near,
            server.accept()[0] as far,
        ):
            far.settimeout(60)
            yield near, far, port


def filters_are_allowed() -> bool:
    """Return whether this process may filter what arrives on a socket: some kernels refuse it to users but root."""
    # Two instructions: load 0, and return it.
    program = ctypes.create_string_buffer(struct.pack("=HBBIHBBI", 0, 0, 0, 0, 0x16, 0, 0, 0))
    with socket.socket() as some:
        try:
            some.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", 2, ctypes.addressof(program)))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_stalled_connection_receives_nothing_until_it_is_cut(host: str) -> None:
    with connected(host) as (near, far, port):
        near.sendall(b"arrived")
        [duplicate] = found({near.getsockname()}, port)
        assert transport.stall(duplicate) == filters_are_allowed()
        if filters_are_allowed():
            near.sendall(b"too late")
            far.setblocking(False)
            with pytest.raises(BlockingIOError):
                far.recv(1)
        transport.end(duplicate)
        assert far.recv(1) == b""
        assert near.recv(1) == b""


def test_only_connections_of_the_given_peers_and_port_are_found() -> None:
    with connected() as (near, _, port), connected() as (other, _, other_port):
        assert found({other.getsockname()}, port) == []
        assert found({near.getsockname()}, other_port) == []
        assert found(set(), port) == []


def test_calls_of_a_connection_that_was_reset_are_discarded() -> None:
    with connected() as (near, far, port):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.sendall(b"call" * 1000)
        near.close()
        assert found(set(), port) == []
        assert far.recv(1) == b""
