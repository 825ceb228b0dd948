"""HTTP/2 by hand (RFC 9113), because a library sends nothing that is wrong; and gRPC's framing in it."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4

#: How long the server may take to end what is wrong, in seconds: long, because the machine may be busy.
END_SECONDS = 30.0

Pairs = Sequence[tuple[bytes, bytes]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """Return a frame; *length*: what its header says instead of the truth."""
    size = len(payload) if length is None else length
    return struct.pack("!I", size)[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def hpack(pairs: Pairs) -> bytes:
    """Return a header block with each field as a literal that is never indexed (RFC 7541, 6.2.3)."""
    return b"".join(b"\x10" + string(name) + string(value) for name, value in pairs)


def string(text: bytes) -> bytes:
    """Return a string without Huffman coding (RFC 7541, 5.2)."""
    return integer(len(text)) + text


def integer(value: int, prefix: int = 7) -> bytes:
    """Return an integer (RFC 7541, 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([value])
    coded, value = bytearray([most]), value - most
    while value >= 128:
        coded.append(value % 128 + 128)
        value //= 128
    return bytes(coded + bytes([value]))


#: No dynamic table for what the server sends, so that `status_in` can read it.
SETTINGS_FRAME = frame(SETTINGS, 0, 0, struct.pack("!HI", 1, 0))


def window(size: int) -> bytes:
    """Return settings with this initial window, and no dynamic table."""
    return frame(SETTINGS, 0, 0, struct.pack("!HIHI", 1, 0, 4, size))


#: The first bytes of a client.
OPENING = PREFACE + SETTINGS_FRAME


def fields(path: str, content_type: bytes = b"application/grpc", *more: tuple[bytes, bytes]) -> Pairs:
    """Return the header fields of a gRPC request."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"content-type", content_type),
        (b"te", b"trailers"),
        *more,
    ]


def message(data: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """Return a gRPC message as sent in DATA frames; *length* replaces the true length in its prefix."""
    return struct.pack("!BI", compressed, len(data) if length is None else length) + data


def request(pairs: Pairs, body: bytes, stream: int = 1) -> bytes:
    """Return the frames of a request: its header, and its body with the end of the stream."""
    head = frame(HEADERS, END_HEADERS, stream, hpack(pairs))
    parts = [body[start : start + 16_384] for start in range(0, len(body), 16_384)] or [b""]
    return head + b"".join(frame(DATA, END_STREAM if part is parts[-1] else 0, stream, part) for part in parts)


def status_in(received: bytes) -> int | None:
    """Return the first grpc-status in what the server sent, or None if it sent no status."""
    found = re.search(rb"grpc-status(?:\x01(\d)|\x02(\d\d))", received)
    return int(found[1] or found[2]) if found else None


class Connection:
    """A TCP connection to a server, for as long as the block."""

    def __init__(self, address: str, source: str = "") -> None:
        """Connect, from the address *source* if there is one."""
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), END_SECONDS, (source, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, pieces: Iterable[bytes]) -> None:
        """Send one piece after the other, as far as the server takes them."""
        with suppress(ConnectionError):
            for piece in pieces:
                self._socket.sendall(piece)

    def until_closed(self) -> bytes:
        """Send no more, and return what the server sends until it closes.

        Raises:
            TimeoutError: it does not.
        """
        received = b""
        with suppress(ConnectionError, OSError):
            self._socket.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := self._socket.recv(65_536):
                received += piece
        return received

    def hung_up(self) -> None:
        """Wait until the server closes, which it has to do by itself.

        Raises:
            TimeoutError: it does not.
        """
        with suppress(ConnectionError):
            while self._socket.recv(65_536):
                pass

    def more(self) -> bytes:
        """Return what the server sends next, which may end within a frame.

        Raises:
            TimeoutError: nothing comes.
        """
        return self._socket.recv(65_536)

    def until(self, *kinds: int) -> bytes:
        """Return what the server sends until a frame of one of these kinds has come, or it closes.

        Raises:
            TimeoutError: it does neither.
        """
        received = b""
        with suppress(ConnectionError):
            while piece := self._socket.recv(65_536):
                received += piece
                if set(kinds) & set(kinds_in(received)):
                    break
        return received

    def status(self) -> int | None:
        """Return the status of the one request; None: the server ends the stream or the connection without any.

        Raises:
            TimeoutError: it does neither.
        """
        received = b""
        with suppress(ConnectionError):
            while piece := self._socket.recv(65_536):
                received += piece
                kinds = list(kinds_in(received))
                if status_in(received) is not None or RST_STREAM in kinds or GOAWAY in kinds:
                    break
        return status_in(received)


def kinds_in(received: bytes) -> Iterable[int]:
    """Yield the kind of each whole frame."""
    at = 0
    while at + 9 <= len(received):
        size = int.from_bytes(received[at : at + 3], "big")
        if at + 9 + size <= len(received):
            yield received[at + 3]
        at += 9 + size
