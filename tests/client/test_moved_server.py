"""A client finds a server that moves to another address of its name."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ilab_chat import ChatClient, Unavailable
from ilab_chat._target import SERVICE
from ilab_chat.v1 import chat_pb2

#: A type of DNS record: an IPv4 address.
A = 1


class NameServer:
    """Answers each question about an IPv4 address with `address` (RFC 1035), over UDP."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                query, sender = self.socket.recvfrom(512)
            except OSError:
                return
            self.socket.sendto(self._answer(query), sender)

    def _answer(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12) + 5
        is_address = struct.unpack_from("!H", query, end - 4)[0] == A
        header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, int(is_address), 0, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", A, 1, 0, 4) + socket.inet_aton(self.address)
        return header + query[12:end] + (record if is_address else b"")


def named(name: str) -> grpc.GenericRpcHandler:
    """Return a chat that answers with *name*."""
    answer = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: chat_pb2.ChatResponse(reply=name),
        request_deserializer=chat_pb2.ChatRequest.FromString,
        response_serializer=chat_pb2.ChatResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Chat": answer})


@contextmanager
def serving(host: str, port: int) -> Iterator[int]:
    """Serve on *host*, and yield the port."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    status: Any = health.HealthServicer()
    status.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    server.add_generic_rpc_handlers([named(host)])
    bound = server.add_insecure_port(f"{host}:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(0).wait()


@pytest.fixture
def names() -> Iterator[NameServer]:
    server = NameServer("127.0.0.2")
    with server.socket:
        yield server


@pytest.mark.timeout(20)
def test_server_that_moves_is_found(names: NameServer) -> None:
    with serving("127.0.0.2", 0) as port:
        client = ChatClient(f"dns://127.0.0.1:{names.port}/chat.test:{port}", max_retries=0)
        assert client.chat("alice", "hi").reply == "127.0.0.2"
    with client:
        with pytest.raises(Unavailable):
            client.chat("alice", "hi")
        names.address = "127.0.0.3"
        with serving("127.0.0.3", port):
            # With gRPC's defaults, it would take half a minute until the name is looked up again.
            while True:
                with suppress(Unavailable):
                    assert client.chat("alice", "hi").reply == "127.0.0.3"
                    break
                time.sleep(0.01)
