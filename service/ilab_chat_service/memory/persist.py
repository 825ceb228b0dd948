"""Persist: store a turn with what its message states, on one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilab_chat_service.memory.hydrate import observation_id, recent
from ilab_chat_service.memory.turn_codec import TYPE, stored_turn
from ilab_chat_service.message_statements.instructions import takes_back
from ilab_chat_service.values import FACT_KEY, TURN_KEY, Persisted, Remembered, Turn, TurnRetention
from ilab_memory.core.models import NewFact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ilab_chat_service.message_statements import Reading
    from ilab_memory import ILabMemory
    from ilab_memory.core.models import SaveResult

#: Number of rows among which the turn of a repeated call is searched: other request ids may begin with this one.
REPETITIONS = 10
#: Number of facts among which the instructions are that a message takes back. Pinned ones come first.
FACTS = 200


def save(memory: ILabMemory, turn: Turn, *, queue_work: bool = False) -> Persisted:
    """Save *turn* as an observation, and the facts in its message. *queue_work*: queue it for consolidation."""
    stored = stored_turn(turn)
    if turn.interrupted and (answered := same_turn(memory, turn, stored.topic_key)):
        return Persisted(observation_id=answered)
    stated = with_revocations(memory, turn.user_id, turn.reading, new_facts(turn.reading))
    results: Sequence[SaveResult] = ()
    if turn.retention is TurnRetention.LATEST_ONLY:
        # The next turn overwrites the observation of this one, and the facts must stay.
        results = [
            memory.mem_save(turn.user_id, conversation_id=turn.conversation_id, **fact.model_dump()) for fact in stated
        ]
    saved = memory.mem_save(
        turn.user_id,
        stored.content,
        type=TYPE,
        title=stored.title,
        topic_key=stored.topic_key,
        conversation_id=turn.conversation_id,
        about="\n".join(turn.reading.pool) or None,
        facts=[] if results else stated,
        queue_work=queue_work,
    )
    if stated and not results:
        results = saved.facts
    return Persisted(observation_id=saved.id, remembered=tuple(remembered(stated, results)))


def same_turn(memory: ILabMemory, turn: Turn, topic_key: str) -> int:
    """Return the id of the turn that a faster repeat of the call has stored under *topic_key*, or 0.

    Always 0 for the rolling key of a conversation, under which any turn may be stored.
    """
    session = memory.mem_session_peek(turn.user_id, conversation_id=turn.conversation_id, with_memories=False)
    if not (session.session_id and topic_key.startswith(TURN_KEY)):
        return 0
    rows = recent(memory, turn, session.session_id, [topic_key], REPETITIONS)
    return next((observation_id(row) for row in rows if row.topic_key == topic_key), 0)


def new_facts(reading: Reading) -> list[NewFact]:
    """Return the facts that a message states, for saving them with its turn."""
    return [
        NewFact(
            type=fact.type,
            title=fact.topic_key.replace("/", ": ", 1),
            content=fact.text,
            topic_key=FACT_KEY + fact.topic_key,
            pinned=fact.standing,
        )
        # The last statement of a message about a topic counts.
        for fact in {each.topic_key: each for each in reading.facts}.values()
    ]


def with_revocations(memory: ILabMemory, user_id: str, reading: Reading, stated: Sequence[NewFact]) -> list[NewFact]:
    """Return *stated*, the facts of a message, with those that replace the instructions that it takes back.

    "Stop answering in rhymes" is an instruction by itself too. Then it replaces the one that it takes back, if there is
    one, and is not a second fact.
    """
    if not reading.taken_back:
        return [*stated]
    replaced = {each.topic_key: each for each in replacing(memory, user_id, reading, stated)}
    texts = {each.content for each in replaced.values()}
    others = [each for each in stated if each.topic_key not in replaced and each.content not in texts]
    return [*others, *replaced.values()]


def replacing(memory: ILabMemory, user_id: str, reading: Reading, stated: Sequence[NewFact]) -> Iterator[NewFact]:
    """Yield a fact for each stored instruction that the message takes back, with its topic key and the new words."""
    for known in memory.mem_facts(user_id, limit=FACTS):
        key = known.topic_key or ""
        topic = key.removeprefix(FACT_KEY)
        for back in reading.taken_back:
            if topic != key and takes_back(back, topic, known.content):
                said = next((each for each in stated if each.pinned and each.content in back.text), None)
                yield NewFact(
                    type=known.type,
                    title=known.title,
                    content=said.content if said else back.text,
                    topic_key=key,
                    pinned=said is not None,
                )


def remembered(stated: Iterable[NewFact], results: Iterable[SaveResult]) -> Iterator[Remembered]:
    """Yield the *stated* facts that were added or changed."""
    for fact, result in zip(stated, results, strict=True):
        if result.outcome != "deduped":
            yield Remembered(
                observation_id=result.id,
                type=fact.type,
                title=fact.title,
                content=fact.content,
                topic_key=fact.topic_key,
                pinned=fact.pinned,
            )
