from __future__ import annotations

import math
from typing import Any

import pytest

from batch import cases
from ilab_chat.v1 import chat_pb2
from ilab_chat_service.rpc.chat_validation import turn_request
from ilab_chat_service.rpc.errors import InvalidFields
from ilab_chat_service.rpc.memory_validation import library_limits
from ilab_chat_service.values import Document, Generation, MemoryMode, TurnRetention
from ilab_memory.core.models import Session

REQUESTS = [chat_pb2.ChatRequest, chat_pb2.StreamChatRequest, chat_pb2.PreviewPromptRequest]


def request(kind: Any = chat_pb2.ChatRequest, **fields: Any) -> Any:
    return kind(**{"user_id": "alice", "message": "hi", **fields})


@pytest.mark.parametrize("kind", REQUESTS)
def test_the_least_request_gets_the_defaults_and_a_request_id(kind: Any) -> None:
    turn = turn_request(request(kind))
    assert (turn.user_id, turn.message, turn.generation) == ("alice", "hi", Generation())
    assert (turn.memory_mode, turn.retention) == (MemoryMode.READ_WRITE, TurnRetention.EVERY_TURN)
    assert len(turn.request_id) == 32
    assert turn.request_id_is_new
    assert turn.request_id != turn_request(request(kind)).request_id


def test_everything_given_is_kept() -> None:
    options: dict[str, Any] = {
        "model": "m",
        "temperature": 0.0,
        "top_p": 0.5,
        "max_output_tokens": 7,
        "stop_sequences": ["a", "b"],
        "seed": 0,
    }
    turn = turn_request(
        request(
            request_id="r-1",
            generation=chat_pb2.GenerationOptions(**options),
            memory_mode=chat_pb2.MEMORY_MODE_OFF,
            turn_retention=chat_pb2.TURN_RETENTION_LATEST_ONLY,
            conversation_id="c-1",
            instructions="Be brief.",
            context=[chat_pb2.ContextDocument(title="a", text="b")],
            time_zone="Europe/Berlin",
            memory_types=["profile", "custom type"],
        )
    )
    assert (turn.request_id, turn.request_id_is_new) == ("r-1", False)
    assert turn.generation == Generation(
        model="m", temperature=0.0, top_p=0.5, max_output_tokens=7, stop_sequences=("a", "b"), seed=0
    )
    assert (turn.memory_mode, turn.retention) == (MemoryMode.OFF, TurnRetention.LATEST_ONLY)
    assert turn.conversation_id == "c-1"
    assert (turn.instructions, turn.documents) == ("Be brief.", (Document("a", "b"),))
    assert (turn.time_zone, turn.memory_types) == ("Europe/Berlin", ("profile", "custom type"))


@cases(
    "fields",
    [
        {"user_id": "u" * 256},
        {"message": "m" * 32_768},
        {"message": "\U0001f600" * 32_768},
        {"request_id": "!~" * 32},
        {"generation": {"temperature": 2.0, "top_p": 1.0, "max_output_tokens": 1_048_576}},
        {"generation": {"stop_sequences": ["s" * 256] * 4}},
        {"instructions": "\U0001f600" * 16_384},
        {"instructions": " "},
        {"conversation_id": "!~" * 32},
        {"context": [{"text": "x" * 4096}] * 32},
        {"context": [{"title": "é" * 512, "text": "x" * 130_048}]},
        {"memory_types": ["\U0001f600" * 64] * 16},
        {"time_zone": "America/Argentina/ComodRivadavia"},
        {"time_zone": "UTC"},
    ],
)
def test_the_limits_themselves_are_allowed(fields: dict[str, Any]) -> None:
    turn_request(request(**fields))


@cases(
    ("fields", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": " \t"}, "user_id"),
        ({"user_id": "u" * 257}, "user_id"),
        ({"user_id": "a\0b"}, "user_id"),
        ({"message": ""}, "message"),
        ({"message": "\n"}, "message"),
        ({"message": "m" * 32_769}, "message"),
        ({"message": "a\0b"}, "message"),
        ({"request_id": "r" * 65}, "request_id"),
        ({"request_id": "a b"}, "request_id"),
        ({"request_id": "é"}, "request_id"),
        ({"memory_mode": 99}, "memory_mode"),
        ({"turn_retention": -1}, "turn_retention"),
        ({"conversation_id": "c" * 65}, "conversation_id"),
        ({"conversation_id": "a b"}, "conversation_id"),
        ({"instructions": "i" * 16_385}, "instructions"),
        ({"instructions": " " * 16_385}, "instructions"),
        ({"instructions": "a\0b"}, "instructions"),
        ({"context": [{"text": "x"}] * 33}, "context"),
        ({"context": [{"text": "é" * 65_536}, {"text": "x"}]}, "context"),
        ({"context": [{"text": "x"}, {"title": "t"}]}, "context[1].text"),
        ({"context": [{"text": " \n"}]}, "context[0].text"),
        ({"context": [{"text": "a\0b"}]}, "context[0].text"),
        ({"context": [{"title": "t" * 513, "text": "x"}]}, "context[0].title"),
        ({"context": [{"title": "a\0b", "text": "x"}]}, "context[0].title"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "europe/berlin"}, "time_zone"),
        ({"memory_types": ["t"] * 17}, "memory_types"),
        ({"memory_types": ["profile", ""]}, "memory_types[1]"),
        ({"memory_types": ["t" * 65]}, "memory_types[0]"),
        ({"memory_types": ["a\0b"]}, "memory_types[0]"),
        ({"generation": {"model": "m" * 129}}, "generation.model"),
        ({"generation": {"model": "a b"}}, "generation.model"),
        ({"generation": {"temperature": 3}}, "generation.temperature"),
        ({"generation": {"temperature": -0.1}}, "generation.temperature"),
        ({"generation": {"temperature": math.nan}}, "generation.temperature"),
        ({"generation": {"top_p": 0}}, "generation.top_p"),
        ({"generation": {"top_p": 1.1}}, "generation.top_p"),
        ({"generation": {"top_p": math.nan}}, "generation.top_p"),
        ({"generation": {"max_output_tokens": 0}}, "generation.max_output_tokens"),
        ({"generation": {"max_output_tokens": 1_048_577}}, "generation.max_output_tokens"),
        ({"generation": {"stop_sequences": ["s"] * 5}}, "generation.stop_sequences"),
        ({"generation": {"stop_sequences": ["s", ""]}}, "generation.stop_sequences[1]"),
        ({"generation": {"stop_sequences": ["s" * 257]}}, "generation.stop_sequences[0]"),
    ],
)
@cases("kind", REQUESTS)
def test_a_field_beyond_its_limit_is_named_and_its_value_is_not(kind: Any, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        turn_request(request(kind, **fields))
    assert [name for name, _ in caught.value.violations] == [field]


def test_every_violation_is_told_at_once() -> None:
    with pytest.raises(InvalidFields) as caught:
        turn_request(chat_pb2.ChatRequest(request_id="\n", memory_mode=9))  # type: ignore[arg-type]
    assert [name for name, _ in caught.value.violations] == ["user_id", "message", "request_id", "memory_mode"]


def test_errors_of_the_library_name_the_field_and_quote_no_value() -> None:
    with pytest.raises(InvalidFields) as caught, library_limits():
        Session.model_validate({"id": "s", "user_id": "alice", "started_at": ["SECRET"], "last_activity_at": "SECRET"})
    assert caught.value.violations == [("start_time", "must have a valid value")]
    with pytest.raises(InvalidFields) as caught, library_limits():
        raise ValueError("limit must be an integer of at least 1")
    assert caught.value.violations == [("page_size", "must be an integer of at least 1")]
