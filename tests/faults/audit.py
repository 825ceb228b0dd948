"""The invariants of the memory after a faults run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from faults.kept import Kept
from faults.load import Ledger, Said
from faults.stage import Stage
from faults.talk import reply_to, statement_in
from ilab_chat_service.values import FACT_KEY
from ilab_memory.core.models import Observation

INTERRUPTED = " [interrupted]"

#: Statuses that a call may fail with while faults hit the surroundings of a healthy server.
EXPECTED = {
    "UNAVAILABLE",
    "UNAVAILABLE MODEL_UNAVAILABLE",
    "UNAVAILABLE MEMORY_UNAVAILABLE",
    "UNAVAILABLE SERVER_DRAINING",
    "ABORTED SERVER_DRAINING",
    "ABORTED MODEL_INTERRUPTED",
    "ABORTED",  # the connection was lost after the answer had begun
    "ABORTED MEMORY_UNAVAILABLE",
    "RESOURCE_EXHAUSTED MODEL_RATE_LIMITED",
    "RESOURCE_EXHAUSTED SERVER_BUSY",
    "INTERNAL MODEL_REJECTED",
    "DEADLINE_EXCEEDED",
    "DEADLINE_EXCEEDED DEADLINE_EXCEEDED",
}


async def broken_promises(stage: Stage, ledger: Ledger) -> dict[str, int]:
    """Return how often which promise was broken in a run: empty when all were kept."""
    found = await asyncio.to_thread(audit, stage.kept, ledger.said)
    found["hung beyond the deadline"] += ledger.hung
    found["answered with another reply"] += len(ledger.wrong)
    found.update(f"prompts with {' and '.join(sorted(users))} in them" for users in stage.model.mixed)
    found.update({f"ended with {ending}": times for ending, times in ledger.failed.items() if ending not in EXPECTED})
    return {promise: times for promise, times in found.items() if times}


def audit(kept: Kept, said: Sequence[Said]) -> Counter[str]:
    """Return what is wrong with what was kept, counted by kind."""
    found = Counter(kept.damage())
    with kept.opened() as memory:
        stored = 0
        for user, messages in groupby(sorted(said, key=lambda each: each.user), key=lambda each: each.user):
            items = [item for item in memory.mem_export(user) if isinstance(item, Observation)]
            stored += len(items)
            rows = [item.content for item in items if not is_fact(item)]
            found.update(wrongs(rows, list(messages)))
            found.update(wrong_facts([item.content for item in items if is_fact(item)], rows))
    found["of a user who never spoke"] += kept.turns() - stored
    return found


def wrongs(rows: Sequence[str], said: Sequence[Said]) -> Iterator[str]:
    """Yield what is wrong with the contents of one user's turns, oldest first."""
    whole = {f"User: {each.message}\nAssistant: {reply_to(each.message)}": each for each in said}
    times = Counter(message_in(row) for row in rows)
    yield from ("stored twice" for count in times.values() if count > 1)
    yield from ("of another user" for message in times if message not in {each.message for each in said})
    yield from ("lost" for content, each in whole.items() if each.answered and content not in rows)
    yield from ("not as it was said" for row in rows if row not in whole and not interrupted(row))
    answered = [row for row in rows if row in whole and whole[row].answered]
    if answered != [content for content, each in whole.items() if each.answered and content in rows]:
        yield "out of order"


def is_fact(item: Observation) -> bool:
    return (item.topic_key or "").startswith(FACT_KEY)


def wrong_facts(facts: Sequence[str], rows: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the facts of a user: that of the last turn which states one is the only one."""
    stated = [statement for row in rows if (statement := statement_in(message_in(row)))]
    yield from ("fact stored twice" for _ in facts[1:])
    if stated[-1:] != list(facts[:1]):
        yield "fact not that of the last turn" if facts else "fact lost"


def message_in(row: str) -> str:
    return row.partition("\nAssistant: ")[0].removeprefix("User: ")


def interrupted(row: str) -> bool:
    """Whether *row* is a turn whose caller left: the beginning of the reply, and the mark."""
    reply = row.partition("\nAssistant: ")[2]
    return reply.endswith(INTERRUPTED) and reply_to(message_in(row)).startswith(reply.removesuffix(INTERRUPTED))
