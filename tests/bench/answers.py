"""One call of every kind to every server of bench/comparison, each checked by the callers themselves."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

from comparison import callers
from comparison.measure import Bench, open_bench
from comparison.upstream import Scenario


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
    assert {of for _, of in bench.runs} == {"floor", "recipe", "ours"}


with ExitStack() as stack:
    asyncio.run(calls(open_bench(stack, Path(sys.argv[1]))))
