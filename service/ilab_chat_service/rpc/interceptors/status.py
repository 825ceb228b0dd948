"""Map every exception of a handler to a status with details. The caller sees nothing else of the exception."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import grpc.aio

from ilab_chat_service.failures import Failure
from ilab_chat_service.limits import HEADER_BYTES
from ilab_chat_service.rpc.error_table import INTERNAL, TABLE, Row, status_of
from ilab_chat_service.rpc.errors import RequestTooLarge
from ilab_chat_service.rpc.interceptors.log import CORRELATION_TRAILER
from ilab_chat_service.telemetry.call_record import CALL
from ilab_chat_service.telemetry.logs import exception_chain

if TYPE_CHECKING:
    from ilab_chat_service.rpc.interceptors.layers import CallDetails, Context, Method, Requests

#: Contains google.rpc.Status. https://grpc.io/docs/guides/error/#richer-error-model
DETAILS_TRAILER = "grpc-status-details-bin"

#: Delay before gRPC's own retries, in milliseconds. https://github.com/grpc/proposal/blob/master/A6-client-retries.md
PUSHBACK_TRAILER = "grpc-retry-pushback-ms"


async def mapped(details: CallDetails, method: Method, requests: Requests, context: Context) -> Any:
    """Await *method*. If it raises, end the call with a status of `rpc/error_table.py`.

    The caller sees nothing else of the exception. gRPC's own exceptions (a handler aborted, the client cancelled) pass
    through.
    """
    try:
        check_headers(details.header_bytes)
        return await method(requests, context)
    except grpc.aio.AbortError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        # Only something that the call awaited was cancelled. Raising the error would end the call without a status, and
        # its caller would wait forever.
        await abort(context, error)
    except Exception as error:  # noqa: BLE001 - the boundary: every exception is mapped
        await abort(context, error)


def check_headers(size: int) -> None:
    """Check the size of the headers.

    Raises:
        RequestTooLarge: they have more than HEADER_BYTES.
    """
    if size > HEADER_BYTES:
        raise RequestTooLarge(f"the header fields must have at most {HEADER_BYTES:,} bytes, have {size:,}")


async def abort(context: Context, error: BaseException) -> NoReturn:
    """End the call with the status of *error*, and record it for the log."""
    call = CALL.get()
    row = TABLE.get(type(error), INTERNAL)
    call.status_code, call.reason, call.exception_chain = row.code.name, row.reason, exception_chain(error)
    call.status_message = "" if row is INTERNAL else str(error)
    if isinstance(error, Failure):
        call.cause = error.cause
    forget_frames(error)
    await end(context, error, call.correlation_id)


def forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of *error* and of the errors that led to it.

    Their frames have the request. gRPC keeps the abort, and so *error*, in a cycle of references until a garbage
    collection, which comes after hundreds of calls.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            waiting += filter(None, (each.__cause__, each.__context__))


async def end(context: Context, error: BaseException, correlation_id: str) -> NoReturn:
    """End the call with the status of *error*."""
    row = TABLE.get(type(error), INTERNAL)
    status = status_of(error, correlation_id)
    trailers = ((DETAILS_TRAILER, status.SerializeToString()), (CORRELATION_TRAILER, correlation_id))
    try:
        await context.abort(row.code, status.message, (*trailers, *pushback(row, error)))
    except grpc.aio.InternalError:
        # gRPC has already ended the call, for instance because the request is too large.
        raise asyncio.CancelledError from None
    raise AssertionError("abort returned")


def pushback(row: Row, error: BaseException) -> tuple[tuple[str, str], ...]:
    """Return the trailer that delays gRPC's own retries, if the failure asks for it."""
    if not (row.pushback and isinstance(error, Failure) and error.retry_after_seconds is not None):
        return ()
    return ((PUSHBACK_TRAILER, str(round(error.retry_after_seconds * 1000))),)
