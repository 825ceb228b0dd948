"""Older statements that a newer one replaces: pairs in eight languages, and the marks in a prompt's memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import cases
from ilab_chat_service.memory.outdated_marks import with_outdated_marks
from ilab_chat_service.message_statements import outdated as reader
from ilab_chat_service.message_statements import read
from ilab_chat_service.message_statements.outdated import COMPARED
from ilab_chat_service.values import Context, MemorySource
from service.earlier import memory, outdated, pairs

REPLACED, KEPT = (pairs("outdated.toml", section) for section in ("replaced", "kept"))
pytestmark = pytest.mark.usefixtures("tables")


@cases(("older", "newer"), KEPT)
def test_both_statements_hold(older: str, newer: str) -> None:
    assert outdated([older, newer]) == set()


def test_newer_statements_replace_most_of_the_older() -> None:
    missed = [pair for pair in REPLACED if outdated(pair) != {0}]
    assert len(missed) <= len(REPLACED) * 0.05, missed


@cases(("older", "newer"), REPLACED)
def test_an_older_statement_replaces_no_newer_one(older: str, newer: str) -> None:
    assert 1 not in outdated([older, newer])


@given(st.lists(st.text(max_size=80) | st.sampled_from([text for pair in REPLACED for text in pair]), max_size=6))
def test_any_statements_can_be_compared(statements: list[str]) -> None:
    found = outdated(statements)
    assert found <= set(range(len(statements) - 1))


def test_facts_and_statements_are_marked_by_newer_statements() -> None:
    context = with_outdated_marks(
        Context(
            facts=(memory(1, "I drive an old Octavia."), memory(2, "Never mention the Octavia.", pinned=True)),
            statements=(
                memory(3, "I play the cello in a trio."),
                memory(4, "I sold the Octavia, and I play cello no more."),
            ),
        ),
        {},
    )
    assert [each.is_earlier for each in (*context.facts, *context.statements)] == [True, False, False, False]


def test_a_search_hit_marks_hits_and_no_statement() -> None:
    sold = memory(9, "The dentist moved my appointment to 14 May. Is that far?", MemorySource.SEARCH)
    said = "My appointment at the dentist is on 4 May."
    context = with_outdated_marks(
        Context(statements=(memory(1, said),), found=(memory(1, said, MemorySource.SEARCH), sold)), {}
    )
    assert not context.statements[0].is_earlier
    assert [each.is_earlier for each in context.found] == [True, False]


def test_one_sentence_of_a_search_hit_is_marked() -> None:
    hit = memory(1, "My brother is a father now! They called the girl Odette.", MemorySource.SEARCH)
    context = with_outdated_marks(
        Context(statements=(memory(2, "Actually the girl is called Odile, not Odette."),), found=(hit,)), {}
    )
    [found] = context.found
    assert found.snippet == f"{hit.snippet} (earlier, no longer holds)"
    assert not found.is_earlier


@cases(
    "said",
    [
        "The school play got moved to 21 October.",
        "La cita se ha pasado al 4 de mayo.",
        "Quit Lexikon today!!",
        "Started at Pen y Bont today.",
        "Non suono più il violino.",
        "Mrs Probert wants me to take over the kitchen in January.",
    ],
)
def test_a_change_is_a_statement_of_the_pool_no_matter_whom_it_is_about(said: str) -> None:
    reading = read(said)
    assert said in (*reading.pool, *(fact.text for fact in reading.facts))


def test_a_change_in_a_long_text_does_not_enter_the_pool() -> None:
    text = "The committee met on the usual day and heard the report. " * 5
    assert read(f"{text}The picnic was moved to 4 June.").pool == ()


def test_work_is_linear_in_the_number_of_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        work = getattr(reader, name)

        def counted(*arguments: Any) -> Any:
            calls[name] += 1
            return work(*arguments)

        return counted

    for name in ("saying", "replaces"):
        monkeypatch.setattr(reader, name, counting(name))
    monkeypatch.setattr(reader, "REPLACED", {})
    statements = [f"My flight to Bergen moved to gate {number} now." for number in range(300)]
    assert outdated(statements) == {*range(299)}
    assert calls["saying"] <= len(statements)
    assert calls["replaces"] <= COMPARED * len(statements)
