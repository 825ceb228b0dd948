"""Instructions that a message takes back: facts that the message replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilab_chat_service.message_statements.taken_back import takes_back
from ilab_chat_service.values import FACT_KEY
from ilab_memory.core.models import NewFact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ilab_chat_service.message_statements import Reading
    from ilab_memory import ILabMemory

#: Number of facts among which the instructions are. Pinned ones come first.
FACTS = 200


def with_taken_back(memory: ILabMemory, user_id: str, reading: Reading, stated: Sequence[NewFact]) -> list[NewFact]:
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
