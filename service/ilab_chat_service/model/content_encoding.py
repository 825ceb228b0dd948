"""Decode compressed bodies in bounded pieces. We request identity, but some gateways compress anyway."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Maximum number of bytes that are decoded at once. 10 MB of gzip can expand to 10 GB.
PIECE_BYTES = 64 * 1024

#: Encodings that zlib decodes, by their names in RFC 9110, section 8.4.1. Excluded are `br` and `zstd`, which need
#: packages, and nested encodings, which multiply the expansion.
ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})

#: zlib's `wbits` for detecting gzip or zlib format by the header.
ANY_HEADER = 47


class UndecodableBody(Exception):
    """The body has an unsupported encoding, or is invalid."""


class Decoder:
    """Decodes a body while it is received.

    Args:
        receive: waits for the next bytes of the body and returns them, or nothing at the end.
        encoding: the response's `Content-Encoding`, in lower case.
    """

    def __init__(self, receive: Callable[[], Awaitable[bytes]], encoding: str) -> None:
        self._receive = receive
        self._inflate = inflater(encoding)
        self._rest = b""
        #: More of the received bytes may be left to decode.
        self._more = False

    async def receive(self) -> bytes:
        """Return the next decoded bytes, at most PIECE_BYTES. Empty: the end.

        Raises:
            UndecodableBody: the body is invalid, or its encoding is not one of ENCODINGS.
        """
        if self._inflate is None:
            raise UndecodableBody
        while not self._inflate.eof:
            if self._more:
                # Decoding does not suspend, so let other tasks run.
                await asyncio.sleep(0)
            elif not (received := await self._receive()):
                break
            else:
                self._rest = received
            if piece := self._decode(self._inflate):
                return piece
        # Ignore bytes after the encoded body.
        return b""

    def _decode(self, inflate: zlib._Decompress) -> bytes:
        try:
            piece = inflate.decompress(self._rest, PIECE_BYTES)
        except zlib.error as error:
            raise UndecodableBody from error
        self._rest = inflate.unconsumed_tail
        self._more = bool(self._rest) or len(piece) == PIECE_BYTES
        return piece


def inflater(encoding: str) -> zlib._Decompress | None:
    """Return a decompressor for *encoding*. None: it is not one of ENCODINGS."""
    return zlib.decompressobj(ANY_HEADER) if encoding in ENCODINGS else None


def beginning(content: bytes, encoding: str, size: int) -> bytes:
    """Return at most *size* decoded bytes of a body. Empty: it cannot be decoded."""
    if (inflate := inflater(encoding)) is None:
        return b""
    try:
        return inflate.decompress(content, size)
    except zlib.error:
        return b""
