"""The connections under the calls, and how they end."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where Linux and macOS list the open descriptors of the process.
DESCRIPTORS = Path("/dev/fd")


def hang_up(place: int | str) -> None:
    """Close the TCP port or the Unix domain socket *place* of this process and every connection to it, under gRPC.

    gRPC's own stop ends a call that is on its way then as CANCELLED, which says that the caller cancelled it
    (https://github.com/grpc/grpc/issues/41785). A lost connection is UNAVAILABLE, which callers may repeat. Data
    that was sent still arrives. Where descriptors are not listed, it does nothing.
    """
    for connection in sockets(place):
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def sockets(place: int | str) -> Iterator[socket.socket]:
    """Yield a duplicate of each socket of this process whose own port or path is *place*, the listening ones first."""
    with ExitStack() as duplicates:
        found = []
        for number in descriptors():
            # Another thread may close it at any time.
            with suppress(OSError):
                found.append(duplicates.enter_context(socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM)))
        for each in sorted(found, key=is_listening, reverse=True):
            with suppress(OSError, IndexError, TypeError):  # of other kinds of sockets
                # The kernel names it by its real family: a path for a Unix domain socket, else host and port.
                name = each.getsockname()
                if place == (name if isinstance(name, str) else name[1]):
                    yield each


def descriptors() -> Iterator[int]:
    """Yield the numbers of this process's sockets."""
    with suppress(FileNotFoundError):
        for entry in DESCRIPTORS.iterdir():
            with suppress(OSError):
                if entry.is_socket():
                    yield int(entry.name)


def is_listening(each: socket.socket) -> bool:
    """Whether it accepts connections."""
    with suppress(OSError):
        return bool(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return False
