"""Statements that a newer one puts in doubt: pairs in thirteen languages, and the marks in a prompt's memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import cases
from ilab_chat_service.memory.outdated_marks import with_outdated_marks
from ilab_chat_service.message_statements.possibly_outdated import MOST_MESSAGES, Said
from ilab_chat_service.prompt_budget import DOUBTED, line
from ilab_chat_service.values import Context, MemorySource
from service.earlier import doubted, memory, pairs

DOUBTFUL, KEPT = (pairs("doubted.toml", section) for section in ("doubted", "kept"))
pytestmark = pytest.mark.usefixtures("tables")


@cases(("older", "newer"), DOUBTFUL)
def test_a_newer_message_puts_an_older_statement_in_doubt(older: str, newer: str) -> None:
    assert doubted([Said(older), Said(newer)]) == {0}


@cases(("older", "newer"), KEPT)
def test_both_statements_hold(older: str, newer: str) -> None:
    assert doubted([Said(older), Said(newer)]) == set()


def test_the_subject_may_be_in_another_sentence_of_the_message() -> None:
    older = "The boat failed the test. It is booked in for the 24th."
    newer = "The garage rang, the boat is in on the 26th, not before."
    said = [Said(text, older) for text in older.split(". ")]
    assert 1 in doubted([*said, Said(newer)])


def test_a_word_of_many_messages_does_not_tell_what_they_are_about() -> None:
    often = [Said(f"Pottery {verb} me.") for verb in ("calms", "amuses", "surprises", "tires", "thrills")]
    assert len(often) == MOST_MESSAGES
    assert doubted([*often[:2], Said("The pottery moved to Friday.")]) == {0, 1}
    assert doubted([*often, Said("The pottery moved to Friday.")]) == set()


@given(st.lists(st.text(max_size=80) | st.sampled_from([text for pair in DOUBTFUL for text in pair]), max_size=6))
def test_any_statements_can_be_compared(statements: list[str]) -> None:
    assert doubted([Said(text) for text in statements]) <= set(range(len(statements) - 1))


def test_statements_and_hits_in_doubt_have_a_mark() -> None:
    context = with_outdated_marks(
        Context(
            statements=(
                memory(1, "We curl on Wednesdays."),
                memory(3, "Curling's moved to Sundays for the rest of the season."),
            ),
            found=(memory(2, "The curling club meets Wednesdays. Is that early?", MemorySource.SEARCH),),
        ),
        {},
    )
    assert [each.is_doubted for each in context.statements] == [True, False]
    assert line(context.statements[0]) == f"- (discovery) [2026-03-03]{DOUBTED}: We curl on Wednesdays."
    assert context.found[0].is_doubted
    assert [part.text for part in context.found[0].parts] == ["The curling club meets Wednesdays."]


def test_a_hit_puts_no_statement_in_doubt() -> None:
    said = (memory(1, "We curl on Wednesdays."),)
    hit = memory(2, "Curling's moved to Sundays.", MemorySource.SEARCH)
    assert not with_outdated_marks(Context(statements=said, found=(hit,)), {}).statements[0].is_doubted


def test_what_is_replaced_is_not_in_doubt_as_well() -> None:
    context = with_outdated_marks(
        Context(statements=(memory(1, "I drive an old Octavia."), memory(2, "I sold the Octavia on Saturday."))), {}
    )
    assert (context.statements[0].is_earlier, context.statements[0].is_doubted) == (True, False)
