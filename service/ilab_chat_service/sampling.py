"""Sample metrics that no call reports: slots, threads, breakers, sizes, backlogs."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import resource
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ilab_chat_service.failures import MemoryUnavailable
from ilab_chat_service.rate_limits import NAMES as RATE_LIMITS
from ilab_chat_service.tasks import in_background

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping

    from prometheus_client import CollectorRegistry

    from ilab_chat_service.consolidation.consolidator import Consolidator
    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.model.model_choice import ModelClient
    from ilab_chat_service.rpc.admission import Admission
    from ilab_chat_service.rpc.strangers import Strangers
    from ilab_chat_service.settings import Settings
    from ilab_chat_service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

#: Time between two samples of values in memory, which take some tens of microseconds.
SECONDS = 1.0
#: Time between two samples of values that need a query of the memory or the system.
SLOW_SECONDS = 15.0

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True, kw_only=True)
class Sampler:
    """The parts that are sampled, and the metrics that get their values."""

    metrics: Metrics
    admissions: Mapping[str, Admission]
    library: MemoryExecutor
    models: Mapping[str, ModelClient]
    """By purpose."""
    consolidator: Consolidator | None
    strangers: Strangers
    is_ready: Callable[[], bool]
    certificate_expiry: Callable[[], datetime] | None
    """None: there is no certificate."""
    _cpu: float = 0.0
    _embedded: int = 0
    _cut: int = 0
    _events: Counter[str] = field(default_factory=Counter)

    def sample(self) -> None:
        """Sample values in memory."""
        metrics = self.metrics
        metrics.ready.set(self.is_ready())
        for kind, admission in self.admissions.items():
            metrics.admission_running[kind].set(admission.running)
            metrics.admission_waiting[kind].set(admission.waiting)
            metrics.admission_limit[kind].set(admission.limit)
        for pool, slots in self.library.pools.items():
            metrics.pool_busy[pool].set(slots.used)
            metrics.pool_waiting[pool].set(slots.waiting)
            metrics.pool_size[pool].set(slots.size)
        for purpose, client in self.models.items():
            for model, is_open in client.breakers():
                metrics.breaker_open[model, purpose].set(is_open)
        embedded = self.library.embedded
        metrics.embedded.inc(embedded - self._embedded)
        self._embedded = embedded
        cut = self.strangers.cut
        metrics.connections_cut.inc(cut - self._cut)
        self._cut = cut
        if self.consolidator:
            events = Counter(self.consolidator.counts)
            for event, times in (events - self._events).items():
                metrics.consolidation_events[re.sub(r"\W+", "_", event)].inc(times)
            self._events = events
        cpu = time.process_time()
        metrics.cpu.inc(cpu - self._cpu)
        self._cpu = cpu
        metrics.flush()

    async def sample_slowly(self) -> None:
        """Sample values that take time. Keep the previous value if the memory is not available."""
        metrics = self.metrics
        if self.certificate_expiry:
            metrics.certificate_expiry["server"].set(self.certificate_expiry().timestamp())
        await asyncio.to_thread(sample_process, metrics)
        with suppress(MemoryUnavailable):
            metrics.store_size.set(await self.library.size())
            metrics.erasures_pending.set(await self.library.pending_erasures())
            metrics.embedding_pending.set(await self.library.unembedded())
            if self.consolidator:
                stats = await self.library.work(lambda memory: memory.mem_work_stats())
                waited = (datetime.now(UTC) - stats.oldest_pending).total_seconds() if stats.oldest_pending else 0
                metrics.consolidation_pending.set(stats.pending)
                metrics.consolidation_dead.set(stats.dead)
                metrics.consolidation_tokens_today.set(stats.tokens_used)
                metrics.consolidation_oldest.set(max(waited, 0))


def sample_process(metrics: Metrics) -> None:
    """Sample the system's values for this process. Blocks."""
    metrics.max_fds.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    # Linux only.
    with suppress(OSError):
        metrics.open_fds.set(sum(1 for _ in Path("/proc/self/fd").iterdir()))
        metrics.resident.set(int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE_BYTES)


@asynccontextmanager
async def sampling(sampler: Sampler) -> AsyncIterator[None]:
    """Sample now, and regularly while the block runs."""

    async def sample() -> None:
        sampler.sample()

    for purpose, client in sampler.models.items():
        for model, _ in client.breakers():
            sampler.metrics.offered(model, purpose)
    if sampler.consolidator:
        sampler.metrics.consolidates()
    async with AsyncExitStack() as stack:
        for seconds, each in ((SECONDS, sample), (SLOW_SECONDS, sampler.sample_slowly)):
            await attempt(each)
            await stack.enter_async_context(in_background(repeat(seconds, each)))
        # Include the last calls.
        stack.callback(sampler.sample)
        yield


async def repeat(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Run *work* every *seconds*."""
    while True:
        await asyncio.sleep(seconds)
        await attempt(work)


async def attempt(work: Callable[[], Awaitable[None]]) -> None:
    """Run *work*. Log a failure: metrics must not end a server."""
    try:
        await work()
    except Exception:
        log.exception("a sample of the metrics failed")


@asynccontextmanager
async def open_metrics(
    settings: Settings,
    methods: Collection[str],
    reasons: Collection[str],
    is_ready: Callable[[], bool],
    *,
    worker: int,
) -> AsyncIterator[tuple[Metrics | None, str]]:
    """Yield the metrics of this process and the address that serves them, None if they are off.

    A worker keeps them in the files of its number, and its supervisor serves them.

    Raises:
        AddressUnavailable: the address cannot be bound.
    """
    if not settings.metrics_address:
        yield None, ""
        return
    # In a thread, because it imports.
    own, registry = await asyncio.to_thread(declare, methods, reasons, worker)
    if worker:
        yield own, settings.metrics_address
        return
    from ilab_chat_service.telemetry.http_pages import Pages, serving_pages  # noqa: PLC0415 - imported by `declare`

    pages = Pages(registry, is_ready, asyncio.get_running_loop())
    async with serving_pages(settings.metrics_address, pages) as address:
        yield own, address


def declare(methods: Collection[str], reasons: Collection[str], worker: int) -> tuple[Metrics, CollectorRegistry]:
    """Declare the metrics of this process, and return them with their registry."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - not needed if metrics are off

    from ilab_chat_service.telemetry import http_pages, metrics, worker_files  # noqa: F401, PLC0415 - the same

    if worker:
        worker_files.use_files_of(worker)
    else:
        worker_files.use_no_files()
    registry = CollectorRegistry()
    own = metrics.Metrics(registry, methods, reasons, RATE_LIMITS)
    own.started()
    return own, registry
