"""A process that leases a request and does what it is told: `put` or `release`, a line each.

python tests/service/leases.py PLACE      PLACE is the path of a SQLite file or the URL of a database
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime

from ilab_chat_service.idempotency.chat_answer_codec import TurnCall
from ilab_chat_service.idempotency.postgres import open_postgres_store
from ilab_chat_service.idempotency.sqlite import open_sqlite_store
from ilab_chat_service.idempotency.store import SingleFlight
from ilab_chat_service.ports import Clock
from ilab_chat_service.values import Answered, FinishReason, MemorySource, Recalled, TurnRequest, Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
REQUEST = TurnRequest(user_id="alice", message="Hi", request_id="r-1")
ANSWERED = Answered(
    session_id="s",
    is_new_session=True,
    model="m",
    memories=(Recalled(observation_id=1, type="t", title="", updated_at=NOW, source=MemorySource.SEARCH, score=0.5),),
    reply="reply",
    observation_id=7,
    finish_reason=FinishReason.LENGTH,
    usage=Usage(input_tokens=1, output_tokens=2, cached_input_tokens=3, reasoning_tokens=4),
    create_time=NOW,
)


def open_log(place: str, clock: Clock) -> AbstractAsyncContextManager[SingleFlight]:
    return (open_postgres_store if "://" in place else open_sqlite_store)(place, clock)


async def lease(place: str) -> None:
    async with open_log(place, lambda: NOW) as log:
        leased = await log.begin(TurnCall(REQUEST))
        sys.stdout.write("leased\n")
        sys.stdout.flush()
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line == "put\n":
                await leased.put(ANSWERED)
            leased.release()


@contextmanager
def leases(place: str) -> Iterator[subprocess.Popen[str]]:
    """Run the process; it has leased REQUEST when this yields, and is killed at the end."""
    with subprocess.Popen(
        [sys.executable, __file__, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "leased\n"
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(lease(sys.argv[1]))
