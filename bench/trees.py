"""Compare the CPU of a turn of several working trees, with the recipe and the floor, on a machine that is not idle.

    python bench/trees.py TREE... [--streams] [--rounds 30]

All servers run at once and take turns, a few dozen turns each, so that a slow moment of the machine affects all. The
CPU is that of the server's process, in nanoseconds, and a ratio is that of one round to the first tree's. On a busy
machine, read the quartiles: ignore a difference that is smaller than theirs. Needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from comparison.contestants import started
from comparison.measure import Upstream
from comparison.processes import BENCH, free_port, running
from comparison.rounds import Cost, Load, round_of
from comparison.upstream import Scenario

PACKAGES = ("client", "service", "memory", "gateway")
#: Rounds are short, so that the servers of a round find the machine in the same state.
UNARY = Load(Scenario(), callers=16, each=4)
STREAMED = Load(Scenario(), callers=8, each=4, streams=True)


def path_of(tree: Path) -> str:
    """Return PYTHONPATH for the packages of *tree*."""
    return ":".join(map(str, (BENCH, *(tree / each for each in PACKAGES))))


async def compare(trees: list[Path], folder: Path, *, rounds: int, streams: bool) -> None:
    """Measure and print."""
    with ExitStack() as stack:
        port = free_port()
        arguments = ["-m", "comparison.upstream", str(port)]
        model = Upstream(stack.enter_context(running(arguments, {}, folder, name="upstream", port=port)))
        load = STREAMED if streams else UNARY
        model.answers(load.scenario)
        servers = {
            str(tree): stack.enter_context(started("ours", port, folder, {"PYTHONPATH": path_of(tree)}))
            for tree in trees
        }
        servers["recipe"] = stack.enter_context(started("recipe", port, folder, {"PYTHONPATH": path_of(trees[0])}))
        servers["floor"] = stack.enter_context(started("floor", port, folder, {"PYTHONPATH": path_of(trees[0])}))
        figures: dict[str, list[Cost]] = {name: [] for name in servers}
        # The first round warms the servers up, and is not counted.
        for number in range(rounds + 1):
            for name in servers if number % 2 else reversed(servers):
                figure = await round_of(servers[name], load, f"round-{number}")
                if number:
                    figures[name].append(figure)
    first = figures[str(trees[0])]
    for name, found in figures.items():
        turn, loop = (compared(found, first, figure) for figure in ("cpu_ms", "loop_ms"))
        switched = statistics.median(cost.switches for cost in found)
        print(f"{name}: {turn}; event loop {loop}; {switched:.0f} switches")


def compared(found: list[Cost], first: list[Cost], figure: str) -> str:
    """Return the median of a figure, and its ratios to that of the first tree with their quartiles."""
    ratios = [getattr(ours, figure) / getattr(base, figure) for ours, base in zip(found, first, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    used = statistics.median(getattr(cost, figure) for cost in found)
    return f"{used:.2f} ms, ratio {middle:.3f} ({low:.3f} to {high:.3f})"


def main() -> int:
    """Compare the trees that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", type=Path, metavar="TREE", help="a working tree of this repository")
    parser.add_argument("--streams", action="store_true", help="streamed turns, without it unary ones")
    parser.add_argument("--rounds", type=int, default=30, help="number of rounds, 2 or more. Default: 30")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trees = [tree.resolve() for tree in options.trees]
        asyncio.run(compare(trees, Path(folder), rounds=options.rounds, streams=options.streams))
    return 0


if __name__ == "__main__":
    sys.exit(main())
