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
from ilab_memory.core.store import Store
from ilab_memory.core.vector_store import ReadBlocks, VectorStore
from ilab_memory.recall import message_query
from ilab_memory.recall.analysis import UNSPACED
from ilab_memory.recall.coverage import Covered
from ilab_memory.recall.message_query import Asked
from ilab_memory.recall.passage import HEAD_CHARACTERS, parts, sentences
from ilab_memory.recall.speakers import without_label

if TYPE_CHECKING:
    from ilab_memory.recall.anchors import Reading
    from ilab_memory.recall.vectors import Cosines

#: Characters of the beginning of a row that are read to embed it.
CHARACTERS = HEAD_CHARACTERS
#: Longest wait for the vector of a message. After it, the search goes by words.
QUERY_SECONDS = 0.5
#: Least cosine of a row that is found by its meaning alone, for a message that is about the user, ...
PERSONAL_FLOOR = 0.18
#: ... for one in a script without spaces, whose languages leave the pronoun out, ...
UNSPACED_FLOOR = 0.28
#: ... and for any other.
FLOOR = 0.4
#: ... or for one that its vector says is about the world, or that names somebody whom no row names.
WORLD_FLOOR = 0.5
#: `Reading.of_user` from which on a message is about the user without a word for them, ...
OF_USER_BY_MEANING = 0.1
#: ... without any word that has content, like "How old am I?", ...
SURELY_OF_USER = 0.4
#: ... up to which it is not about the user in spite of such a word, nor in a script without spaces, ...
NOT_OF_USER = -0.5
#: ... and about the world.
OF_WORLD = -0.8
#: `Reading.small_talk` from which on a row says nothing, ...
SMALL_TALK_ROW = 0.5
#: ... and a message; more if that is not known, if it is about the user, or if it names a time in the past.
SMALL_TALK, SMALL_TALK_ALONE, MORE_OF_USER, MORE_OF_PAST = 0.4, 0.45, 0.2, 0.1
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
    embedded: "Future[tuple[Collection[float], Reading]]"
    """The vector, and the kind of the message."""
    cosines: "Callable[[Collection[float], str, ReadBlocks], Cosines | None]"
    text: str
    """The part of the message that is embedded."""
    embed: "Callable[[str], Future[tuple[Collection[float], Reading]]]"
    _known: "dict[tuple[str, str], tuple[Cosines, Reading] | None]" = field(
        default_factory=dict, repr=False, compare=False
    )

    def near(self, store: Store, user_id: str, text: str = "") -> "tuple[Cosines, Reading] | None":
        """Return how near the rows of the user are. None: nothing is known of them, or *store* keeps no vectors.

        The vectors are read, and waited for, once: all searches for a message see the same rows. *text*: if it is not
        empty, it is compared with them instead of the message.
        """
        if not isinstance(store, VectorStore):
            return None
        key = user_id, text or self.text
        if key not in self._known:
            self._known[key] = self._near(store, *key)
        return self._known[key]

    def _near(self, store: VectorStore, user_id: str, text: str) -> "tuple[Cosines, Reading] | None":
        embedded = self.embedded if text == self.text else self.embed(text)
        try:
            vector, reading = embedded.result(QUERY_SECONDS)
        except (EmbedderUnavailable, ValueError, FutureTimeout):
            embedded.cancel()
            return None
        cosines = self.cosines(vector, user_id, lambda known: store.vectors(user_id, self.model, known))
        return None if cosines is None else (cosines, reading)


def nearest(
    cosines: "Cosines", reading: "Reading", asked: Asked, limit: int, *, names_stranger: bool = False
) -> Sequence[int]:
    """Return the rows that are near enough to a message to be among *limit* results, the nearest first.

    *names_stranger*: it names somebody whom no row names.
    """
    of_user = reading.of_user
    more = MORE_OF_PAST if asked.dated is not None and asked.dated.is_past else 0.0
    is_sure = bool(asked.terms) or (of_user is not None and of_user >= SURELY_OF_USER)
    if is_small_talk_message(reading, more) or not is_sure:
        return ()
    return cosines.nearest(READ_PER_RESULT * limit, _floor(asked, of_user, names_stranger=names_stranger), more=OF_USER)


def _floor(asked: Asked, of_user: float | None, *, names_stranger: bool) -> float:
    if names_stranger and not asked.speaks_of_user:
        return WORLD_FLOOR
    is_unspaced = any(_UNSPACED.match(term) for term in asked.terms)
    if of_user is None:
        return PERSONAL_FLOOR if asked.speaks_of_user else UNSPACED_FLOOR if is_unspaced else FLOOR
    if of_user <= NOT_OF_USER:
        return WORLD_FLOOR if of_user <= OF_WORLD else FLOOR
    if asked.speaks_of_user or (of_user >= OF_USER_BY_MEANING and not asked.names):
        return PERSONAL_FLOOR
    return UNSPACED_FLOOR if is_unspaced else FLOOR


def gains(cosines: "Cosines", nearest: Sequence[int], covered: Mapping[int, Covered]) -> Mapping[int, float]:
    """Return what each row of *nearest* and of *covered*, which are found by words, gains in relevance."""
    best = max((row.total for row in covered.values()), default=0.0)
    weight = GAIN + GAIN_UNCOVERED * (1 - best)
    near = cosines.of({*nearest, *covered})
    return {number: weight * max(0.0, row.z) for number, row in near.items()}


def is_small_talk_message(reading: "Reading", more: float = 0.0) -> bool:
    """Return whether a message is about nothing. *more*: added to the least `small_talk` of one."""
    of_user = reading.of_user
    least = SMALL_TALK_ALONE if of_user is None else SMALL_TALK + MORE_OF_USER * max(0.0, of_user)
    return reading.small_talk >= least + more


def is_small_talk(reading: "Reading") -> bool:
    """Return whether a row says nothing, so that it has no vector."""
    return reading.small_talk >= SMALL_TALK_ROW


def text_of(title: str, content: str) -> str:
    """Return what the user said in the beginning of *content*, to be embedded. Empty: they stated nothing.

    The *title* of a turn is the beginning of its message. Any other title may name the topic.
    """
    spoken = parts(content)
    said = " ".join(spoken.said.split())
    if not states(said):
        return ""
    if spoken.reply or spoken.said != content:
        return said
    own = without_label(said)
    return own if title in said else f"{title}: {own}"


def states(said: str) -> bool:
    """Return whether a sentence of *said* states something."""
    spoken = message_query.languages_in(said)
    return any(_states(sentence, spoken) for _, sentence in sentences(said))


def _states(sentence: str, spoken: Collection[str]) -> bool:
    """Return whether *sentence* has content, and does not ask, or ends with a clause about the user."""
    if not message_query.content_terms(sentence):
        return False
    if not message_query.asks(sentence, spoken):
        return True
    _, *clauses = _CLAUSES.split(sentence)
    return any(message_query.speaks_of_user(clause) and not message_query.asks(clause, spoken) for clause in clauses)


def asks(said: str) -> bool:
    """Return whether *said* has a question or a request."""
    spoken = message_query.languages_in(said)
    return any(message_query.asks(sentence, spoken) for _, sentence in sentences(said))


#: Before a clause that may state something in a sentence that asks: "A dish without onions, my stomach is upset."
_CLAUSES = re.compile(r"[,;:\uff0c\u3001]\s|\s[-\u2013\u2014]+\s")
_UNSPACED = re.compile(f"[{UNSPACED}]")
