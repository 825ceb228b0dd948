"""Compare the CPU of a turn of several working trees, with the recipe and the floor, on a machine that is not idle.

    python bench/trees.py TREE... [--streams] [--rounds 10]

All servers run at once and take turns, a few hundred turns each, so that a slow moment of the machine affects all. The
CPU is that of the server's process, in nanoseconds, and a ratio is that of one round to the first tree's. On a busy
machine, read the quartiles: ignore a difference that is smaller than theirs. Needs Linux and h2load.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from comparison import callers, h2load
from comparison.contestants import Contestant, started
from comparison.measure import Upstream
from comparison.processes import BENCH, free_port, running
from comparison.upstream import Scenario

PACKAGES = ("client", "service", "memory", "gateway")
UNARY_CALLERS, STREAM_CALLERS = 64, 16
EACH = 4
SCENARIO = Scenario()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process: https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html."""
    return time.clock_gettime((~pid << 3) | 2)


def switches(pid: int) -> int:
    """Return the voluntary context switches of the running threads of a process."""
    lines = [line for path in Path(f"/proc/{pid}/task").glob("*/status") for line in path.read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def path_of(tree: Path) -> str:
    """Return PYTHONPATH for the packages of *tree*."""
    return ":".join(map(str, (BENCH, *(tree / each for each in PACKAGES))))


async def turns(contestant: Contestant, folder: Path, run: str, *, streams: bool) -> tuple[float, float]:
    """Make some turns, and return CPU milliseconds and context switches of one."""
    pid = contestant.child.process.pid
    if not streams:
        before, switched = cpu_seconds(pid), switches(pid)
        load = await h2load.turns(contestant, SCENARIO, folder, callers=UNARY_CALLERS, each=EACH, run=run)
        calls = load.calls
    else:
        async with callers.caller_of(contestant, SCENARIO, streams=True) as call:
            before, switched = cpu_seconds(pid), switches(pid)
            users = [f"{run}-{number}" for number in range(STREAM_CALLERS)]
            calls = len(await callers.closed_loop(call, users, each=EACH))
    return (cpu_seconds(pid) - before) * 1000 / calls, (switches(pid) - switched) / calls


async def compare(trees: list[Path], folder: Path, *, rounds: int, streams: bool) -> None:
    """Measure and print."""
    with ExitStack() as stack:
        port = free_port()
        arguments = ["-m", "comparison.upstream", str(port)]
        model = Upstream(stack.enter_context(running(arguments, {}, folder, name="upstream", port=port)))
        model.answers(SCENARIO)
        servers = {
            str(tree): stack.enter_context(started("ours", port, folder, {"PYTHONPATH": path_of(tree)}))
            for tree in trees
        }
        servers["recipe"] = stack.enter_context(started("recipe", port, folder, {"PYTHONPATH": path_of(trees[0])}))
        servers["floor"] = stack.enter_context(started("floor", port, folder, {"PYTHONPATH": path_of(trees[0])}))
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
        # The first round opens the connections, and is not counted.
        for number in range(rounds + 1):
            for name in servers if number % 2 else reversed(servers):
                figure = await turns(servers[name], folder, f"round-{number}", streams=streams)
                if number:
                    figures[name].append(figure)
    first = [milliseconds for milliseconds, _ in figures[str(trees[0])]]
    for name, found in figures.items():
        used = [milliseconds for milliseconds, _ in found]
        low, middle, high = statistics.quantiles([ours / base for ours, base in zip(used, first, strict=True)], n=4)
        switched = statistics.median(each for _, each in found)
        print(
            f"{name}: {statistics.median(used):.2f} ms, {switched:.0f} switches, ratio {middle:.3f} ({low:.3f} to"
            f" {high:.3f})"
        )


def main() -> int:
    """Compare the trees that are named. Return 1 if h2load is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", type=Path, metavar="TREE", help="a working tree of this repository")
    parser.add_argument("--streams", action="store_true", help="streamed turns, without it unary ones")
    parser.add_argument("--rounds", type=int, default=10, help="number of rounds, 2 or more. Default: 10")
    options = parser.parse_args()
    if h2load.missing():
        print("h2load is not installed (Debian: apt-get install nghttp2-client)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        trees = [tree.resolve() for tree in options.trees]
        asyncio.run(compare(trees, Path(folder), rounds=options.rounds, streams=options.streams))
    return 0


if __name__ == "__main__":
    sys.exit(main())
