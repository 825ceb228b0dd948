"""Failures as HTTP: RFC 9457 problem details, with the contract's reason."""

from __future__ import annotations

import json
import logging
import math
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from grpc import StatusCode
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ilab_chat.errors import ChatError, FieldViolation
from ilab_chat_gateway.values import MOST_VALUES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI
    from starlette.requests import Request

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
CLIENT_GONE: Final = 499

#: The HTTP status of each gRPC status code. ABORTED is not 503: proxies repeat 503, and the model's work is billed.
STATUS: Final[dict[StatusCode, int]] = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.FAILED_PRECONDITION: 422,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.CANCELLED: CLIENT_GONE,
    StatusCode.UNKNOWN: 500,
    StatusCode.INTERNAL: 500,
    StatusCode.DATA_LOSS: 500,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.ABORTED: 502,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}

#: Reasons of the gateway itself, with their HTTP status.
OWN_REASONS: Final[dict[str, tuple[int, str]]] = {
    "INVALID_REQUEST": (400, "The body is not JSON, or does not match the request message."),
    "INVALID_FIELD": (400, "A field or parameter is invalid; `field_violations` names each. 422 from POST /chat."),
    "HOST_NOT_ALLOWED": (400, "The `Host` header names a host that is not in ILAB_CHAT_GATEWAY_HOSTS."),
    "ROUTE_NOT_FOUND": (404, "No route has this path."),
    "METHOD_NOT_ALLOWED": (405, "The path does not support the method."),
    "BODY_INCOMPLETE": (408, "The body did not arrive in time, or not before too many others: try again."),
    "BODY_TOO_LARGE": (413, "The body exceeds ILAB_CHAT_GATEWAY_MAX_BODY_BYTES."),
    "TOO_MANY_VALUES": (413, f"The body, or a line of an import, has more than {MOST_VALUES:,} JSON values."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "The body is not declared as application/json (imports: application/x-ndjson)."),
    "INTERNAL": (500, "A defect of the gateway. Its log has the cause, under the id in `detail`."),
    "SERVER_UNREACHABLE": (503, "The gRPC server does not answer."),
}
TOO_MANY_VALUES: Final = f"the body has more than {MOST_VALUES:,} JSON values: send fewer, or several requests"
BY_HTTP_STATUS: Final = {
    404: "ROUTE_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "BODY_INCOMPLETE",
    413: "BODY_TOO_LARGE",
}


class Problem(Exception):
    """A request that the gateway itself refuses."""

    def __init__(self, reason: str, detail: str, violations: Sequence[FieldViolation] = ()) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.violations = tuple(violations)


class TooManyValues(HTTPException):
    """A body that is refused before it is parsed."""

    def __init__(self) -> None:
        super().__init__(OWN_REASONS["TOO_MANY_VALUES"][0])


class ClientGone(Exception):
    """The client has closed its connection."""


def invalid_field(field: str, description: str) -> Problem:
    """Return the problem of one invalid field."""
    return Problem("INVALID_FIELD", f"{field}: {description}", [FieldViolation(field, description)])


def problem(
    status: int,
    reason: str,
    detail: str,
    *,
    code: str = "",
    violations: Sequence[FieldViolation] = (),
    retry_after: float | None = None,
    request_id: str = "",
) -> dict[str, Any]:
    """Return problem details. Members without a value are left out."""
    members = {
        "type": f"urn:ilab-chat:reason:{reason}" if reason else "about:blank",
        "title": title(status),
        "status": status,
        "detail": detail,
        "reason": reason,
        "code": code,
        "field_violations": [{"field": each.field, "description": each.description} for each in violations],
        "retry_after": retry_after,
        "request_id": request_id,
    }
    return {name: value for name, value in members.items() if value not in ("", [], None)}


def title(status: int) -> str:
    """Return the phrase of an HTTP status."""
    return "Client Closed Request" if status == CLIENT_GONE else HTTPStatus(status).phrase


def of_chat_error(error: ChatError) -> dict[str, Any]:
    """Return the problem of a failed call."""
    reason, detail = error.reason, error.message
    if not reason:
        # From gRPC or a proxy: the text may name addresses.
        reason = "SERVER_UNREACHABLE" if error.code is StatusCode.UNAVAILABLE else error.code.name
        detail = "the server does not answer" if error.code is StatusCode.UNAVAILABLE else "the call failed"
    return problem(
        STATUS[error.code],
        reason,
        detail,
        code=error.code.name,
        violations=error.field_violations,
        retry_after=error.retry_after,
        request_id=error.request_id,
    )


def response(details: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """Return the response of a problem."""
    more = dict(headers or {})
    if "retry_after" in details:
        more["Retry-After"] = str(max(1, math.ceil(details["retry_after"])))
    if details["status"] == HTTPStatus.UNAUTHORIZED:
        more["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps(details, ensure_ascii=False), details["status"], more, MEDIA_TYPE)


def of_exception(error: Exception) -> dict[str, Any]:
    """Return the problem of any exception that a route raises."""
    match error:
        case ChatError():
            return of_chat_error(error)
        case Problem():
            return problem(OWN_REASONS[error.reason][0], error.reason, error.detail, violations=error.violations)
        case RequestValidationError():
            # The status that the recipe answers with. Neither pydantic's input nor its context: they quote the request.
            violations = [
                FieldViolation(".".join(map(str, each["loc"][1:])) or "body", each["msg"]) for each in error.errors()
            ]
            return problem(422, "INVALID_FIELD", "the request is invalid", violations=violations)
        case TooManyValues():
            return problem(error.status_code, "TOO_MANY_VALUES", TOO_MANY_VALUES)
        case HTTPException():
            reason = BY_HTTP_STATUS.get(error.status_code, "INVALID_REQUEST")
            return problem(error.status_code, reason, title(error.status_code).lower())
        case _:
            correlation_id = secrets.token_hex(16)
            log.error("internal error %s", correlation_id, exc_info=error)
            return problem(500, "INTERNAL", f"internal error {correlation_id}")


def is_json(request: Request) -> bool:
    """Whether the body is declared as JSON, by application/json or a type that ends with +json."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("application/") and kind.removeprefix("application/").rpartition("+")[2] == "json"


def add_handlers(app: FastAPI) -> None:
    """Answer every exception with problem details."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, ClientGone | ClientDisconnect):
            return Response(status_code=CLIENT_GONE)
        if isinstance(error, RequestValidationError) and not is_json(request):
            # FastAPI does not parse such a body, and says that it should be an object.
            error = Problem("UNSUPPORTED_MEDIA_TYPE", "the Content-Type must be application/json")
        headers = dict(getattr(error, "headers", None) or {}) if isinstance(error, HTTPException) else {}
        return response(of_exception(error), headers)

    for kind in (ChatError, Problem, ClientGone, ClientDisconnect, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)
