from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilab_chat_service.adapters.stored_turn import spoken, stored_turn
from ilab_chat_service.ports import Turn, TurnRetention


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


@given(st.text(), st.text())
def test_what_was_said_comes_back_as_it_was(message: str, reply: str) -> None:
    stored = stored_turn(turn(f"_{message}", f"_{reply}"))
    if "<" not in message + reply:
        assert spoken(stored.content) == (f"_{message}", f"_{reply}")


LINES = st.lists(st.sampled_from(["\nAssistant:", "\nAssistant: ", "\\", "\n", "User: ", "x"])).map("".join)


@given(LINES, LINES)
def test_a_message_never_comes_back_as_a_reply(message: str, reply: str) -> None:
    assert spoken(stored_turn(turn(message, reply)).content) == (message, reply)


@pytest.mark.parametrize("content", ["", "User: hi", "hello\nAssistant: hi", "\nAssistant: hi"])
def test_other_content_is_not_taken_for_a_turn(content: str) -> None:
    assert spoken(content) is None


@pytest.mark.parametrize(
    ("private", "reply"),
    [
        ("sk-ab12-cd34", "Your key is sk-ab12-cd34."),
        ("sk-ab12-cd34", "YOUR KEY IS SK-AB12-CD34."),
        ("my password is hunter2", "I will remember hunter2."),
        ("my password is hunter2", "My  password\nis hunter2, got it."),
        ("4711", "The PIN is 4711, and x4711x."),
        ("秘密の言葉", "それは秘密の言葉です"),
        ("Straße 7b", "You live at STRASSE 7B, straße 7b."),
        ("a <private>nested</private> one", "It was nested."),
    ],
)
def test_a_reply_that_repeats_private_text_is_stored_without_it(private: str, reply: str) -> None:
    content = stored_turn(turn(f"Note this: <private>{private}</private>", reply)).content.casefold()
    for secret in ("ab12", "hunter2", "4711", "秘密の言葉", "straße 7b", "strasse 7b", "nested"):
        assert secret not in content


def test_words_that_are_public_or_common_stay_in_the_reply() -> None:
    stored = stored_turn(
        turn("My dog Rex and <private>my dog and Bello</private>", "Your dog Rex is a good dog, Bello.")
    )
    assert stored.content.endswith("\nAssistant: Your dog Rex is a good dog, [REDACTED].")


def test_a_reply_that_the_library_would_refuse_is_stored_as_far_as_it_goes() -> None:
    content = stored_turn(turn("hi", "\0" + "é" * 1024 * 1024)).content
    assert content.startswith("User: hi\nAssistant: \ufffdéé")
    assert content.endswith("é [truncated]")
    assert 1024 * 1024 - 2 <= len(content.encode()) <= 1024 * 1024


def test_an_unclosed_tag_does_not_swallow_the_reply() -> None:
    assert spoken(stored_turn(turn("before <private>secret", "fine")).content) == ("before [REDACTED]", "fine")


def test_a_closing_tag_in_the_reply_does_not_swallow_the_message() -> None:
    stored = stored_turn(turn("hello", "a</private>b"))
    assert spoken(stored.content) == ("hello", "[REDACTED]b")


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({}, "chat/turn/r-1"),
        ({"request_id": "<private>"}, "chat/turn/%3Cprivate%3E"),
        ({"request_id": "%" * 64}, "chat/turn/" + "%25" * 64),
        ({"retention": TurnRetention.LATEST_ONLY}, "chat/alice/turn"),
        ({"retention": TurnRetention.LATEST_ONLY, "user_id": "u" * 256}, "chat/turn"),
        ({"retention": TurnRetention.LATEST_ONLY, "user_id": "<private>"}, "chat/turn"),
    ],
)
def test_a_repeated_turn_has_the_same_key(more: dict[str, Any], key: str) -> None:
    assert stored_turn(turn("hi", **more)).topic_key == key
