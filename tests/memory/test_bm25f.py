from collections.abc import Sequence

import pytest

from ilab_memory.core.store import Document, Posting, TermStatistics
from ilab_memory.recall import bm25f


def document(number: int, *, session: int = 1, said: int = 10, reply: int = 0) -> Document:
    return Document(number, session, "discovery", "", 1, 0, said, reply, 0)


def score(places: Sequence[Posting], documents: dict[int, Document], rows: int = 100) -> dict[int, float]:
    frequency = len({place[0] for place in places})
    statistics = TermStatistics(rows, (rows, 10 * rows, 10 * rows, 10 * rows), {"term": frequency})
    return bm25f.bm25({"term": places}, documents, statistics)


def test_a_rare_term_has_a_higher_idf_than_a_common_one() -> None:
    assert bm25f.idf(100, 1) > bm25f.idf(100, 50) > bm25f.idf(100, 100) > 0


def test_one_occurrence_in_a_row_of_average_length_scores_textbook_bm25() -> None:
    (scored,) = score([(1, "said", 5)], {1: document(1)}).values()
    assert scored == pytest.approx(bm25f.idf(100, 1) * 1 / (1.2 + 1))


def test_a_long_row_scores_lower_than_a_short_one() -> None:
    scored = score([(1, "said", 5), (5, "said", 5)], {1: document(1, said=40), 5: document(5, said=5)})
    assert scored[1] < scored[5]


def test_a_term_counts_for_the_two_rows_after_and_the_row_before_in_the_session() -> None:
    """So a row is ranked with the words of the two rows before it and of the row after it."""
    documents = {number: document(number) for number in range(1, 10)}
    assert set(score([(5, "said", 5)], documents)) == {4, 5, 6, 7}
    documents[6] = document(6, session=2)
    assert set(score([(5, "said", 5)], documents)) == {4, 5, 7}


def test_only_the_beginning_of_a_neighbour_counts() -> None:
    documents = {number: document(number, said=30, reply=60) for number in range(1, 10)}
    for field, position, reaches in [
        ("said", 0, True),
        ("said", 29, True),
        ("reply", 9, True),
        ("reply", 10, False),
        ("title", 5, False),
        ("tail", 1, False),
    ]:
        assert (len(score([(5, field, position)], documents)) > 1) is reaches, (field, position)


def test_neighbours_never_outweigh_the_row_itself() -> None:
    documents = {number: document(number) for number in range(1, 10)}
    everywhere = [(number, "said", place) for number in (4, 6) for place in range(2, 9)]
    assert score(everywhere, documents)[5] < score([(5, "said", 2)], documents)[5]


def test_a_reply_counts_a_term_once() -> None:
    documents = {1: document(1, reply=50)}
    once = score([(1, "reply", 45)], documents)[1]
    assert score([(1, "reply", place) for place in range(45, 50)], documents)[1] == once
    assert score([(1, "said", 5), (1, "said", 6)], documents)[1] > score([(1, "said", 5)], documents)[1] > once


def test_the_most_frequent_terms_are_dropped_beyond_the_limit() -> None:
    frequencies = {"everywhere": bm25f.MAX_PLACES, "often": 1_000, "rare": 1}
    statistics = TermStatistics(10**6, (1, 1, 1, 1), frequencies)
    assert bm25f.affordable(statistics) == ["rare", "often"]
    assert bm25f.affordable(statistics._replace(frequencies={"everywhere": 10**6})) == ["everywhere"]


def test_the_shortlist_contains_the_best_by_their_own_terms_and_their_neighbours() -> None:
    statistics = TermStatistics(1000, (1, 1, 1, 1), {"rare": 1, "common": 500})
    common: list[Posting] = [(number, "said", 1) for number in range(100, 600)]
    postings = {"rare": [(10, "said", 1)], "common": common}
    assert bm25f.shortlist(postings, statistics, 1) == {9, 10, 11, 12}
    assert len(bm25f.shortlist(postings, statistics, None)) == 4 + 500 + 3


def test_a_row_deleted_since_the_index_was_read_is_skipped() -> None:
    assert score([(5, "said", 5)], {}) == {}
