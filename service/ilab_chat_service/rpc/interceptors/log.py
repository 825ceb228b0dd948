"""One canonical log line, metrics and spans for each call of our methods.

Field names follow OpenTelemetry's semantic conventions where they define one:
https://opentelemetry.io/docs/specs/semconv/rpc/grpc and https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

import grpc

from ilab_chat_service.rpc.error_table import INTERNAL
from ilab_chat_service.telemetry.call_record import CALL, Call
from ilab_chat_service.telemetry.logs import AUDIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ilab_chat_service.rpc.interceptors.layers import CallDetails, Context, Method, Requests
    from ilab_chat_service.telemetry.metrics import Metrics
    from ilab_chat_service.telemetry.spans import Traces

log = logging.getLogger(__name__)
audit = logging.getLogger(AUDIT)

#: Methods that erase, export or import data of a user: each call has an audit line.
AUDITED = {
    f"ilab_chat.v1.MemoryService/{method}" for method in ("ForgetUser", "DeleteObservation", "ExportUser", "ImportUser")
}
#: The fields of the log line that an audit line has.
AUDIT_FIELDS = {
    *("rpc.method", "rpc.response.status_code", "error.type"),
    *("caller", "user.hash", "correlation_id", "trace_id"),
}

CORRELATION_TRAILER = "x-correlation-id"

#: Codes that are logged at INFO: success, and errors of the caller.
INFO_CODES = {"OK", "CANCELLED", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"}

#: The client's gRPC cancels a call at its deadline, slightly before the deadline that we compute from the call's
#: arrival. So a call that is cancelled with less than this time left has exceeded its deadline.
DEADLINE_MARGIN_SECONDS = 0.1

#: Version, trace id, parent id, flags. Version 00 has no further fields.
#: https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-((?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?"
)

#: Number of hexadecimal digits of the hashes of user ids and request ids.
HASH_DIGITS = 16


class CallLog:
    """Creates the record of each call, and logs, counts and traces it at the end."""

    def __init__(self, key: str, metrics: Metrics | None = None, traces: Traces | None = None) -> None:
        """Log, count and trace calls.

        Args:
            key: key of the hashes that replace user ids and request ids in the log. Empty: a random key.
            metrics: counts calls. None: do not count.
            traces: records spans of calls. None: do not trace.
        """
        self._metrics = metrics
        self._traces = traces
        self._hash = hmac.new(key.encode() or secrets.token_bytes(32), digestmod="sha256")

    async def logged(self, details: CallDetails, method: Method, requests: Requests, context: Context) -> Any:
        """Await *method*; the outermost layer."""
        began = time.perf_counter()
        call = new_record(details)
        name = call.method
        CALL.set(call)
        if self._traces:
            self._traces.call_began(call, began)
        if self._metrics:
            self._metrics.call_began(name)
        context.set_trailing_metadata(((CORRELATION_TRAILER, call.correlation_id),))
        try:
            response = await method(requests, context)
            call.status_code = grpc.StatusCode.OK.name
        except asyncio.CancelledError:
            call.status_code = code_of_cancelled(context).name
            raise
        finally:
            seconds = time.perf_counter() - began
            if self._metrics:
                self._metrics.call_ended(call, seconds)
            if self._traces:
                self._traces.call_ended(call, seconds)
            level = level_of(call)
            if log.isEnabledFor(level):
                log.log(level, "call", extra={"fields": dict(self._fields(call, seconds))})
            if name in AUDITED:
                fields = {name: value for name, value in self._fields(call, seconds) if name in AUDIT_FIELDS}
                audit.info("audit", extra={"fields": fields})
        return response

    def _fields(self, call: Call, seconds: float) -> Iterator[tuple[str, object]]:
        """Yield the fields of the log line. docs/operations.md documents them."""
        code = call.status_code or grpc.StatusCode.UNKNOWN.name
        yield "rpc.method", call.method
        yield "rpc.response.status_code", code
        if code != grpc.StatusCode.OK.name:
            yield "error.type", call.reason or code
        if call.status_message:
            yield "status_message", call.status_message
        if call.exception_chain:
            yield "exception_chain", call.exception_chain
        yield from call.cause.items()
        yield "duration_ms", milliseconds(seconds)
        for phase, taken in call.phases.items():
            yield f"{phase}_ms", milliseconds(taken)
        if call.model_requests:
            yield "model_attempts", len(call.model_requests)
        yield from answer_fields(call)
        yield "retry_attempt", call.retry_attempt
        if call.caller:
            yield "caller", call.caller
        if call.user_id:
            yield "user.hash", self.keyed_hash(call.user_id)
        if call.request_id:
            yield "request_id.hash", self.keyed_hash(call.request_id)
        yield "correlation_id", call.correlation_id
        if call.trace_id:
            yield "trace_id", call.trace_id

    def keyed_hash(self, text: str) -> str:
        """Return a keyed hash of *text*, which a caller chose, for the log."""
        keyed = self._hash.copy()
        keyed.update(text.encode())
        return keyed.hexdigest()[:HASH_DIGITS]


def answer_fields(call: Call) -> Iterator[tuple[str, object]]:
    """Yield the fields of an answer."""
    if call.replayed is not None:
        yield "replayed", call.replayed
    if call.stored is not None:
        yield "stored", call.stored
    if call.answer_began or call.replayed is not None:
        for source, count in sorted(call.memory_hits.items()):
            yield f"memories.{source}", count
    if call.response_model:
        yield "gen_ai.response.model", call.response_model
    if call.input_tokens is not None:
        yield "gen_ai.usage.input_tokens", call.input_tokens
        yield "gen_ai.usage.output_tokens", call.output_tokens
        if call.are_tokens_estimated:
            yield "gen_ai.usage.estimated", True


def new_record(details: CallDetails) -> Call:
    """Return the record of a new call."""
    traces = []
    states = []
    retry_attempt = 0
    for key, value in details.headers:
        if key == "traceparent":
            traces.append(value)
        elif key == "tracestate":
            states.append(value)
        elif key == "grpc-previous-rpc-attempts":
            retry_attempt = small_number(value)
    call = Call(
        method=details.method.removeprefix("/"),
        correlation_id=secrets.token_hex(16),
        retry_attempt=retry_attempt,
    )
    if len(traces) == 1 and isinstance(traces[0], str) and (found := TRACEPARENT.fullmatch(traces[0])):
        # Always as version 00: later versions may have more fields, which we do not know.
        call.trace_id, call.traceparent = found[2], f"00-{found[1]}"
        call.tracestate = ",".join(state for state in states if isinstance(state, str))
    return call


def small_number(text: str | bytes) -> int:
    """Return *text* as a number of at most three digits, or 0 if it is not one."""
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text if isinstance(text, str) else "") else 0


def code_of_cancelled(context: Context) -> grpc.StatusCode:
    """Return the status that the caller sees for a call that its gRPC cancelled."""
    remaining = context.time_remaining()
    if remaining is not None and remaining < DEADLINE_MARGIN_SECONDS:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return grpc.StatusCode.CANCELLED


def level_of(call: Call) -> int:
    """Return ERROR for bugs, INFO for success and errors of the caller, WARNING for other failures."""
    if call.status_code in INFO_CODES:
        return logging.INFO
    return logging.ERROR if not call.status_code or call.reason == INTERNAL.reason else logging.WARNING


def milliseconds(seconds: float) -> float:
    """Return *seconds* in milliseconds, rounded to a hundredth."""
    return round(seconds * 1000, 2)
