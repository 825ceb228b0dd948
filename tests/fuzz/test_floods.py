"""Frames that no flow control holds back, and bursts of large requests: bounded memory, and others are answered."""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fuzz import http2
from fuzz.http2 import frame
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from processes import ServerProcess, running_server
from upstream import Upstream

CONNECTIONS = 8
#: Bytes that each connection sends.
FLOOD = 128 * 1024 * 1024
#: Memory that the server may take beyond what it takes at rest, in bytes. Without a limit it is 150 to 1,350 MiB.
MEMORY = 64 * 1024 * 1024

#: Requests of one host at once, and the bytes of each.
BURST, REQUEST = 128, 1_000_000

HEADERS = frame(http2.HEADERS, 0, 1, http2.hpack(http2.fields("/ilab_chat.v1.ChatService/Chat")))
KINDS = {
    "continuations": (HEADERS, frame(http2.CONTINUATION, 0, 1, http2.hpack([(b"a", b"x" * 16_000)])) * 64),
    "priorities": (b"", frame(http2.PRIORITY, 0, 1, bytes(5)) * 70_000),
}


def flood(address: str, first: bytes, repeated: bytes) -> None:
    """Send FLOOD bytes, or until the server closes."""
    host, _, port = address.rpartition(":")
    sent = 0
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(http2.OPENING + frame(http2.SETTINGS, 1, 0) + first)
        connection.setblocking(False)
        rest = memoryview(repeated)
        with suppress(ConnectionError):
            while sent < FLOOD:
                readable, writable, _ = select.select([connection], [connection], [], http2.END_SECONDS)
                if readable and not connection.recv(65_536):
                    return
                if writable:
                    done = connection.send(rest)
                    sent += done
                    rest = rest[done:] or memoryview(repeated)


def peak(process: int) -> int:
    """Return the most memory that a process has used, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.fixture
def server(tmp_path: Path, upstream: Upstream) -> Iterator[ServerProcess]:
    database = str(tmp_path / "memory.db")
    with running_server(ILAB_MEMORY_DB_PATH=database, OPENAI_BASE_URL=upstream.base_url) as server:
        yield server
        assert server.stop() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_flood_uses_bounded_memory_while_others_are_answered(server: ServerProcess, kind: str) -> None:
    with grpc.insecure_channel(server.address) as channel, ThreadPoolExecutor(CONNECTIONS) as threads:
        # The first call makes the connection known: one with nothing but hundreds of health checks would be cut.
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        memory.GetStats(memory_pb2.GetStatsRequest(user_id="alice"), timeout=60)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        check = stub.Check
        assert check(health_pb2.HealthCheckRequest(), timeout=60).status == 1
        before = peak(server.process.pid)
        floods = [threads.submit(flood, server.address, *KINDS[kind]) for _ in range(CONNECTIONS)]
        # The connection of another caller on the same host goes on.
        while not all(each.done() for each in floods):
            assert check(health_pb2.HealthCheckRequest(), timeout=60).status == 1
        for each in floods:
            each.result()
        assert peak(server.process.pid) - before < MEMORY


def test_burst_of_large_requests_of_one_host_is_answered(server: ServerProcess) -> None:
    """They are larger than a chat may be: each is refused once it has been read."""
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(BURST))
        # Each channel has a connection of its own.
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [stack.enter_context(grpc.insecure_channel(server.address, own)) for _ in range(CONNECTIONS)]

        def ask(number: int) -> grpc.StatusCode:
            stub: Any = chat_pb2_grpc.ChatServiceStub(channels[number % CONNECTIONS])
            with pytest.raises(grpc.RpcError) as caught:
                stub.Chat(chat_pb2.ChatRequest(user_id=f"user-{number}", message="x" * REQUEST), timeout=60)
            error: Any = caught.value
            code: grpc.StatusCode = error.code()
            return code

        assert set(threads.map(ask, range(BURST))) == {grpc.StatusCode.INVALID_ARGUMENT}
