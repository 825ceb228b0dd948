"""Spans of OpenTelemetry from the records of calls, with explicit times. No content, no user id. Extra `otel`.

Names and attributes follow the conventions for gRPC, HTTP and generative AI; ours begin with `ilab_chat.`:
https://opentelemetry.io/docs/specs/semconv/rpc/grpc and
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/client-inference.md
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ilab_chat_service.versions import INSTALLED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer
    from opentelemetry.util.types import AttributeValue

    from ilab_chat_service.telemetry.call_record import Call, ModelRequest

SCOPE = "ilab_chat_service"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.43.0"

#: Codes with which a span of a server has failed. With others, such as CANCELLED, the caller may be the cause:
#: https://opentelemetry.io/docs/specs/semconv/rpc/grpc
SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

#: Phases that have a span; `queue`, the wait for a slot, only from QUEUED_SECONDS on.
PHASES = ("queue", "idempotency", "hydrate", "persist", "store")
QUEUED_SECONDS = 0.001

CANCELLED = "CANCELLED"
HTTP = "HTTP_"

PROPAGATOR = TraceContextTextMapPropagator()


class Traces:
    """Begins and ends the span of each call, and those in it.

    Args:
        provider: samples and exports the spans.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer(SCOPE, INSTALLED["ilab-chat-service"], schema_url=SCHEMA_URL)

    def call_began(self, call: Call, began: float) -> None:
        """Begin the span of a call that arrived at *began*, of `time.perf_counter`, and set its trace."""
        parent = Context()
        if call.traceparent:
            carrier = {"traceparent": call.traceparent, "tracestate": call.tracestate}
            parent = PROPAGATOR.extract(carrier, context=parent)
        attributes: dict[str, AttributeValue] = {"rpc.system.name": "grpc", "rpc.method": call.method}
        self._begin(call, began, SpanKind.SERVER, parent, attributes)

    def call_ended(self, call: Call, seconds: float) -> None:
        """End the spans of a call that took *seconds*."""
        if not isinstance(trace := call.trace, CallTrace):
            return
        attributes = dict(call_attributes(call))
        if (code := call.status_code or "UNKNOWN") in SERVER_ERRORS:
            trace.span.set_status(StatusCode.ERROR)
            attributes["error.type"] = call.reason or code
        trace.end(seconds, attributes)

    def work_began(self, call: Call, began: float) -> None:
        """Begin the span of work in the background, which belongs to no call."""
        self._begin(call, began, SpanKind.INTERNAL, Context(), {})

    def work_ended(self, call: Call, seconds: float, attributes: Mapping[str, AttributeValue]) -> None:
        """End the spans of work in the background. Its `reason`, if it has one, is an error."""
        if not isinstance(trace := call.trace, CallTrace):
            return
        set_outcome(trace.span, call.reason)
        trace.end(seconds, attributes)

    def _begin(
        self, call: Call, began: float, kind: SpanKind, parent: Context, attributes: dict[str, AttributeValue]
    ) -> None:
        start = time.time_ns() - nanoseconds(time.perf_counter() - began)
        span = self._tracer.start_span(call.method, parent, kind, attributes, start_time=start)
        context = span.get_span_context()
        call.trace_id = format_trace_id(context.trace_id)
        call.traceparent = traceparent(context)
        # If a call is not sampled, only its ids are passed on.
        if span.is_recording():
            call.trace = CallTrace(self._tracer, span, call, began, start)


class CallTrace:
    """The spans of one call. See `call_record.Trace`."""

    __slots__ = ("_began", "_call", "_has_ended", "_model", "_requests", "_start", "_tracer", "span")

    def __init__(self, tracer: Tracer, span: Span, call: Call, began: float, start: int) -> None:
        self.span = span
        self._tracer = tracer
        self._call = call
        self._began = began
        self._start = start
        self._model: Span | None = None
        self._requests: list[tuple[ModelRequest, Span]] = []
        self._has_ended = False

    def request_began(self, request: ModelRequest) -> None:
        """See `call_record.Trace`. All requests of a call are attempts of one operation of the model."""
        if self._model is None:
            self._model = self._begin_model(request.cause, request.began)
        span = self._tracer.start_span(
            "POST",
            set_span_in_context(self._model, Context()),
            SpanKind.CLIENT,
            dict(request_attributes(request, len(self._requests))),
            start_time=self._at(request.began),
        )
        request.traceparent = traceparent(span.get_span_context())
        self._requests.append((request, span))

    def phase_ended(self, name: str) -> None:
        """See `call_record.Trace`. A turn of a cancelled call is stored after the end of the call."""
        if self._has_ended and name in PHASES:
            self._add_phase(name)

    def end(self, seconds: float, attributes: Mapping[str, AttributeValue]) -> None:
        """End the call, and every span in it that has not ended."""
        self._has_ended = True
        call = self._call
        for name in PHASES:
            if name in call.phases and (name != "queue" or call.phases[name] >= QUEUED_SECONDS):
                self._add_phase(name)
        if "model" in call.phases:
            self._end_model(call.phases_began["model"] + call.phases["model"])
        self.span.set_attributes(attributes)
        self.span.end(self._start + nanoseconds(seconds))

    def _add_phase(self, name: str) -> None:
        began = self._call.phases_began[name]
        span = self._tracer.start_span(
            name, set_span_in_context(self.span, Context()), SpanKind.INTERNAL, start_time=self._at(began)
        )
        set_outcome(span, self._call.phases_failed.get(name, ""))
        span.end(self._at(began + self._call.phases[name]))

    def _begin_model(self, cause: Mapping[str, str | int], began: float) -> Span:
        model = str(cause.get("gen_ai.request.model", ""))
        return self._tracer.start_span(
            f"chat {model}".rstrip(),
            set_span_in_context(self.span, Context()),
            SpanKind.CLIENT,
            {
                "gen_ai.operation.name": "chat",
                # The API is OpenAI's, whichever vendor offers it: see `server.address`.
                "gen_ai.provider.name": "openai",
                "gen_ai.request.stream": True,
                **model_attributes(cause),
            },
            start_time=self._at(self._call.phases_began.get("model", began)),
        )

    def _end_model(self, ended: float) -> None:
        """End the operation of the model, and its last request. Without a request a breaker refused it."""
        call = self._call
        if self._model is None:
            self._model = self._begin_model(call.cause, call.phases_began["model"])
        failure = call.phases_failed.get("model", "")
        for request, span in self._requests:
            answered = request.outcome == "OK"
            if answered:
                span.set_attribute("http.response.status_code", 200)
            elif request.outcome.startswith(HTTP):
                span.set_attribute("http.response.status_code", int(request.outcome.removeprefix(HTTP)))
            set_outcome(span, failure if answered else request.outcome.removeprefix(HTTP))
            span.end(self._at(ended if answered else request.ended))
        self._model.set_attributes(dict(answer_attributes(call)))
        set_outcome(self._model, failure)
        self._model.end(self._at(ended))

    def _at(self, moment: float) -> int:
        """Return a moment of `time.perf_counter` in nanoseconds since 1970."""
        return self._start + nanoseconds(moment - self._began)


def set_outcome(span: Span, failure: str) -> None:
    """Record how the work of *span* ended. Empty: well. Work that the caller cancelled has not failed."""
    if failure == CANCELLED:
        span.set_attribute("ilab_chat.cancelled", True)
    elif failure:
        span.set_status(StatusCode.ERROR)
        span.set_attribute("error.type", failure)


def call_attributes(call: Call) -> Iterator[tuple[str, AttributeValue]]:
    """Yield the attributes of a call that has ended."""
    yield "rpc.response.status_code", call.status_code or "UNKNOWN"
    if call.reason:
        yield "ilab_chat.reason", call.reason
    yield "ilab_chat.correlation_id", call.correlation_id
    if call.retry_attempt:
        yield "ilab_chat.retry_attempt", call.retry_attempt
    if call.replayed is not None:
        yield "ilab_chat.replayed", call.replayed
    if call.stored is not None:
        yield "ilab_chat.stored", call.stored
    for source, count in call.memory_hits.items():
        yield f"ilab_chat.memories.{source}", count


def request_attributes(request: ModelRequest, number: int) -> Iterator[tuple[str, AttributeValue]]:
    """Yield the attributes of a request to a model; *number*: requests of the call before it."""
    yield "http.request.method", "POST"
    if number:
        yield "http.request.resend_count", number
    yield from model_attributes(request.cause).items()


def answer_attributes(call: Call) -> Iterator[tuple[str, AttributeValue]]:
    """Yield the attributes of a model's answer."""
    if call.response_model:
        yield "gen_ai.response.model", call.response_model
    if (first := call.phases.get("first_token")) is not None:
        yield "gen_ai.response.time_to_first_chunk", first
    if call.input_tokens is not None:
        yield "gen_ai.usage.input_tokens", call.input_tokens
        yield "gen_ai.usage.output_tokens", call.output_tokens or 0


def model_attributes(cause: Mapping[str, str | int]) -> dict[str, AttributeValue]:
    """Return the attributes that name a model and the host of its API."""
    found: dict[str, AttributeValue] = {}
    if model := cause.get("gen_ai.request.model"):
        found["gen_ai.request.model"] = model
    if address := cause.get("server.address"):
        host, port = host_and_port(str(address))
        found["server.address"] = host
        if port:
            found["server.port"] = port
    return found


@lru_cache(maxsize=64)
def host_and_port(address: str) -> tuple[str, int | None]:
    """Return host and port of *address*. None: it names no port."""
    parts = urlsplit(f"//{address}")
    return parts.hostname or address, parts.port


def traceparent(context: SpanContext) -> str:
    """Return the W3C header with which *context* is the parent."""
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"


def nanoseconds(seconds: float) -> int:
    """Return *seconds* in nanoseconds."""
    return int(seconds * 1e9)
