"""Closes connections that send more than any caller does, before gRPC has put it into memory.

gRPC's core reads as much at once as a connection has sent without a pause, without a limit: `target_length_` in
https://github.com/grpc/grpc/blob/master/src/core/lib/event_engine/posix_engine/posix_endpoint.cc. Only a resource quota
would bound it, which Python cannot set. Messages are held back by flow control; frames without one (CONTINUATION,
PRIORITY, PING, SETTINGS) are not, and need no credentials.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
import struct
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from ilab_chat_service.rpc.open_calls import host_of
from ilab_chat_service.rpc.transport import is_listening, sockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    Peer: TypeAlias = tuple[str, int]

log = logging.getLogger(__name__)

#: What the kernel stores of a connection that gRPC has not read, in bytes; Linux doubles it. By default it is up to
#: `tcp_rmem`, which is 6 MiB and more.
RECEIVE_BUFFER = 64 * 1024

#: Maximum bytes per second that one host may send, beyond a burst. It is several times what a process can store.
BYTES_PER_SECOND = 32 * 1024 * 1024
BURST_BYTES = 48 * 1024 * 1024

#: Seconds between two looks at the connections, and the share of a processor that looking may take.
LOOK_SECONDS = 0.1
LOOK_SHARE = 0.05

#: tcpi_bytes_received of struct tcp_info, which Linux only adds to (include/uapi/linux/tcp.h).
RECEIVED = struct.Struct("@128xQ")


@asynccontextmanager
async def flood_guard(port: int) -> AsyncIterator[None]:
    """Close floods on connections to *port* while the block runs. Where TCP_INFO is not Linux's, do nothing."""
    if not hasattr(socket, "TCP_INFO") or not hasattr(socket, "SO_ACCEPTCONN"):
        yield
        return
    await asyncio.to_thread(bound_buffers, port)
    guard = asyncio.create_task(watch(FloodGuard(port)))
    try:
        yield
    finally:
        guard.cancel()
        await asyncio.wait([guard])


def bound_buffers(port: int) -> None:
    """Bound the receive buffers of connections that will be accepted; they inherit it from the listening socket."""
    for each in sockets(port):
        if is_listening(each):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


async def watch(guard: FloodGuard) -> None:
    """Look again and again."""
    while True:
        began = time.monotonic()
        await asyncio.to_thread(guard.look)
        await asyncio.sleep(max(LOOK_SECONDS, (time.monotonic() - began) / LOOK_SHARE))


class FloodGuard:
    """Knows how much each connection to a port has sent."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._received: dict[Peer, int] = {}
        #: What each host has sent beyond its rate.
        self._beyond: dict[str, float] = {}
        self._looked = time.monotonic()
        self._has_closed = False

    def look(self) -> None:
        """Close the connections that have sent the most, of each host that has used up its burst."""
        now = time.monotonic()
        allowed = BYTES_PER_SECOND * (now - self._looked)
        self._looked = now
        if self._has_closed:
            self._has_closed = False
            give_memory_back()
        before, self._received = self._received, {}
        hosts: dict[str, list[tuple[int, Peer]]] = {host: [] for host in self._beyond}
        for peer, received, _ in connections(self._port):
            self._received[peer] = received
            hosts.setdefault(peer[0], []).append((received - before.get(peer, 0), peer))
        floods: set[Peer] = set()
        for host, sent in hosts.items():
            level = self._beyond.pop(host, 0) + sum(count for count, _ in sent) - allowed
            if level > BURST_BYTES:
                floods.update(heaviest(sent, allowed))
            if level > 0:
                # A host that connects again has no new burst.
                self._beyond[host] = min(level, BURST_BYTES)
        if floods:
            self._close(floods)

    def _close(self, floods: set[Peer]) -> None:
        for peer, _, connection in connections(self._port):
            if peer in floods:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._has_closed = True
        log.warning(
            "closed connections: %d, of hosts that sent more than %d MiB/s", len(floods), BYTES_PER_SECOND >> 20
        )


def heaviest(sent: list[tuple[int, Peer]], allowed: float) -> Iterator[Peer]:
    """Yield the connections that sent the most, until the others together have sent at most *allowed*."""
    total = sum(count for count, _ in sent)
    for count, peer in sorted(sent, reverse=True):
        if total <= allowed:
            return
        total -= count
        yield peer


def connections(port: int) -> Iterator[tuple[Peer, int, socket.socket]]:
    """Yield each connection to *port*: its host and port, how many bytes it has sent, and its socket."""
    for each in sockets(port):
        with suppress(OSError, struct.error):
            host, number, *_ = each.getpeername()
            [received] = RECEIVED.unpack_from(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RECEIVED.size))
            family = "ipv6" if ":" in host else "ipv4"
            yield (host_of(f"{family}:[{host}]:0"), number), received, each


def give_memory_back() -> None:
    """Return memory that is free to the system, where the C library is glibc."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
