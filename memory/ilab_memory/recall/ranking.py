"""BM25F over the fields of an observation and the words of its neighbours. Pure: every store ranks alike.

The neighbours of a row are those that its user saved just before and after it in the same session. Their words are not
indexed with the row: a place where a term stands counts, with a low weight, for the rows around it too. So a neighbour
that is saved later, updated or forgotten changes the ranking at once, and nothing has to be kept right.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ilab_memory.core.store import Document, Posting, TermStatistics

#: What a term in a field is worth against one in `said`. Measured, see bench/recall.py.
WEIGHTS = {"title": 1.0, "said": 1.0, "reply": 0.3, "tail": 0.1}
#: Fields that hold a term or do not: a reply repeats the words of its topic, which says nothing more about the turn.
COUNTED_ONCE = frozenset({"reply", "tail"})
#: What a term in a neighbour is worth for a message, and for a turn, which brings its own question and answer.
NEIGHBOUR_WEIGHT, NEIGHBOUR_WEIGHT_OF_A_TURN = 0.4, 0.15
#: How often a term in the neighbours counts, at most: the topic of the rows around must not outweigh the row itself.
NEIGHBOUR_TIMES = 2
#: Terms of a neighbour that count, from its beginning.
NEIGHBOUR_TERMS = 40
#: BM25's saturation and length normalisation.
K1, B = 1.2, 0.3
#: Rows that the terms of one search may stand in, all together: the commonest terms are left out beyond that.
MAX_PLACES = 20_000
#: Rows that one search ranks exactly, unless more are asked for: the best by their own terms alone.
MAX_RANKED = 200

# Neighbours that count, as distances from the row in which the term stands: two rows before it, one after it. So a row
# is ranked with the words of the two before it and of the one after it.
_NEIGHBOURS = (1, 2, -1)
_CONTENT = frozenset({"said", "reply"})
# The first term of a message is who speaks ("Name: text") or little: that a neighbour begins with it says nothing here.
_FIRST_NEIGHBOUR_TERM = 1


def idf(observations: int, frequency: int) -> float:
    """Return what it says about a row that it holds a term which *frequency* of *observations* rows hold."""
    return math.log(1 + (observations - frequency + 0.5) / (frequency + 0.5))


def affordable(statistics: TermStatistics) -> list[str]:
    """Return the terms worth reading, rarest first: all, unless their rows are more than MAX_PLACES; never none."""
    chosen: list[str] = []
    rows = 0
    for term, frequency in sorted(statistics.frequencies.items(), key=lambda item: item[1]):
        rows += frequency
        if chosen and rows > MAX_PLACES:
            break
        chosen.append(term)
    return chosen


def shortlist(postings: Mapping[str, Sequence[Posting]], statistics: TermStatistics, at_most: int | None) -> set[int]:
    """Return the numbers of the rows to rank: the *at_most* best by the terms they hold, and their neighbours."""
    worth: defaultdict[int, float] = defaultdict(float)
    for term, places in postings.items():
        term_idf = idf(statistics.observations, statistics.frequencies[term])
        for number in {place[0] for place in places}:
            worth[number] += term_idf
    best: Iterable[int] = worth
    if at_most is not None and len(worth) > at_most:
        best = heapq.nlargest(at_most, worth, key=lambda number: (worth[number], number))
    return {number + distance for number in best for distance in (0, *_NEIGHBOURS)}


def bm25(
    postings: Mapping[str, Sequence[Posting]], documents: Mapping[int, Document], statistics: TermStatistics
) -> dict[int, float]:
    """Return the BM25F of each of *documents* that holds a term or is the neighbour of one that does."""
    worths: dict[int, Mapping[str, float]] = {}
    scores: defaultdict[int, float] = defaultdict(float)
    for term, places in postings.items():
        known = [place for place in places if place[0] in documents]
        for number in {place[0] for place in known} - worths.keys():
            worths[number] = _worths(documents[number], statistics)
        term_idf = idf(statistics.observations, statistics.frequencies[term])
        for number, frequency in _frequencies(known, documents, worths).items():
            scores[number] += term_idf * frequency / (K1 + frequency)
    return scores


def _worths(document: Document, statistics: TermStatistics) -> Mapping[str, float]:
    """Return what a term is worth in each field of *document*, by how long the field is against the average one."""
    lengths = (document.title_terms, document.said_terms, document.reply_terms, document.tail_terms)
    totals = statistics.field_lengths
    return {
        field: weight / (1 - B + B * length * statistics.observations / total) if total else weight
        for (field, weight), length, total in zip(WEIGHTS.items(), lengths, totals, strict=True)
    }


def _frequencies(
    places: Sequence[Posting], documents: Mapping[int, Document], worths: Mapping[int, Mapping[str, float]]
) -> Mapping[int, float]:
    """Return the weighted frequency of one term in each row, its neighbours' included."""
    frequencies: defaultdict[int, float] = defaultdict(float)
    seen: tuple[int, str] | None = None
    for number, field, _ in places:
        if field in COUNTED_ONCE and seen == (number, field):
            continue
        seen = (number, field)
        frequencies[number] += worths[number][field]
    for number, times in _nearby(places, documents).items():
        weight = NEIGHBOUR_WEIGHT_OF_A_TURN if documents[number].reply_terms else NEIGHBOUR_WEIGHT
        frequencies[number] += weight * min(times, NEIGHBOUR_TIMES)
    return frequencies


def _nearby(places: Sequence[Posting], documents: Mapping[int, Document]) -> Mapping[int, int]:
    """Return how often one term stands near the beginning of the neighbours of each row."""
    nearby: defaultdict[int, int] = defaultdict(int)
    for number, field, position in places:
        document = documents[number]
        if field == "reply":
            position += document.said_terms  # noqa: PLW2901 - counted from the beginning of the content
        if field in _CONTENT and _FIRST_NEIGHBOUR_TERM <= position < NEIGHBOUR_TERMS:
            for distance in _NEIGHBOURS:
                beside = documents.get(number + distance)
                if beside is not None and beside.session == document.session:
                    nearby[number + distance] += 1
    return nearby
