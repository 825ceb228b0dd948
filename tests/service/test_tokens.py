from __future__ import annotations

import hmac

import pytest

from ilab_chat_service.adapters import tokens
from ilab_chat_service.callers import ANY_USER, Caller, InvalidCredentials

TOKEN = "0123456789abcdef"


def test_a_line_is_a_token_and_for_whom_it_may_act() -> None:
    file = f"\ufeff# comment\r\n\r\n{TOKEN}a\r\n{TOKEN}b user:alice smith\n  {TOKEN}c\tuser:bob"
    known = tokens.parse(file.encode())
    callers = [tokens.match(known, TOKEN + letter) for letter in "abc"]
    assert callers == [ANY_USER, Caller("alice smith"), Caller("bob")]


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (b"", "no token"),
        (b"# nothing\n", "no token"),
        (b"\nshort\n", "line 2"),
        (b"0123456789abcd\xff\xfe", "line 1"),
        (f"{TOKEN} alice".encode(), "line 1"),
        (f"{TOKEN} user:".encode(), "line 1"),
        (f"{TOKEN} user:\xff".encode("latin-1"), "line 1"),
        (f"{TOKEN}\n{TOKEN} user:alice".encode(), "line 2"),
    ],
)
def test_a_line_that_is_none_is_named_by_its_number_only(file: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        tokens.parse(file)
    assert TOKEN not in str(caught.value)
    assert "alice" not in str(caught.value)


def test_every_known_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def recorded(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    known = tokens.parse(f"{TOKEN}a\n{TOKEN}b\n{TOKEN}c\n".encode())
    assert tokens.match(known, f"{TOKEN}a") is ANY_USER
    assert len(compared) == 3
    with pytest.raises(InvalidCredentials):
        tokens.match(known, "x")
    assert {len(each) for pair in compared for each in pair} == {32}


def test_a_caller_is_not_in_its_repr() -> None:
    assert "alice" not in repr(Caller("alice"))
