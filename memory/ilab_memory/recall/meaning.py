"""The texts that are embedded, of rows and of messages, and the rows that are near a message in meaning.

Only statements have vectors: questions and requests state nothing, and would be the nearest to other questions. Without
the embedder or the vectors, a search goes by words.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ilab_memory.core.embedder import EmbedderUnavailable
from ilab_memory.core.vector_store import Block
from ilab_memory.recall import message
from ilab_memory.recall.analysis import UNSPACED
from ilab_memory.recall.coverage import Covered
from ilab_memory.recall.message import Asked
from ilab_memory.recall.passage import HEAD_CHARACTERS, Finder, parts, sentences

if TYPE_CHECKING:
    from ilab_memory.recall.vectors import Cosines

#: Returns the vectors of a user in blocks, without the data of those whose stamps are given.
Read = Callable[[Collection[int]], Sequence[Block]]

#: Characters of the beginning of a row that are read to embed it.
CHARACTERS = HEAD_CHARACTERS
#: Longest wait for the vector of a message. After it, the search goes by words.
QUERY_SECONDS = 0.5
#: Least cosine of a row that is found by its meaning alone, for a message that speaks of the user, ...
PERSONAL_FLOOR = 0.18
#: ... for one in a script without spaces, whose languages leave the pronoun out, ...
UNSPACED_FLOOR = 0.28
#: ... and for any other.
FLOOR = 0.4
#: Added to the cosine of a row in which the user speaks of themself.
OF_USER = 0.05
#: Gain of a row by its cosine, in standard deviations, ...
GAIN = 0.03
#: ... and as much more as the best row by words does not cover of the message.
GAIN_UNCOVERED = 0.15
#: Rows that are read per result.
READ_PER_RESULT = 2
#: Each of these places of a result is for the nearest row that is left.
EVERY = 4


@dataclass(frozen=True, slots=True)
class Meaning:
    """A message that is being embedded."""

    model: str
    vector: "Future[Collection[float]]"
    cosines: "Callable[[Collection[float], str, Read], Cosines | None]"

    def near(self, user_id: str, read: Read) -> "Cosines | None":
        """Return how near the rows of the user are, whose vectors *read* returns. None: nothing is known of them."""
        try:
            vector = self.vector.result(QUERY_SECONDS)
        except (EmbedderUnavailable, ValueError, FutureTimeout):
            self.vector.cancel()
            return None
        return self.cosines(vector, user_id, read)


@dataclass(frozen=True, slots=True)
class Nearness:
    """The rows that are near a message in meaning."""

    nearest: Sequence[int] = ()
    """Sequence numbers of those that are near enough to be found by their meaning alone, the nearest first."""
    gains: Mapping[int, float] = field(default_factory=dict)
    """Gain in relevance by sequence number."""


def nearest(cosines: "Cosines", asked: Asked, limit: int) -> Sequence[int]:
    """Return the rows that are near enough to a message to be among *limit* results, the nearest first."""
    return cosines.nearest(READ_PER_RESULT * limit, _floor(asked), more=OF_USER)


def _floor(asked: Asked) -> float:
    if asked.speaks_of_user:
        return PERSONAL_FLOOR
    return UNSPACED_FLOOR if any(_UNSPACED.match(term) for term in asked.terms) else FLOOR


def nearness(cosines: "Cosines", nearest: Sequence[int], covered: Mapping[int, Covered]) -> Nearness:
    """Return what the rows of *nearest* and of *covered*, which are found by words, gain."""
    best = max((row.total for row in covered.values()), default=0.0)
    weight = GAIN + GAIN_UNCOVERED * (1 - best)
    near = cosines.of({*nearest, *covered})
    return Nearness(nearest, {number: weight * max(0.0, row.z) for number, row in near.items()})


def text_of(title: str, content: str) -> str:
    """Return what the user said in the beginning of *content*, to be embedded. Empty: it states nothing.

    The *title* of a turn is the beginning of its message. Any other title may name the topic.
    """
    spoken = parts(content)
    said = " ".join(spoken.said.split())
    if not states(said):
        return ""
    is_turn = bool(spoken.reply) or spoken.said != content
    return said if is_turn or title in said else f"{title}: {said}"


def states(said: str) -> bool:
    """Return whether *said* has content in a sentence that is neither a question nor a request."""
    spoken = message.languages_in(said)
    return any(
        not message.is_question(each.text, spoken)
        and not message.is_request(each.text, spoken)
        and message.content_terms(each.text)
        for each in sentences(said, _NOTHING)
    )


def asked_text(said: str) -> str:
    """Return the text of a message that is embedded."""
    return " ".join(said[:CHARACTERS].split())


_NOTHING = Finder({})
_UNSPACED = re.compile(f"[{UNSPACED}]")
