"""Connections to the gateway whose clients do not end what they begin, or send more than they read."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest

from http_gateway import gateway
from ilab_chat_gateway import connection as limits

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
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.settimeout(60)
    return connection


def parts_taken(address: str, begin: bytes, part: bytes) -> int:
    """Return how often *part* is taken after *begin*, before the gateway ends the connection."""
    taken = 0
    with connected(address) as connection, suppress(ConnectionError):
        connection.sendall(begin)
        while taken < MOST_PARTS:
            connection.sendall(part)
            taken += 1
    return taken


def answered(address: str, sent: bytes) -> bytes:
    """Return everything that the gateway answers to *sent* until it ends the connection."""
    received = b""
    with connected(address) as connection:
        connection.sendall(sent)
        with suppress(ConnectionError):
            while part := connection.recv(PART):
                received += part
    return received


@pytest.mark.parametrize(
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
    ids=["fields", "long fields", "a value", "a name", "a path", "trailers", "a trailer", "a chunk extension"],
)
async def test_a_head_without_end_ends_the_connection(begin: bytes, part: bytes) -> None:
    async with gateway(TARGET) as client:
        assert await asyncio.to_thread(parts_taken, client.address, begin, part) < MOST_PARTS
        assert (await client.get("/livez")).status == 200


async def test_many_fields_in_one_packet_are_refused() -> None:
    async with gateway(TARGET) as client:
        head = START + b"a:\r\n" * (limits.HEAD_FIELDS + 1) + b"\r\n"
        assert (await asyncio.to_thread(answered, client.address, head)).startswith(b"HTTP/1.1 400 ")


async def test_requests_far_in_advance_of_their_responses_end_the_connection() -> None:
    async with gateway(TARGET) as client:
        received = await asyncio.to_thread(answered, client.address, LIVE * 10_000)
    assert received.count(b"HTTP/1.1 ") <= 2 * limits.PIPELINED
    assert b"HTTP/1.1 400 " in received


async def test_some_requests_in_advance_are_answered_in_order() -> None:
    last = LIVE.replace(b"Host", b"Connection: close\r\nHost")
    async with gateway(TARGET) as client:
        received = await asyncio.to_thread(answered, client.address, LIVE * limits.PIPELINED + last)
    assert received.count(b"HTTP/1.1 200 ") == limits.PIPELINED + 1


@pytest.mark.parametrize("sent", [b"", START])
async def test_a_connection_without_a_complete_head_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.05)
    async with gateway(TARGET) as client:
        assert await asyncio.to_thread(answered, client.address, sent) == b""
