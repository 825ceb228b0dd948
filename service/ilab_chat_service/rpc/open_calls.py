"""A bounded set of open calls that evicts old calls instead of rejecting new ones.

For calls without credentials. If the limit rejected new calls, one client could lock out all others. So a new call
evicts the oldest call of the client with the most calls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Self

from ilab_chat_service.rpc.transport import host_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class OpenCalls:
    """The open calls by host and connection. All limits are per process.

    Args:
        in_all: maximum number of calls.
        per_host: maximum number of calls from one host.
        per_connection: maximum number of calls on one connection.
    """

    def __init__(self, *, in_all: int, per_host: int, per_connection: int) -> None:
        self.in_all = in_all
        self.per_host = per_host
        self.per_connection = per_connection
        #: Calls by host and connection, oldest first (dictionaries are ordered).
        self._hosts: dict[str, dict[str, dict[OpenCall, None]]] = {}
        self._of_host: Counter[str] = Counter()
        self._calls = 0

    def enter(self, peer: str) -> OpenCall:
        """Return a context manager during which the current task's call is open.

        Args:
            peer: the connection's peer, as gRPC names it.
        """
        return OpenCall(self, peer)

    def tasks(self) -> Iterator[asyncio.Task[object]]:
        """Yield the task of each call."""
        for connections in self._hosts.values():
            for calls in connections.values():
                for call in calls:
                    yield call.task

    def add(self, call: OpenCall) -> None:
        """Add *call* and evict other calls as the limits require."""
        while victim := self._victim_for(call):
            call.is_crowded |= self._of_connection(victim) <= self._of_connection(call) + 1
            victim.gave_way = True
            victim.task.cancel()
            self.remove(victim)
        self._hosts.setdefault(call.host, {}).setdefault(call.peer, {})[call] = None
        self._of_host[call.host] += 1
        self._calls += 1

    def remove(self, call: OpenCall) -> None:
        """Remove *call*. Do nothing if it was evicted."""
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

    def _victim_for(self, call: OpenCall) -> OpenCall | None:
        """Return the call to evict before *call* is added. None: there is room."""
        if self._of_connection(call) >= self.per_connection:
            return next(iter(self._hosts[call.host][call.peer]))
        if self._of_host[call.host] >= self.per_host:
            return oldest_of_largest(self._hosts[call.host])
        if self._calls >= self.in_all:
            return oldest_of_largest(self._hosts[max(self._of_host, key=self._of_host.__getitem__)])
        return None

    def _of_connection(self, call: OpenCall) -> int:
        """Return the number of open calls on the connection of *call*."""
        return len(self._hosts.get(call.host, {}).get(call.peer, ()))


class OpenCall:
    """One open call. See `OpenCalls.enter`."""

    __slots__ = ("_calls", "gave_way", "host", "is_crowded", "peer", "task")

    def __init__(self, calls: OpenCalls, peer: str) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101 - gRPC runs handlers in tasks
        self._calls = calls
        self.peer = peer
        self.host = host_of(peer)
        self.task = task
        #: This call was evicted. Its task was cancelled for that reason.
        self.gave_way = False
        #: This call evicted one of a connection that had no more calls than its own.
        self.is_crowded = False

    def __enter__(self) -> Self:
        self._calls.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.remove(self)


def oldest_of_largest(connections: dict[str, dict[OpenCall, None]]) -> OpenCall:
    """Return the oldest call of the connection with the most calls."""
    largest: dict[OpenCall, None] = max(connections.values(), key=len)
    return next(iter(largest))
