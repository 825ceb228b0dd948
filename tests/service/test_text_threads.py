"""Work that takes long for a long text is done on a thread, so that the event loop serves others."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ilab_chat.v1 import chat_pb2
from ilab_chat_service import prompt, text_threads
from ilab_chat_service.limits import LARGE_BYTES
from ilab_chat_service.privacy import patterns
from ilab_chat_service.privacy.leak_redaction import redact_leaks
from ilab_chat_service.rpc import chat
from ilab_chat_service.rpc.chat_validation import turn_request
from ilab_chat_service.text_threads import TextThreads
from service.talking import Caller


def turn(message: str) -> Any:
    return turn_request(chat_pb2.ChatRequest(user_id="alice", message=message))


@pytest.mark.parametrize("length", [10, 2 * LARGE_BYTES])
async def test_names_are_compared_with_a_long_text_on_a_thread(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    threads = []

    def quotes_of(*_: object) -> Any:
        def is_quoted(*_: str) -> bool:
            threads.append(threading.current_thread())
            return True

        threads.append(threading.current_thread())
        return is_quoted

    monkeypatch.setattr(text_threads, "quotes_of", quotes_of)
    async with TextThreads.open() as texts:
        is_quoted = await texts.quotes(turn("x" * length))
        assert await is_quoted("name", "known")
    assert [each is threading.main_thread() for each in threads] == [length == 10] * 2


async def test_long_requests_are_read_on_a_thread_and_answered_alike(
    monkeypatch: pytest.MonkeyPatch, alice: Caller
) -> None:
    threads = []

    def recorded(request: Any) -> Any:
        threads.append(threading.current_thread())
        return turn_request(request)

    monkeypatch.setattr(chat, "turn_request", recorded)
    said = await alice.say("My name is Alice. " + "I like tea. " * 200)
    assert [fact.content for fact in said.remembered][:1] == ["My name is Alice."]
    await alice.say("hi")
    loop = threads[-1]
    assert threads[0] is not loop


@pytest.mark.parametrize("length", [10, 2 * LARGE_BYTES])
async def test_prompt_of_a_long_document_is_made_on_a_thread(
    monkeypatch: pytest.MonkeyPatch, alice: Caller, length: int
) -> None:
    threads = []
    compose = prompt.compose

    def recorded(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return compose(*arguments, **options)

    monkeypatch.setattr(prompt, "compose", recorded)
    await alice.say("hi", context=[chat_pb2.ContextDocument(text="x" * length)])
    assert [each is threading.main_thread() for each in threads] == [length == 10]


def test_automaton_has_only_what_a_short_reply_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    make = patterns.Patterns.of

    def recorded(given: Any) -> Any:
        built.append(sorted(given))
        return make(given)

    monkeypatch.setattr(patterns.Patterns, "of", recorded)
    secrets = [f"code{number:04}ab" for number in range(800)]
    message = "".join(f"<private>{secret}</private>" for secret in secrets)
    assert redact_leaks("It is CODE-0042-AB.", message) == "It is [REDACTED]."
    assert built == [["code0042ab"]]
