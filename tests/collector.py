"""A small collector: an HTTP server that takes OTLP's protobufs, as the traces' exporter sends them."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Proto
from opentelemetry.proto.trace.v1.trace_pb2 import Status


def values(pairs: Any) -> dict[str, Any]:
    """Return attributes by name."""

    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    return {pair.key: value(pair) for pair in pairs}


@dataclass(frozen=True)
class Span:
    """A span that arrived."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any] = field(repr=False)

    @property
    def traceparent(self) -> str:
        """The W3C header of what continues this span. 03: it is sampled, and the trace id is random."""
        return f"00-{self.trace_id}-{self.span_id}-03"


class Collector(ThreadingHTTPServer):
    """Stores what arrives. `status` is the answer to each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._arrived = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, path: str, headers: dict[str, str], body: bytes) -> None:
        with self._arrived:
            self.requests.append((path, headers, body))
            self._arrived.notify_all()

    @property
    def spans(self) -> list[Span]:
        """Every span, by the time at which it began."""
        return sorted((span for _, _, body in self.requests for span in decoded(body)), key=lambda span: span.began)

    @property
    def bytes(self) -> bytes:
        return b"".join(body for _, _, body in self.requests)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def until(self, condition: Callable[[list[Span]], object], seconds: float = 30) -> list[Span]:
        """Wait until the spans that arrived fulfil *condition*."""
        end = time.monotonic() + seconds
        with self._arrived:
            while not condition(spans := self.spans):
                assert self._arrived.wait(end - time.monotonic()), spans
            return spans


class Handler(BaseHTTPRequestHandler):
    """Takes `POST /v1/traces`."""

    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        # First, so that nobody who waits for the export looks before it is stored.
        if self.server.status == 200:
            self.server.add(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay quiet."""


def decoded(body: bytes) -> Iterator[Span]:
    """Yield the spans of a request."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    kind=Proto.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    failed=span.status.code == Status.STATUS_CODE_ERROR,
                    attributes=values(span.attributes),
                    resource=values(resource.resource.attributes),
                )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port of loopback."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()
