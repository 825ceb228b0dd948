"""BM25F over the fields of an observation and the words of its neighbours. Pure: every store ranks alike.

The neighbours of a row are those that its user saved just before and after it in the same session. Their words are not
indexed with the row: a place where a term stands counts, with a low weight, for the rows around it too. So a neighbour
that is saved later, updated or forgotten changes the ranking at once, and nothing has to be kept right.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ilab_memory.analysis import Fields
from ilab_memory.core.store import Document, Posting, TermStatistics

#: What a term in a field is worth against one in `said`. Measured, see bench/recall.py.
WEIGHTS = Fields(title=1.0, said=1.0, reply=0.6, tail=0.1)  # type: ignore[arg-type]  # one number for each field
#: What a term in a neighbour is worth.
NEIGHBOUR_WEIGHT = 0.4
#: Terms of a neighbour that count, from its beginning.
NEIGHBOUR_TERMS = 40
#: Neighbours that count: how many before the row, how many after it.
BEFORE, AFTER = 2, 1
#: BM25's saturation and length normalisation.
K1, B = 1.2, 0.3
#: Rows that the terms of one search may stand in, all together: the commonest terms are left out beyond that.
MAX_PLACES = 20_000
#: Rows that one search ranks exactly, at most: the best by their own terms alone.
MAX_RANKED = 1_000

_SAID, _REPLY = 1, 2


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


def shortlist(postings: Mapping[str, Sequence[Posting]], statistics: TermStatistics) -> set[int]:
    """Return the numbers of the rows to rank: those that hold a term, and their neighbours."""
    worth: defaultdict[int, float] = defaultdict(float)
    for term, places in postings.items():
        term_idf = idf(statistics.observations, statistics.frequencies[term])
        for number in {place.number for place in places}:
            worth[number] += term_idf
    own: Iterable[int] = worth
    if len(worth) > MAX_RANKED:
        own = sorted(worth, key=lambda number: (worth[number], number), reverse=True)[:MAX_RANKED]
    return {number + distance for number in own for distance in range(-AFTER, BEFORE + 1)}


def bm25(
    postings: Mapping[str, Sequence[Posting]], documents: Mapping[int, Document], statistics: TermStatistics
) -> dict[int, float]:
    """Return the BM25F of each of *documents* that holds a term or is the neighbour of one that does."""
    norms = _FieldNorms(statistics)
    scores: defaultdict[int, float] = defaultdict(float)
    for term, places in postings.items():
        term_idf = idf(statistics.observations, statistics.frequencies[term])
        for number, frequency in _term_frequencies(places, documents, norms).items():
            scores[number] += term_idf * frequency / (K1 + frequency)
    return scores


class _FieldNorms:
    """How much longer than the average each field of a row is, as BM25 counts it."""

    def __init__(self, statistics: TermStatistics) -> None:
        rows = max(statistics.observations, 1)
        self._averages = [max(length / rows, 1.0) for length in statistics.field_lengths]

    def weight(self, field: int, document: Document) -> float:
        length = document.field_lengths[field]
        return WEIGHTS[field] / (1 - B + B * length / self._averages[field])  # type: ignore[operator]


def _term_frequencies(
    places: Sequence[Posting], documents: Mapping[int, Document], norms: _FieldNorms
) -> Mapping[int, float]:
    """Return the weighted frequency of one term in each row, its neighbours' included."""
    frequencies: defaultdict[int, float] = defaultdict(float)
    for number, field, position in places:
        document = documents.get(number)
        if document is None:
            continue
        frequencies[number] += norms.weight(field, document)
        if _is_near_the_beginning(field, position, document):
            for neighbour in (number + 1, number + 2, number - 1):
                beside = documents.get(neighbour)
                if beside is not None and beside.session == document.session:
                    frequencies[neighbour] += NEIGHBOUR_WEIGHT
    return frequencies


def _is_near_the_beginning(field: int, position: int, document: Document) -> bool:
    if field == _REPLY:
        position += document.field_lengths[_SAID]
    return field in (_SAID, _REPLY) and position < NEIGHBOUR_TERMS
