"""The outermost interceptor: whatever a handler raises becomes one status with details, and nothing else gets out."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from ilab_chat_service.rpc.errors import TABLE, status_of
from ilab_chat_service.rpc.interceptors.wrapping import is_ours, wrapped

if TYPE_CHECKING:
    from ilab_chat_service.rpc.interceptors.wrapping import Context, Continue

log = logging.getLogger(__name__)

#: Where clients look for google.rpc.Status. https://grpc.io/docs/guides/error/#richer-error-model
DETAILS_TRAILER = "grpc-status-details-bin"
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
        return wrapped(handler, mapped) if handler and is_ours(handler_call_details) else handler


async def mapped(method: Any, request: Any, context: Context) -> Any:
    """Call *method* with its exceptions mapped."""
    try:
        return await method(request, context)
    except (grpc.aio.AbortError, asyncio.CancelledError):
        raise
    except Exception as error:  # noqa: BLE001 - the boundary: nothing unmapped may pass
        await abort(context, error)


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the call with the status of *error*; what has no row goes to the log in full."""
    correlation_id = uuid.uuid4().hex
    if type(error) not in TABLE:
        log.error("internal error %s", correlation_id, exc_info=error)
    status = status_of(error, correlation_id)
    trailers = ((DETAILS_TRAILER, status.SerializeToString()),)
    await context.abort(CODES[status.code], status.message, trailers)
    raise AssertionError("abort returned")
