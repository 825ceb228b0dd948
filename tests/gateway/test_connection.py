"""Clients that never end a head, send nothing, send far in advance or do not read: none holds anything for long."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from batch import cases
from http_gateway import Client, gateway, running
from ilab_chat.v1 import chat_pb2
from ilab_chat_gateway import connection
from ilab_chat_gateway.backend import open_backend
from ilab_chat_gateway.settings import Settings

#: Generous: the tests wait for events, and each event comes much sooner.
SECONDS = 60

#: A piece of an endless response, and what the gateway, both sockets and gRPC may take of one that nobody reads.
PIECE_BYTES = 65_536
UNREAD_BYTES = 1024 * 1024


class Echo:
    """An app that answers with the size of the body, and at /endless with a response that does not end."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.app.add_route("/", self.size, ["GET", "POST"])
        self.app.add_route("/parts", self.parts, ["POST"])
        self.app.add_route("/endless", self.endless, ["GET"])
        self.left = asyncio.Event()
        #: Pieces of the endless response so far.
        self.pieces_sent = 0

    async def size(self, request: Request) -> Response:
        return Response(f"{len(await request.body())};")

    async def parts(self, request: Request) -> Response:
        return Response(f"{sum([1 async for part in request.stream() if part])};")

    async def endless(self, _: Request) -> Response:
        return StreamingResponse(self.pieces())

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(PIECE_BYTES)
                self.pieces_sent += 1
                await asyncio.sleep(0)
        finally:
            self.left.set()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def web(echo: Echo) -> AsyncIterator[Client]:
    async with running(echo.app) as client:
        yield client


async def opened(web: Client) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*web.address.split(":"))


@contextmanager
def server_end(client: asyncio.StreamWriter) -> Iterator[socket.socket]:
    """Yield the other end of a connection, which is in this process too."""
    for path in Path("/proc/self/fd").iterdir():
        if not (path.is_symlink() and str(path.readlink()).startswith("socket:")):
            continue
        with socket.socket(fileno=os.dup(int(path.name))) as end, suppress(OSError):
            if end.getpeername() == client.get_extra_info("sockname"):
                yield end
                return
    raise AssertionError("no socket of this process is connected to it")


@pytest.mark.parametrize("line", [30_000 * "x", "x-1: " + 2_000 * "y" + "\r\n"], ids=["one field", "many fields"])
async def test_head_over_the_limit_is_refused_while_it_arrives(web: Client, line: str) -> None:
    reader, writer = await opened(web)
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-0: ")
    for _ in range(1 + connection.HEAD_BYTES // len(line)):
        writer.write(line.encode())
        await writer.drain()
    assert await asyncio.wait_for(reader.readline(), SECONDS) == b"HTTP/1.1 400 Bad Request\r\n"
    assert (await asyncio.wait_for(reader.read(), SECONDS)).endswith(b"The head of the request exceeds 65536 bytes.")
    writer.close()


async def test_head_after_a_large_body_is_not_mistaken_for_a_large_head(web: Client) -> None:
    reader, writer = await opened(web)
    head = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n"
    writer.write(
        3 * (head.encode() + bytes(200_000)) + b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    answers = await asyncio.wait_for(reader.read(), SECONDS)
    assert answers.count(b"\r\n\r\n200000;") == 3
    assert answers.endswith(b"\r\n\r\n0;")
    writer.close()


@pytest.mark.parametrize("part", [b"", b"GET / HTTP/1.1\r\nhost: loc", b"POST / HTTP/1.1\r\nhost: localhost\r\n"])
async def test_head_that_does_not_end_closes_the_connection(
    web: Client, monkeypatch: pytest.MonkeyPatch, part: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
    reader, writer = await opened(web)
    writer.write(part)
    assert await asyncio.wait_for(reader.read(), SECONDS) == b""
    writer.close()


async def test_no_part_of_a_response_waits_for_an_acknowledgement(web: Client) -> None:
    reader, writer = await opened(web)
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"0;"), SECONDS)
    with server_end(writer) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()


async def test_second_head_that_does_not_end_closes_the_connection(
    web: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await opened(web)
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"0;"), SECONDS)).startswith(b"HTTP/1.1 200 OK\r\n")
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
    writer.write(b"GET / HTTP/1.1\r\nhost: loc")
    assert await asyncio.wait_for(reader.read(), SECONDS) == b""
    writer.close()


async def test_response_that_is_not_read_is_ended(web: Client, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TAKE_SECONDS", 0.1)
    reader, writer = await opened(web)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await asyncio.wait_for(echo.left.wait(), SECONDS)
    writer.close()
    assert echo.pieces_sent * PIECE_BYTES < UNREAD_BYTES


async def test_little_of_an_answer_that_nobody_reads_comes_from_the_server() -> None:
    written = 0

    async def answer(_: bytes, context: Any) -> None:
        nonlocal written
        piece = chat_pb2.StreamChatResponse(text_delta=chat_pb2.TextDelta(text="x" * PIECE_BYTES)).SerializeToString()
        while True:
            await context.write(piece)
            written += 1

    server = grpc.aio.server()
    method: Any = grpc.unary_stream_rpc_method_handler(answer)
    server.add_registered_method_handlers("ilab_chat.v1.ChatService", {"StreamChat": method})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_backend(Settings(target=f"127.0.0.1:{port}")) as backend:
        async with backend.stream_chat(chat_pb2.StreamChatRequest(), ()) as stream:
            await anext(stream)
            before = 0
            while written > before:
                before = written
                for _ in range(100):
                    # A turn around the same connection: there is no such method.
                    assert not await backend.is_serving()
        assert written * PIECE_BYTES < UNREAD_BYTES
    await server.stop(0)


async def test_response_that_is_read_is_not_ended(web: Client, echo: Echo) -> None:
    reader, writer = await opened(web)
    writer.write(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n")
    for _ in range(400):
        await asyncio.wait_for(reader.readexactly(65_536), SECONDS)
    assert not echo.left.is_set()
    writer.close()
    await asyncio.wait_for(echo.left.wait(), SECONDS)


#: Nothing listens there: these requests do not get as far.
TARGET = "127.0.0.1:1"
START = b"POST /chat HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = START + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
PART = 64 * 1024
#: More than the buffers of both sockets take.
MOST_PARTS = 1024
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=SECONDS)


def parts_taken(address: str, begin: bytes, part: bytes) -> int:
    """Return how often *part* is taken after *begin*, before the gateway ends the connection."""
    taken = 0
    with connected(address) as client, suppress(ConnectionError):
        client.sendall(begin)
        while taken < MOST_PARTS:
            client.sendall(part)
            taken += 1
    return taken


def answered(address: str, sent: bytes) -> bytes:
    """Return everything that the gateway answers to *sent* until it ends the connection."""
    received = b""
    with connected(address) as client:
        client.sendall(sent)
        with suppress(ConnectionError):
            while part := client.recv(PART):
                received += part
    return received


@cases(
    ("begin", "part"),
    [
        (START, b"x: y\r\n" * (PART // 6)),
        (START, (b"x: " + b"y" * 1000 + b"\r\n") * 64),
        (START + b"x: ", b"y" * PART),
        (START, b"y" * PART),
        (b"GET /", b"y" * PART),
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"x: y\r\n" * (PART // 6)),
        (CHUNKED + b"2\r\n{}\r\n0\r\nx: ", b"y" * PART),
        (CHUNKED + b"2;", b"y" * PART),
    ],
)
async def test_a_head_without_end_ends_the_connection(begin: bytes, part: bytes) -> None:
    async with gateway(TARGET) as client:
        assert await asyncio.to_thread(parts_taken, client.address, begin, part) < MOST_PARTS
        assert (await client.get("/livez")).status == 200


async def test_many_fields_in_one_packet_are_refused() -> None:
    async with gateway(TARGET) as client:
        head = START + b"a:\r\n" * (connection.HEAD_FIELDS + 1) + b"\r\n"
        assert (await asyncio.to_thread(answered, client.address, head)).startswith(b"HTTP/1.1 400 ")


async def test_requests_far_in_advance_of_their_responses_end_the_connection() -> None:
    async with gateway(TARGET) as client:
        received = await asyncio.to_thread(answered, client.address, LIVE * 10_000)
    assert received.count(b"HTTP/1.1 ") <= 2 * connection.PIPELINED
    assert b"HTTP/1.1 400 " in received


async def test_some_requests_in_advance_are_answered_in_order() -> None:
    last = LIVE.replace(b"Host", b"Connection: close\r\nHost")
    async with gateway(TARGET) as client:
        received = await asyncio.to_thread(answered, client.address, LIVE * connection.PIPELINED + last)
    assert received.count(b"HTTP/1.1 200 ") == connection.PIPELINED + 1


@cases(("size", "pause", "most"), [(1, 0.5, 20), (600, 0.5, 200), (1, 0.0, 200)])
async def test_a_body_in_very_small_parts_is_read_in_fewer(
    web: Client, monkeypatch: pytest.MonkeyPatch, size: int, pause: float, most: int
) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", pause)
    monkeypatch.setattr(connection, "LONGEST_PAUSE_SECONDS", pause)
    reader, writer = await opened(web)
    writer.write(b"POST /parts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        writer.write(b"%x\r\n%s\r\n" % (size, b"x" * size))
        await writer.drain()
        # The gateway reads in this time.
        await asyncio.sleep(0.002)
    writer.write(b"0\r\n\r\n")
    parts = int((await asyncio.wait_for(reader.readuntil(b";"), SECONDS)).rpartition(b"\n")[2][:-1])
    assert (parts <= 20) == (most == 20)
    writer.close()
