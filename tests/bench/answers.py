"""One call of every kind to every server of bench/comparison, each checked by the callers themselves.

h2load, which the bench needs for whole answers, comes in no wheel: here a caller in Python takes its place.
"""

import asyncio
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from comparison import callers, h2load
from comparison.baseline import BASELINE, ratios
from comparison.contestants import Contestant
from comparison.measure import Bench, open_bench
from comparison.ratios import COMPARED, LOADS, measure
from comparison.upstream import Scenario


async def one_user(
    contestant: Contestant, scenario: Scenario, folder: Path, user: str, *, clients: int, each: int
) -> str:
    """Post the messages of one user; return a line for each, as h2load writes it: start, status, duration."""
    async with callers.caller_of(contestant, scenario, streams=False) as call:
        start = time.time_ns() // 1000
        timings = await callers.closed_loop(call, [user] * clients, each=each)
    return "".join(f"{start} 200 {int(timing.whole * 1e6)}\n" for timing in timings)


async def calls(bench: Bench) -> None:
    scenario = Scenario(tokens=5, first_token_ms=1, gap_ms=1)
    bench.upstream.answers(scenario)
    for contestant in bench.contestants:
        for streams in (False, True):
            async with callers.caller_of(contestant, scenario, streams=streams) as call:
                [timing] = await callers.closed_loop(call, bench.users(1), each=1)
                assert 0 < timing.first <= timing.whole
    for streams in (False, True):
        async with callers.direct(bench.upstream.port, streams=streams) as call:
            assert (await call("")).first > 0
    assert bench.upstream.answers(scenario) == 1
    await bench.turns(2, each=2)
    await bench.turns_on_a_slow_disk(2, each=2)
    await bench.workers((2,), at=2, each=2)
    await bench.turns_with_embedder(2, each=2)
    assert {of for _, of in bench.runs} == {"floor", "recipe", "ours"}


async def rounds(bench: Bench) -> None:
    await bench.peers(each=2)
    for name in ("recipe", "ours"):
        assert bench.runs["model calls per turn", name] == [1]
        assert bench.runs["embedding calls per turn", name] == [0]
    loads = {work: replace(load, scenario=Scenario(tokens=5), callers=2, each=1) for work, load in LOADS.items()}
    costs = await measure(bench, 1, loads)
    assert set(ratios(costs, COMPARED)) == set(json.loads(BASELINE.read_text())["ratios"])


h2load.one_user = one_user


async def both(bench: Bench) -> None:
    await calls(bench)
    await rounds(bench)


with ExitStack() as stack:
    asyncio.run(both(open_bench(stack, Path(sys.argv[1]))))
