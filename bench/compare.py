"""Compare the service with a bare gRPC server, the published recipe, and direct calls of the model's API.

    python bench/compare.py             everything, under ten minutes on an idle machine
    python bench/compare.py --quick     the ratios, under one minute

Every figure is the median of several runs, except for memory and latency against load, which are measured once. Every
run measures all contestants. Needs Linux and h2load (Debian: nghttp2-client). docs/performance.md explains the results.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from comparison import h2load, report
from comparison.measure import CALLERS, Bench, open_bench
from comparison.upstream import Scenario

RUNS = 5
#: Number of runs for figures that take longer and vary less.
FEWER_RUNS = 3
#: Number of callers of the durable turns, and turns of each caller.
TURNS = {1: 30, 8: 8, 64: 6, 256: 1}
LATENCY_CALLERS = (1, 8, 64, 128, 256)
STREAMS_OPEN = (1, 100, 1000)

AT_ONCE = Scenario(tokens=400)
SHORT = Scenario(tokens=40)
PACED = Scenario(tokens=400, gap_ms=5)


async def everything(bench: Bench) -> None:
    """Measure everything."""
    for run in range(RUNS):
        say(f"run {run + 1} of {RUNS}")
        await bench.turns(64, each=TURNS[64])
        await bench.streams(AT_ONCE, at=16, each=2)
        await bench.streams(SHORT, at=16, each=5)
        await bench.streams(PACED, at=16, each=1)
        await bench.latency(CALLERS, each=4, streams=False)
        await bench.latency(CALLERS, each=4, streams=True)
        bench.start()
        if run < FEWER_RUNS:
            for callers in (1, 8, 256):
                await bench.turns(callers, each=TURNS[callers])
            await bench.turns_on_a_slow_disk(64, each=TURNS[64])
            await bench.workers((1, 2), at=64, each=8)
            await bench.turns_with_embedder(64, each=8)
    say("latency against load")
    for callers in LATENCY_CALLERS:
        await bench.latency(callers, each=2, streams=False)
    say("open streams")
    await bench.memory(STREAMS_OPEN)


async def the_ratios(bench: Bench) -> None:
    """Measure the figures of the targets once."""
    await bench.turns(64, each=4)
    await bench.streams(AT_ONCE, at=16, each=1)
    await bench.streams(PACED, at=16, each=1)
    await bench.latency(CALLERS, each=3, streams=False)
    await bench.latency(CALLERS, each=3, streams=True)
    bench.start()


def say(text: str) -> None:
    """Print progress to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Measure and print. Return 1 if h2load is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure only the figures of the targets, once")
    parser.add_argument("--json", type=Path, help="write every figure of every run to this file")
    parser.add_argument("--plot", type=Path, help="write the charts to this SVG file")
    options = parser.parse_args()
    if h2load.missing():
        print("h2load is not installed (Debian: apt-get install nghttp2-client)", file=sys.stderr)
        return 1
    logging.getLogger("httpx").setLevel(logging.WARNING)
    before = report.machine()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = open_bench(stack, Path(folder))
        asyncio.run(the_ratios(bench) if options.quick else everything(bench))
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
