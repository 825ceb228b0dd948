from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ilab_chat_service.model.answer_text import SurrogateJoiner


def joined(pieces: list[str]) -> str:
    whole = SurrogateJoiner()
    return "".join([*map(whole.add, pieces), whole.rest()])


def test_pair_split_over_two_pieces_is_one_character() -> None:
    whole = SurrogateJoiner()
    assert whole.add("a\ud83d") == "a"
    assert whole.add("\ude00b") == "\U0001f600b"
    assert whole.rest() == ""


def test_unpaired_surrogate_is_replaced() -> None:
    assert joined(["a\ud83d", "b"]) == "a\ufffdb"
    assert joined(["\ude00"]) == "\ufffd"
    assert joined(["\ud83d"]) == "\ufffd"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.data())
def test_any_split_of_any_text_gives_the_text(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(units) // 2))))
    edges = pairwise([0, *(2 * cut for cut in cuts), len(units)])
    pieces = [units[start:end].decode("utf-16-le", "surrogatepass") for start, end in edges]
    assert joined(pieces) == text


@given(st.lists(st.text(st.characters())))
def test_output_can_always_be_encoded(pieces: list[str]) -> None:
    joined(pieces).encode()


def test_null_character_is_replaced() -> None:
    assert SurrogateJoiner().add("a\0b") == "a\ufffdb"
