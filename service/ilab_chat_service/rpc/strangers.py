"""Calls without valid credentials: they wait for each other, and too many of them end their connection.

A connection is known after a call with valid credentials, and its calls begin at once. The calls of other connections,
which include health checks, begin a few at a time, by turns of hosts and connections: so a flood hardly delays the
calls of known connections, and those of new clients by a few turns. A connection that ends too many calls without
valid credentials is cut, because a call that is reset or refused costs the server more than its sender.

A proxy has many callers on one connection. So a connection is not cut for an hour after a call with valid credentials,
and other connections of its host are allowed more calls.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Self, TypeVar

from ilab_chat_service.rpc import transport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    Begin = Callable[[], None]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Calls that a connection may end without valid credentials, and how many of them are forgotten per second. Probes, and
#: clients whose credentials have expired, stay far below.
CALLS, CALLS_PER_SECOND = 200, 20
#: The same for a host. Beyond it, less is allowed to its connections, because a flood may go on over new ones.
HOST_CALLS, HOST_CALLS_PER_SECOND = 500, 100
#: Calls that a connection of such a host may end, and calls that may wait.
CROWDED_CALLS, CROWDED_WAITING = 10, 100
#: Calls that a connection may end if its host, maybe a proxy, has others with valid credentials; and beyond HOST_CALLS.
SHARED_CALLS, CROWDED_SHARED_CALLS = 2_000, 200
#: Time for which valid credentials count.
KNOWN_SECONDS = 3600.0
#: Calls that begin in one turn of the event loop, and the time between two of a host beyond HOST_CALLS.
BEGUN_AT_ONCE, CROWDED_SECONDS = 4, 0.002
#: Calls that wait, beyond which a connection with its share of them gets no more.
WAITING = 2_000
#: Connections and hosts that are remembered.
REMEMBERED = 20_000
#: Time for which a connection that is to be cut stays open, without anything arriving: a client that begins calls in a
#: loop waits, instead of connecting again. And how many such connections there are at most.
STALL_SECONDS, STALLED = 5.0, 100
#: Time between two searches for the sockets of connections, and the part of the event loop's time that they may take.
#: They go on during a flood: connections that their clients have reset may have megabytes of calls to read.
SEARCH_SECONDS, SEARCH_SHARE = 0.05, 0.1
#: Time between two lines in the log.
LOG_SECONDS = 60.0


class Level:
    """A count that falls at a constant rate."""

    __slots__ = ("_at", "_count", "_per_second")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._count = 0.0
        self._at = 0.0

    def add(self, now: float) -> None:
        """Count one more."""
        self._count = self.at(now) + 1
        self._at = now

    def at(self, now: float) -> float:
        """Return the count at the time *now*."""
        return max(0.0, self._count - (now - self._at) * self._per_second)

    def reset(self) -> None:
        """Set the count to 0."""
        self._count = 0.0


class Host:
    """A host, and its connections with calls that wait, in the order of their turns."""

    __slots__ = ("calls", "known_until", "next_turn", "waiting")

    def __init__(self) -> None:
        #: Those that ended without valid credentials.
        self.calls = Level(HOST_CALLS_PER_SECOND)
        self.known_until = 0.0
        self.next_turn = 0.0
        self.waiting: deque[Connection] = deque()

    def is_crowded(self, now: float) -> bool:
        """Return whether it has ended too many calls without valid credentials."""
        return self.calls.at(now) >= HOST_CALLS


class Connection:
    """A connection, and its calls that wait."""

    __slots__ = ("authenticated", "calls", "endpoint", "host", "is_cut", "is_known", "known_until", "peer", "waiting")

    def __init__(self, peer: str, host: Host) -> None:
        self.peer = peer
        self.host = host
        self.endpoint = transport.endpoint(peer)
        #: Those that ended without valid credentials.
        self.calls = Level(CALLS_PER_SECOND)
        #: Number of calls with valid credentials that have not ended.
        self.authenticated = 0
        # Where connections cannot be told from each other, as on a Unix domain socket, all are known.
        self.is_known = self.endpoint is None
        self.known_until = 0.0
        self.is_cut = False
        self.waiting: deque[Begin] = deque()

    def is_flooding(self, now: float) -> bool:
        """Return whether it is to be cut."""
        if self.is_cut or now < self.known_until:
            return False
        ended, is_crowded = self.calls.at(now), self.host.is_crowded(now)
        if now < self.host.known_until:
            return ended >= (CROWDED_SHARED_CALLS if is_crowded else SHARED_CALLS)
        if is_crowded:
            return ended >= CROWDED_CALLS or len(self.waiting) > CROWDED_WAITING
        return ended >= CALLS


class Strangers:
    """The connections of a server, until the end of the block. Not for use by several threads."""

    def __init__(self) -> None:
        self._connections: OrderedDict[str, Connection] = OrderedDict()
        self._hosts: OrderedDict[str, Host] = OrderedDict()
        #: Hosts with calls that wait, in the order of their turns.
        self._turns: deque[Host] = deque()
        self._will_begin = False
        self._waiting = 0
        self._waiting_connections = 0
        self._to_cut: list[Connection] = []
        self._search: asyncio.Task[None] | None = None
        self._searches_until = 0.0
        self._stalled: dict[socket.socket, asyncio.TimerHandle] = {}
        self._logged = 0
        self._next_line = 0.0
        #: Port that the server listens on.
        self.port = 0
        #: Number of connections that were cut.
        self.cut = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._search:
            self._search.cancel()
        for connection in [*self._stalled]:
            self._end(connection)

    def arrived(self, peer: str, begin: Begin) -> None:
        """Begin a call of the connection *peer*, now or later. If it is dropped, gRPC ends it as CANCELLED."""
        connection = self._connection(peer)
        if connection.is_known:
            begin()
        elif not connection.is_cut and self._has_room(connection):
            self._wait(connection, begin)

    def authenticated(self, peer: str) -> None:
        """Note that a call of the connection *peer*, which has not ended, has valid credentials."""
        connection = self._connection(peer)
        connection.authenticated += 1
        connection.calls.reset()
        connection.known_until = connection.host.known_until = asyncio.get_running_loop().time() + KNOWN_SECONDS
        if not connection.is_known and not connection.is_cut:
            connection.is_known = True
            for begin in self._taken(connection):
                begin()

    def ended(self, peer: str) -> None:
        """Note that a call of the connection *peer* has ended."""
        connection = self._connections.get(peer)
        if not connection or not connection.endpoint:
            return
        if connection.authenticated:
            connection.authenticated -= 1
            return
        now = asyncio.get_running_loop().time()
        connection.calls.add(now)
        if not connection.is_known:
            connection.host.calls.add(now)
            self._judge(connection, now)
        elif connection.calls.at(now) >= CALLS:
            # Of a proxy, for instance, with more strangers than callers.
            connection.is_known = False

    def drop(self) -> None:
        """Drop all calls that wait."""
        for connection in [connection for host in self._turns for connection in host.waiting]:
            self._taken(connection).clear()

    def _connection(self, peer: str) -> Connection:
        connection = remembered(self._connections, peer)
        if not connection:
            name = transport.host_of(peer)
            host = remembered(self._hosts, name)
            if not host:
                host = self._hosts[name] = Host()
            connection = self._connections[peer] = Connection(peer, host)
        return connection

    def _has_room(self, connection: Connection) -> bool:
        """Return whether one more call of *connection* may wait."""
        return self._waiting < WAITING or len(connection.waiting) < WAITING // (self._waiting_connections + 1)

    def _wait(self, connection: Connection, begin: Begin) -> None:
        loop = asyncio.get_running_loop()
        if not self._will_begin:
            self._will_begin = True
            loop.call_soon(self._begin_some)
        if not connection.waiting:
            if not connection.host.waiting:
                self._turns.append(connection.host)
            connection.host.waiting.append(connection)
            self._waiting_connections += 1
        connection.waiting.append(begin)
        self._waiting += 1
        if len(connection.waiting) > CROWDED_WAITING:
            self._judge(connection, loop.time())

    def _begin_some(self) -> None:
        """Begin calls by turns, first of hosts, then of their connections."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        begun = 0
        while begun < BEGUN_AT_ONCE and (host := self._next_host(now)):
            connection = host.waiting.popleft()
            begin = connection.waiting.popleft()
            self._waiting -= 1
            if connection.waiting:
                host.waiting.append(connection)
            else:
                self._waiting_connections -= 1
            if host.waiting:
                self._turns.append(host)
            host.next_turn = now + CROWDED_SECONDS if host.is_crowded(now) else 0.0
            begin()
            begun += 1
        self._will_begin = self._waiting > 0
        if self._will_begin:
            loop.call_later(0 if begun else CROWDED_SECONDS, self._begin_some)

    def _next_host(self, now: float) -> Host | None:
        """Remove and return the host whose turn it is, if it is the turn of any."""
        for _ in range(len(self._turns)):
            host = self._turns.popleft()
            if host.next_turn <= now:
                return host
            self._turns.append(host)
        return None

    def _taken(self, connection: Connection) -> deque[Begin]:
        """Return the calls of *connection* that wait, which no longer do."""
        taken, connection.waiting = connection.waiting, deque()
        if taken:
            self._waiting -= len(taken)
            self._waiting_connections -= 1
            connection.host.waiting.remove(connection)
            if not connection.host.waiting:
                self._turns.remove(connection.host)
        return taken

    def _judge(self, connection: Connection, now: float) -> None:
        """Cut *connection*, soon, if it is flooding."""
        if connection.is_flooding(now):
            connection.is_cut = True
            self._taken(connection).clear()
            self._to_cut.append(connection)
        if self._to_cut or connection.host.is_crowded(now):
            self._searches_until = now + STALL_SECONDS
            if not self._search or self._search.done():
                self._search = asyncio.create_task(self._search_sockets())

    async def _search_sockets(self) -> None:
        """Cut the connections that are to be cut, now and as long as a flood may go on."""
        loop = asyncio.get_running_loop()
        while self._to_cut or loop.time() < self._searches_until:
            numbers = await asyncio.to_thread(transport.descriptor_numbers)
            # Not on a thread: it would wait for the GIL at each descriptor.
            began = time.perf_counter()
            self._cut_all(numbers)
            await asyncio.sleep(max(SEARCH_SECONDS, (time.perf_counter() - began) / SEARCH_SHARE))

    def _cut_all(self, numbers: Sequence[int]) -> None:
        """Stall or cut the connections that are to be cut, whose descriptors are among *numbers*. Forget them later."""
        loop = asyncio.get_running_loop()
        to_cut, self._to_cut = self._to_cut, []
        ends = {each.endpoint for each in to_cut if each.endpoint}
        for found in transport.connections(numbers, ends, self.port):
            self.cut += 1
            if len(self._stalled) < STALLED and transport.stall(found):
                self._stalled[found] = loop.call_later(STALL_SECONDS, self._end, found)
            else:
                transport.end(found)
        for each in to_cut:
            # Calls that gRPC has read already may still arrive. Later, its port may be another client's.
            loop.call_later(STALL_SECONDS, self._connections.pop, each.peer, None)
        self._log(loop.time())

    def _end(self, connection: socket.socket) -> None:
        self._stalled.pop(connection).cancel()
        transport.end(connection)

    def _log(self, now: float) -> None:
        if self.cut > self._logged and now >= self._next_line:
            count = self.cut - self._logged
            log.warning("cut %d connections that ended too many calls without valid credentials", count)
            self._logged, self._next_line = self.cut, now + LOG_SECONDS


def remembered(items: OrderedDict[str, T], key: str) -> T | None:
    """Return the item of *key*, or make room for it: forget the item that was asked for least recently."""
    item = items.get(key)
    if item is not None:
        items.move_to_end(key)
    elif len(items) >= REMEMBERED:
        items.popitem(last=False)
    return item
