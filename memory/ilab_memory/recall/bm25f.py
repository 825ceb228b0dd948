"""BM25F over the fields of an observation and the words of its neighbours. Pure: every store ranks alike.

BM25F: S. Robertson, H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, section 3.6.

The neighbours of an observation are those that its user saved just before and after it in the same session. Their words
are not indexed with it. Instead, each occurrence of a term also counts, with a low weight, for the observations around
it. So saving, updating or forgetting a neighbour changes the ranking at once, and no index has to be updated for it.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ilab_memory.core.store import Document, Posting, TermStatistics

#: Weights of the fields. Measured, see bench/recall.py.
WEIGHTS = {"title": 1.0, "said": 1.0, "reply": 0.3, "tail": 0.1}
#: Fields in which repetitions of a term do not count: a reply repeats the words of its topic.
COUNTED_ONCE = frozenset({"reply", "tail"})
#: Weight of a term in a neighbour, for a message and for a turn, which contains its own question and answer.
NEIGHBOUR_WEIGHT, NEIGHBOUR_WEIGHT_OF_A_TURN = 0.4, 0.15
#: Occurrences in the neighbours that count, so that the topic of the neighbours never outweighs the row itself.
NEIGHBOUR_TIMES = 2
#: Terms of a neighbour that count, from its beginning.
NEIGHBOUR_TERMS = 40
#: BM25's saturation and length normalization.
K1, B = 1.2, 0.3
#: Sum of the document frequencies of the terms that one search reads. The most frequent terms beyond it are dropped.
MAX_PLACES = 20_000
#: Rows that one search ranks exactly, unless more results are requested: the best by their own terms.
MAX_RANKED = 200

# An occurrence counts for the two rows after it and the row before it. So a row is ranked with the words of the two
# rows before it and of the row after it.
_NEIGHBOURS = (1, 2, -1)
_CONTENT = frozenset({"said", "reply"})


def idf(observations: int, frequency: int) -> float:
    """Return the inverse document frequency of a term that *frequency* of *observations* rows contain."""
    return math.log(1 + (observations - frequency + 0.5) / (frequency + 0.5))


def affordable(statistics: TermStatistics) -> list[str]:
    """Return the terms to read, rarest first: within MAX_PLACES, but at least one."""
    chosen: list[str] = []
    rows = 0
    for term, frequency in sorted(statistics.frequencies.items(), key=lambda item: item[1]):
        rows += frequency
        if chosen and rows > MAX_PLACES:
            break
        chosen.append(term)
    return chosen


def shortlist(postings: Mapping[str, Sequence[Posting]], statistics: TermStatistics, at_most: int | None) -> set[int]:
    """Return the sequence numbers of the rows to rank: the *at_most* best by their own terms, and their neighbours."""
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
    """Return the BM25F of each of *documents* that contains a term or is a neighbour of one that does."""
    weights: dict[int, Mapping[str, float]] = {}
    scores: defaultdict[int, float] = defaultdict(float)
    for term, places in postings.items():
        known = [place for place in places if place[0] in documents]
        for number in {place[0] for place in known} - weights.keys():
            weights[number] = _field_weights(documents[number], statistics)
        term_idf = idf(statistics.observations, statistics.frequencies[term])
        for number, frequency in _frequencies(known, documents, weights).items():
            scores[number] += term_idf * frequency / (K1 + frequency)
    return scores


def _field_weights(document: Document, statistics: TermStatistics) -> Mapping[str, float]:
    """Return the weight of a term in each field of *document*, normalized by the field's length."""
    lengths = (document.title_terms, document.said_terms, document.reply_terms, document.tail_terms)
    totals = statistics.field_lengths
    return {
        field: weight / (1 - B + B * length * statistics.observations / total) if total else weight
        for (field, weight), length, total in zip(WEIGHTS.items(), lengths, totals, strict=True)
    }


def _frequencies(
    places: Sequence[Posting], documents: Mapping[int, Document], weights: Mapping[int, Mapping[str, float]]
) -> Mapping[int, float]:
    """Return the weighted frequency of one term in each row, including its neighbours."""
    frequencies: defaultdict[int, float] = defaultdict(float)
    seen: tuple[int, str] | None = None
    for number, field, _ in places:
        if field in COUNTED_ONCE and seen == (number, field):
            continue
        seen = (number, field)
        frequencies[number] += weights[number][field]
    for number, times in _nearby(places, documents).items():
        weight = NEIGHBOUR_WEIGHT_OF_A_TURN if documents[number].reply_terms else NEIGHBOUR_WEIGHT
        frequencies[number] += weight * min(times, NEIGHBOUR_TIMES)
    return frequencies


def _nearby(places: Sequence[Posting], documents: Mapping[int, Document]) -> Mapping[int, int]:
    """Return how often one term occurs near the beginning of the neighbours of each row."""
    nearby: defaultdict[int, int] = defaultdict(int)
    for number, field, position in places:
        document = documents[number]
        if field == "reply":
            position += document.said_terms  # noqa: PLW2901 - counted from the beginning of the content
        if field in _CONTENT and position < NEIGHBOUR_TERMS:
            for distance in _NEIGHBOURS:
                beside = documents.get(number + distance)
                if beside is not None and beside.session == document.session:
                    nearby[number + distance] += 1
    return nearby
