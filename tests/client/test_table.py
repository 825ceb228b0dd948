"""Tables: what a terminal shows of cells of any text."""

import re

import wcwidth
from hypothesis import given
from hypothesis import strategies as st

from ilab_chat.cli import table

ROWS = [("1", "profile", "short"), ("10", "decision", "a title that is longer")]


def test_columns_are_aligned_numbers_to_the_right() -> None:
    assert table.lines(("id", "type", "title"), ROWS, 80) == [
        "id  type      title",
        " 1  profile   short",
        "10  decision  a title that is longer",
    ]


def test_the_last_cell_is_cut_at_the_edge() -> None:
    assert table.lines(("id", "type", "title"), ROWS, 24)[2] == "10  decision  a title t…"


def test_a_terminal_that_is_too_narrow_cuts_lines() -> None:
    assert table.lines(("id", "type", "title"), ROWS, 6) == ["id  t…", " 1  p…", "10  d…"]


def test_wide_characters_count_as_two_and_are_not_split() -> None:
    rows = [("1", "日本", "テスト日本語"), ("2", "ab", "👨‍👩‍👧 family of three")]
    assert table.lines(("id", "type", "title"), rows, 20) == [
        "id  type  title",
        " 1  日本  テスト日…",
        " 2  ab    👨‍👩‍👧 family…",
    ]


def test_control_characters_are_left_out_of_cells() -> None:
    cell = "a\x1b[2J\nb\tc\x9b1m\u202ed\u2066e\u2028f\x00\x7f"
    assert table.lines(("id", "title"), [("1", cell)], 80)[1] == " 1  a[2J b c1mde f"


def test_a_long_cell_leaves_room_for_the_last() -> None:
    assert table.lines(("type", "title"), [("t" * 50, "title")], 40)[1] == f"{'t' * 19}…  title"


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=4), st.integers(1, 120))
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = table.lines(("id", "type", "title"), rows, width)
    assert len(lines) == len(rows) + 1
    for line in lines:
        assert wcwidth.width(line) <= width
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", line)
