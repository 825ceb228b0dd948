"""A client without credentials that begins calls as fast as it can: it is stopped, and others are answered."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fuzz import http2
from fuzz.http2 import frame
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from processes import ServerProcess, running_server
from upstream import Upstream

CONNECTIONS = 2
#: Pause between the rounds of the other caller: they show that calls are answered, not how many could be.
PAUSE_SECONDS = 0.05
TOKEN = "0123456789abcdef"
CREDENTIALS = (("authorization", f"Bearer {TOKEN}"),)

CHAT = http2.hpack(http2.fields("/ilab_chat.v1.ChatService/Chat"))
LARGE = http2.hpack(http2.fields("/ilab_chat.v1.ChatService/Chat", b"application/grpc", (b"a", b"x" * 12_000)))
CHECK = http2.hpack(http2.fields("/grpc.health.v1.Health/Check"))
OTHER = http2.hpack(http2.fields("/no.Such/Method"))
CANCEL = struct.pack("!I", 8)


def unary(head: bytes) -> Callable[[int], bytes]:
    def call(stream: int) -> bytes:
        data = frame(http2.DATA, http2.END_STREAM, stream, http2.message(b""))
        return frame(http2.HEADERS, http2.END_HEADERS, stream, head) + data

    return call


#: The frames of one call, by the number of its stream.
FORMS: dict[str, Callable[[int], bytes]] = {
    "calls": unary(CHAT),
    "calls that are reset": lambda stream: (
        frame(http2.HEADERS, http2.END_HEADERS, stream, CHAT) + frame(http2.RST_STREAM, 0, stream, CANCEL)
    ),
    "calls that do not end": lambda stream: frame(http2.HEADERS, http2.END_HEADERS, stream, CHAT),
    "calls with large headers": unary(LARGE),
    "health checks": unary(CHECK),
    "unknown methods": unary(OTHER),
}


@contextmanager
def serving(folder: Path, upstream: Upstream) -> Iterator[ServerProcess]:
    """Run a server that wants a token; its files are in *folder*."""
    folder.mkdir()
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    with running_server(
        ILAB_MEMORY_DB_PATH=str(folder / "memory.db"),
        OPENAI_BASE_URL=upstream.base_url,
        OPENAI_MODEL="test-model",
        ILAB_CHAT_AUTH="tokens",
        ILAB_CHAT_AUTH_TOKENS_FILE=str(tokens),
    ) as server:
        yield server
        assert server.stop() == 0


def flood(address: str, source: str, call: Callable[[int], bytes]) -> None:
    """Begin calls on one connection until the server ends it.

    Raises:
        TimeoutError: the server does not end it.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), source_address=(source, 0)) as connection:
        connection.setblocking(False)
        streams = count(1, 2)
        rest = memoryview(http2.OPENING + frame(http2.SETTINGS, 1, 0))
        until = time.monotonic() + http2.END_SECONDS
        with suppress(ConnectionError):
            while True:
                if time.monotonic() > until:
                    raise TimeoutError
                readable, writable, _ = select.select([connection], [connection], [], 1)
                if readable and not connection.recv(65_536):
                    return
                if writable:
                    rest = rest[connection.send(rest) :]
                    rest = rest or memoryview(b"".join(call(next(streams)) for _ in range(100)))


def chats(address: str, done: threading.Event) -> int:
    """Chat with valid credentials until *done*, each time on a new connection too; return how often it was answered."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    request = chat_pb2.ChatRequest(user_id="alice", message="Hi", memory_mode=chat_pb2.MEMORY_MODE_OFF)
    answered = 0
    with grpc.insecure_channel(address, own) as kept:
        while not done.wait(PAUSE_SECONDS):
            with grpc.insecure_channel(address, own) as new:
                for channel in (kept, new):
                    stub = chat_pb2_grpc.ChatServiceStub(channel)
                    assert stub.Chat(request, metadata=CREDENTIALS, timeout=60).reply == "Hello there."
                health: Any = health_pb2_grpc.HealthStub(new)
                assert health.Check(health_pb2.HealthCheckRequest(), timeout=60).status == 1
            answered += 1
    return answered


def test_floods_without_credentials_are_ended_while_others_are_answered(tmp_path: Path, upstream: Upstream) -> None:
    floods = [*((form, "127.0.0.1") for form in FORMS), ("calls", "127.0.0.2"), ("calls that are reset", "127.0.0.2")]
    # At once, because each waits until the server ends its connections, some seconds after it cut them.
    with ThreadPoolExecutor(len(floods)) as threads:
        futures = {
            each: threads.submit(check_flood, tmp_path / str(number), upstream, *each)
            for number, each in enumerate(floods)
        }
    assert {each: error for each, future in futures.items() if (error := future.exception())} == {}


def check_flood(folder: Path, upstream: Upstream, form: str, source: str) -> None:
    """Flood a server of its own from two connections, while another caller chats."""
    done = threading.Event()
    with serving(folder, upstream) as server, ThreadPoolExecutor(CONNECTIONS + 1) as threads:
        others = threads.submit(chats, server.address, done)
        try:
            for each in [threads.submit(flood, server.address, source, FORMS[form]) for _ in range(CONNECTIONS)]:
                each.result()
        finally:
            done.set()
        assert others.result()
        # Of a flood, only the first calls have a line in the log.
        assert len(server.log) < 10_000
        assert "connections that ended too many calls without valid credentials" in "".join(server.log)


def test_refused_call_costs_a_fraction_of_a_chat(tmp_path: Path, upstream: Upstream) -> None:
    calls = 150
    with serving(tmp_path / "server", upstream) as server, grpc.insecure_channel(server.address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        request = chat_pb2.ChatRequest(user_id="alice", message="Hi", memory_mode=chat_pb2.MEMORY_MODE_OFF)

        def cpu(metadata: tuple[tuple[str, str], ...], code: grpc.StatusCode) -> int:
            before = used(server.process.pid)
            for _ in range(calls):
                call: Any = stub.Chat.future(request, metadata=metadata)
                assert call.code() is code
            return used(server.process.pid) - before

        answered = cpu(CREDENTIALS, grpc.StatusCode.OK)
        assert cpu((), grpc.StatusCode.UNAUTHENTICATED) < answered / 2


def used(process: int) -> int:
    """Return the CPU time of a process, in nanoseconds."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads)
