"""Servers that are killed while they consolidate.

    PYTHONPATH=tests python -m faults.consolidation KILLS     the soak: a file, and PostgreSQL with three servers

The model makes one fact of each turn, and a summary that lists the turns of the session, out of the earlier summary and
the new turns. So a turn that is lost, taken twice or out of order shows in the summary.
"""

# ruff: noqa: T201 - a soak tells how it goes

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.kept import InDatabase, InFile, Kept
from ilab_memory import ILabMemory
from postgres import running_cluster
from processes import ServerProcess, running_server
from upstream import Reply, Request, running

USERS = 6
#: Turns of a user are saved before each kill.
TURNS = 2
#: Pieces of an answer. A server is killed at one of the next few.
PIECES = 4
MOMENTS = 3 * PIECES
#: Time for the work that is left after the last kill.
END_SECONDS = 60.0

SETTINGS = {
    "ILAB_CHAT_CONSOLIDATION": "on",
    "ILAB_CHAT_CONSOLIDATION_TURNS": str(TURNS),
    "ILAB_CHAT_CONSOLIDATION_IDLE_MINUTES": "0.01",
    "ILAB_CHAT_CONSOLIDATION_LEASE_SECONDS": "3",
    "ILAB_CHAT_CONSOLIDATION_DAILY_TOKENS": "0",
    "ILAB_CHAT_CONSOLIDATION_TOTAL_DAILY_TOKENS": "0",
    "OPENAI_MODEL": "test-model",
}


@dataclass
class Model:
    """Answers consolidations, notes which turns it saw, and acts at a planned piece."""

    seen: list[tuple[str, ...]] = field(default_factory=list)
    """The turns of each call."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _left: int = 0
    _act: Callable[[], None] | None = None

    def plan(self, pieces: int, act: Callable[[], None]) -> None:
        """Call *act* when this number of pieces has been sent."""
        with self._lock:
            self._left, self._act = pieces, act

    def __call__(self, request: Request) -> Reply:
        sessions = json.loads(request.messages[-1]["content"])["sessions"]
        turns = [turn["user"] for session in sessions for turn in session["turns"]]
        with self._lock:
            self.seen.append(tuple(turns))
        made = json.dumps({"set": [*map(fact, turns)], "retire": [], "summaries": [*map(summary, sessions)]})
        size = -(-len(made) // PIECES)
        return Reply(pieces=self._noted([made[start : start + size] for start in range(0, len(made), size)]))

    def _noted(self, pieces: Sequence[str]) -> Iterator[str]:
        for piece in pieces:
            yield piece
            with self._lock:
                self._left -= 1
                act, self._act = (self._act, None) if self._left <= 0 else (None, self._act)
            if act:
                act()


def fact(said: str) -> dict[str, Any]:
    return {
        "type": "profile",
        "topic_key": f"said/{said}",
        "content": f"Said: {said}",
        "evidence": said,
        "expire_date": None,
    }


def summary(session: dict[str, Any]) -> dict[str, Any]:
    said = [turn["user"] for turn in session["turns"]]
    return {"session": session["session"], "summary": " ".join([session["summary"], *said]).strip()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run."""

    broken: Counter[str]
    calls: int
    repeated: int
    """Calls for turns that an earlier call was for too."""
    turns: int


class Users:
    """Users whose turns are saved one after the other."""

    def __init__(self, memory: ILabMemory) -> None:
        self.said: dict[str, list[str]] = defaultdict(list)
        self._memory = memory

    def talk(self) -> None:
        """Save turns of each user."""
        for user in (f"u{number}" for number in range(USERS)):
            for _ in range(TURNS):
                # Short, so that a summary has room for hundreds of them.
                said = f"{user} t{len(self.said[user]):04}"
                self._memory.mem_save(
                    user,
                    f"User: {said}\nAssistant: Noted.",
                    type="discovery",
                    title=f"Turn: {said}",
                    topic_key=f"chat:turn/{len(self.said[user])}",
                    queue_work=True,
                )
                self.said[user].append(said)


def killed(kept: Kept, seed: int, kills: int, *, servers: int) -> Outcome:
    """Kill a server at a random moment of a consolidation and start another, *kills* times; then look at the memory."""
    rng = random.Random(seed)
    model = Model()
    with kept.opened() as memory, running(model) as upstream, ExitStack() as lives:
        users = Users(memory)

        def start() -> ServerProcess:
            return lives.enter_context(running_server(OPENAI_BASE_URL=upstream.base_url, **kept.variables, **SETTINGS))

        alive = [start() for _ in range(servers)]
        for _ in range(kills):
            victim = rng.randrange(servers)
            users.talk()
            model.plan(rng.randint(1, MOMENTS), alive[victim].process.kill)
            alive[victim].wait()
            alive[victim] = start()
        end = time.monotonic() + END_SECONDS
        while memory.mem_work_stats().pending and time.monotonic() < end:
            time.sleep(0.05)
        return Outcome(
            broken=Counter(broken(memory, users.said, model.seen, kills)),
            calls=len(model.seen),
            repeated=repeated(model.seen),
            turns=sum(map(len, users.said.values())),
        )


def broken(
    memory: ILabMemory, said: dict[str, list[str]], seen: Sequence[tuple[str, ...]], kills: int
) -> Iterator[str]:
    """Yield the promises that were broken."""
    if memory.mem_work_stats().pending:
        yield "not consolidated in time"
    if repeated(seen) > kills:
        yield "more than one call was lost for a kill"
    for user, turns in said.items():
        facts = memory.mem_list(user, types=["profile"], limit=1000)
        if sorted(row.content for row in facts) != [f"Said: {each}" for each in turns]:
            yield "facts are not those of the turns"
        if any(row.revision_count != 1 or len(row.source_ids) != 1 for row in facts):
            yield "a fact was stored twice"
        if [row.content for row in memory.mem_list(user, types=["summary"])] != [" ".join(turns)]:
            yield "the summary is not that of the turns in order"


def repeated(seen: Sequence[tuple[str, ...]]) -> int:
    """Return how many calls began with a turn that an earlier call began with."""
    return sum(times - 1 for times in Counter(turns[0] for turns in seen).values())


def told(name: str, seed: int, outcome: Outcome) -> str:
    return (
        f"{name} (seed {seed}): {outcome.turns} turns, {outcome.calls} calls, {outcome.repeated} of them repeated, "
        f"broken promises: {dict(outcome.broken) or 'none'}"
    )


def soak(kills: int) -> bool:
    """Run on a file and on PostgreSQL; return whether all promises were kept."""
    seed = random.randrange(10**6)
    with tempfile.TemporaryDirectory() as folder:
        on_file = killed(InFile(Path(folder) / "memory.db"), seed, kills, servers=1)
    print(told("one server on a file", seed, on_file), flush=True)
    with running_cluster() as cluster:
        on_postgres = killed(InDatabase(cluster.create_database()), seed, kills, servers=3)
    print(told("three servers on PostgreSQL", seed, on_postgres), flush=True)
    return not (on_file.broken or on_postgres.broken)


if __name__ == "__main__":
    sys.exit(not soak(int(sys.argv[1])))
