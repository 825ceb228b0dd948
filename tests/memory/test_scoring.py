from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilab_memory.recall import scoring
from ilab_memory.sessions import auto_close_summary, is_expired, summary_title
from memory.support import EPOCH, text


def aged(days: float) -> str:
    return text(EPOCH - timedelta(days=days))


def test_search_score_is_the_documented_sum() -> None:
    assert scoring.search_score(0.5, updated_at=aged(30), revision_count=4, now=EPOCH) == pytest.approx(
        0.60 * 0.5 + 0.25 * 0.5 + 0.15 * 0.4
    )


def test_context_score_is_the_documented_sum() -> None:
    assert scoring.context_score("decision", updated_at=aged(60), revision_count=10, now=EPOCH) == pytest.approx(
        0.50 * 0.25 + 0.30 * 1.0 + 0.20 * 0.7
    )


@pytest.mark.parametrize(("days", "expected"), [(0, 1.0), (30, 0.5), (60, 0.25), (-1, 1.0)])
def test_recency_halves_every_30_days_and_is_1_for_a_future_date(days: float, expected: float) -> None:
    assert scoring.recency(aged(days), EPOCH) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "expected"), [(1, 0.1), (10, 1.0), (11, 1.0)])
def test_revision_is_linear_and_capped_at_10(count: int, expected: float) -> None:
    assert scoring.revision(count) == pytest.approx(expected)


def test_priorities_of_types() -> None:
    names = ["profile", "preference", "summary", "decision", "pattern", "discovery", "custom"]
    assert [scoring.type_priority(name) for name in names] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5]


def test_an_old_row_that_nails_the_query_outranks_a_new_one_that_does_not() -> None:
    old = scoring.search_score(1.0, updated_at=aged(182), revision_count=1, now=EPOCH)
    new = scoring.search_score(0.5, updated_at=aged(0), revision_count=1, now=EPOCH)
    assert old > new


@given(st.floats(0, 1), st.floats(-1000, 10000), st.integers(1, 10**6), st.sampled_from(["profile", "discovery", "x"]))
def test_both_scores_lie_between_0_and_1(rank: float, days: float, revisions: int, kind: str) -> None:
    assert 0 <= scoring.search_score(rank, updated_at=aged(days), revision_count=revisions, now=EPOCH) <= 1
    assert 0 <= scoring.context_score(kind, updated_at=aged(days), revision_count=revisions, now=EPOCH) <= 1


def test_a_session_expires_exactly_at_the_timeout() -> None:
    timeout = timedelta(hours=24)
    assert is_expired(aged(1), now=EPOCH, timeout=timeout)
    assert not is_expired(aged(1), now=EPOCH - timedelta(microseconds=1), timeout=timeout)


def test_the_summary_of_an_expired_session_has_the_count_and_the_last_titles() -> None:
    assert auto_close_summary(0, []) == "Closed after inactivity. No observations."
    assert auto_close_summary(1, ["a"]) == "Closed after inactivity. 1 observation; last: a"
    assert auto_close_summary(5, ["a", "b", "c"]) == "Closed after inactivity. 5 observations; last: a; b; c"


def test_the_title_of_a_summary_is_truncated_over_80_characters() -> None:
    assert summary_title("x" * 80) == "x" * 80
    assert summary_title("x" * 81) == "x" * 77 + "..."
