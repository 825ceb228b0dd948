from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import cases
from ilab_chat_service.memory.turn_codec import decoded_turn, is_turn, stored_turn
from ilab_chat_service.values import Turn, TurnRetention
from ilab_memory.core.models import Observation


def turn(message: str, reply: str = "ok", **more: Any) -> Turn:
    fields: dict[str, Any] = {"user_id": "alice", "request_id": "r-1", "retention": TurnRetention.EVERY_TURN}
    return Turn(message=message, reply=reply, **(fields | more))


def test_a_turn_has_the_shape_of_the_recipe() -> None:
    stored = stored_turn(turn("Hi, I am Alice.", "Hello Alice."))
    assert stored.title == "Turn: Hi, I am Alice."
    assert stored.content == "User: Hi, I am Alice.\nAssistant: Hello Alice."


def test_a_title_is_cut_to_sixty_characters_after_redaction() -> None:
    stored = stored_turn(turn(f"key <private>{'secret' * 20}</private> {'x' * 100}"))
    assert stored.title == f"Turn: key [REDACTED] {'x' * (60 - len('key [REDACTED] '))}"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_stored_turn_round_trips(message: str, reply: str) -> None:
    stored = stored_turn(turn(f"_{message}", f"_{reply}"))
    if not {"<", "\0"} & set(message + reply):
        assert decoded_turn(stored.content) == (f"_{message}", f"_{reply}")


LINES = st.lists(st.sampled_from(["\nAssistant:", "\nAssistant: ", "\\", "\n", "User: ", "x"])).map("".join)


@given(LINES, LINES)
def test_a_message_never_comes_back_as_a_reply(message: str, reply: str) -> None:
    assert decoded_turn(stored_turn(turn(message, reply)).content) == (message, reply)


@pytest.mark.parametrize("content", ["", "User: hi", "hello\nAssistant: hi", "\nAssistant: hi"])
def test_other_content_is_not_taken_for_a_turn(content: str) -> None:
    assert decoded_turn(content) is None


def test_a_reply_that_the_library_would_refuse_is_stored_as_far_as_it_goes() -> None:
    content = stored_turn(turn("hi", "\0" + "é" * 1024 * 1024)).content
    assert content.startswith("User: hi\nAssistant: \ufffdéé")
    assert content.endswith("é [truncated]")
    assert 1024 * 1024 - 2 <= len(content.encode()) <= 1024 * 1024


def test_an_unclosed_tag_does_not_swallow_the_reply() -> None:
    assert decoded_turn(stored_turn(turn("before <private>secret", "fine")).content) == ("before [REDACTED]", "fine")


def test_a_closing_tag_in_the_reply_does_not_swallow_the_message() -> None:
    stored = stored_turn(turn("hello", "a</private>b"))
    assert decoded_turn(stored.content) == ("hello", "[REDACTED]b")


def test_the_mark_of_an_interrupted_turn_is_stored_and_not_spoken() -> None:
    content = stored_turn(turn("hello", "half an ans", interrupted=True)).content
    assert content.endswith("half an ans [interrupted]")
    assert decoded_turn(content) == ("hello", "half an ans")


@cases(
    ("more", "key"),
    [
        ({}, "chat:turn/r-1"),
        ({"request_id": "<private>"}, "chat:turn/%3Cprivate%3E"),
        ({"request_id": "%" * 64}, "chat:turn/" + "%25" * 64),
        ({"retention": TurnRetention.LATEST_ONLY}, "chat/alice/turn"),
        ({"retention": TurnRetention.LATEST_ONLY, "user_id": "u" * 256}, "chat/turn"),
        ({"retention": TurnRetention.LATEST_ONLY, "user_id": "<private>"}, "chat/turn"),
        ({"conversation_id": "c-1"}, "chat:turn/a6f7ef47ee8dc84a/r-1"),
        ({"conversation_id": "c" * 64, "request_id": "%" * 64}, "chat:turn/52b6419d27bd7f54/" + "%25" * 64),
        ({"retention": TurnRetention.LATEST_ONLY, "conversation_id": "c/<1>"}, "chat/turn:c%2F%3C1%3E"),
        ({"retention": TurnRetention.LATEST_ONLY, "conversation_id": "%" * 64}, "chat/turn:" + "%25" * 64),
    ],
)
def test_a_repeated_turn_has_the_same_key(more: dict[str, Any], key: str) -> None:
    assert stored_turn(turn("hi", **more)).topic_key == key


@cases(
    ("key", "kind", "turned"),
    [
        ("chat:turn/r-1", "discovery", True),
        ("chat/alice/turn", "discovery", True),
        ("chat/bob/turn", "discovery", False),
        ("chat/turn", "discovery", False),
        ("chat/turn:c-1", "discovery", True),
        ("chat/notes", "discovery", False),
        ("chat:turn/r-1", "preference", False),
        (None, "discovery", False),
    ],
)
def test_a_row_is_a_turn_by_its_key_and_its_type(key: str | None, kind: str, turned: bool) -> None:  # noqa: FBT001
    now = "2026-11-22T00:00:00.000000+00:00"
    row = Observation(
        id=1, session_id="s", user_id="alice", type=kind, title="t", content="User: a\nAssistant: b", topic_key=key,
        normalized_hash=None, created_at=now, updated_at=now,
    )  # fmt: skip
    assert is_turn(row) is turned


@pytest.mark.parametrize("user", [":c", "turn:c", "c", "turn", "x" * 256])
def test_the_rolling_keys_of_a_users_conversations_differ(user: str) -> None:
    conversations = ["", "c", "turn", "c/turn", ":c", "turn:c"]
    rolling: dict[str, Any] = {"retention": TurnRetention.LATEST_ONLY, "user_id": user}
    keys = {stored_turn(turn("hi", conversation_id=each, **rolling)).topic_key for each in conversations}
    assert len(keys) == len(conversations)


def test_no_request_id_meets_the_rolling_key_of_any_user() -> None:
    rolling: dict[str, Any] = {"retention": TurnRetention.LATEST_ONLY}
    for user, request in (("turn", "turn"), ("turn/x", "x/turn"), (":turn", "turn")):
        every = stored_turn(turn("hi", user_id=user, request_id=request)).topic_key
        assert every != stored_turn(turn("hi", user_id=user, request_id=request, **rolling)).topic_key
