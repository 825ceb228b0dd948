"""Bodies that are encoded although identity was asked for, as some gateways send them: decoded in bounded pieces."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Maximum number of bytes that are decoded at once. 10 MB of gzip can expand to 10 GB.
PIECE_BYTES = 64 * 1024

#: What zlib decodes, by the names of RFC 9110, section 8.4.1. Not `br` and `zstd`, which need packages, and not several
#: encodings on top of each other, which multiply what a byte can expand to.
ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})

#: Of zlib: the format of gzip or its own, told apart by their headers.
ANY_HEADER = 47


class UndecodableBody(Exception):
    """The body has an encoding that was not asked for, and is not decoded or not valid."""


class Decoder:
    """Decodes the received parts of a body.

    Args:
        receive: waits for the next bytes of the body and returns them; at the end, none.
        encoding: the response's `Content-Encoding`, in lower case.
    """

    def __init__(self, receive: Callable[[], Awaitable[bytes]], encoding: str) -> None:
        self._receive = receive
        self._inflate = inflater(encoding)
        self._rest = b""
        #: There may be more to decode of what was received.
        self._more = False

    async def receive(self) -> bytes:
        """Return the next bytes, at most PIECE_BYTES; at the end, none.

        Raises:
            UndecodableBody: the body is not valid, or its encoding is not one of ENCODINGS.
        """
        if self._inflate is None:
            raise UndecodableBody
        while not self._inflate.eof:
            if self._more:
                # Other tasks run between two pieces that need no network.
                await asyncio.sleep(0)
            elif not (received := await self._receive()):
                break
            else:
                self._rest = received
            if piece := self._decode(self._inflate):
                return piece
        # Whatever follows the encoded body is not part of it.
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
    """Return at most *size* decoded bytes of a body; none if it cannot be decoded."""
    if (inflate := inflater(encoding)) is None:
        return b""
    try:
        return inflate.decompress(content, size)
    except zlib.error:
        return b""
