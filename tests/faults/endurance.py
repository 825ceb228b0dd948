"""All faults in random order, until TURNS turns are acknowledged: the line to hold is 10,000 on each store.

    PYTHONPATH=tests python -m faults.endurance TURNS SECONDS

It ends after SECONDS for each store if the turns have not been reached by then, and says how many there were.
"""

# ruff: noqa: T201 - a soak tells how it goes

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from faults import database, network
from faults.audit import broken_promises
from faults.kept import InDatabase, InFile, Kept
from faults.load import DEADLINE_SECONDS, NOTICED_SECONDS, Ledger, load
from faults.scenarios import BALANCED
from faults.soak import told
from faults.stage import Servers, Stage, full_disk, stage
from postgres import running_cluster

#: Turns that are acknowledged between two faults, and the longest wait for them and for a fault, in seconds.
BETWEEN = 60
PATIENCE_SECONDS = 4 * (DEADLINE_SECONDS + NOTICED_SECONDS)
STRIKE_SECONDS = 2.0

Harm = Callable[[], Awaitable[None]]


async def endured(stage: Stage, turns: int, seconds: float) -> Ledger:
    """Inject faults in random order until *turns* turns are acknowledged or *seconds* have passed."""
    began = time.monotonic()
    harmed: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        links = await bad_links(stage, stack)
        settings = {"OPENAI_BASE_URL": f"http://127.0.0.1:{links['model'].port}/v1"}
        if isinstance(stage.kept, InDatabase):
            settings["ILAB_MEMORY_URL"] = stage.kept.through(links["PostgreSQL"].port)
        servers = await stack.enter_async_context(stage.serving(**settings))
        target = f"ipv4:{','.join(f'127.0.0.1:{links[address].port}' for address in stage.addresses)}"
        options = [("grpc.service_config", BALANCED)]
        async with load(target, stage.moments, stage.seed, options=options) as ledger:
            await ledger.more(BETWEEN, seconds=PATIENCE_SECONDS)
            harms = possible(stage, servers, links, ledger)
            while ledger.answered < turns and time.monotonic() < began + seconds:
                name = stage.rng.choice(sorted(harms))
                harmed[name] += 1
                await harms[name]()
                await ledger.more(BETWEEN, seconds=PATIENCE_SECONDS)
    ledger.figures["faults"] = harmed.total()
    ledger.figures["kinds of faults"] = len(harmed)
    return ledger


async def bad_links(stage: Stage, stack: AsyncExitStack) -> dict[str, network.Forwarder]:
    """Return a forwarder before each server, by its address, one before the model, and one before PostgreSQL."""
    ends = {address: network.tcp(address) for address in stage.addresses}
    ends["model"] = network.tcp(f"127.0.0.1:{stage.upstream_port}")
    if isinstance(stage.kept, InDatabase):
        ends["PostgreSQL"] = network.unix(stage.kept.socket)
    return {name: await stack.enter_async_context(network.forwarding(end)) for name, end in ends.items()}


def possible(stage: Stage, servers: Servers, links: dict[str, network.Forwarder], ledger: Ledger) -> dict[str, Harm]:
    """Return what may be done to *stage*, by name."""
    harms: dict[str, Harm] = {}
    for link, forwarder in links.items():
        for fault in network.FAULTS:
            harms[f"{link}: {fault.name.lower()}"] = struck(forwarder, fault)

    async def kill() -> None:
        address = stage.rng.choice(stage.addresses)
        servers.running[address].process.kill()
        await asyncio.to_thread(servers.running[address].wait)
        await asyncio.to_thread(servers.start, address)

    async def fill_the_disk() -> None:
        with full_disk(servers.running[stage.addresses[0]]):
            await ledger.more(1, seconds=PATIENCE_SECONDS)

    harms["a server killed"] = kill
    if isinstance(stage.kept, InDatabase):
        harms |= {name: done(harm, stage.kept.url, ledger) for name, harm in database.HARMS.items()}
    else:
        harms["disk full"] = fill_the_disk
    return harms


def struck(forwarder: network.Forwarder, fault: network.Fault) -> Harm:
    """Return what lets *fault* strike for a while."""

    async def strike() -> None:
        await forwarder.strike(fault)
        await forwarder.has_struck(network.STRIKES, STRIKE_SECONDS)
        await forwarder.heal()

    return strike


def done(harm: database.Harm, url: str, ledger: Ledger) -> Harm:
    """Return what does *harm* once."""

    async def do() -> None:
        await harm(url, ledger, 2)

    return do


def endure(name: str, kept: Kept, turns: int, seconds: float) -> bool:
    """Run on one store, tell the counts, and return whether a promise was broken."""
    seed = random.randrange(10**6)

    async def judged(scene: Stage) -> tuple[Ledger, dict[str, int]]:
        ledger = await endured(scene, turns, seconds)
        return ledger, await broken_promises(scene, ledger)

    began = time.monotonic()
    with stage(kept, seed, servers=2) as scene:
        ledger, broken = asyncio.run(judged(scene))
    print(f"all faults on {name} (seed {seed}, {time.monotonic() - began:.0f} s):", *told(ledger, broken), sep="\n")
    print(
        f"    {name}: {ledger.answered} of {turns} turns acknowledged under faults, {broken.get('lost', 0)} lost,"
        f" {broken.get('stored twice', 0)} doubled, {ledger.hung} hung past the deadline",
        flush=True,
    )
    return bool(broken)


def soak(turns: int, seconds: float) -> bool:
    """Run on both stores."""
    with tempfile.TemporaryDirectory() as folder:
        broken = endure("SQLite", InFile(Path(folder) / "memory.db"), turns, seconds)
    with running_cluster() as cluster:
        return endure("PostgreSQL", InDatabase(cluster.create_database()), turns, seconds) or broken


if __name__ == "__main__":
    raise SystemExit(soak(int(sys.argv[1]), float(sys.argv[2])))
