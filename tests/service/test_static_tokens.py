from __future__ import annotations

import hmac
from contextlib import suppress

import pytest

from batch import cases
from ilab_chat_service.auth import static_tokens
from ilab_chat_service.auth.callers import ANY_USER, Caller, InvalidCredentials

TOKEN = "0123456789abcdef"


def test_line_is_a_token_and_optionally_its_user() -> None:
    file = f"\ufeff# comment\r\n\r\n{TOKEN}a\r\n{TOKEN}b user:alice smith\n{TOKEN}c\tuser:bob\n"
    known = static_tokens.parse(file.encode())
    callers = [static_tokens.match(known, TOKEN + letter) for letter in "abc"]
    assert callers == [ANY_USER, Caller("alice smith"), Caller("bob")]


@cases(
    ("file", "complaint"),
    [
        (b"", "no token"),
        (b"# nothing\n", "no token"),
        (b"\nshort\n", "line 2"),
        (b"0123456789abcd\xff\xfe\n", "line 1"),
        (f"{TOKEN} alice\n".encode(), "line 1"),
        (f"{TOKEN} user:\n".encode(), "line 1"),
        (f"{TOKEN} user: alice\n".encode(), "line 1"),
        (f"{TOKEN} users:alice\n".encode(), "line 1"),
        (f"{TOKEN}user:alice \n".encode(), "line 1"),
        (f"{TOKEN} user:alice \n".encode(), "line 1"),
        (f"{TOKEN} \n".encode(), "line 1"),
        (f"{TOKEN} user:\xff\n".encode("latin-1"), "line 1"),
        (f"{TOKEN} user:alice\r{TOKEN}b user:bob\n".encode(), "line 1"),
        (f"{TOKEN} user:alice\x85{TOKEN}b\n".encode(), "line 1"),
        (f"{TOKEN}\u00a0user:alice\n".encode(), "line 1"),
        (f"{TOKEN}\n{TOKEN} user:alice\n".encode(), "line 2"),
        (f"{TOKEN}a user:alice\n user:bob\n".encode(), "line 2"),
        (f"{TOKEN}a user:alice\n  {TOKEN}b user:bob\n".encode(), "line 2"),
        (f"{TOKEN}a user:alice\n\t\n".encode(), "line 2"),
        (f"{TOKEN}a user:alice\n".encode() + bytes(16) + b"\n", "line 2"),
    ],
)
def test_error_gives_the_number_of_an_invalid_line_and_does_not_quote_it(file: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        static_tokens.parse(file)
    assert TOKEN not in str(caught.value)
    assert "alice" not in str(caught.value)


WHOLE = f"# two\n{TOKEN}a user:alice\n{TOKEN}b user:bob\n"


@cases("end", range(len(WHOLE)))
def test_truncated_file_grants_no_more_than_the_whole_file(end: int) -> None:
    whole = dict(static_tokens.parse(WHOLE.encode()))
    with suppress(ValueError):
        assert dict(static_tokens.parse(WHOLE[:end].encode())).items() <= whole.items()


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def recorded(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    known = static_tokens.parse(f"{TOKEN}a\n{TOKEN}b\n{TOKEN}c\n".encode())
    assert static_tokens.match(known, f"{TOKEN}a") is ANY_USER
    assert len(compared) == 3
    with pytest.raises(InvalidCredentials):
        static_tokens.match(known, "x")
    assert {len(each) for pair in compared for each in pair} == {32}


def test_repr_of_a_caller_omits_the_user_id() -> None:
    assert "alice" not in repr(Caller("alice"))
