"""Stored answers: what is written comes back, without private text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ilab_chat_service.idempotency import chat_answer_codec
from ilab_chat_service.idempotency.chat_answer_codec import TurnCall
from ilab_chat_service.text_threads import without_private
from ilab_chat_service.values import (
    Answered,
    Document,
    FinishReason,
    Generation,
    JsonObjectFormat,
    JsonSchemaFormat,
    MemoryMode,
    MemorySource,
    Recalled,
    TextFormat,
    TurnRequest,
    TurnRetention,
)
from service.leases import ANSWERED, NOW, REQUEST


@given(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.sampled_from(FinishReason), st.booleans())
def test_idempotency_record_round_trips(text: str, reason: FinishReason | None, counted: bool) -> None:  # noqa: FBT001
    usage = ANSWERED.usage if counted else None
    clean = text.replace("<", "")
    answered = Answered(
        **{field: getattr(ANSWERED, field) for field in ("is_new_session", "model", "memories", "observation_id")},
        session_id=clean,
        reply=clean,
        finish_reason=reason,
        usage=usage,
        create_time=NOW,
    )
    memories = tuple(replace(memory, title="", snippet="") for memory in answered.memories)
    assert chat_answer_codec.decoded(chat_answer_codec.encoded(answered)) == replace(answered, memories=memories)


def test_record_keeps_no_text_of_memories_and_little_else() -> None:
    memories = tuple(
        Recalled(
            observation_id=3503376369188867 + number,
            type="preference",
            title="taste: hiking",
            snippet="I love hiking, most of all on long ridges with a view of the sea. " * 2,
            updated_at=NOW,
            source=source,
            score=score,
            is_earlier=is_earlier,
            pinned=True,
            source_ids=(1, 2),
        )
        for number, (source, score, is_earlier) in enumerate(
            [(MemorySource.FACT, 0.0, False), (MemorySource.SEARCH, 0.5, False), (MemorySource.FACT, 0.0, True)] * 4
        )
    )
    stored = chat_answer_codec.encoded(replace(ANSWERED, memories=memories))
    assert "hiking" not in stored
    assert len(stored) < 1000
    kept = tuple(replace(memory, title="", snippet="", pinned=False, source_ids=()) for memory in memories)
    assert chat_answer_codec.decoded(stored).memories == kept


CHANGES: Mapping[str, Any] = {
    "message": "Hello",
    "generation": Generation(response_format=JsonObjectFormat()),
    "memory_mode": MemoryMode.OFF,
    "retention": TurnRetention.LATEST_ONLY,
    "conversation_id": "c-1",
    "instructions": "Be brief.",
    "documents": (Document("t", "text"),),
    "time_zone": "Asia/Tokyo",
    "memory_types": ("profile",),
}
PRIVATE = "a <private>{}</private>"


def with_private_texts(message: str, instructions: str, title: str, text: str, stop: str, schema: str) -> TurnRequest:
    response_format = JsonSchemaFormat(name="n", schema=json.dumps({"title": schema}))
    return replace(
        REQUEST,
        message=message,
        instructions=instructions,
        documents=(Document(title, text),),
        generation=Generation(stop_sequences=(stop,), response_format=response_format),
    )


def test_each_field_but_the_identity_is_part_of_the_fingerprint() -> None:
    assert {field.name for field in fields(TurnRequest)} == {*CHANGES, *chat_answer_codec.IDENTITY}
    prints = [chat_answer_codec.fingerprint(replace(REQUEST, **{name: value})) for name, value in CHANGES.items()]
    text_format = replace(REQUEST, generation=Generation(response_format=TextFormat()))
    prints += [chat_answer_codec.fingerprint(REQUEST), chat_answer_codec.fingerprint(text_format)]
    assert len(set(prints)) == len(prints)
    assert chat_answer_codec.fingerprint(
        replace(REQUEST, request_id="r-2", request_id_is_new=True)
    ) == chat_answer_codec.fingerprint(REQUEST)


def test_the_fingerprint_has_no_private_text() -> None:
    def of(secret: str) -> str:
        return TurnCall(with_private_texts(*[PRIVATE.format(secret)] * 6)).fingerprint

    assert of("one") == of("other")


def test_private_text_that_the_reply_repeats_is_redacted() -> None:
    names = [f"CODE-{digit * 4}" for digit in "123456"]
    request = with_private_texts(*map(PRIVATE.format, names))
    redacted = without_private(f"They are {', '.join(names)}.", request)
    assert redacted == f"They are {', '.join(['[REDACTED]'] * 6)}."


def test_stored_count_that_is_not_a_number_is_zero() -> None:
    """An earlier version stored true, which stands for no number in an answer."""
    stored = json.loads(chat_answer_codec.encoded(ANSWERED))
    stored["usage"] |= {"output_tokens": True, "reasoning_tokens": None}
    usage = chat_answer_codec.decoded(json.dumps(stored)).usage
    assert ANSWERED.usage
    assert usage == replace(ANSWERED.usage, output_tokens=0, reasoning_tokens=0)
    assert usage
    assert type(usage.output_tokens) is int
