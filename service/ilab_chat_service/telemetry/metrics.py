"""Every metric of the server, and how the record of a call becomes values. No user id, no text, no unbounded label.

Names follow Prometheus (https://prometheus.io/docs/practices/naming): base units, and the unit in the name. Buckets
follow OpenTelemetry's conventions for RPC and generative AI, extended to the longest deadline of a chat.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from ilab_chat_service.telemetry.worker_files import flush
from ilab_chat_service.versions import INSTALLED

if TYPE_CHECKING:
    from collections.abc import Collection

    from ilab_chat_service.telemetry.call_record import Call

PREFIX = "ilab_chat_"

#: Replaces methods and models that are not known in advance: callers must not create time series.
OTHER = "other"

#: Names of `values.MemorySource`. Their series exist from the start.
SOURCES = ("fact", "turn", "search", "summary")

#: Prefixes of the reasons with which only chat calls fail.
OF_CHAT = ("MODEL_", "CONTEXT_", "CONTENT_", "RATE_")
CHAT = "ilab_chat.v1.ChatService/"
#: Statuses of calls that end without an ErrorInfo.
STATUSES = ("CANCELLED", "UNKNOWN")
#: Limits of admission: see `rpc.admission`.
ADMISSION_LIMITS = ("user", "user_bytes", "bytes", "queue", "wait", "idle")
#: How requests to models usually begin.
OUTCOMES = ("OK", "CANCELLED", "MODEL_UNAVAILABLE", "HTTP_429", "HTTP_500", "HTTP_502", "HTTP_503", "HTTP_504")
#: Events of consolidation without a reason.
EVENTS = (
    *("calls", "tokens", "turns", "set", "retired", "summaries", "lost", "dead", "interrupted", "over_budget"),
    *("failed_memory", "failed_InvalidAnswer", "failed_ModelUnavailable", "failed_ModelRateLimited"),
)

#: Seconds. https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics and .../gen-ai/gen-ai-metrics
CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
MODEL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
STORE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

#: How the values of several workers become one: see https://prometheus.github.io/client_python/multiprocess
Mode: TypeAlias = Literal["livesum", "livemin", "livemax", "livemostrecent"]

M = TypeVar("M", Counter, Gauge, Histogram)


@dataclass(frozen=True, slots=True)
class Described:
    """A metric, for the documentation."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Children(dict[str | tuple[str, ...], M]):
    """The children of a metric by the values of its labels: `metric[value]`, `metric[value, value]`.

    `labels` of the package takes as long as counting itself.
    """

    def __init__(self, metric: M) -> None:
        self._metric: M = metric

    def begin(self, *values: Collection[str]) -> None:
        """Expose the series of each combination of *values*, the values of each label, with the value 0.

        A series that begins with its first event has no increase, so that an alert would miss that event.
        """
        for labels in product(*values):
            # A child has the value 0.
            self[labels if len(labels) > 1 else labels[0]]

    @property
    def only(self) -> M:
        """The metric, if it has no labels."""
        metric: M = self._metric
        return metric

    def __missing__(self, labels: str | tuple[str, ...]) -> M:
        values = labels if isinstance(labels, tuple) else (labels,)
        child: M = self._metric.labels(*values)
        self[labels] = child
        return child


class Metrics:
    """The metrics of one process.

    Args:
        registry: collects them.
        methods: our methods, as the call record names them.
        reasons: with which calls can fail.
        limits: names of the rate limits.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        methods: Collection[str] = (),
        reasons: Collection[str] = (),
        limits: Collection[str] = (),
    ) -> None:
        # Otherwise each counter and histogram gets another time series, with the time of its creation.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._methods = frozenset(methods)
        self.described: list[Described] = []

        self.rpc_duration = self._histogram(
            "rpc_duration_seconds",
            "Duration of calls, by method and gRPC status.",
            "method",
            "code",
            buckets=CALL_BUCKETS,
        )
        self.rpc_in_flight = self._gauge("rpc_in_flight", "Calls that run or wait now.", "method")
        self.rpc_errors = self._counter(
            "rpc_errors_total",
            "Failed calls, by the reason in ErrorInfo, or by the status if the call has no ErrorInfo.",
            "method",
            "reason",
        )
        self.admission_running = self._gauge("admission_running", "Calls that have a slot now, by kind.", "kind")
        self.admission_waiting = self._gauge("admission_waiting", "Calls that wait for a slot now, by kind.", "kind")
        self.admission_limit = self._gauge("admission_limit", "Slots, by kind.", "kind")
        self.admission_refused = self._counter(
            "admission_refused_total", "Calls refused as SERVER_BUSY, by the limit that was reached.", "method", "limit"
        )
        self.rate_limited = self._counter(
            "rate_limited_total",
            "Calls refused as RATE_LIMITED, by the limit that was reached, such as user_turns_per_minute.",
            "method",
            "limit",
        )
        self.admission_wait = self._histogram(
            "admission_wait_seconds", "Wait for a slot, including refused calls.", "method", buckets=STORE_BUCKETS
        )
        self.connections_cut = self._counter(
            "connections_cut_total", "Connections that were cut: they ended too many calls without valid credentials."
        ).only
        self.replays = self._counter(
            "idempotent_replays_total", "Calls answered with the stored response of an earlier call.", "method"
        )
        self.first_token = self._histogram(
            "model_time_to_first_token_seconds",
            "Time from the request to a model to the beginning of its answer, retries and fallbacks included.",
            "model",
            buckets=MODEL_BUCKETS,
        )
        self.model_duration = self._histogram(
            "model_duration_seconds",
            "Time from the request to a model to the end of its answer or the failure, retries and fallbacks included.",
            "model",
            "purpose",
            buckets=MODEL_BUCKETS,
        )
        self.model_requests = self._counter(
            "model_requests_total",
            "Requests to model APIs, each retry and fallback counted, by how they began: OK or a failure.",
            "model",
            "purpose",
            "outcome",
        )
        self.model_tokens = self._counter(
            "model_tokens_total",
            "Tokens that model APIs counted, by type: input or output. Replays use no tokens.",
            "model",
            "purpose",
            "type",
        )
        self.breaker_open = self._gauge(
            "model_breaker_open", "Processes whose circuit breaker of the model is open.", "model", "purpose"
        )
        self.memory_hits = self._counter(
            "memory_hits_total", "Memories in prompts, by source: fact, turn, search or summary.", "source"
        )
        self.memory_hits.begin(SOURCES)
        self.hydrate = self._histogram(
            "memory_hydrate_seconds", "Time to read the memory for a prompt.", buckets=STORE_BUCKETS
        ).only
        self.persist = self._histogram(
            "memory_persist_seconds",
            "Time to store a turn durably, except turns that their callers interrupted.",
            buckets=STORE_BUCKETS,
        ).only
        self.pool_busy = self._gauge(
            "store_pool_busy", "Busy threads of the memory's pools; in PostgreSQL each has a connection.", "pool"
        )
        self.pool_waiting = self._gauge("store_pool_waiting", "Calls that wait for a thread of a pool.", "pool")
        self.pool_size = self._gauge("store_pool_size", "Threads of the memory's pools.", "pool")
        self.store_size = self._gauge(
            "store_size_bytes",
            "Size of the memory: the SQLite file and its log, or the tables in PostgreSQL.",
            mode="livemostrecent",
        ).only
        self.erasures_pending = self._gauge(
            "erasures_pending",
            "Erasures of ForgetUser, DeleteObservation and expiry that are not finished.",
            mode="livemostrecent",
        ).only
        self.consolidation_pending = self._gauge(
            "consolidation_pending_users", "Users with turns to consolidate.", mode="livemostrecent"
        ).only
        self.consolidation_dead = self._gauge(
            "consolidation_dead_users", "Users whose consolidation was given up.", mode="livemostrecent"
        ).only
        self.consolidation_oldest = self._gauge(
            "consolidation_oldest_seconds",
            "Time that the oldest turn has waited for consolidation, 0 if none waits.",
            mode="livemostrecent",
        ).only
        self.consolidation_tokens_today = self._gauge(
            "consolidation_tokens_today", "Tokens used by consolidation today (UTC), by all servers.", mode="livemax"
        ).only
        self.consolidation_events = self._counter(
            "consolidation_events_total",
            "Events of consolidation: calls, turns, set, retired, summaries, lost, dead, interrupted, over_budget, "
            "dropped_REASON, failed_REASON.",
            "event",
        )
        self.embedding_pending = self._gauge(
            "embedding_pending_observations",
            "Approximate number of observations without a vector of the embedder in use; 0 without an embedder.",
            mode="livemostrecent",
        ).only
        self.embedded = self._counter("embedded_observations_total", "Observations that this server has embedded.").only
        self.cpu = self._counter("process_cpu_seconds_total", "CPU time of the server's processes.").only
        self.resident = self._gauge("process_resident_memory_bytes", "Resident memory of the server's processes.").only
        self.open_fds = self._gauge(
            "process_open_fds", "Open file descriptors of the process with the largest number.", mode="livemax"
        ).only
        self.max_fds = self._gauge(
            "process_max_fds", "Limit of open file descriptors per process.", mode="livemin"
        ).only
        # With a label, so that no value is exposed without a certificate: 0 would look like an expired one.
        self.certificate_expiry = self._gauge(
            "tls_certificate_not_after_timestamp_seconds",
            "Unix time at which the certificate in use expires. Only with TLS.",
            "certificate",
            mode="livemin",
        )
        self.ready = self._gauge(
            "ready", "1: health of ilab_chat.v1.ChatService is SERVING, in every worker; 0: it is not.", mode="livemin"
        ).only
        self.build_info = self._gauge(
            "build_info", "1, with the versions as labels.", "version", "python", "grpcio", mode="livemax"
        )

        self._begin(methods, reasons, limits)

    def _begin(self, methods: Collection[str], reasons: Collection[str], limits: Collection[str]) -> None:
        """Expose the counters whose labels are known, with the value 0."""
        chats = [method for method in methods if method.startswith(CHAT)]
        self.rpc_errors.begin(methods, [*(each for each in reasons if not each.startswith(OF_CHAT)), *STATUSES])
        self.rpc_errors.begin(chats, [each for each in reasons if each.startswith(OF_CHAT)])
        self.admission_refused.begin(methods, ADMISSION_LIMITS)
        self.rate_limited.begin(chats, limits)
        self.replays.begin(methods)

    def offered(self, model: str, purpose: str) -> None:
        """Expose the counters of an offered model, with the value 0. A second call does nothing."""
        self.model_requests.begin([model], [purpose], OUTCOMES)
        self.model_tokens.begin([model], [purpose], ["input", "output"])

    def consolidates(self) -> None:
        """Expose the counters of consolidation, with the value 0. A second call does nothing."""
        self.consolidation_events.begin(EVENTS)

    def started(self) -> None:
        """Record the versions."""
        self.build_info[INSTALLED["ilab-chat-service"], platform.python_version(), INSTALLED["grpcio"]].set(1)

    def flush(self) -> None:
        """Send the counts of a worker to the process that exposes them."""
        flush()

    def call_began(self, method: str) -> None:
        """Record that a call began."""
        self.rpc_in_flight[self._known(method)].inc()

    def call_ended(self, call: Call, seconds: float) -> None:
        """Record a call that has ended."""
        method = self._known(call.method)
        code = call.status_code or "UNKNOWN"
        self.rpc_in_flight[method].dec()
        self.rpc_duration[method, code].observe(seconds)
        if code != "OK":
            self.rpc_errors[method, call.reason or code].inc()
        if call.refused_by:
            self.admission_refused[method, call.refused_by].inc()
        if call.rate_limited_by:
            self.rate_limited[method, call.rate_limited_by].inc()
        phases = call.phases
        if (wait := phases.get("queue")) is not None:
            self.admission_wait[method].observe(wait)
        if (hydrate := phases.get("hydrate")) is not None:
            self.hydrate.observe(hydrate)
        if (persist := phases.get("persist")) is not None:
            self.persist.observe(persist)
        if call.replayed:
            self.replays[method].inc()
            return
        for source, hits in call.memory_hits.items():
            self.memory_hits[source].inc(hits)
        self.model_used(call, "chat")

    def model_used(self, call: Call, purpose: str) -> None:
        """Record the model requests of *call* and their tokens."""
        requests = call.model_requests
        if not requests:
            return
        for request in requests:
            self.model_requests[request.label, purpose, request.outcome].inc()
        # The model that answered, or the last one that failed.
        model = requests[-1].label
        if (seconds := call.phases.get("model")) is not None:
            self.model_duration[model, purpose].observe(seconds)
        if (first := call.phases.get("first_token")) is not None:
            self.first_token[model].observe(first)
        if call.input_tokens is not None and not call.are_tokens_estimated:
            self.model_tokens[model, purpose, "input"].inc(call.input_tokens)
            self.model_tokens[model, purpose, "output"].inc(call.output_tokens or 0)

    def _known(self, method: str) -> str:
        return method if method in self._methods else OTHER

    def _describe(self, name: str, kind: str, labels: tuple[str, ...], meaning: str) -> str:
        full = PREFIX + name
        self.described.append(Described(full, kind, labels, meaning))
        return full

    def _counter(self, name: str, meaning: str, *labels: str) -> Children[Counter]:
        full = self._describe(name, "counter", labels, meaning)
        return Children(Counter(full, meaning, labels, registry=self._registry))

    def _histogram(self, name: str, meaning: str, *labels: str, buckets: tuple[float, ...]) -> Children[Histogram]:
        full = self._describe(name, "histogram", labels, meaning)
        return Children(Histogram(full, meaning, labels, registry=self._registry, buckets=buckets))

    def _gauge(self, name: str, meaning: str, *labels: str, mode: Mode = "livesum") -> Children[Gauge]:
        full = self._describe(name, "gauge", labels, meaning)
        return Children(Gauge(full, meaning, labels, registry=self._registry, multiprocess_mode=mode))
