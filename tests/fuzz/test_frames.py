"""Anything at all on the connection, below gRPC: it ends, and nobody else notices."""

from __future__ import annotations

import grpc

from fuzz import http2
from fuzz.http2 import Connection, message
from fuzz.messages import unknown_field
from fuzz.target import MARK, Target

STREAM_CHAT = "/ilab_chat.v1.ChatService/StreamChat"
SAID = unknown_field(1, MARK.encode()) + unknown_field(2, MARK.encode())
USUAL = http2.fields(STREAM_CHAT)
REQUEST = http2.request(USUAL, message(SAID))

UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]


def talk(target: Target, *pieces: bytes) -> bytes:
    """Send *pieces* and nothing more; return what the server sends until it closes, which it has to."""
    with Connection(target.address) as connection:
        connection.send(pieces)
        received = connection.until_closed()
    target.check()
    return received


def asked(target: Target, *pieces: bytes) -> int | None:
    """Send the frames of one request; return its status."""
    with Connection(target.address) as connection:
        connection.send(pieces)
        status = connection.status()
    target.check()
    return status


def test_these_frames_are_a_request(target: Target) -> None:
    assert asked(target, http2.OPENING, REQUEST) == 0


def test_a_method_name_that_is_no_text_is_a_method_that_does_not_exist(target: Target) -> None:
    pairs = [
        (b":path", b"/ilab_chat.v1.ChatService/\xff") if name == b":path" else (name, value) for name, value in USUAL
    ]
    assert asked(target, http2.OPENING, http2.request(pairs, message(SAID))) == UNIMPLEMENTED


def test_a_header_that_is_no_text_is_not_logged(target: Target) -> None:
    request = http2.request([*USUAL, (b"authorization", b"Bearer \xff" + MARK.encode())], message(SAID))
    assert asked(target, http2.OPENING, request) == 0
