"""Names and dictionaries in place of enums and messages."""

import re
from typing import Any, get_args

import pytest
from google.protobuf.json_format import MessageToDict

from client.scripted import Caller, ScriptedChatService, completed, events
from ilab_chat import (
    ContextDict,
    ContextDocument,
    FinishReason,
    GenerationDict,
    GenerationOptions,
    JsonSchemaDict,
    JsonSchemaFormat,
    MemoryMode,
    MemoryModeName,
    MemorySource,
    ReasoningEffort,
    ReasoningEffortName,
    TurnRetention,
    TurnRetentionName,
    enum_name,
)


async def test_names_and_dictionaries_make_the_same_request(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    await caller.chat(
        target,
        "alice",
        "hi",
        memory_mode="read_only",
        turn_retention="latest_only",
        context=[{"title": "a", "text": "b"}],
        generation={
            "temperature": 0,
            "stop_sequences": ["END"],
            "reasoning_effort": "xhigh",
            "response_format": {"name": "a", "schema": schema, "strict": True},
        },
    )
    await caller.chat(target, "alice", "hi", generation={"response_format": "json_object"})
    request, plain = service.requests
    assert request.memory_mode == MemoryMode.MEMORY_MODE_READ_ONLY
    assert request.generation.reasoning_effort == ReasoningEffort.REASONING_EFFORT_XHIGH
    assert MessageToDict(request.generation.response_format.json_schema.schema) == schema
    assert request.generation.response_format.json_schema.strict
    assert request.generation.HasField("temperature")
    assert list(request.generation.stop_sequences) == ["END"]
    assert getattr(request, "turn_retention", None) == TurnRetention.TURN_RETENTION_LATEST_ONLY
    assert list(request.context) == [ContextDocument(title="a", text="b")]
    assert plain.generation.response_format.HasField("json_object")


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"memory_mode": "readonly"}, ValueError, "one of read_write, read_only, off; did you mean 'read_only'?"),
        ({"memory_mode": "unspecified"}, ValueError, "one of read_write, read_only, off"),
        ({"turn_retention": "none"}, ValueError, "one of every_turn, latest_only"),
        ({"generation": {"temprature": 0}}, TypeError, "has no 'temprature'; did you mean 'temperature'?"),
        ({"generation": {"zzz": 0}}, TypeError, "has no 'zzz': it has model, temperature"),
        ({"generation": {"reasoning_effort": "max"}}, ValueError, "one of none, minimal, low"),
        ({"generation": {"response_format": "xml"}}, ValueError, 'must be "text", "json_object" or'),
        ({"context": [{"txt": "a"}]}, TypeError, "has no 'txt'; did you mean 'text'?"),
    ],
)
async def test_unknown_names_say_which_there_are(
    options: dict[str, Any], kind: type[Exception], text: str, caller: Caller, target: str
) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        await caller.chat(target, "alice", "hi", **options)


def test_every_value_of_an_enum_has_a_name() -> None:
    named = [
        (MemoryMode.DESCRIPTOR, MemoryModeName),
        (TurnRetention.DESCRIPTOR, TurnRetentionName),
        (ReasoningEffort.DESCRIPTOR, ReasoningEffortName),
    ]
    for enum, names in named:
        values = [each.name for each in enum.values if each.number]
        assert [name.upper() for name in get_args(names)] == [
            re.sub(r"^(MEMORY_MODE|TURN_RETENTION|REASONING_EFFORT)_", "", value) for value in values
        ]


def test_every_option_has_a_key() -> None:
    twins = [
        (GenerationOptions.DESCRIPTOR, GenerationDict.__annotations__),
        (ContextDocument.DESCRIPTOR, ContextDict.__annotations__),
        (JsonSchemaFormat.DESCRIPTOR, JsonSchemaDict.__annotations__),
    ]
    for message, keys in twins:
        assert {field.name for field in message.fields} == set(keys)


async def test_enums_of_an_answer_have_names(caller: Caller, service: ScriptedChatService, target: str) -> None:
    service.script = events(completed("", finish_reason=FinishReason.FINISH_REASON_LENGTH))
    answer = await caller.chat(target, "alice", "hi")
    assert enum_name(FinishReason, answer.finish_reason) == "length"
    assert "finish_reason: FINISH_REASON_LENGTH" in repr(answer)
    assert enum_name(MemorySource, MemorySource.MEMORY_SOURCE_TURN) == "turn"
    assert enum_name(FinishReason, FinishReason.ValueType(99)) == "unknown 99"
