"""The connections under the calls, and how they end."""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
import struct
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    #: Address, without the zone of IPv6, and port.
    Endpoint: TypeAlias = tuple[str, int]

#: Where Linux and macOS list the open descriptors of the process.
DESCRIPTORS = Path("/dev/fd")

#: Options of Linux for a filter of what arrives on a socket, and the instruction of one that drops everything.
#: https://www.kernel.org/doc/html/latest/networking/filter.html
ATTACH_FILTER, DETACH_FILTER, RETURN = 26, 27, 0x06

#: Length of an IPv6 network prefix: one host can use every address of its network (RFC 4291, section 2.5.1).
IPV6_NETWORK_BITS = 64

#: Bytes that are read at a time to discard them.
RECEIVED_BYTES = 256 * 1024


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


def descriptor_numbers() -> list[int]:
    """Return the numbers of all descriptors of this process, in milliseconds for thousands."""
    with suppress(OSError):
        return [int(name) for name in os.listdir(DESCRIPTORS)]  # noqa: PTH208 - the fastest way
    return []


def connections(numbers: Iterable[int], peers: AbstractSet[Endpoint], port: int) -> list[socket.socket]:
    """Return a duplicate of each connection of *peers* to the TCP port *port* of this process, of those in *numbers*.

    What has arrived on connections that their clients have reset is discarded.
    """
    found = []
    for number in [each for each in numbers if is_one(each, peers)]:
        # The number may be that of another socket by now, because other threads close and open them.
        with suppress(OSError), ExitStack() as stack:
            duplicate = stack.enter_context(socket.fromfd(number, socket.AF_INET6, socket.SOCK_STREAM))
            if duplicate.getsockname()[1] == port and is_one(duplicate.fileno(), peers):
                if is_open(duplicate):
                    found.append(duplicate)
                    stack.pop_all()
                else:
                    discard(duplicate)
    return found


def is_one(number: int, peers: AbstractSet[Endpoint]) -> bool:
    """Return whether a descriptor is that of a connection of *peers*, or of one that has been reset."""
    with suppress(OSError):
        # Of IPv6, so that there is room for either kind of address. The kernel names it by its real family.
        borrowed = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, fileno=number)
        try:
            name = borrowed.getpeername()
            return isinstance(name, tuple) and (plain(name[0]), name[1]) in peers
        except OSError as error:
            return error.errno == errno.ENOTCONN and not is_listening(borrowed)
        finally:
            borrowed.detach()
    return False


def is_open(connection: socket.socket) -> bool:
    """Return whether *connection* has not been reset."""
    with suppress(OSError):
        connection.getpeername()
        return True
    return False


def stall(connection: socket.socket) -> bool:
    """Let nothing more arrive on *connection*, and discard what has. Return whether the system can do that."""
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(struct.pack("=HBBI", RETURN, 0, 0, 0))
    try:
        connection.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
    except OSError:
        return False
    discard(connection)
    return True


def end(connection: socket.socket) -> None:
    """Shut *connection* down, and close this duplicate of it."""
    with connection, suppress(OSError):
        if sys.platform == "linux":
            # Otherwise the kernel would wait for acknowledgements that it drops.
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, DETACH_FILTER, 0)
        connection.shutdown(socket.SHUT_RDWR)
        discard(connection)


def discard(connection: socket.socket) -> None:
    """Discard what has arrived on *connection*, which may be megabytes of calls."""
    # As it is for gRPC.
    connection.setblocking(False)
    with suppress(OSError):
        while connection.recv(RECEIVED_BYTES):
            pass


def endpoint(peer: str) -> Endpoint | None:
    """Return the remote end of a connection that gRPC calls *peer*; None if it is not TCP.

    Such as `ipv4:192.0.2.1:50000` or `ipv6:%5B2001:db8::1%5D:50000`.
    """
    family, _, rest = peer.partition(":")
    host, _, port = unquote(rest).rpartition(":")
    return (plain(host.strip("[]")), int(port)) if family in ("ipv4", "ipv6") else None


def host_of(peer: str) -> str:
    """Return the host of a connection that gRPC calls *peer*: an IPv4 address or an IPv6 network, *peer* if not TCP."""
    if (end := endpoint(peer)) is None:
        return peer
    address, _ = end
    return str(ipaddress.ip_network((address, IPV6_NETWORK_BITS), strict=False)) if ":" in address else address


def plain(address: str) -> str:
    """Return an IP address in one spelling: without a zone, and as IPv4 if it is mapped to IPv6."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or parsed)
