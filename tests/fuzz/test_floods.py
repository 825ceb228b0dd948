"""Floods of frames that no flow control holds back: they end, in bounded memory, while others are answered."""

from __future__ import annotations

import re
import select
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fuzz import http2
from fuzz.http2 import frame
from ilab_chat_service.rpc.floods import heaviest
from processes import running_server
from upstream import Upstream

CONNECTIONS = 4
#: What each connection sends at most, in bytes, and how many such floods follow each other.
FLOOD = 512 * 1024 * 1024
FLOODS = 2
#: Memory that the server may take beyond what it takes at rest, in bytes. It is more than docs/operations.md measured:
#: how late a flood is seen depends on the machine.
MEMORY = 400 * 1024 * 1024

HEADERS = frame(http2.HEADERS, 0, 1, http2.hpack(http2.fields("/ilab_chat.v1.ChatService/Chat")))
KINDS = {
    "continuations": (HEADERS, frame(http2.CONTINUATION, 0, 1, http2.hpack([(b"a", b"x" * 16_000)])) * 64),
    "priorities": (b"", frame(http2.PRIORITY, 0, 1, bytes(5)) * 70_000),
}


def flood(address: str, first: bytes, repeated: bytes) -> bool:
    """Send until the server closes; return whether it did."""
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
                    return True
                if writable:
                    done = connection.send(rest)
                    sent += done
                    rest = rest[done:] or memoryview(repeated)
            return False
    return True


def peak(process: int) -> int:
    """Return the most memory that a process has used, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_is_closed_in_bounded_memory(tmp_path: Path, upstream: Upstream, kind: str) -> None:
    with (
        running_server(ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"), OPENAI_BASE_URL=upstream.base_url) as server,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(CONNECTIONS) as threads,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        check = stub.Check
        assert check(health_pb2.HealthCheckRequest(), timeout=60).status == 1
        before = peak(server.process.pid)
        for _ in range(FLOODS):
            floods = [threads.submit(flood, server.address, *KINDS[kind]) for _ in range(CONNECTIONS)]
            # The connection of somebody else on the same host goes on.
            while not all(each.done() for each in floods):
                assert check(health_pb2.HealthCheckRequest(), timeout=60).status == 1
            # Not all: on a busy machine, what is left may send no more than it may.
            assert any(each.result() for each in floods)
        assert peak(server.process.pid) - before < MEMORY
        server.read_until("closed connections: ")
        assert server.stop() == 0


def test_the_heaviest_connections_of_a_host_are_closed_until_the_rest_is_allowed() -> None:
    sent = [(5, ("a", 1)), (90, ("a", 2)), (40, ("a", 3)), (0, ("a", 4))]
    assert list(heaviest(sent, 50)) == [("a", 2)]
    assert list(heaviest(sent, 5)) == [("a", 2), ("a", 3)]
    assert list(heaviest(sent, 200)) == []
