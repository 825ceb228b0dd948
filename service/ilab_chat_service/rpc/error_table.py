"""The table of failures: maps each exception to a gRPC code, a reason and details."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from ilab_chat_service.auth.callers import InvalidCredentials, MissingCredentials, UserMismatch
from ilab_chat_service.failures import (
    ContentFiltered,
    ContextTooLong,
    Failure,
    FieldRefused,
    MemoryUnavailable,
    ModelInterrupted,
    ModelNotFound,
    ModelOptionUnsupported,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRejected,
    ModelUnavailable,
    RateLimited,
    RequestIdReused,
    TurnNotStored,
)
from ilab_chat_service.rpc.errors import (
    DeadlineExceeded,
    InterruptedByDrain,
    InvalidFields,
    NotFound,
    RequestTooLarge,
    ServerBusy,
    ServerDraining,
    UnparsableRequest,
    WrongRequestCount,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

    from ilab_chat_service.rpc.errors import Violation

DOMAIN = "ilab-chat"


@dataclass(frozen=True, slots=True)
class Row:
    """How a failure is sent. `pushback`: tell gRPC's own retries to wait for the failure's delay."""

    code: grpc.StatusCode
    reason: str
    pushback: bool = False


TABLE: Mapping[type[BaseException], Row] = {
    InvalidFields: Row(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    UnparsableRequest: Row(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    RequestTooLarge: Row(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    # https://github.com/grpc/grpc/blob/master/doc/statuscodes.md: "Request cardinality violation"
    WrongRequestCount: Row(grpc.StatusCode.UNIMPLEMENTED, "INVALID_REQUEST"),
    MissingCredentials: Row(grpc.StatusCode.UNAUTHENTICATED, "MISSING_CREDENTIALS"),
    InvalidCredentials: Row(grpc.StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS"),
    UserMismatch: Row(grpc.StatusCode.PERMISSION_DENIED, "USER_MISMATCH"),
    ContextTooLong: Row(grpc.StatusCode.INVALID_ARGUMENT, "CONTEXT_TOO_LONG"),
    ContentFiltered: Row(grpc.StatusCode.FAILED_PRECONDITION, "CONTENT_FILTERED"),
    ModelNotFound: Row(grpc.StatusCode.INVALID_ARGUMENT, "MODEL_NOT_FOUND"),
    ModelOptionUnsupported: Row(grpc.StatusCode.INVALID_ARGUMENT, "MODEL_OPTION_UNSUPPORTED"),
    ModelQuotaExhausted: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "MODEL_QUOTA_EXHAUSTED"),
    ModelRateLimited: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "MODEL_RATE_LIMITED"),
    ModelUnavailable: Row(grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE"),
    # ABORTED: proxies repeat UNAVAILABLE on their own, and once the model has begun the work is billed.
    ModelInterrupted: Row(grpc.StatusCode.ABORTED, "MODEL_INTERRUPTED"),
    ModelRejected: Row(grpc.StatusCode.INTERNAL, "MODEL_REJECTED"),
    MemoryUnavailable: Row(grpc.StatusCode.UNAVAILABLE, "MEMORY_UNAVAILABLE"),
    TurnNotStored: Row(grpc.StatusCode.ABORTED, "MEMORY_UNAVAILABLE"),
    RequestIdReused: Row(grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED"),
    NotFound: Row(grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    DeadlineExceeded: Row(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    ServerBusy: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY", pushback=True),
    # Without pushback: gRPC's own retries would wait for up to a day.
    RateLimited: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
    ServerDraining: Row(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING"),
    InterruptedByDrain: Row(grpc.StatusCode.ABORTED, "SERVER_DRAINING"),
}

#: For every exception without a row: a defect of the server.
INTERNAL = Row(grpc.StatusCode.INTERNAL, "INTERNAL")

#: Every reason, once.
REASONS = sorted({row.reason for row in (*TABLE.values(), INTERNAL)})


def status_of(error: BaseException, correlation_id: str) -> status_pb2.Status:
    """Return the status for *error*. It contains the text of the error only if the error has a row.

    Args:
        error: the exception.
        correlation_id: id of the call in the log. It is part of the message of an error without a row.
    """
    row = TABLE.get(type(error), INTERNAL)
    text = f"internal error {correlation_id}" if row is INTERNAL else str(error)
    status = status_pb2.Status(code=row.code.value[0], message=text)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=row.reason, domain=DOMAIN, metadata={"correlation_id": correlation_id})
    ]
    if isinstance(error, InvalidFields):
        details.append(bad_request(error.violations))
    if isinstance(error, FieldRefused):
        details.append(bad_request([(error.field, error.description)]))
    if isinstance(error, RateLimited):
        details.append(quota_failure(error.limits))
    if isinstance(error, Failure) and error.retry_after_seconds is not None:
        details.append(retry_info(error.retry_after_seconds))
    for each in details:
        status.details.add().Pack(each)
    return status


def bad_request(violations: Iterable[Violation]) -> error_details_pb2.BadRequest:
    """Return the refused fields, each with the reason."""
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in violations
        ]
    )


def quota_failure(limits: Iterable[tuple[str, str]]) -> error_details_pb2.QuotaFailure:
    """Return the reached limits. The subject is `user` or `caller`, never an id."""
    return error_details_pb2.QuotaFailure(
        violations=[
            error_details_pb2.QuotaFailure.Violation(subject=subject, description=description)
            for subject, description in limits
        ]
    )


def retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    """Return the delay after which the caller may retry."""
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)
