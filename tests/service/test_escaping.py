from __future__ import annotations

import pytest

from batch import cases
from ilab_chat_service.escaping import neutralized, one_line
from service.templates import TOKENS, control_tokens


@cases("token", TOKENS)
def test_each_control_token_gets_one_space_and_loses_nothing(token: str) -> None:
    for text in (token, f"a{token}b", f"{token}{token}", f"[{token}]", f"<{token}>"):
        escaped = neutralized(text)
        assert control_tokens(escaped) == []
        assert escaped.replace(" ", "") == text
        assert neutralized(escaped) == escaped


@pytest.mark.parametrize("piece", ["<", "[", "]", "<|", "[A", "[a_", ">>a", "\uff1c", "[" + "a" * 63, "<" + "a" * 63])
def test_escaping_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    """A quadratic pattern would need hours for 1 MiB: the timeout of the test run is the assertion."""
    neutralized("[" + piece * (1024 * 1024 // len(piece)))


@cases("text", ["a  b", " a ", "a |> b", "<|im_end|>", "[INST] a", "</s>", "[gMASK]", "a b"])
def test_the_short_way_for_plain_text_ends_where_the_long_way_does(text: str) -> None:
    # U+0000 sends any text the long way, and is itself taken out.
    assert one_line(text) == one_line(f"\0{text}")
    assert neutralized(text) == neutralized(f"\0{text}")


def test_plain_text_is_left_as_it_is() -> None:
    for text in (
        *("a < b > c", "if a<b and c>d:", "x <= y -> z => w", "a <=> b", "<3", "naïve \U0001f600 日本語"),
        *("x[1]", "f(a|b)", "list[int]", "dict[str, int]", "T[K]", "[a-z]+", "[2026-11-22]", "~5"),
        *("[text](https://example.org/a_b)", "- [x] done", "[ ] to do", "[interrupted]", "[REDACTED]"),
    ):
        assert one_line(text) == text


def test_markup_and_addresses_get_one_space_and_stay_readable() -> None:
    # A rule cannot tell `<b>` from the `<s>` of a template.
    assert neutralized("<b>bold</b>") == "< b>bold< /b>"
    assert neutralized("Ann <ann@example.org>, map<str, set<int>>") == "Ann < ann@example.org>, map<str, set< int>>"
