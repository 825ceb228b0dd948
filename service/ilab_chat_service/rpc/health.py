"""Health (grpc.health.v1): what Check and Watch say, and the end of watching."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from ilab_chat_service.rpc.error_table import TABLE
from ilab_chat_service.rpc.errors import DeadlineExceeded, WrongRequestCount
from ilab_chat_service.rpc.interceptors.layers import the_one
from ilab_chat_service.rpc.open_calls import OpenCalls
from ilab_chat_service.rpc.streams import send_initial_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ilab_chat_service.rpc.interceptors.layers import Requests
    from ilab_chat_service.rpc.open_calls import OpenCall

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    Status: TypeAlias = Any  # an int; the stubs and protobuf name its type differently

NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

SHUTTING_DOWN = "the server is shutting down"

#: Maximum time to end the watchers, in seconds: one that does not read would delay the shutdown.
END_SECONDS = 1.0

#: Maximum number of watches in all, of one host (which may be a load balancer) and of one connection. 5,000 are about
#: 30 MB, and far more than the clients that one process can serve.
WATCHES, WATCHES_PER_HOST, WATCHES_PER_CONNECTION = 5_000, 4_000, 100

#: The same of checks that run. A check ends at once, unless its request does not come.
CHECKS, CHECKS_PER_HOST, CHECKS_PER_CONNECTION = 1_000, 800, 100

#: Delay of the first status of a watch that displaced one of a connection with no more watches, in seconds.
#: gRPC's clients watch again at once when a watch ends that had a status. With more clients than watches, they would
#: otherwise push each other out in a busy loop.
CROWDED_SECONDS = 1.0


class HealthService:
    """The status of the process and its services: NOT_SERVING until told otherwise.

    They are ready together. Services that have failed stay NOT_SERVING, and those that are unavailable are NOT_SERVING
    as long as that lasts. The process, "", does not fail with them: no liveness probe should restart what a restart
    does not repair.

    Not the servicer of grpcio-health-checking: that one starts as SERVING, leaves its watchers to gRPC's stop, which
    then waits for its whole grace, and bounds nothing that strangers do.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._status: Status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._have_failed = False
        self._are_available = True
        self._changed = asyncio.Event()
        self._watches = OpenCalls(in_all=WATCHES, per_host=WATCHES_PER_HOST, per_connection=WATCHES_PER_CONNECTION)
        self._checks = OpenCalls(in_all=CHECKS, per_host=CHECKS_PER_HOST, per_connection=CHECKS_PER_CONNECTION)
        self._incomplete: set[asyncio.Task[Any]] = set()
        self._ended = False

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the methods to *server*.

        They are registered as methods that take a stream. Otherwise gRPC would start a handler only when the request
        has arrived, and calls without a request would be open without being counted.
        """
        serialize = health_pb2.HealthCheckResponse.SerializeToString
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, None, serialize),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, None, serialize),
        }
        server.add_registered_method_handlers(NAME, handlers)

    def serving(self, *, is_serving: bool) -> None:
        """Say so of every name, to its watchers at once."""
        response = health_pb2.HealthCheckResponse
        self._status = response.SERVING if is_serving else response.NOT_SERVING
        self._wake()

    def is_serving(self, name: str) -> bool:
        """Return whether the status of *name* is SERVING. Any thread may ask."""
        return bool(self._status_of(name) == health_pb2.HealthCheckResponse.SERVING)

    def failed(self) -> None:
        """Say NOT_SERVING of the services until the end."""
        self._have_failed = True
        self._wake()

    def available(self, are_available: bool) -> None:  # noqa: FBT001 - the one argument of a callback
        """Say NOT_SERVING of the services until they are available again."""
        self._are_available = are_available
        self._wake()

    async def end(self) -> None:
        """End every watch, and each that still begins, as UNAVAILABLE. Returns at most END_SECONDS later."""
        self._ended = True
        for task in self._incomplete:
            task.cancel()
        self._wake()
        if watching := set(self._watches.tasks()):
            await asyncio.wait(watching, timeout=END_SECONDS)

    async def _check(self, requests: Requests, context: Context) -> health_pb2.HealthCheckResponse:
        with self._checks.enter(context.peer()) as call:
            request = await self._request(requests, context, call)
            return await self.check(request, context)

    async def check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Return the status of a name. NOT_FOUND for a name that is not ours."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return health_pb2.HealthCheckResponse(status=self._status_of(request.service))

    async def _watch(self, requests: Requests, context: Context) -> None:
        """Send the status of a name now and after each change; SERVICE_UNKNOWN for a name that is not ours.

        A displaced watch ends as RESOURCE_EXHAUSTED. gRPC's clients then watch again, as after any
        status but UNIMPLEMENTED, after which they take the server for healthy.
        https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md
        """
        with self._watches.enter(context.peer()) as call:
            request = await self._request(requests, context, call)
            try:
                await send_initial_metadata(context)
                if call.is_crowded:
                    await asyncio.sleep(CROWDED_SECONDS)
                await self._send_changes(request.service, context)
            except asyncio.CancelledError:
                await self._given_way(context, call)
                raise
        await context.abort(grpc.StatusCode.UNAVAILABLE, SHUTTING_DOWN)

    async def _send_changes(self, name: str, context: Context) -> None:
        """Send the status of a name now and after each change, until the end."""
        sent = None
        while True:
            changed = self._changed
            status = self._status_of(name)
            if status != sent:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                sent = status
            elif self._ended:
                # Not earlier: a watcher must receive the last status before its stream ends.
                return
            else:
                await changed.wait()

    async def _request(self, requests: Requests, context: Context, call: OpenCall) -> health_pb2.HealthCheckRequest:
        """Return the request of a call, or end the call."""
        self._incomplete.add(call.task)
        try:
            return health_pb2.HealthCheckRequest.FromString(await the_one(requests))
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a HealthCheckRequest")
        except (WrongRequestCount, DeadlineExceeded) as error:
            await context.abort(TABLE[type(error)].code, str(error))
        except asyncio.CancelledError:
            await self._given_way(context, call)
            if self._ended:
                await context.abort(grpc.StatusCode.UNAVAILABLE, SHUTTING_DOWN)
            raise
        finally:
            self._incomplete.discard(call.task)
        raise AssertionError("abort returned")

    async def _given_way(self, context: Context, call: OpenCall) -> None:
        """End a call that was cancelled because it gave way; return if it was not."""
        if call.gave_way:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls of this client: the oldest has ended"
            )

    def _status_of(self, name: str) -> Status:
        if name not in self._names:
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        if name and (self._have_failed or not self._are_available):
            return health_pb2.HealthCheckResponse.NOT_SERVING
        return self._status

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
