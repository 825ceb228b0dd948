"""Ends that are told without a word of change: pairs in thirteen languages, and the marks in a prompt's memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import cases
from ilab_chat_service.memory.outdated_marks import with_outdated_marks
from ilab_chat_service.message_statements import possibly_outdated as reader
from ilab_chat_service.message_statements import read
from ilab_chat_service.message_statements.outdated import COMPARED
from ilab_chat_service.message_statements.possibly_outdated import Said, endings
from ilab_chat_service.message_statements.statement_words import Saying
from ilab_chat_service.values import Context
from service.earlier import doubted, memory, outdated, pairs
from service.talking import Caller

ENDED, KEPT = (pairs("endings.toml", section) for section in ("ended", "kept"))
pytestmark = pytest.mark.usefixtures("tables")


def is_replaced(older: str, newer: str) -> bool:
    """Return whether a fact of *newer* replaces one of *older*."""
    keys = [{fact.topic_key for fact in read(text).facts} for text in (older, newer)]
    return not keys[0].isdisjoint(keys[1])


def is_marked(older: str, newer: str) -> bool:
    """Return whether *older* has a mark in the prompt after *newer*."""
    return bool(outdated([older, newer]) or doubted([Said(older), Said(newer)]) or list(endings([older, newer])))


@cases(("older", "newer"), ENDED)
def test_what_has_ended_is_replaced_or_marked(older: str, newer: str) -> None:
    assert is_replaced(older, newer) or is_marked(older, newer)


@cases(("older", "newer"), KEPT)
def test_both_statements_hold(older: str, newer: str) -> None:
    assert not is_replaced(older, newer)
    assert not is_marked(older, newer)


@given(st.lists(st.text(max_size=80) | st.sampled_from([text for pair in ENDED for text in pair]), max_size=6))
def test_any_statements_can_be_compared(statements: list[str]) -> None:
    assert all(older < newer < len(statements) for older, newer in endings(statements))


def test_a_statement_of_an_open_matter_has_a_mark_once_it_is_settled() -> None:
    said = (
        "The tap in the kitchen leaks.",
        "The kitchen is blue.",
        "The plumber fixed the tap.",
        "The tap leaks again.",
    )
    context = with_outdated_marks(
        Context(statements=tuple(memory(number, text) for number, text in enumerate(said, 1))), {}
    )
    assert [each.is_doubted for each in context.statements] == [True, False, False, False]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("My dog is called Pip.", "Pip died last night."),
        ("Paolo owes me 50 euros.", "Paolo paid me back."),
        ("There is a leak under my sink.", "The leak is fixed."),
        ("I live in Leeds.", "I moved out of Leeds."),
        ("My girlfriend is called Anna.", "We broke up last week."),
        ("I drive a red Fiesta.", "I sold the car."),
        ("Ich arbeite bei Bosch.", "Mir wurde gekündigt."),
    ],
)
async def test_the_prompt_does_not_present_what_has_ended_as_holding(alice: Caller, older: str, newer: str) -> None:
    await alice.said_earlier(older, "Tell me something about Mongolia.")
    alice.clock.go_by(3)
    await alice.said_earlier(newer)
    prompt = await alice.prompt("What do you know about me?")
    assert newer in prompt.memory
    assert all("(earlier, " in line for line in prompt.memory_of(older))


def test_the_work_is_linear_in_the_number_of_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Saying] = []

    def none_ends(newer: Saying, _: Saying) -> bool:
        compared.append(newer)
        return False

    monkeypatch.setattr(reader, "ends", none_ends)
    monkeypatch.setattr(reader, "ENDED", {})
    statements = [f"My dog Pip died in the red garden of house number {number}." for number in range(300)]
    assert list(endings(statements)) == []
    assert 0 < len(compared) <= COMPARED * len(statements)
