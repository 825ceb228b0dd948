"""Measure CPU in rounds, for ratios that can be compared with an earlier run on a busy machine."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from comparison.contestants import started
from comparison.measure import SERVERS, serving
from comparison.rounds import Load, cpu_seconds, round_of
from comparison.upstream import Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from comparison.baseline import Costs
    from comparison.measure import Bench

UNARY = "CPU of a unary turn"
STREAM = "CPU of a stream of 40 tokens"
START = "CPU of a start"

#: The load of a round. The floor gets FOR_FLOOR times as many turns: they would be too few to be measured otherwise.
#: Rounds are short, so that the programs of a round find the machine in the same state.
LOADS = {
    UNARY: Load(Scenario(), callers=4, each=6),
    STREAM: Load(Scenario(), callers=1, each=12, streams=True),
}
FOR_FLOOR = 4

#: The ratios of the baseline, by work and the program that ours is divided by.
COMPARED = ((UNARY, "floor"), (UNARY, "recipe"), (STREAM, "floor"), (STREAM, "recipe"), (START, "recipe"))

#: Servers start in every third round, because a start takes a second.
ROUNDS_A_START = 3


async def measure(bench: Bench, rounds: int, loads: Mapping[str, Load] = LOADS) -> Costs:
    """Return the CPU of each kind of work by program, for each of *rounds*, after one that warms the servers up."""
    costs: Costs = defaultdict(lambda: defaultdict(list))
    contestants = list(bench.contestants)
    for number in range(rounds + 1):
        # Every other round in the opposite order.
        contestants.reverse()
        for work, load in loads.items():
            bench.upstream.answers(load.scenario)
            for contestant in contestants:
                each = load.each * (FOR_FLOOR if contestant.name == "floor" else 1)
                cost = await round_of(contestant, replace(load, each=each), f"{work}-{number}".replace(" ", "-"))
                if number:
                    costs[work][contestant.name].append(cost.cpu_ms)
        if number % ROUNDS_A_START == 1:
            for name, milliseconds in starts(bench, bench.folder).items():
                costs[START][name].append(milliseconds)
    return costs


def starts(bench: Bench, folder: Path) -> dict[str, float]:
    """Return the CPU of starting each server, in milliseconds."""
    used: dict[str, float] = {}
    for name in SERVERS:
        with ExitStack() as stack:
            contestant = stack.enter_context(started(name, bench.upstream.port, folder))
            if name == "ours":
                serving(contestant)
            used[name] = cpu_seconds(contestant.child.process.pid) * 1000
    return used
