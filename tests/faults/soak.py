"""The faults in full, with the counts and figures.

    PYTHONPATH=tests python -m faults.soak KILLS SECONDS       100 30 takes about 40 minutes

KILLS is how often the server is killed and, a tenth of it, drained and deprived of its disk; SECONDS how long the model
is down.
"""

# ruff: noqa: T201 - a soak tells how it goes

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from faults import scenarios
from faults.audit import broken_promises
from faults.failover import failed_over
from faults.kept import InDatabase, InFile
from faults.leaving import MEMORY_GROWN
from faults.load import Ledger
from faults.stage import Stage, stage
from faults.talk import cutting, raving, stalling
from postgres import running_cluster, running_pair

Scenario: TypeAlias = Callable[[Stage], Awaitable[Ledger]]

#: Calls that are answered in each kind of trouble.
CALLS = 1000

#: The maximum of each figure of a scenario.
MOST = {
    "slowest failure, s": 1.0,
    "first answer after its return, s": 5.0,
    "first answer after the promotion, s": 10.0,
    "memory grown, MiB": MEMORY_GROWN,
}

#: Streams that are left.
STREAMS = 10_000


def soak(kills: int, seconds: float) -> None:
    """Run every scenario, tell what came of it, and exit with 1 if a promise was broken."""
    rounds = max(1, kills // 10)
    on_both: dict[str, Scenario] = {
        f"killed {kills} times": partial(scenarios.killed, times=kills),
        f"drained {rounds} times": partial(scenarios.drained, times=rounds),
        f"model down for {seconds:g} s": partial(scenarios.without_model, seconds=seconds),
        "model cuts answers": partial(scenarios.troubled, calls=CALLS, mood=cutting),
        "model falls silent": partial(scenarios.troubled, calls=CALLS, mood=stalling),
        "model sends garbage": partial(scenarios.troubled, calls=CALLS, mood=raving),
        "callers leave": partial(scenarios.troubled, calls=CALLS, leaving=0.5),
    }
    one_drained = partial(scenarios.one_drained, times=rounds)
    broken = [
        run(f"workers killed {rounds} times", partial(scenarios.worker_killed, times=rounds), on_a_file),
        run(f"disk full {rounds} times", partial(scenarios.without_space, times=rounds), on_a_file),
        run(f"one of two drained, {rounds} times", one_drained, partial(on_a_file, servers=2), failures=False),
        run(f"{STREAMS} streams left", partial(scenarios.left, streams=STREAMS), on_a_file),
        *(run(name, scenario, on_a_file) for name, scenario in on_both.items()),
        *(run(f"three on PostgreSQL: {name}", scenario, on_postgres) for name, scenario in on_both.items()),
        over_a_pair(kills),
    ]
    raise SystemExit(any(broken))


@contextmanager
def on_a_file(seed: int, servers: int = 1) -> Iterator[Stage]:
    with (
        tempfile.TemporaryDirectory() as folder,
        stage(InFile(Path(folder) / "memory.db"), seed, servers=servers) as built,
    ):
        yield built


@contextmanager
def on_postgres(seed: int) -> Iterator[Stage]:
    with running_cluster() as cluster, stage(InDatabase(cluster.url()), seed, servers=3) as built:
        yield built


def over_a_pair(kills: int) -> bool:
    """Kill servers on a synchronous pair, *kills* in all, and the primary in the middle; see `run`."""
    with running_pair() as pair:

        @contextmanager
        def on_the_pair(seed: int) -> Iterator[Stage]:
            with stage(InDatabase(pair.url()), seed, servers=3) as built:
                yield built

        return run("primary killed, standby promoted", partial(failed_over, pair=pair, kills=kills // 2), on_the_pair)


def run(
    name: str,
    scenario: Scenario,
    place: Callable[[int], AbstractContextManager[Stage]],
    *,
    failures: bool = True,
) -> bool:
    """Run *scenario*, print what came of it, and return whether a promise was broken.

    Args:
        name: what to call it.
        scenario: what to run.
        place: makes a stage, given a seed.
        failures: whether calls may fail.
    """
    seed = random.randrange(10**6)
    began = time.monotonic()
    with place(seed) as built:
        ledger, broken = asyncio.run(judged(built, scenario))
    if not failures:
        broken |= ledger.failed
    broken |= {figure: value for figure, value in ledger.figures.items() if value > MOST.get(figure, value)}
    print(f"{name} (seed {seed}, {time.monotonic() - began:.0f} s):", *told(ledger, broken), sep="\n", flush=True)
    return bool(broken)


def told(ledger: Ledger, broken: Mapping[str, float]) -> Iterator[str]:
    """Yield lines that tell what the callers saw, and which promises were broken."""
    yield f"    {ledger.answered} turns acknowledged, {ledger.replayed} answers replayed, {ledger.hung} calls hung"
    yield f"    calls: {', '.join(f'{times} {ending}' for ending, times in ledger.endings.most_common())}"
    yield from (f"    {figure}: {value:.2f}" for figure, value in ledger.figures.items())
    yield f"    {broken.get('lost', 0)} lost, {broken.get('stored twice', 0)} doubled"
    yield f"    broken promises: {dict(broken) or 'none'}"


async def judged(stage: Stage, scenario: Scenario) -> tuple[Ledger, dict[str, float]]:
    """Run *scenario*; return what the callers saw, and the promises that were broken."""
    ledger = await scenario(stage)
    return ledger, {**await broken_promises(stage, ledger)}


if __name__ == "__main__":
    soak(int(sys.argv[1]), float(sys.argv[2]))
