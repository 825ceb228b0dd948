"""A grpc.aio server for hostile callers, built on private names of grpcio. Import it from `grpc_server`.

It survives any method name, and it accepts many calls at a time.

grpc.aio decodes the name of a method that was not registered in the loop that accepts calls. Bytes that are not UTF-8
end that loop, and so the server: one request of anybody who can connect, before any credentials are asked for. The C
core lets such names through, and there is no hook before that loop (`_server_main_loop` in
https://github.com/grpc/grpc/blob/master/src/python/grpcio/grpc/_cython/_cygrpc/aio/server.pyx.pxi). So calls of methods
that were not registered never reach it: they are refused without their names being looked at.

That loop also accepts one call of a method at a time, and needs several turns of the event loop for each. While the
loop is busy, the calls that one client begins at once would hold up the calls of others for minutes. So the calls of
each method are accepted here, by several tasks.

Checked with grpcio 1.85. Importing this module raises ImportError with another minor version, or if a private name is
missing or has other parameters. To move to a new version: run tests/fuzz/test_frames.py with it, then change CHECKED.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

#: The minor version of grpcio that this module was checked with.
CHECKED = "1.85"

#: The methods of the core's server that are used and replaced here, and what they take.
USED = {
    "_make_request_call_future": ["self", "method_bytes"],
    "_request_call": ["self"],
    "_request_registered_call": ["self", "method"],
    "add_registered_method_handlers": ["self", "method_handlers"],
}
#: The functions that are used here, and what they take.
USED_FUNCTIONS = {
    "_handle_rpc": ["method_name", "method_resolver", "interceptors", "rpc_state", "loop", "concurrency_exceeded"],
    "_schedule_rpc_coro": ["rpc_coro", "rpc_state", "loop", "method_name"],
}

if not grpc.__version__.startswith(f"{CHECKED}."):
    raise ImportError(f"grpcio {grpc.__version__} is not {CHECKED}.x")
try:
    from grpc._cython import cygrpc
    from grpc.aio._server import Server

    for name in ("_MethodResolver", "_ServicerContext", "ExecuteBatchError", "get_working_loop"):
        getattr(cygrpc, name)
    parameters = {name: list(inspect.signature(getattr(cygrpc.AioServer, name)).parameters) for name in USED}
    parameters |= {name: list(inspect.signature(getattr(cygrpc, name)).parameters) for name in USED_FUNCTIONS}
    if parameters != USED | USED_FUNCTIONS:
        raise AttributeError(f"parameters {parameters}")  # noqa: TRY301 - one message for all that can be missing
except (ImportError, AttributeError, TypeError, ValueError) as error:
    raise ImportError(f"grpcio {grpc.__version__} has other internals than {CHECKED} ({error})") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from ilab_chat_service.rpc.strangers import Strangers

#: Calls of a method that are accepted at a time.
ACCEPTED_AT_ONCE = 32

#: Refusals that may wait for their client, beyond which the next call waits. One that reads takes no time.
MOST_REFUSALS = 100


class RegisteredMethodsServer(Server):
    """Answers registered methods, as every generated `add_..._to_server` registers them, and no generic handlers."""

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, Any]],
        strangers: Strangers | None,
    ) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = Core(self._loop, tuple(interceptors), tuple(options), strangers)


class Core(cygrpc.AioServer):  # type: ignore[misc]  # it has no types
    """Accepts calls; those of unregistered methods end here."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interceptors: tuple[grpc.aio.ServerInterceptor, ...],
        options: tuple[tuple[str, Any], ...],
        strangers: Strangers | None,
    ) -> None:
        super().__init__(loop, None, (), interceptors, options, None)
        self._event_loop = loop
        self._around = interceptors
        self._strangers = strangers
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        #: An event loop refers to its tasks weakly.
        self._calls: set[asyncio.Task[None]] = set()

    def add_registered_method_handlers(self, method_handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        """Register methods, by their full names."""
        super().add_registered_method_handlers(method_handlers)
        self._handlers.update(method_handlers)

    def _make_request_call_future(self, method: bytes | None) -> Any:
        """Return a future that only ever fails, while the calls of *method* are accepted; None, all others."""
        if method is None:
            return self._event_loop.create_task(self._refuse_others())
        return asyncio.gather(*(self._accept(method) for _ in range(ACCEPTED_AT_ONCE)))

    async def _accept(self, method: bytes) -> None:
        """Begin one call of *method* after the other until the server stops, which gRPC raises."""
        name, loop = method.decode(), self._event_loop
        resolver = cygrpc._MethodResolver([], self._handlers)  # noqa: SLF001 - see above

        def handled(state: Any) -> Coroutine[Any, Any, None]:
            handling = cygrpc._handle_rpc(name, resolver, self._around, state, loop, False)  # noqa: SLF001
            call: Coroutine[Any, Any, None] = cygrpc._schedule_rpc_coro(handling, state, loop, name)  # noqa: SLF001
            return call

        while True:
            self._arrived(await self._request_registered_call(method), handled, self._calls)

    async def _refuse_others(self) -> None:
        """Refuse calls until the server stops, which gRPC raises."""
        refusals: set[asyncio.Task[None]] = set()
        while True:
            self._arrived(await self._request_call(), refuse, refusals)
            if len(refusals) >= MOST_REFUSALS:
                await asyncio.wait(refusals, return_when=asyncio.FIRST_COMPLETED)

    def _arrived(
        self, state: Any, handle: Callable[[Any], Coroutine[Any, Any, None]], calls: set[asyncio.Task[None]]
    ) -> None:
        """Begin a call, now or when its turn comes. While it runs, its task is one of *calls*."""

        def begin() -> asyncio.Task[None]:
            call = self._event_loop.create_task(handle(state))
            calls.add(call)
            call.add_done_callback(calls.discard)
            return call

        if strangers := self._strangers:
            peer = context_of(state).peer()
            strangers.arrived(peer, lambda: begin().add_done_callback(lambda _: strangers.ended(peer)))
        else:
            begin()


def context_of(call: Any) -> Any:
    """Return the context of a call that no handler has."""
    return cygrpc._ServicerContext(call, None, None, asyncio.get_running_loop())  # noqa: SLF001 - see above


async def refuse(call: Any) -> None:
    """End a call as UNIMPLEMENTED."""
    # Of a client that has gone, the batch fails.
    with suppress(grpc.aio.AbortError, cygrpc.ExecuteBatchError):
        await context_of(call).abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
