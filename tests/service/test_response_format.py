"""`generation.response_format` and `generation.reasoning_effort`: validated, and passed on as APIs have them."""

from __future__ import annotations

import math
from itertools import count
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct, Value

from batch import cases
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.limits import CHAT_BYTES, SCHEMA_BYTES, SCHEMA_VALUES
from ilab_chat_service.rpc.chat_validation import TooManyValues, plain, turn_request
from ilab_chat_service.rpc.errors import InvalidFields
from upstream import Upstream

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 2**40},
        "score": {"type": "number", "minimum": 0.5, "enum": [1, 2.5, True, None, "x"]},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def struct(value: dict[str, Any]) -> Struct:
    made = Struct()
    made.update(value)
    return made


def json_schema(**fields: Any) -> chat_pb2.GenerationOptions:
    schema = chat_pb2.JsonSchemaFormat(**{"name": "answer", "schema": struct(SCHEMA), **fields})
    return chat_pb2.GenerationOptions(response_format=chat_pb2.ResponseFormat(json_schema=schema))


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (
            chat_pb2.GenerationOptions(response_format=chat_pb2.ResponseFormat(text=chat_pb2.TextFormat())),
            {"type": "text"},
        ),
        (
            chat_pb2.GenerationOptions(
                response_format=chat_pb2.ResponseFormat(json_object=chat_pb2.JsonObjectFormat())
            ),
            {"type": "json_object"},
        ),
        (json_schema(), {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}),
        (
            json_schema(strict=False),
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": False}},
        ),
    ],
    ids=["text", "json_object", "json_schema", "strict"],
)
async def test_format_is_passed_on(
    stub: chat_pb2_grpc.ChatServiceAsyncStub,
    upstream: Upstream,
    options: chat_pb2.GenerationOptions,
    sent: dict[str, Any],
) -> None:
    await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi", generation=options))
    assert upstream.requests[-1].body["response_format"] == sent


async def test_whole_numbers_of_a_schema_are_integers(
    stub: chat_pb2_grpc.ChatServiceAsyncStub, upstream: Upstream
) -> None:
    await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi", generation=json_schema()))
    properties = upstream.requests[-1].body["response_format"]["json_schema"]["schema"]["properties"]
    assert [type(properties["name"][limit]) for limit in ("minLength", "maxLength")] == [int, int]
    assert type(properties["score"]["minimum"]) is float


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh"])
async def test_reasoning_effort_is_passed_on(
    stub: chat_pb2_grpc.ChatServiceAsyncStub, upstream: Upstream, effort: str
) -> None:
    value = chat_pb2.ReasoningEffort.Value(f"REASONING_EFFORT_{effort.upper()}")
    generation = chat_pb2.GenerationOptions(reasoning_effort=value)
    await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi", generation=generation))
    assert upstream.requests[-1].body["reasoning_effort"] == effort


async def test_repeat_with_another_format_is_refused(stub: chat_pb2_grpc.ChatServiceAsyncStub) -> None:
    request = chat_pb2.ChatRequest(user_id="alice", message="Hi", request_id="r-1", generation=json_schema())
    first = await stub.Chat(request)
    assert (await stub.Chat(request)).reply == first.reply
    request.generation.response_format.json_schema.name = "other"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Chat(request)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def with_value(value: Value) -> Struct:
    return Struct(fields={"x": value})


NAME = "generation.response_format.json_schema.name"
PATH = "generation.response_format.json_schema.schema"


@cases(
    ("options", "field"),
    [
        (chat_pb2.GenerationOptions(response_format=chat_pb2.ResponseFormat()), "generation.response_format"),
        (json_schema(name=""), NAME),
        (json_schema(name="x" * 65), NAME),
        (json_schema(name="an answer"), NAME),
        (json_schema(schema=None), PATH),
        (json_schema(schema=with_value(Value(number_value=math.nan))), PATH),
        (json_schema(schema=with_value(Value(number_value=math.inf))), PATH),
        (json_schema(schema=with_value(Value())), PATH),
        (json_schema(schema=struct({"x": "y" * SCHEMA_BYTES})), PATH),
        (json_schema(schema=struct({"x": [0] * SCHEMA_VALUES})), PATH),
        (chat_pb2.GenerationOptions(reasoning_effort=99), "generation.reasoning_effort"),  # type: ignore[arg-type]
    ],
)
def test_invalid_generation_option_is_named(options: chat_pb2.GenerationOptions, field: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        turn_request(chat_pb2.ChatRequest(user_id="alice", message="Hi", generation=options))
    assert [name for name, _ in caught.value.violations] == [field]


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [0] * (SCHEMA_VALUES - 1)},
        {f"{number:x}": 0 for number in range(SCHEMA_BYTES // 9)},
        {"enum": [None] * (SCHEMA_VALUES - 1)},
        {"enum": [[]] * (SCHEMA_VALUES - 1)},
    ],
    ids=["numbers", "names", "nulls", "lists"],
)
def test_every_schema_within_its_limit_fits_the_request(schema: dict[str, Any]) -> None:
    options = json_schema(schema=struct(schema))
    request = chat_pb2.ChatRequest(user_id="u" * 256, message="\U0001f600" * 32_768, generation=options)
    assert turn_request(request).generation.response_format
    assert request.ByteSize() <= CHAT_BYTES


def test_schema_of_too_many_values_is_not_walked_through() -> None:
    class Counting:
        """Counts what is asked of it."""

        asked = 0

        def WhichOneof(self, _: str) -> str:  # noqa: N802 - protobuf's name
            self.asked += 1
            return "bool_value"

        bool_value = True

    value = Counting()
    numbers = count(1)
    for _ in range(SCHEMA_VALUES):
        plain(value, numbers)
    with pytest.raises(TooManyValues):
        plain(value, numbers)
    assert value.asked == SCHEMA_VALUES
