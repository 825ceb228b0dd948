"""A bounded set of open calls in which the newest always finds a place.

For calls that ask for no credentials. A limit that refuses the newest would let one stranger lock everybody out, so the
oldest call of the peer that has the most is ended instead.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bits of an IPv6 address that name a host's network: one host has all addresses of it (RFC 4291, section 2.5.1).
IPV6_NETWORK_BITS = 64


class OpenCalls:
    """The open calls, by host and connection. All limits are of one process.

    Args:
        in_all: maximum number of calls.
        per_host: maximum number of calls of one host.
        per_connection: maximum number of calls of one connection.
    """

    def __init__(self, *, in_all: int, per_host: int, per_connection: int) -> None:
        self.in_all = in_all
        self.per_host = per_host
        self.per_connection = per_connection
        #: By connection and host, in order of their begin, as dictionaries are.
        self._hosts: dict[str, dict[str, dict[OpenCall, None]]] = {}
        self._of_host: Counter[str] = Counter()
        self._calls = 0

    def enter(self, peer: str) -> OpenCall:
        """Return the call of the current task, for the block in which it is open.

        Args:
            peer: the connection, as gRPC names it.
        """
        return OpenCall(self, peer)

    def tasks(self) -> Iterator[asyncio.Task[object]]:
        """Yield the task of each call."""
        for connections in self._hosts.values():
            for calls in connections.values():
                for call in calls:
                    yield call.task

    def add(self, call: OpenCall) -> None:
        """Add *call*, after ending others where there is a limit in its way."""
        while victim := self._in_the_way(call):
            call.is_crowded |= self._of_connection(victim) <= self._of_connection(call) + 1
            victim.give_way()
            self.remove(victim)
        self._hosts.setdefault(call.host, {}).setdefault(call.peer, {})[call] = None
        self._of_host[call.host] += 1
        self._calls += 1

    def remove(self, call: OpenCall) -> None:
        """Remove *call*, if it is there."""
        connections = self._hosts.get(call.host, {})
        own = connections.get(call.peer, {})
        if call not in own:
            return
        del own[call]
        self._of_host[call.host] -= 1
        self._calls -= 1
        if not own:
            del connections[call.peer]
        if not connections:
            del self._hosts[call.host], self._of_host[call.host]

    def _in_the_way(self, call: OpenCall) -> OpenCall | None:
        """Return the call that has to end before *call* begins, None if there is room."""
        if self._of_connection(call) >= self.per_connection:
            return next(iter(self._hosts[call.host][call.peer]))
        if self._of_host[call.host] >= self.per_host:
            return oldest_of_the_most(self._hosts[call.host])
        if self._calls >= self.in_all:
            return oldest_of_the_most(self._hosts[max(self._of_host, key=self._of_host.__getitem__)])
        return None

    def _of_connection(self, call: OpenCall) -> int:
        """Return the number of calls of the connection of *call*."""
        return len(self._hosts.get(call.host, {}).get(call.peer, ()))


class OpenCall:
    """What `OpenCalls.enter` returns."""

    __slots__ = ("_calls", "gave_way", "host", "is_crowded", "peer", "task")

    def __init__(self, calls: OpenCalls, peer: str) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101 - a handler runs in one
        self._calls = calls
        self.peer = peer
        self.host = host_of(peer)
        self.task = task
        self.gave_way = False
        #: The call that gave way to this one was of a connection that had no more calls than this one's.
        self.is_crowded = False

    def __enter__(self) -> Self:
        self._calls.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.remove(self)

    def give_way(self) -> None:
        """Cancel the task; `gave_way` tells it why."""
        self.gave_way = True
        self.task.cancel()


def oldest_of_the_most(connections: dict[str, dict[OpenCall, None]]) -> OpenCall:
    """Return the oldest call of the connection that has the most."""
    most: dict[OpenCall, None] = max(connections.values(), key=len)
    return next(iter(most))


def host_of(peer: str) -> str:
    """Return the host of a peer, as `ipv4:192.0.2.1:50000` and `ipv6:%5B2001:db8::1%5D:50000` name them.

    For IPv6 it is the network of the address.
    """
    family, _, rest = peer.partition(":")
    host = unquote(rest).rpartition(":")[0]
    if family == "ipv6":
        with suppress(ValueError):
            address = ipaddress.IPv6Address(host.strip("[]").partition("%")[0])
            return str(address.ipv4_mapped or ipaddress.ip_network((address, IPV6_NETWORK_BITS), strict=False))
    return host or peer
