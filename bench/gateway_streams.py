"""Measure the gateway: CPU per streamed event, and how soon a client that leaves stops the model.

    python bench/gateway_streams.py [--streams 1000] [--seconds 10] [--leaves 20]

Prints one line of JSON for each figure. The streams are open at once; each gets an event every two seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from comparison.contestants import MESSAGE, started
from comparison.measure import Upstream
from comparison.processes import BENCH, Child, free_port, running
from comparison.upstream import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP_MS = 2000.0
OPENING_SECONDS = 120.0
#: Time between two looks at the model.
TICK_SECONDS = 0.002

#: Of the gateway, relative to the service, and the time within which the model stops (issue 19).
MOST_RATIO = 1.5
MOST_SECONDS = 0.2


@dataclass
class Events:
    """Number of events that the streams received."""

    received: int = 0
    begun: int = 0
    all_begun: asyncio.Event = field(default_factory=asyncio.Event)


async def read(port: int, user: str, events: Events, streams: int) -> None:
    """Open a stream and count its events until the task is cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request(port, user))
        begun = False
        chunk = b""
        while chunk := await reader.read(65_536) or fail(chunk):
            count = chunk.count(b"event: text_delta")
            events.received += count
            if count and not begun:
                begun = True
                events.begun += 1
                if events.begun == streams:
                    events.all_begun.set()
    finally:
        writer.close()


async def opened(tasks: Sequence[asyncio.Task[None]], events: Events) -> None:
    """Wait until all streams have begun, or one has failed."""
    waiting = asyncio.create_task(events.all_begun.wait())
    await asyncio.wait([*tasks, waiting], timeout=OPENING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        print(f"only {events.begun} of {len(tasks)} streams have begun", file=sys.stderr)


def request(port: int, user: str) -> bytes:
    """Return a request for a stream."""
    body = json.dumps({"user_id": user, "message": MESSAGE}).encode()
    head = (
        f"POST /v1/chat:stream HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def fail(last: bytes) -> bytes:
    """Raise an error that shows the end of a stream."""
    raise RuntimeError(f"a stream ended early: {last.decode(errors='replace')[-500:]}")


async def measure_cpu(gateway: Child, server: Child, upstream: Upstream, streams: int, seconds: float) -> float:
    """Return the CPU time per event of the gateway over that of the server, while all streams are open."""
    upstream.answers(Scenario(tokens=100_000, gap_ms=GAP_MS))
    events = Events()
    tasks = [asyncio.create_task(read(gateway.port, f"user-{number}", events, streams)) for number in range(streams)]
    try:
        await opened(tasks, events)
        received, before = events.received, (gateway.cpu_seconds(), server.cpu_seconds())
        await asyncio.sleep(seconds)
        received, after = events.received - received, (gateway.cpu_seconds(), server.cpu_seconds())
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    if failures := [each for each in results if not isinstance(each, asyncio.CancelledError)]:
        raise RuntimeError(f"{len(failures)} streams failed") from cast("Exception", failures[0])
    of_gateway, of_server = ((late - early) / received * 1e6 for early, late in zip(before, after, strict=True))
    # The kernel counts in ticks of 10 ms: a short run may cost none.
    ratio = of_gateway / of_server if of_server else math.inf
    found = {
        "streams": streams,
        "events_per_second": round(received / seconds),
        "gateway_us_per_event": round(of_gateway, 1),
        "server_us_per_event": round(of_server, 1),
        "ratio": round(ratio, 2),
    }
    print(json.dumps(found))
    return ratio


async def until_stopped(upstream: Upstream, scenario: Scenario) -> None:
    """Wait until the model answers no request. Its count includes what has ended since it was asked before."""
    while await asyncio.to_thread(upstream.answers, scenario):  # noqa: ASYNC110 - the model is another process
        await asyncio.sleep(TICK_SECONDS)


async def measure_leaving(gateway: Child, upstream: Upstream, leaves: int) -> float:
    """Return the median time from the end of the client's connection to the end of the model's answer, in seconds."""
    scenario = Scenario(tokens=100_000, gap_ms=GAP_MS)
    await until_stopped(upstream, scenario)
    taken = []
    for number in range(leaves):
        events = Events()
        task = asyncio.create_task(read(gateway.port, f"leaves-{number}", events, 1))
        await opened([task], events)
        begun = time.perf_counter()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until_stopped(upstream, scenario)
        taken.append(time.perf_counter() - begun)
    median, worst = statistics.median(taken), max(taken)
    print(json.dumps({"leaves": leaves, "stopped_after_ms": round(median * 1e3, 1), "worst_ms": round(worst * 1e3, 1)}))
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 1 if a figure misses its target."""
    parser = argparse.ArgumentParser(description="Measure the gateway's CPU per event and what stops the model.")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--leaves", type=int, default=20)
    options = parser.parse_args(arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    path = {"PYTHONPATH": os.pathsep.join([str(BENCH), os.environ.get("PYTHONPATH", "")])}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        child = running(["-m", "comparison.upstream", str(port)], {}, folder, name="upstream", port=port)
        upstream = Upstream(stack.enter_context(child))
        limits = {"ILAB_CHAT_MAX_CALLS": str(options.streams + 100), "ILAB_MEMORY_EMBEDDER": "none"}
        server = stack.enter_context(started("ours", upstream.port, folder, {**path, **limits})).child
        port = free_port()
        settings = {
            "ILAB_CHAT_TARGET": f"127.0.0.1:{server.port}",
            "ILAB_CHAT_GATEWAY_ADDRESS": f"127.0.0.1:{port}",
            "ILAB_CHAT_GATEWAY_TIMEOUT_SECONDS": "3600",
        }
        command = ["-m", "ilab_chat_gateway"]
        gateway = stack.enter_context(running(command, {**path, **settings}, folder, name="gateway", port=port))
        ratio = asyncio.run(measure_cpu(gateway, server, upstream, options.streams, options.seconds))
        worst = asyncio.run(measure_leaving(gateway, upstream, options.leaves))
    return int(ratio > MOST_RATIO or worst > MOST_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
