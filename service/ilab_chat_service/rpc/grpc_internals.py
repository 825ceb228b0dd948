"""A grpc.aio server that survives any method name, built on private names of grpcio. Import it from `grpc_server`.

grpc.aio decodes the name of a method that was not registered in the loop that accepts calls. Bytes that are not UTF-8
end that loop, and so the server: one request of anybody who can connect, before any credentials are asked for. The C
core lets such names through, and there is no hook before that loop (`_server_main_loop` in
https://github.com/grpc/grpc/blob/master/src/python/grpcio/grpc/_cython/_cygrpc/aio/server.pyx.pxi). So calls of methods
that were not registered never reach it: they are refused without their names being looked at.

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
USED = {"_make_request_call_future": ["self", "method_bytes"], "_request_call": ["self"]}

if not grpc.__version__.startswith(f"{CHECKED}."):
    raise ImportError(f"grpcio {grpc.__version__} is not {CHECKED}.x")
try:
    from grpc._cython import cygrpc
    from grpc.aio._server import Server

    for name in ("_ServicerContext", "ExecuteBatchError", "get_working_loop"):
        getattr(cygrpc, name)
    parameters = {name: list(inspect.signature(getattr(cygrpc.AioServer, name)).parameters) for name in USED}
    if parameters != USED:
        raise AttributeError(f"parameters {parameters}")  # noqa: TRY301 - one message for all that can be missing
except (ImportError, AttributeError, TypeError, ValueError) as error:
    raise ImportError(f"grpcio {grpc.__version__} has other internals than {CHECKED} ({error})") from error

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Refusals that may wait for their client, beyond which the next call waits. One that reads takes no time.
MOST_REFUSALS = 100


class RegisteredMethodsServer(Server):
    """Answers registered methods, as every generated `add_..._to_server` registers them, and no generic handlers."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, Any]]) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = Core(self._loop, None, (), interceptors, tuple(options), None)


class Core(cygrpc.AioServer):  # type: ignore[misc]  # it has no types
    """Accepts calls; those of unregistered methods end here."""

    def _make_request_call_future(self, method: bytes | None) -> Any:
        """Return the future of the next call of *method*; None, all others: one that only ever fails."""
        if method is not None:
            return super()._make_request_call_future(method)
        return asyncio.get_running_loop().create_task(self._refuse_others())

    async def _refuse_others(self) -> None:
        """Refuse calls until the server stops, which gRPC raises."""
        refusals: set[asyncio.Task[None]] = set()
        while True:
            call = await self._request_call()
            refusal = asyncio.create_task(refuse(call))
            refusals.add(refusal)
            refusal.add_done_callback(refusals.discard)
            if len(refusals) >= MOST_REFUSALS:
                await asyncio.wait(refusals, return_when=asyncio.FIRST_COMPLETED)


async def refuse(call: Any) -> None:
    """End a call as UNIMPLEMENTED."""
    context = cygrpc._ServicerContext(call, None, None, asyncio.get_running_loop())  # noqa: SLF001 - see above
    # Of a client that has gone, the batch fails.
    with suppress(grpc.aio.AbortError, cygrpc.ExecuteBatchError):
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
