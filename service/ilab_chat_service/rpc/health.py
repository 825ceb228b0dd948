"""Health (grpc.health.v1): what Check and Watch say, and the end of watching."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    Status: TypeAlias = Any  # an int; the stubs and protobuf name its type differently

NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

#: What ending the watchers may take, in seconds: one that does not read keeps us waiting.
END_SECONDS = 1.0

#: Most watches at once, about 30 MB. Far more than the clients that a process can serve: to one that balances, a server
#: that refuses its watch is one that does not serve.
MOST_WATCHES = 5_000


class HealthService(health_pb2_grpc.HealthServicer):
    """The status of the process and its services, which are ready together: NOT_SERVING until told otherwise.

    Not the servicer of grpcio-health-checking: that one starts as SERVING and leaves its watchers to gRPC's stop, which
    then waits for its whole grace.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._status: Status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Event()
        self._watching: set[asyncio.Task[Any]] = set()
        self._ended = False

    def serving(self, *, is_serving: bool) -> None:
        """Say so of every name, to its watchers at once."""
        response = health_pb2.HealthCheckResponse
        self._status = response.SERVING if is_serving else response.NOT_SERVING
        self._wake()

    async def end(self) -> None:
        """End every watch, and each that still begins, as UNAVAILABLE. Returns at most END_SECONDS later."""
        self._ended = True
        self._wake()
        if self._watching:
            await asyncio.wait(self._watching, timeout=END_SECONDS)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Return the status of a name. NOT_FOUND for a name that is not ours."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Send the status of a name now and after each change; SERVICE_UNKNOWN for a name that is not ours.

        RESOURCE_EXHAUSTED beyond MOST_WATCHES: who calls is not asked here, and a watch costs its caller nothing.
        """
        if len(self._watching) >= MOST_WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watches")
        task = asyncio.current_task()
        assert task  # noqa: S101 - a handler runs in one
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        sent = None
        while True:
            changed = self._changed
            unknown = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            status = self._status if request.service in self._names else unknown
            if status != sent:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                sent = status
            elif self._ended:
                # Not before: who watches hears the last status, however soon after it the end came.
                break
            else:
                await changed.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
