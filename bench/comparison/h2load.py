"""Unary calls by h2load, a load generator in C that uses little CPU time.

h2load does not check grpc-status, so callers of `turns` must count the stored turns.
https://nghttp2.org/documentation/h2load-howto.html
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comparison.contestants import Contestant
    from comparison.upstream import Scenario

#: Maximum number of h2load processes. Each sends the messages of one user; with more callers, several share a user.
PROCESSES = 64


class LoadFailed(Exception):
    """A request was not answered with status 200."""


@dataclass(frozen=True, slots=True)
class Load:
    """The calls that were made, and their total duration."""

    users: Sequence[str]
    calls: int
    seconds: float


def missing() -> bool:
    """Return whether h2load is not installed."""
    return shutil.which("h2load") is None


async def turns(contestant: Contestant, scenario: Scenario, folder: Path, *, callers: int, each: int, run: str) -> Load:
    """Send *each* sequential messages from each of *callers*.

    Raises:
        LoadFailed: a request failed.
    """
    processes = min(callers, PROCESSES)
    users = [f"{run}-{number}" for number in range(processes)]
    logs = await asyncio.gather(
        *(one_user(contestant, scenario, folder, user, clients=callers // processes, each=each) for user in users)
    )
    answers = [line.split() for log in logs for line in log.splitlines()]
    calls = callers // processes * processes * each
    if len(answers) != calls or any(status != "200" for _, status, _ in answers):
        raise LoadFailed(f"{contestant.name}: {len(answers)} of {calls} calls were answered")
    # In microseconds: start since the epoch, and duration.
    begun = min(int(start) for start, _, _ in answers)
    ended = max(int(start) + int(taken) for start, _, taken in answers)
    return Load(users, calls, (ended - begun) / 1e6)


async def one_user(
    contestant: Contestant, scenario: Scenario, folder: Path, user: str, *, clients: int, each: int
) -> str:
    """Send the messages of one user, and return one line for each: start, status, duration."""
    body, log = folder / f"{user}.body", folder / f"{user}.log"
    body.write_bytes(contestant.framed(user))
    grpc = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    http = ["--h1", "-H", "content-type: application/json"]
    process = await asyncio.create_subprocess_exec(
        *("h2load", "-n", str(clients * each), "-c", str(clients), "-m", "1", "-d", body, f"--log-file={log}"),
        *(grpc if contestant.speaks_grpc else http),
        f"http://127.0.0.1:{contestant.child.port}{contestant.chat_path(scenario)}",
        stdout=asyncio.subprocess.DEVNULL,
    )
    await process.wait()
    lines = log.read_text() if log.exists() else ""
    body.unlink()
    log.unlink(missing_ok=True)
    return lines
