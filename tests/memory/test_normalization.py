"""Runs of combining marks are cut before Unicode normalization, whose cost is quadratic in their length."""

import sqlite3
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilab_memory import ILabMemory
from ilab_memory.recall import normalization
from ilab_memory.recall.analysis import terms
from ilab_memory.recall.normalization import MARKS_OF, MAX_MARKS, limit_marks, normalize

#: Normalizing these takes minutes without a limit.
HOSTILE = {
    "two classes of accents": "a" + "\u0300" * 120_000 + "\u0316" * 120_000,
    "runs that dropping what is between them joins": ("\u1ab0" * 15 + "\u0316" * 10 + "\u1acb" * 5 + "\u034f") * 8_000,
    "another plane": "a" + "\U0001d165" * 60_000 + "\U0001e8d0" * 60_000,
    "characters of two marks": "a" + "\u0344" * 80_000 + "\u0316" * 80_000,
    "halfwidth kana": "\uff76" + "\u0300" * 80_000 + "\uff9e" * 80_000,
    "Tibetan vowels": "\u0f40" + "\u0300" * 80_000 + "\u0f73\u0f75\u0f81" * 30_000,
}


def code_points() -> Iterator[str]:
    return (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)


def longest_run(text: str) -> int:
    """Return the length of the longest run of marks that normalization has to sort."""
    classes = map(unicodedata.combining, unicodedata.normalize("NFKD", text))
    return max((sum(1 for _ in run) for marked, run in groupby(classes, bool) if marked), default=0)


def marks(character: str) -> int:
    """Return how many marks the character is, 0 if it begins with another character."""
    decomposed = unicodedata.normalize("NFKD", character)
    return len(decomposed) if all(map(unicodedata.combining, decomposed)) else 0


@pytest.fixture
def runs_normalized(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The longest run of marks in each text that reaches `unicodedata.normalize`."""
    found: list[int] = []

    class Counting:
        combining = staticmethod(unicodedata.combining)

        @staticmethod
        def normalize(form: Literal["NFC", "NFKD"], text: str) -> str:
            run = max((sum(1 for _ in run) for marked, run in groupby(text, marks) if marked), default=0)
            assert run <= MAX_MARKS
            found.append(longest_run(text))
            return unicodedata.normalize(form, text)

    monkeypatch.setattr(normalization, "unicodedata", Counting)
    yield found
    assert found


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_long_run_of_marks_reaches_normalization(text: str, runs_normalized: list[int]) -> None:
    terms(text)
    assert max(runs_normalized) <= MAX_MARKS


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_saved_searched_updated_and_erased(text: str, tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path) as mem:
        mem.mem_save("alice", f"zebra {text}", type="discovery", title="t", topic_key="k")
        assert [row.title for row in mem.mem_search("alice", f"zebra {text}")] == ["t"]
        mem.mem_save("alice", f"giraffe {text}", type="discovery", title="t", topic_key="k")
        assert [row.title for row in mem.mem_search("alice", "giraffe")] == ["t"]
        mem.mem_forget("alice")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO search (search) VALUES ('integrity-check')")
        assert connection.execute("SELECT count(*) FROM search_terms").fetchone() == (0,)


def test_every_mark_of_unicode_is_limited() -> None:
    for character in code_points():
        if marks(character):
            assert longest_run(limit_marks(character * 99)) == MAX_MARKS


def test_the_table_of_marks_matches_unicode() -> None:
    unusual = {
        character: marks(character)
        for character in code_points()
        if marks(character) != int(unicodedata.combining(character) != 0)
    }
    assert unusual == MARKS_OF


@given(st.text(st.sampled_from("a\u0300\u0316\u1ab0\u034f\u0344\uff9e\u0f73\U0001d165\u0345\u0390 -"), max_size=200))
def test_limiting_marks_is_idempotent(text: str) -> None:
    limited = limit_marks(text)
    # A character may end in a few marks of its own decomposition.
    assert longest_run(limited) <= MAX_MARKS + 3
    assert limit_marks(limited) == limited
    if longest_run(text) <= MAX_MARKS:
        assert limited == text


@given(st.text())
def test_text_without_long_runs_is_normalized_as_by_unicodedata(text: str) -> None:
    if longest_run(text) <= MAX_MARKS:
        assert normalize("NFC", text) == unicodedata.normalize("NFC", text)
        assert normalize("NFKD", text) == unicodedata.normalize("NFKD", text)
