"""The faults in full, with the counts and figures.

    PYTHONPATH=tests python -m faults.soak KILLS SECONDS       100 30 takes about ten minutes

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
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from faults import scenarios
from faults.audit import broken_promises
from faults.load import Ledger
from faults.stage import Stage, stage
from faults.talk import cutting, raving, stalling

#: Calls that are answered in each kind of trouble.
CALLS = 1000

#: What a figure of a scenario may be at most.
MOST = {"slowest failure, s": 1.0, "first answer after its return, s": 5.0}


def soak(kills: int, seconds: float) -> None:
    """Run every scenario, tell what came of it, and exit with 1 if a promise was broken."""
    rounds = max(1, kills // 10)
    broken = [
        run(f"killed {kills} times", partial(scenarios.killed, times=kills)),
        run(f"drained {rounds} times", partial(scenarios.drained, times=rounds)),
        run(f"one of two drained, {rounds} times", partial(scenarios.one_of_two_drained, times=rounds), failures=False),
        run(f"disk full {rounds} times", partial(scenarios.without_space, times=rounds)),
        run(f"model down for {seconds:g} s", partial(scenarios.without_model, seconds=seconds)),
        run("model cuts answers", partial(scenarios.troubled, calls=CALLS, mood=cutting)),
        run("model falls silent", partial(scenarios.troubled, calls=CALLS, mood=stalling)),
        run("model sends garbage", partial(scenarios.troubled, calls=CALLS, mood=raving)),
        run("callers leave", partial(scenarios.troubled, calls=CALLS, leaving=0.5)),
    ]
    raise SystemExit(any(broken))


def run(name: str, scenario: Callable[[Stage], Awaitable[Ledger]], *, failures: bool = True) -> bool:
    """Run *scenario*, print what came of it, and return whether a promise was broken.

    Args:
        name: what to call it.
        scenario: what to run.
        failures: whether calls may fail.
    """
    seed = random.randrange(10**6)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), seed) as built:
        ledger, broken = asyncio.run(judged(built, scenario))
    if not failures:
        broken |= ledger.failed
    broken |= {figure: value for figure, value in ledger.figures.items() if value > MOST[figure]}
    print(f"{name} (seed {seed}, {time.monotonic() - began:.0f} s): {ledger.answered} turns acknowledged")
    print(f"    calls: {', '.join(f'{times} {ending}' for ending, times in ledger.endings.most_common())}")
    print(f"    {ledger.replayed} answers replayed, {ledger.hung} calls hung", end="")
    print("".join(f", {figure}: {value:.2f}" for figure, value in ledger.figures.items()))
    print(f"    broken promises: {broken or 'none'}", flush=True)
    return bool(broken)


async def judged(stage: Stage, scenario: Callable[[Stage], Awaitable[Ledger]]) -> tuple[Ledger, dict[str, float]]:
    """Run *scenario*; return what the callers saw, and the promises that were broken."""
    ledger = await scenario(stage)
    return ledger, {**await broken_promises(stage, ledger)}


if __name__ == "__main__":
    soak(int(sys.argv[1]), float(sys.argv[2]))
