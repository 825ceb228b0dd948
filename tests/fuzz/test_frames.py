"""Anything at all on the connection, below gRPC: it ends, and nobody else notices."""

from __future__ import annotations

import random
import struct
from contextlib import ExitStack

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import http2
from fuzz.http2 import Connection, frame, message
from fuzz.messages import unknown_field
from fuzz.target import MARK, Target

STREAM_CHAT = "/ilab_chat.v1.ChatService/StreamChat"
SAID = unknown_field(1, MARK.encode()) + unknown_field(2, MARK.encode())
USUAL = http2.fields(STREAM_CHAT)
REQUEST = http2.request(USUAL, message(SAID))

UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]

marked = st.builds(
    lambda before, after: before + MARK.encode() + after, st.binary(max_size=100), st.binary(max_size=100)
)


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


def test_undecodable_method_name_is_unimplemented(target: Target) -> None:
    pairs = [
        (b":path", b"/ilab_chat.v1.ChatService/\xff") if name == b":path" else (name, value) for name, value in USUAL
    ]
    assert asked(target, http2.OPENING, http2.request(pairs, message(SAID))) == UNIMPLEMENTED


def test_undecodable_header_is_not_logged(target: Target) -> None:
    request = http2.request([*USUAL, (b"authorization", b"Bearer \xff" + MARK.encode())], message(SAID))
    assert asked(target, http2.OPENING, request) == 0


@settings(deadline=None)
@given(garbage=marked, preface=st.sampled_from([0, 1, 12, len(http2.PREFACE)]))
def test_garbage_before_the_preface_and_in_it(target: Target, garbage: bytes, preface: int) -> None:
    talk(target, http2.PREFACE[:preface], garbage, http2.OPENING, REQUEST)


@pytest.mark.parametrize(
    "greeting", [b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03%s"]
)
def test_other_protocols_are_hung_up_on(target: Target, greeting: bytes) -> None:
    with Connection(target.address) as connection:
        connection.send([greeting % MARK.encode()])
        connection.hung_up()
    target.check()


@settings(deadline=None)
@given(end=st.integers(0, len(http2.OPENING + REQUEST) - 1))
def test_a_request_that_is_cut_anywhere(target: Target, end: int) -> None:
    talk(target, (http2.OPENING + REQUEST)[:end])


@settings(deadline=None)
@given(cuts=st.sets(st.integers(0, len(http2.OPENING + REQUEST))))
def test_a_request_in_pieces_of_any_size_is_answered(target: Target, cuts: set[int]) -> None:
    sent = http2.OPENING + REQUEST
    ends = [*sorted(cuts), len(sent)]
    assert asked(target, *(sent[start:end] for start, end in zip([0, *ends], ends, strict=False))) == 0


@settings(deadline=None)
@given(at=st.integers(0, len(REQUEST) - 1), garbage=st.binary(min_size=1, max_size=8))
def test_a_request_with_garbage_in_it(target: Target, at: int, garbage: bytes) -> None:
    talk(target, http2.OPENING, REQUEST[:at] + garbage + REQUEST[at + len(garbage) :])


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Return a frame of any kind, with a length that may be a lie."""
    payload = draw(marked | st.just(http2.hpack(USUAL)))
    length = draw(st.none() | st.sampled_from([0, 1, 5, 16_384, 16_385, 2**24 - 1]))
    stream = draw(st.sampled_from([0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 1]))
    return frame(draw(st.integers(0, 12) | st.just(255)), draw(st.integers(0, 255)), stream, payload, length)


@settings(deadline=None)
@given(sent=st.lists(frames() | st.just(REQUEST), max_size=12))
def test_frames_in_any_order(target: Target, sent: list[bytes]) -> None:
    talk(target, http2.OPENING, *sent)


#: Mistakes of proxies and clients in the fields of a request.
names = st.sampled_from(
    b":path :method :scheme :authority :status : te content-type content-length connection host A \xff"
    b" grpc-timeout grpc-encoding grpc-accept-encoding grpc-status".split(b" ")
) | st.binary(max_size=20)
odd_values = st.sampled_from(
    [*b"POST GET gzip 1n 99999999H -1S 0 \0 \r\n application/grpc+json".split(b" "), b"", b"a" * 9000]
)


@settings(deadline=None)
@given(
    more=st.lists(st.tuples(names, odd_values | marked), max_size=6),
    kept=st.sets(st.integers(0, 5)),
    first=st.booleans(),
)
def test_header_fields_that_are_wrong(
    target: Target,
    more: list[tuple[bytes, bytes]],
    kept: set[int],
    first: bool,  # noqa: FBT001
) -> None:
    usual = [pair for index, pair in enumerate(USUAL) if index in kept]
    pairs = [*more, *usual] if first else [*usual, *more]
    talk(target, http2.OPENING, http2.request(pairs, message(SAID)))


@settings(deadline=None)
@given(block=marked)
def test_header_blocks_that_are_not_hpack(target: Target, block: bytes) -> None:
    talk(target, http2.OPENING, frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, block))


content_types = st.sampled_from(
    [b"", b"text/plain", b"application/json", b"application/grpc-web", b"application/grpcx"]
)


@settings(deadline=None)
@given(content_type=content_types | marked)
def test_wrong_content_types_are_answered(target: Target, content_type: bytes) -> None:
    assert (
        asked(target, http2.OPENING, http2.request(http2.fields(STREAM_CHAT, content_type), message(SAID))) is not None
    )


lies = st.builds(
    lambda data, compressed, length: message(data, compressed=compressed, length=length),
    marked,
    st.integers(0, 255),
    st.sampled_from([None, 0, 1, 2**20, 2**32 - 1]),
)


@settings(deadline=None)
@given(body=lies | marked)
def test_message_frames_that_lie_are_refused(target: Target, body: bytes) -> None:
    assert asked(target, http2.OPENING, http2.request(USUAL, body)) not in {None, 0}


@pytest.mark.parametrize("flag", [1, 2, 3, 128, 255])
def test_message_with_a_bad_compression_flag_is_refused(target: Target, flag: int) -> None:
    """Also 1, compressed, where the request names no compression: the bytes are then not what they seem."""
    assert asked(target, http2.OPENING, http2.request(USUAL, message(SAID, compressed=flag))) not in {None, 0}


@pytest.mark.parametrize("flag", [2, 255])
def test_refusal_of_a_message_with_an_unknown_compression_flag_names_it(target: Target, flag: int) -> None:
    with Connection(target.address) as connection:
        connection.send([http2.OPENING, http2.request(USUAL, message(SAID, compressed=flag))])
        received = b""
        while b"grpc-message" not in received or http2.status_in(received) is None:
            received += connection.more()
    assert http2.status_in(received) == INVALID_ARGUMENT
    assert b"its compression flag is neither 0 nor 1; user_id: must not be empty" in received


@settings(deadline=None)
@given(more=lies | marked)
def test_bytes_after_the_message_are_refused_or_ignored(target: Target, more: bytes) -> None:
    # gRPC leaves a second message that is cut short.
    assert asked(target, http2.OPENING, http2.request(USUAL, message(SAID) + more)) is not None


def test_unfinished_requests_do_not_delay_other_calls(target: Target) -> None:
    sent = http2.OPENING + REQUEST
    with ExitStack() as slow:
        for end in range(0, len(sent), 3):
            slow.enter_context(Connection(target.address)).send([sent[:end]])
        target.check()


FLOODS = {
    "settings": http2.SETTINGS_FRAME * 20_000,
    "pings": frame(http2.PING, 0, 0, bytes(8)) * 20_000,
    "empty data": frame(http2.HEADERS, http2.END_HEADERS, 1, http2.hpack(USUAL)) + frame(http2.DATA, 0, 1) * 50_000,
    "continuations": frame(http2.HEADERS, 0, 1, http2.hpack(USUAL))
    + frame(http2.CONTINUATION, 0, 1, http2.hpack([(b"a", MARK.encode() * 1000)])) * 1000,
    "priorities": frame(http2.PRIORITY, 0, 1, bytes(5)) * 20_000,
    "window updates": frame(http2.WINDOW_UPDATE, 0, 0, struct.pack("!I", 2**31 - 1)) * 1000,
    "resets": b"".join(
        http2.request(USUAL, message(SAID), stream) + frame(http2.RST_STREAM, 0, stream, bytes(4))
        for stream in range(1, 2000, 2)
    ),
    "random": random.Random(1).randbytes(1 << 20),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_floods_of_frames(target: Target, flood: bytes) -> None:
    talk(target, http2.OPENING, flood)
