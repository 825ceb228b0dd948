"""The measurements. Each run measures all contestants, so that a slow moment of the machine affects all of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import statistics
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from comparison import callers, h2load
from comparison.contestants import MEM0_PYTHON, started
from comparison.processes import free_port, running
from comparison.rounds import Load, loop_seconds, round_of, switches
from comparison.upstream import Scenario
from slow_syncs import slow_syncs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from comparison.callers import Timing
    from comparison.contestants import Contestant, Name
    from comparison.processes import Child

#: The values of all runs by figure and contestant.
Runs = dict[tuple[str, str], list[float]]

SERVERS: tuple[Name, ...] = ("floor", "recipe", "ours")

#: Time to the first token of a slow model, in milliseconds.
SLOW_MS = 200
CALLERS = 32
#: Additional duration of a sync on a slow disk, such as a shared virtual one, in milliseconds.
SLOW_SYNC_MS = 5
#: Timeout for opening streams and reading them.
OPENING_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Upstream:
    """The fake model."""

    child: Child

    @property
    def port(self) -> int:
        """Return its port."""
        return self.child.port

    def answers(self, scenario: Scenario) -> int:
        """Set the *scenario*; return the maximum number of concurrent answers since the previous one."""
        return int(self._asked("scenario", scenario.asked()))

    def counts(self) -> dict[str, int]:
        """Return the numbers of requests for answers and for embeddings since the last scenario."""
        counts: dict[str, int] = json.loads(self._asked("counts", b"{}"))
        return counts

    def _asked(self, path: str, body: bytes) -> bytes:
        url = f"http://127.0.0.1:{self.port}/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST")) as response:
            received: bytes = response.read()
            return received


@dataclass
class Bench:
    """Takes measurements and collects them in `runs`."""

    folder: Path
    upstream: Upstream
    contestants: Sequence[Contestant]
    runs: Runs = field(default_factory=lambda: defaultdict(list))
    _names: itertools.count[int] = field(default_factory=itertools.count)

    def users(self, count: int) -> list[str]:
        """Return *count* new user ids."""
        run = next(self._names)
        return [f"user-{run}-{number}" for number in range(count)]

    def add(self, what: str, of: str, value: float) -> None:
        """Add the value of one run."""
        self.runs[what, of].append(value)

    async def turns(self, at: int, *, each: int) -> None:
        """Measure unary stored turns with *at* callers."""
        scenario = Scenario()
        self.upstream.answers(scenario)
        for contestant in self.contestants:
            pid = contestant.child.process.pid
            used, on_loop, switched = contestant.child.cpu_seconds(), loop_seconds(pid), switches(pid)
            load = await h2load.turns(
                contestant, scenario, self.folder, callers=at, each=each, run=f"turns-{next(self._names)}"
            )
            used, on_loop = contestant.child.cpu_seconds() - used, loop_seconds(pid) - on_loop
            switched = switches(pid) - switched
            if contestant.name != "floor" and contestant.stored(load.users) != load.calls:
                raise callers.WrongAnswer(f"{contestant.name}: not every turn is stored")
            self.add(f"turns/s at {at} callers", contestant.name, load.calls / load.seconds)
            self.add(f"CPU ms per turn at {at} callers", contestant.name, used / load.calls * 1000)
            self.add(f"of these on the event loop, at {at} callers", contestant.name, on_loop / load.calls * 1000)
            self.add(f"context switches per turn at {at} callers", contestant.name, switched / load.calls)

    async def turns_on_a_slow_disk(self, at: int, *, each: int) -> None:
        """Measure turns in new processes whose syncs take SLOW_SYNC_MS longer. See `turns`."""
        scenario = Scenario()
        self.upstream.answers(scenario)
        settings = slow_syncs(SLOW_SYNC_MS, self.folder)
        for name in SERVERS[1:]:
            with started(name, self.upstream.port, self.folder, settings) as contestant:
                run = f"slow-{next(self._names)}"
                turns = partial(h2load.turns, contestant, scenario, self.folder, callers=at, run=run)
                await turns(each=1)  # connects, opens the sessions
                load = await turns(each=each)
                if contestant.stored(load.users) != load.calls + at:
                    raise callers.WrongAnswer(f"{name}: not every turn is stored")
            self.add(f"turns/s at {at} callers, syncs {SLOW_SYNC_MS} ms longer", name, load.calls / load.seconds)

    async def workers(self, counts: Sequence[int], *, at: int, each: int, database: str = "") -> None:
        """Measure our turns with each number of workers, and the CPU time that the model and h2load need per turn.

        *database*: URL of a PostgreSQL database. Empty: SQLite.
        """
        scenario = Scenario()
        self.upstream.answers(scenario)
        memory = {"ILAB_MEMORY_DB_PATH": "", "ILAB_MEMORY_URL": database} if database else {}
        for count in counts:
            settings = {"ILAB_CHAT_WORKERS": str(count), **memory}
            with started("ours", self.upstream.port, self.folder, settings) as contestant:
                contestant.child.wait_until_said("serving on")
                turns = partial(h2load.turns, contestant, scenario, self.folder, callers=at)
                await turns(each=1, run=f"warming-{next(self._names)}")
                used, others = contestant.child.cpu_seconds(), self._load_cpu_seconds()
                load = await turns(each=each, run=f"workers-{next(self._names)}")
                used, others = contestant.child.cpu_seconds() - used, self._load_cpu_seconds() - others
                if contestant.stored(load.users) != load.calls:
                    raise callers.WrongAnswer(f"{count} workers: not every turn is stored")
            name = f"{count} worker{'s' if count > 1 else ''}{' on PostgreSQL' if database else ''}"
            self.add(f"turns/s, {name}", "ours", load.calls / load.seconds)
            self.add(f"CPU ms per turn, {name}", "ours", used / load.calls * 1000)
            self.add(f"CPU ms per turn of load and model, {name}", "ours", others / load.calls * 1000)

    async def turns_with_embedder(self, at: int, *, each: int) -> None:
        """Measure our turns with the local encoder, which also embeds each message."""
        scenario = Scenario()
        self.upstream.answers(scenario)
        settings = {"ILAB_MEMORY_EMBEDDER": "local"}
        with started("ours", self.upstream.port, self.folder, settings) as contestant:
            contestant.child.wait_until_said("is ready after")
            turns = partial(h2load.turns, contestant, scenario, self.folder, callers=at)
            await turns(each=1, run=f"warming-{next(self._names)}")
            used = contestant.child.cpu_seconds()
            load = await turns(each=each, run=f"embedder-{next(self._names)}")
            used = contestant.child.cpu_seconds() - used
            if contestant.stored(load.users) != load.calls:
                raise callers.WrongAnswer("with an embedder: not every turn is stored")
        self.add("turns/s, with the local embedder", "ours", load.calls / load.seconds)
        self.add("CPU ms per turn, with the local embedder", "ours", used / load.calls * 1000)

    async def peers(self, *, each: int) -> None:
        """Measure stored turns of ours, the recipe and mem0 in new processes, and what each asks of the model's API.

        By one caller, because the local Qdrant of mem0 fails if threads search and add at once (IndexError in
        `calculate_payload_mask`, qdrant-client 1.20). mem0 is not measured if its environment does not exist.
        """
        load = Load(Scenario(), callers=1, each=each)
        names: list[Name] = ["recipe", "ours"]
        if MEM0_PYTHON.exists():
            names.append("mem0")
        for name in names:
            with started(name, self.upstream.port, self.folder) as contestant:
                self.upstream.answers(load.scenario)
                cost = await round_of(contestant, load, f"peers-{next(self._names)}")
                asked = self.upstream.counts()
            # `round_of` connects by one more turn.
            turns = each + 1
            self.add("CPU ms per turn at 1 caller, new memory", name, cost.cpu_ms)
            self.add("model calls per turn", name, asked.get("answers", 0) / turns)
            self.add("embedding calls per turn", name, asked.get("embeddings", 0) / turns)

    def _load_cpu_seconds(self) -> float:
        """Return the CPU time of the model and of the h2load processes that have exited."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return self.upstream.child.cpu_seconds() + ended.ru_utime + ended.ru_stime

    async def streams(self, scenario: Scenario, *, at: int, each: int) -> None:
        """Measure the CPU time per streamed token, including the rest of the turn."""
        self.upstream.answers(scenario)
        for contestant in self.contestants:
            async with callers.caller_of(contestant, scenario, streams=True) as call:
                used, begun = contestant.child.cpu_seconds(), time.perf_counter()
                await callers.closed_loop(call, self.users(at), each=each)
                used, taken = contestant.child.cpu_seconds() - used, time.perf_counter() - begun
            tokens = at * each * scenario.tokens
            kind = f"{scenario.tokens} tokens, {'paced' if scenario.gap_ms else 'at once'}"
            self.add(f"CPU us per token ({kind})", contestant.name, used / tokens * 1e6)
            self.add(f"tokens/s ({kind})", contestant.name, tokens / taken)

    async def latency(self, at: int, *, each: int, streams: bool) -> None:
        """Measure the latency with a model that takes SLOW_MS, and what a contestant adds to a direct call."""
        scenario = Scenario(first_token_ms=SLOW_MS)
        self.upstream.answers(scenario)
        apart = SLOW_MS / 1000 / at
        async with callers.direct(self.upstream.port, streams=streams) as call:
            users = self.users(at)
            await callers.closed_loop(call, users, each=1)  # connects
            bare = await callers.closed_loop(call, users, each=each, apart_seconds=apart)
        self._add_latency("direct", at, bare, bare, streams=streams)
        for contestant in self.contestants:
            if contestant.name == "floor":
                continue
            users = self.users(at)
            async with callers.caller_of(contestant, scenario, streams=streams) as call:
                await callers.closed_loop(call, users, each=1)  # connects
                timings = await callers.closed_loop(call, users, each=each, apart_seconds=apart)
            self._add_latency(contestant.name, at, timings, bare, streams=streams)

    def _add_latency(self, name: str, at: int, timings: list[Timing], bare: list[Timing], *, streams: bool) -> None:
        what = "time to first token" if streams else "latency"
        for label, share in (("p50", 50), ("p99", 99)):
            taken, direct = (percentile(of, share, first=streams) for of in (timings, bare))
            self.add(f"{label} {what}, ms, at {at} callers", name, taken)
            if name != "direct":
                self.add(f"added {label} {what}, ms, at {at} callers", name, taken - direct)

    async def memory(self, counts: Sequence[int]) -> None:
        """Measure the peak resident memory with each number of open streams, ascending, in new processes."""
        settings = {"ILAB_CHAT_MAX_CALLS": str(max(counts))}
        for name in SERVERS:
            with started(name, self.upstream.port, self.folder, settings) as contestant:
                peaks = {}
                for count in counts:
                    scenario = Scenario(gap_ms=25, together=1 if name == "floor" else count)
                    self.upstream.answers(scenario)
                    async with callers.caller_of(contestant, scenario, streams=True) as call:
                        async with asyncio.timeout(OPENING_SECONDS):
                            await callers.closed_loop(call, self.users(count), each=1)
                    if name != "floor" and self.upstream.answers(scenario) < count:
                        raise callers.WrongAnswer(f"{name}: {count} streams were not open at once")
                    peaks[count] = contestant.child.peak_rss_kib()
                    self.add(f"peak RSS MiB at {count} streams", name, peaks[count] / 1024)
                if len(counts) > 1:
                    fewer, most = counts[-2:]
                    grown = (peaks[most] - peaks[fewer]) / (most - fewer)
                    self.add(f"KiB per open stream beyond {fewer}", name, grown)

    def start(self) -> None:
        """Measure the time from spawning the process until health reports SERVING."""
        begun = time.perf_counter()
        with started("ours", self.upstream.port, self.folder) as contestant:
            serving(contestant)
            self.add("start to SERVING, s", "ours", time.perf_counter() - begun)
            self.add("CPU s of the start", "ours", contestant.child.cpu_seconds())
        with started("recipe", self.upstream.port, self.folder) as contestant:
            self.add("start to SERVING, s", "recipe", contestant.child.start_seconds)
            self.add("CPU s of the start", "recipe", contestant.child.cpu_seconds())


def serving(contestant: Contestant) -> None:
    """Wait until health reports SERVING."""
    with grpc.insecure_channel(f"127.0.0.1:{contestant.child.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # typed for asyncio only
        asked = health_pb2.HealthCheckRequest(service="ilab_chat.v1.ChatService")
        while stub.Check(asked, wait_for_ready=True, timeout=30).status != health_pb2.HealthCheckResponse.SERVING:
            time.sleep(0.005)


def percentile(timings: Sequence[Timing], share: int, *, first: bool) -> float:
    """Return the percentile *share* of the timings, in milliseconds."""
    taken = [timing.first if first else timing.whole for timing in timings]
    return statistics.quantiles(taken, n=100, method="inclusive")[share - 1] * 1000


def open_bench(stack: ExitStack, folder: Path) -> Bench:
    """Start the fake model and the contestants. *stack* stops them."""
    port = free_port()
    model = stack.enter_context(
        running(["-m", "comparison.upstream", str(port)], {}, folder, name="upstream", port=port)
    )
    return Bench(folder, Upstream(model), [stack.enter_context(started(name, port, folder)) for name in SERVERS])
