"""How much of a message each row covers: an absolute measure, not relative to the best row. Pure: every store alike.

Coverage is BM25F divided by what a row could reach that contains every term: the sum of the weights of all terms of the
message, unknown ones included. So a row that has one of three equally rare words covers a third, however many rows the
user has.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ilab_memory.core.store import Document, Posting, TermStatistics
from ilab_memory.recall import bm25f
from ilab_memory.recall.analysis import Fields
from ilab_memory.recall.message_query import Asked

#: Rows that the rarity of a term is estimated from, in addition to the user's: in a small memory, one that occurs in
#: each of them is still as informative as a word of a language usually is.
BACKGROUND_ROWS = 100
#: Exponent of the rarity of a term: undamped, one unknown word would outweigh the topic that the user talks about most.
DAMPING = 0.7
#: Weight of a term that only the assistant's reply contains, in its first words and in the rest, ...
REPLY, TAIL = 0.35, 0.25
#: ... and if the message asks for what the assistant said.
ASKED_REPLY, ASKED_TAIL = 0.8, 0.7
#: Weight of a term for the rows after and before the one that contains it: an answer directly follows its question.
NEARBY = {1: 0.5, 2: 0.3, -1: 0.3}
#: Part of that weight for a turn, which contains its own question.
NEARBY_TURN = 0.4
#: Least weight of an occurrence in a long row: normalization by length would make a pasted text unfindable.
LONG_ROW = 0.4
#: Rows per result whose coverage is computed exactly: the best by their own terms. Their neighbours are read too.
COVERED_PER_RESULT = 6
#: The fewest of them, and for a message that asks for a whole list or names a time.
LEAST_COVERED, COVERED_OF_MANY = 32, 64
#: Sum of the frequencies of the terms whose places are read, rarest first. Of the others, the newest rows are read, and
#: no places.
MOST_EXACT = 800
#: Maximum number of rows that are read for all frequent terms together.
MOST_NEWEST = 1_200

_SAID = frozenset({"said", "title"})


@dataclass(slots=True)
class Covered:
    """The coverage of one row, as shares of the weight of the message."""

    said: float = 0.0
    """By the title and by what the user said."""
    reply: float = 0.0
    """By terms that only the assistant's reply contains."""
    nearby: float = 0.0
    """By terms that only the rows before and after it contain."""
    said_terms: int = 0
    """The terms in `said`, as bits."""
    reply_terms: int = 0

    @property
    def total(self) -> float:
        """The coverage, in [0, 1]."""
        return min(1.0, self.said + self.reply + self.nearby)


@dataclass(frozen=True, slots=True)
class Frequency:
    """The number of rows with a term, and of rows in which the user said it; estimated for a frequent term."""

    rows: int
    said: int


_IN_NO_ROW = Frequency(0, 0)


def split(statistics: TermStatistics) -> tuple[list[str], list[str]]:
    """Return the terms whose places are to be read, rarest first, and the frequent ones."""
    exact: list[str] = []
    frequent: list[str] = []
    rows = 0
    # A store may not have counted further: stores must not differ in the order.
    counted = {term: min(frequency, MOST_EXACT + 1) for term, frequency in statistics.frequencies.items()}
    for term, frequency in sorted(counted.items(), key=lambda item: item[1]):
        rows += frequency
        (exact if rows <= MOST_EXACT else frequent).append(term)
    return exact, frequent


def estimated(newest: Sequence[int], most: int, observations: int) -> int:
    """Estimate the frequency of a term from its *newest* rows, at most *most*, as if older rows had it as often."""
    if len(newest) < most:
        return len(newest)
    return min(observations, len(newest) * newest[0] // (newest[0] - newest[-1] + 1))


def said_rows(postings: Mapping[str, Sequence[Posting]]) -> dict[str, set[int]]:
    """Return the rows in which the user said each term, or whose title contains it."""
    return {term: {number for number, field, _ in places if field in _SAID} for term, places in postings.items()}


def weights(
    asked: Asked,
    statistics: TermStatistics,
    said: Mapping[str, set[int]],
    frequencies: Mapping[str, Frequency],
) -> Mapping[str, float]:
    """Return the share of each term in the weight of the message: by its rarity for this user, and by its kind.

    Rarity is that in what the user said: replies contain every word. *said*: `said_rows` of the terms.
    """
    rows = statistics.observations + BACKGROUND_ROWS
    worth: dict[str, float] = {}
    before = set.intersection(*(said.get(term, set()) for term in asked.previous)) if asked.previous else set()
    for term, weight in (*asked.terms.items(), *asked.previous.items()):
        if term in asked.previous and said.get(term, before) <= before:
            # It can find nothing but the message before itself.
            continue
        found = frequencies.get(term, _IN_NO_ROW)
        frequency = found.rows if asked.asks_assistant else found.said
        worth[term] = weight * bm25f.idf(rows, frequency) ** DAMPING
    for joined, parts in asked.compounds.items():
        # A hyphenated word counts as one word or by its parts, as the user writes it.
        unknown = [part for part in parts if part in worth and not said.get(part)]
        for term in unknown if unknown and said.get(joined) else (joined,):
            worth.pop(term, None)
    total = sum(worth.values())
    return {term: value / total for term, value in worth.items()}


def shortlist(
    postings: Mapping[str, Sequence[Posting]],
    said: Mapping[str, set[int]],
    shares: Mapping[str, float],
    at_most: int | None,
    *,
    replies: bool,
) -> set[int]:
    """Return the sequence numbers of the rows to read: the *at_most* best by their own terms, and their neighbours."""
    worth: defaultdict[int, float] = defaultdict(float)
    for term, places in postings.items():
        share = shares[term]
        for number in said[term]:
            worth[number] += share
        if len(said[term]) < len(places):
            part = share * (ASKED_REPLY if replies else REPLY)
            for number in {place[0] for place in places} - said[term]:
                worth[number] += part
    best: Iterable[int] = worth
    if at_most is not None and len(worth) > at_most:
        best = _largest(worth, at_most)
    return {number + distance for number in best for distance in (0, *NEARBY)}


def _largest(worth: Mapping[int, float], most: int) -> list[int]:
    """Return the *most* numbers with the largest worth; if equal, the largest numbers. Few numbers differ in worth."""
    by_worth: defaultdict[float, list[int]] = defaultdict(list)
    for number, value in worth.items():
        by_worth[value].append(number)
    best: list[int] = []
    for value in sorted(by_worth, reverse=True):
        if len(best) >= most:
            break
        best += sorted(by_worth[value], reverse=True)[: most - len(best)]
    return best


def coverage(
    postings: Mapping[str, Sequence[Posting]],
    documents: Mapping[int, Document],
    statistics: TermStatistics,
    shares: Mapping[str, float],
    *,
    replies: bool,
) -> Mapping[int, Covered]:
    """Return the coverage of each document with a term. *replies*: the message asks for the assistant's words."""
    found: defaultdict[int, Covered] = defaultdict(Covered)
    # The average number of terms in what the user said.
    usual = max(1.0, statistics.field_lengths[Fields._fields.index("said")] / statistics.observations)
    for place, (term, places) in enumerate(postings.items()):
        share, bit = shares[term], 1 << place
        known = [posting for posting in places if posting[0] in documents]
        said = _frequencies(known, documents, usual)
        for number, frequency in said.items():
            row = found[number]
            row.said += share * min(1.0, (1 + bm25f.K1) * frequency / (bm25f.K1 + frequency))
            row.said_terms |= bit
        replied = _replied(known, replies=replies)
        for number, part in replied.items():
            row = found[number]
            row.reply_terms |= bit
            if number not in said:
                row.reply += share * part
        for number, weight in _nearby(known, documents).items():
            if number not in said and number not in replied:
                found[number].nearby += share * weight
    return {number: row for number, row in found.items() if row.said_terms or row.reply_terms}


def _frequencies(places: Sequence[Posting], documents: Mapping[int, Document], usual: float) -> Mapping[int, float]:
    """Return how often each row has a term in its title and what the user said, normalized by the row's length."""
    found: dict[int, float] = {}
    for number, field, _ in places:
        if field in _SAID:
            length = documents[number].said_terms / usual
            found[number] = found.get(number, 0.0) + max(LONG_ROW, 1 / (1 - bm25f.B + bm25f.B * length))
    return found


def _replied(places: Sequence[Posting], *, replies: bool) -> Mapping[int, float]:
    """Return the weight of a term in each row whose reply contains it."""
    reply, tail = (ASKED_REPLY, ASKED_TAIL) if replies else (REPLY, TAIL)
    found: dict[int, float] = {}
    for number, field, _ in places:
        if field == "reply":
            found[number] = reply
        elif field == "tail":
            found.setdefault(number, tail)
    return found


def _nearby(places: Sequence[Posting], documents: Mapping[int, Document]) -> Mapping[int, float]:
    """Return the weight of a term near the beginning of the neighbours of each row."""
    found: dict[int, float] = {}
    for number, field, position in places:
        document = documents[number]
        before = {"said": 0, "reply": document.said_terms}.get(field)
        if before is None or before + position >= bm25f.NEIGHBOUR_TERMS:
            continue
        for distance, weight in NEARBY.items():
            near = documents.get(number + distance)
            if near is not None and near.session == document.session:
                lifted = weight * (NEARBY_TURN if near.reply_terms else 1.0)
                if lifted > found.get(number + distance, 0.0):
                    found[number + distance] = lifted
    return found
