"""The outermost interceptor: whatever a handler raises becomes one status with details, and nothing else gets out."""

from __future__ import annotations

import asyncio
import logging
import traceback
import uuid
from pathlib import Path
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
#: Codes that say what a caller did, not what happened to us.
CALLERS_OWN = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
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
    """End the call with the status of *error*, and log it."""
    correlation_id = uuid.uuid4().hex
    if row := TABLE.get(type(error)):
        level = logging.INFO if row.code in CALLERS_OWN else logging.WARNING
        log.log(level, "%s %s: %s (%s; %s)", row.code.name, row.reason, error, trail(error), correlation_id)
    else:
        log.error("internal error (%s; %s)", trail(error), correlation_id)
    status = status_of(error, correlation_id)
    trailers = ((DETAILS_TRAILER, status.SerializeToString()),)
    await context.abort(CODES[status.code], status.message, trailers)
    raise AssertionError("abort returned")


def trail(error: BaseException) -> str:
    """Return the type of *error* and of what led to it, each with where it was raised, the nearest first.

    Never their texts: an error of the model's API quotes the prompt.
    """
    steps = []
    link: BaseException | None = error
    while link:
        frames = traceback.extract_tb(link.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        steps.append(f"{type(link).__name__}{place}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return ", from ".join(steps)
