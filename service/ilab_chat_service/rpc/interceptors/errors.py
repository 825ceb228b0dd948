"""The outermost interceptor: whatever a handler raises becomes one status with details, and nothing else gets out."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc
import grpc.aio

from ilab_chat_service.rpc.errors import TABLE, status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Continue: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

log = logging.getLogger(__name__)

#: Where clients look for google.rpc.Status. https://grpc.io/docs/guides/error/#richer-error-model
DETAILS_TRAILER = "grpc-status-details-bin"
OUR_METHODS = "/ilab_chat.v1."
CODES = {code.value[0]: code for code in grpc.StatusCode}


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Maps the exceptions of our own methods by the table of `rpc/errors.py`.

    What gRPC itself raises (a handler that aborted, a call that the client cancelled) passes through.
    """

    async def intercept_service(
        self, continuation: Continue, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler, if the method is one of ours."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OUR_METHODS):
            return handler
        wrap = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        method = handler.unary_stream if handler.response_streaming else handler.unary_unary
        return wrap(mapped(method), handler.request_deserializer, handler.response_serializer)


def mapped(method: Any) -> Any:
    """Return *method*, a coroutine function, with its exceptions mapped."""

    async def call(request: Any, context: Context) -> Any:
        try:
            return await method(request, context)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: nothing unmapped may pass
            await abort(context, error)

    return call


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the call with the status of *error*; what has no row goes to the log in full."""
    correlation_id = uuid.uuid4().hex
    if type(error) not in TABLE:
        log.error("internal error %s", correlation_id, exc_info=error)
    status = status_of(error, correlation_id)
    trailers = ((DETAILS_TRAILER, status.SerializeToString()),)
    await context.abort(CODES[status.code], status.message, trailers)
    raise AssertionError("abort returned")
