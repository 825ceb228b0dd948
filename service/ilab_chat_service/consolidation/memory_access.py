"""The visits of a consolidation to the memory library: what it takes, and what it stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from ilab_chat_service.consolidation.prompt import Material, NewTurn
from ilab_chat_service.values import FACT_KEY, RESERVED_KEYS
from ilab_memory import NewFact, NewSummary

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from ilab_chat_service.consolidation.operations import Operations
    from ilab_memory import Fact, ILabMemory, Observation, Work, WorkStats, WorkTurns

T = TypeVar("T")

#: Maximum number of facts in a prompt.
FACTS = 100
#: Maximum number of turns of one call, as a multiple of the number that is enough for a call, and of their bytes.
TURNS_FACTOR = 2
TURNS_BYTES = 32 * 1024


class Library(Protocol):
    """The memory library, on threads of its own."""

    on_saved: Callable[[str], None]
    """Called with the user_id when observations were saved."""

    async def work(self, call: Callable[[ILabMemory], T]) -> T:
        """Return what *call* returns, given the library.

        Raises:
            MemoryUnavailable: the library's storage failed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Work that was claimed, with what it is about."""

    work: Work
    turns: WorkTurns
    material: Material
    stats: WorkStats


def take(
    memory: ILabMemory,
    *,
    owner: str,
    lease: timedelta,
    turns: int,
    idle: timedelta,
    spoken: Callable[[str], tuple[str, str] | None],
) -> Taken | None:
    """Claim work and read what it is about. None: no work is due.

    Each earlier attempt halves the number of turns, in case one of them is the cause of the failure.
    """
    work = memory.mem_work_claim(owner=owner, lease=lease, turns=turns, idle=idle)
    if work is None:
        return None
    limit = max(1, turns * TURNS_FACTOR >> (work.attempts - 1))
    found = memory.mem_work_turns(work, key_prefixes=RESERVED_KEYS, limit=limit, max_bytes=TURNS_BYTES)
    said = [turn for row in found.observations if (turn := new_turn(row, spoken))]
    facts = memory.mem_facts(work.user_id, limit=FACTS) if said else []
    return Taken(
        work=work,
        turns=found,
        material=Material(
            turns=said,
            facts={topic: fact.content for fact in facts if (topic := changeable_topic(fact))},
            fixed=[fact.content for fact in facts if not changeable_topic(fact)],
            summaries=memory.mem_work_summaries(work, {turn.session_id for turn in said}) if said else {},
        ),
        stats=memory.mem_work_stats(),
    )


def store(memory: ILabMemory, taken: Taken, operations: Operations, tokens_used: int) -> bool:
    """Store what was found, see `ILabMemory.mem_work_finish`."""
    return memory.mem_work_finish(
        taken.work,
        taken.turns,
        set=[
            (
                NewFact(
                    type=fact.type,
                    title=fact.topic.replace("/", ": ", 1),
                    content=fact.content,
                    topic_key=FACT_KEY + fact.topic,
                    expire_time=fact.expire_time,
                ),
                fact.source_ids,
            )
            for fact in operations.set
        ],
        retire=[(FACT_KEY + each.topic, each.source_id) for each in operations.retire],
        summaries=[
            NewSummary(session_id=session_id, content=text) for session_id, text in operations.summaries.items()
        ],
        tokens_used=tokens_used,
    )


def new_turn(row: Observation, spoken: Callable[[str], tuple[str, str] | None]) -> NewTurn | None:
    """Return what was said in a stored turn; None if it has another shape."""
    pair = spoken(row.content)
    if pair is None or row.id is None:
        return None
    return NewTurn(id=row.id, session_id=row.session_id, moment=row.updated_at, message=pair[0], reply=pair[1])


def changeable_topic(fact: Fact) -> str:
    """Return the topic of a fact that consolidation may change; empty if it may not."""
    key = fact.topic_key or ""
    return key.removeprefix(FACT_KEY) if key.startswith(FACT_KEY) and not fact.pinned else ""
