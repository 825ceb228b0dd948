"""A process that claims a request and does what it is told: `put` or `release`, a line each.

python tests/service/claiming.py PLACE      PLACE is the path of a SQLite file or the URL of a database
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime

from ilab_chat_service.idempotency.postgres import open_postgres_replay_log
from ilab_chat_service.idempotency.single_flight import RecordedReplays
from ilab_chat_service.idempotency.sqlite import open_sqlite_replay_log
from ilab_chat_service.ports import Clock
from ilab_chat_service.values import Answered, FinishReason, MemorySource, Recalled, TurnRequest, Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
REQUEST = TurnRequest(user_id="alice", message="Hi", request_id="r-1")
ANSWERED = Answered(
    session_id="s",
    is_new_session=True,
    model="m",
    memories=(
        Recalled(
            observation_id=1, type="t", title="x", updated_at=NOW, source=MemorySource.SEARCH, snippet="y", score=0.5
        ),
    ),
    reply="reply",
    observation_id=7,
    finish_reason=FinishReason.LENGTH,
    usage=Usage(input_tokens=1, output_tokens=2, cached_input_tokens=3, reasoning_tokens=4),
    create_time=NOW,
)


def open_log(place: str, clock: Clock) -> AbstractAsyncContextManager[RecordedReplays]:
    return (open_postgres_replay_log if "://" in place else open_sqlite_replay_log)(place, clock)


async def claim(place: str) -> None:
    async with open_log(place, lambda: NOW) as log:
        claimed = await log.claim(REQUEST)
        sys.stdout.write("claimed\n")
        sys.stdout.flush()
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line == "put\n":
                await claimed.put(ANSWERED)
            claimed.release()


@contextmanager
def claiming(place: str) -> Iterator[subprocess.Popen[str]]:
    """Run the process; it has claimed REQUEST when this yields, and is killed at the end."""
    with subprocess.Popen(
        [sys.executable, __file__, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "claimed\n"
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(claim(sys.argv[1]))
