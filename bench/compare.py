"""Compare the service with a bare gRPC server, the published recipe, and direct calls of the model's API.

    PYTHONPATH=tests python bench/compare.py    everything, under ten minutes on an idle machine
    python bench/compare.py --quick             ratios of CPU, compared with bench/baseline.json; about a minute
    python bench/compare.py --write-baseline    the same, and write them to bench/baseline.json

Every figure is the median of several runs, except for memory and latency against load, which are measured once. Every
run measures all contestants. Needs Linux and, for everything, h2load (Debian: nghttp2-client). docs/performance.md
explains the results.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from comparison import baseline, h2load, ratios, report
from comparison.measure import CALLERS, Bench, open_bench
from comparison.upstream import Scenario
from postgres import running_cluster

RUNS = 5
#: Number of runs for figures that take longer and vary less.
FEWER_RUNS = 3
#: Number of callers of the durable turns, and turns of each caller.
TURNS = {1: 30, 8: 8, 64: 6, 256: 1}
LATENCY_CALLERS = (1, 8, 64, 128, 256)
STREAMS_OPEN = (1, 100, 1000)

#: Number of rounds of the ratios that are compared with the baseline, and how often they are measured to fail.
ROUNDS = 15
ATTEMPTS = 3
BASELINE_ROUNDS = 30

AT_ONCE = Scenario(tokens=400)
SHORT = Scenario(tokens=40)
PACED = Scenario(tokens=400, gap_ms=5)


async def everything(bench: Bench, database: str) -> None:
    """Measure everything. *database*: URL of an empty PostgreSQL database."""
    for run in range(RUNS):
        say(f"run {run + 1} of {RUNS}")
        await bench.turns(64, each=TURNS[64])
        await bench.streams(AT_ONCE, at=16, each=2)
        await bench.streams(SHORT, at=16, each=5)
        await bench.streams(PACED, at=16, each=1)
        await bench.latency(CALLERS, each=4, streams=False)
        await bench.latency(CALLERS, each=4, streams=True)
        bench.start()
        await bench.peers(each=60)
        if run < FEWER_RUNS:
            for callers in (1, 8, 256):
                await bench.turns(callers, each=TURNS[callers])
            await bench.turns_on_a_slow_disk(64, each=TURNS[64])
            await bench.workers((1, 2), at=64, each=8)
            await bench.workers((1, 2), at=64, each=8, database=database)
            await bench.turns_with_embedder(64, each=8)
    say("latency against load")
    for callers in LATENCY_CALLERS:
        await bench.latency(callers, each=2, streams=False)
    say("open streams")
    await bench.memory(STREAMS_OPEN)


async def quick(bench: Bench) -> int:
    """Compare the ratios with the baseline. Return 1 if more CPU is used than then.

    A loss must show in the median of ROUNDS rounds, and still after as many more, and as many again.
    """
    then = json.loads(baseline.BASELINE.read_text())
    if then["python"] != baseline.python():
        say(f"not compared: the baseline is of Python {then['python']}, this is {baseline.python()}")
        return 0
    costs: baseline.Costs = {}
    for attempt in range(ATTEMPTS):
        baseline.add(costs, await ratios.measure(bench, ROUNDS))
        rows = baseline.compared(then["ratios"], baseline.ratios(costs, ratios.COMPARED))
        if not any(row.is_lost for row in rows):
            break
        if attempt + 1 < ATTEMPTS:
            say("more CPU than in the baseline; measuring again")
    print(baseline.table(rows))
    return int(any(row.is_lost for row in rows))


async def write_baseline(bench: Bench) -> int:
    """Write the ratios of BASELINE_ROUNDS rounds."""
    costs = await ratios.measure(bench, BASELINE_ROUNDS)
    baseline.BASELINE.write_text(baseline.written(baseline.ratios(costs, ratios.COMPARED)))
    return 0


def say(text: str) -> None:
    """Print progress to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Measure and print. Return 1 if h2load is missing, or if more CPU is used than in the baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="compare ratios of CPU with bench/baseline.json")
    parser.add_argument("--write-baseline", action="store_true", help="write the ratios to bench/baseline.json")
    parser.add_argument("--json", type=Path, help="write every figure of every run to this file")
    parser.add_argument("--plot", type=Path, help="write the charts to this SVG file")
    options = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if options.quick or options.write_baseline:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            bench = open_bench(stack, Path(folder))
            return asyncio.run(write_baseline(bench) if options.write_baseline else quick(bench))
    if h2load.missing():
        print("h2load is not installed (Debian: apt-get install nghttp2-client)", file=sys.stderr)
        return 1
    before = report.machine()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = open_bench(stack, Path(folder))
        asyncio.run(everything(bench, stack.enter_context(running_cluster(settings=())).url()))
    table = report.medians(bench.runs)
    report.print_table(table)
    report.print_targets(table)
    print(f"\n{before}")
    if options.json:
        report.write_json(options.json, bench.runs, before)
    if options.plot:
        # matplotlib is large, and most runs do not plot.
        from comparison import plot  # noqa: PLC0415

        plot.draw(table, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
