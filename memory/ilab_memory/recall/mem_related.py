"""Statements of the user that may matter to a message, but are not near enough to be results of a search.

A prompt that has space left is better filled with those that are nearest to the question than left short.
"""

import math
import re
from collections.abc import Collection, Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from ilab_memory.core.models import RecallHit
from ilab_memory.core.store import Preview, Store
from ilab_memory.recall import meaning, message_query, passage
from ilab_memory.recall.meaning import Meaning

if TYPE_CHECKING:
    from ilab_memory.recall.anchors import Reading

#: `Reading.of_user` above which a message may be about the user. That is so for 86 % of the 546 questions of fourteen
#: lives of `bench/lives`, and for 9 % of their greetings and questions about the world.
MAY_BE_OF_USER = -0.35
#: Rows that are read per result: some say the same, or nothing.
READ_PER_RESULT = 2
# By its mark alone: the languages of a text cost more than the place that a request takes.
_QUESTION = re.compile("[^.!?\u2026\n\u3002\uff01\uff1f]*[?\uff1f]+")
#: Longest text of a result, in characters.
CHARACTERS = 200


def related(
    store: Store, user_id: str, said: str, meant: Meaning, *, limit: int, types: Collection[str], now: datetime
) -> list[RecallHit]:
    """Return what the user said that is nearest in meaning to the message *said*, if it asks and may be about the user.

    A message that only tells something needs no answer from the memory, and the prompt changes less from the last one.
    """
    found = meant.near(store, user_id)
    if found is None:
        return []
    cosines, reading = found
    if not _may_be_of_user(said, reading):
        return []
    numbers = cosines.nearest(READ_PER_RESULT * limit, -math.inf, more=meaning.OF_USER)
    documents = store.documents(user_id, numbers, now=now)
    previews = store.previews(user_id, [*documents], characters=meaning.CHARACTERS)
    nearest = [
        previews[number]
        for number in numbers
        if number in previews and previews[number].id == documents[number].id
        if not types or previews[number].type in types
    ]
    near = cosines.of(numbers)
    scores = {previews[number].id: max(0.0, near[number].cosine) for number in previews}
    earlier = store.earlier_sources(user_id, [row.id for row in nearest])
    return [
        RecallHit(
            id=row.id,
            type=row.type,
            title=row.title,
            passage=text,
            score=min(1.0, scores[row.id]),
            updated_at=row.updated_at,
            is_earlier=row.id in earlier,
        )
        for row, text in islice(_distinct(nearest), limit)
    ]


def _may_be_of_user(said: str, reading: "Reading") -> bool:
    if not meaning.asks(said) or meaning.is_small_talk_message(reading):
        return False
    return message_query.speaks_of_user(said) or (reading.of_user is not None and reading.of_user > MAY_BE_OF_USER)


def _distinct(rows: list[Preview]) -> Iterator[tuple[Preview, str]]:
    """Yield each of *rows* that states something new, without its questions."""
    known: set[str] = set()
    for row in rows:
        text = passage.cut(_QUESTION.sub("", passage.parts(row.content).said), CHARACTERS)
        if text and (key := passage.normalized(text)) not in known:
            known.add(key)
            yield row, text
