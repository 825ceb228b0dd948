"""Check chat requests against the limits of the contract, and convert valid ones to a TurnRequest."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.struct_pb2 import Struct

from ilab_chat.v1 import chat_pb2
from ilab_chat_service import message_statements, time_zones
from ilab_chat_service.limits import (
    CHAT_BYTES,
    CONVERSATION_ID_CHARACTERS,
    DOCUMENT_BYTES,
    DOCUMENT_TITLE_CHARACTERS,
    DOCUMENTS,
    EXACT_INTEGERS,
    INSTRUCTIONS_CHARACTERS,
    MEMORY_TYPE_CHARACTERS,
    MEMORY_TYPES,
    MESSAGE_CHARACTERS,
    MODEL_CHARACTERS,
    OUTPUT_TOKENS_MOST,
    REQUEST_ID_CHARACTERS,
    SCHEMA_BYTES,
    SCHEMA_VALUES,
    STOP_CHARACTERS,
    STOP_STRINGS,
    TEMPERATURE_MOST,
    USER_ID_CHARACTERS,
)
from ilab_chat_service.rpc.errors import InvalidFields, RequestTooLarge
from ilab_chat_service.rpc.text_validation import ascii_violations, optional_text_violations, text_violations
from ilab_chat_service.values import (
    Document,
    Generation,
    JsonObjectFormat,
    JsonSchemaFormat,
    MemoryMode,
    ReasoningEffort,
    TextFormat,
    TurnRequest,
    TurnRetention,
)
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ilab_chat_service.message_statements import Reading
    from ilab_chat_service.rpc.errors import Violation
    from ilab_chat_service.values import ResponseFormat

SCHEMA_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MEMORY_MODES: Mapping[int, MemoryMode] = {
    chat_pb2.MEMORY_MODE_UNSPECIFIED: MemoryMode.READ_WRITE,
    chat_pb2.MEMORY_MODE_READ_WRITE: MemoryMode.READ_WRITE,
    chat_pb2.MEMORY_MODE_READ_ONLY: MemoryMode.READ_ONLY,
    chat_pb2.MEMORY_MODE_OFF: MemoryMode.OFF,
}
TURN_RETENTIONS: Mapping[int, TurnRetention] = {
    chat_pb2.TURN_RETENTION_UNSPECIFIED: TurnRetention.EVERY_TURN,
    chat_pb2.TURN_RETENTION_EVERY_TURN: TurnRetention.EVERY_TURN,
    chat_pb2.TURN_RETENTION_LATEST_ONLY: TurnRetention.LATEST_ONLY,
}

REASONING_EFFORTS: Mapping[int, ReasoningEffort | None] = {
    chat_pb2.REASONING_EFFORT_UNSPECIFIED: None,
    chat_pb2.REASONING_EFFORT_NONE: ReasoningEffort.NONE,
    chat_pb2.REASONING_EFFORT_MINIMAL: ReasoningEffort.MINIMAL,
    chat_pb2.REASONING_EFFORT_LOW: ReasoningEffort.LOW,
    chat_pb2.REASONING_EFFORT_MEDIUM: ReasoningEffort.MEDIUM,
    chat_pb2.REASONING_EFFORT_HIGH: ReasoningEffort.HIGH,
    chat_pb2.REASONING_EFFORT_XHIGH: ReasoningEffort.XHIGH,
}

ChatCall: TypeAlias = chat_pb2.ChatRequest | chat_pb2.StreamChatRequest | chat_pb2.PreviewPromptRequest


class TooManyValues(Exception):
    """A schema has more values than SCHEMA_VALUES."""


def turn_request(request: ChatCall) -> TurnRequest:
    """Validate *request*. If it has no request id, make one. Takes up to 50 ms for a long request.

    Raises:
        InvalidFields: fields break limits; it lists all of them.
        RequestTooLarge: the request is larger than all valid fields together.
    """
    if request.ByteSize() > CHAT_BYTES:
        raise RequestTooLarge(f"the request must have at most {CHAT_BYTES:,} bytes, has {request.ByteSize():,}")
    schema = Schema.of(request.generation)
    violations = [*violations_of(request), *schema.violations]
    if violations:
        raise InvalidFields(violations)
    options = request.generation
    reading = message_statements.read(strip_private(request.message))
    return TurnRequest(
        user_id=request.user_id,
        message=request.message,
        request_id=request.request_id or secrets.token_hex(16),
        request_id_is_new=not request.request_id,
        generation=Generation(
            model=options.model,
            temperature=options.temperature if options.HasField("temperature") else None,
            top_p=options.top_p if options.HasField("top_p") else None,
            max_output_tokens=options.max_output_tokens if options.HasField("max_output_tokens") else None,
            stop_sequences=tuple(options.stop_sequences),
            seed=options.seed if options.HasField("seed") else None,
            reasoning_effort=REASONING_EFFORTS[options.reasoning_effort],
            response_format=response_format(options.response_format, schema.json),
        ),
        memory_mode=memory_mode(request, reading),
        retention=TURN_RETENTIONS[request.turn_retention],
        conversation_id=request.conversation_id,
        instructions=request.instructions,
        documents=tuple(Document(each.title, each.text) for each in request.context),
        time_zone=request.time_zone,
        memory_types=tuple(request.memory_types),
        reading=reading,
    )


def memory_mode(request: ChatCall, reading: Reading) -> MemoryMode:
    """Return the memory mode of *request*: READ_ONLY if its message asks not to be remembered."""
    mode = MEMORY_MODES[request.memory_mode]
    return MemoryMode.READ_ONLY if reading.opt_out and mode is MemoryMode.READ_WRITE else mode


def violations_of(request: ChatCall) -> Iterator[Violation]:
    """Yield what is wrong with *request*, in the order of its fields."""
    yield from text_violations("user_id", request.user_id, USER_ID_CHARACTERS)
    yield from text_violations("message", request.message, MESSAGE_CHARACTERS)
    yield from ascii_violations("request_id", request.request_id, REQUEST_ID_CHARACTERS)
    yield from generation_violations(request.generation)
    if request.memory_mode not in MEMORY_MODES:
        yield "memory_mode", "must be a value of MemoryMode"
    if request.turn_retention not in TURN_RETENTIONS:
        yield "turn_retention", "must be a value of TurnRetention"
    yield from ascii_violations("conversation_id", request.conversation_id, CONVERSATION_ID_CHARACTERS)
    yield from optional_text_violations("instructions", request.instructions, INSTRUCTIONS_CHARACTERS)
    yield from document_violations(request.context)
    if request.time_zone and request.time_zone not in time_zones.NAMES:
        yield "time_zone", "must be the name of an IANA time zone"
    if len(request.memory_types) > MEMORY_TYPES:
        yield "memory_types", f"must have at most {MEMORY_TYPES} types"
    for index, name in enumerate(request.memory_types[:MEMORY_TYPES]):
        yield from text_violations(f"memory_types[{index}]", name, MEMORY_TYPE_CHARACTERS)


def document_violations(context: Sequence[chat_pb2.ContextDocument]) -> Iterator[Violation]:
    """Yield what is wrong with the documents of a call."""
    if len(context) > DOCUMENTS:
        yield "context", f"must have at most {DOCUMENTS} documents, has {len(context):,}"
        return
    size = sum(len(each.title.encode()) + len(each.text.encode()) for each in context)
    if size > DOCUMENT_BYTES:
        yield "context", f"titles and texts must have at most {DOCUMENT_BYTES:,} bytes together, have {size:,}"
        return
    for index, each in enumerate(context):
        yield from optional_text_violations(f"context[{index}].title", each.title, DOCUMENT_TITLE_CHARACTERS)
        yield from text_violations(f"context[{index}].text", each.text, DOCUMENT_BYTES)


def generation_violations(options: chat_pb2.GenerationOptions) -> Iterator[Violation]:
    """Yield what is wrong with the generation options."""
    yield from ascii_violations("generation.model", options.model, MODEL_CHARACTERS)
    # Written so that NaN, which compares false with everything, is out of range.
    if options.HasField("temperature") and not 0 <= options.temperature <= TEMPERATURE_MOST:
        yield "generation.temperature", f"must be between 0 and {TEMPERATURE_MOST:g}"
    if options.HasField("top_p") and not 0 < options.top_p <= 1:
        yield "generation.top_p", "must be above 0 and at most 1"
    if options.HasField("max_output_tokens") and not 1 <= options.max_output_tokens <= OUTPUT_TOKENS_MOST:
        yield "generation.max_output_tokens", f"must be between 1 and {OUTPUT_TOKENS_MOST:,}"
    if len(options.stop_sequences) > STOP_STRINGS:
        yield "generation.stop_sequences", f"must have at most {STOP_STRINGS} strings"
    for index, stop in enumerate(options.stop_sequences[:STOP_STRINGS]):
        if not 1 <= len(stop) <= STOP_CHARACTERS:
            yield f"generation.stop_sequences[{index}]", f"must have 1 to {STOP_CHARACTERS} characters"
    if options.reasoning_effort not in REASONING_EFFORTS:
        yield "generation.reasoning_effort", "must be a value of ReasoningEffort"
    if options.HasField("response_format"):
        yield from response_format_violations(options.response_format)


def response_format_violations(requested: chat_pb2.ResponseFormat) -> Iterator[Violation]:
    """Yield what is wrong with the format of the reply."""
    path = "generation.response_format"
    kind = requested.WhichOneof("format")
    if kind is None:
        yield path, "must have one of text, json_object and json_schema"
    if kind != "json_schema":
        return
    if not SCHEMA_NAME.fullmatch(requested.json_schema.name):
        yield f"{path}.json_schema.name", "must have 1 to 64 letters, digits, underscores and hyphens"


@dataclass(frozen=True, slots=True)
class Schema:
    """The JSON schema of a request, converted once: conversion takes microseconds per value."""

    json: str = ""
    violations: Sequence[Violation] = ()

    @classmethod
    def of(cls, options: chat_pb2.GenerationOptions) -> Schema:
        """Return the schema of *options* or its violations, an empty one if they have no schema."""
        if options.response_format.WhichOneof("format") != "json_schema":
            return cls()
        path = "generation.response_format.json_schema.schema"
        requested = options.response_format.json_schema
        if not requested.HasField("schema"):
            return cls(violations=[(path, "must be set")])
        try:
            text = json_of(requested.schema)
        except TooManyValues:
            return cls(violations=[(path, f"must have at most {SCHEMA_VALUES:,} values")])
        except ValueError:
            return cls(violations=[(path, "must be JSON: no value may be unset, infinite or NaN")])
        if (size := len(text.encode())) > SCHEMA_BYTES:
            return cls(violations=[(path, f"must have at most {SCHEMA_BYTES:,} bytes as JSON, has {size:,}")])
        return cls(text)


def response_format(requested: chat_pb2.ResponseFormat, schema_json: str) -> ResponseFormat | None:
    """Return the format of the reply, with the schema *schema_json*, None if it is not set. It must be valid."""
    match requested.WhichOneof("format"):
        case "text":
            return TextFormat()
        case "json_object":
            return JsonObjectFormat()
        case "json_schema":
            schema = requested.json_schema
            return JsonSchemaFormat(
                name=schema.name,
                schema=schema_json,
                strict=schema.strict if schema.HasField("strict") else None,
            )
        case _:
            return None


def json_of(struct: Struct) -> str:
    """Return *struct* as JSON, whole numbers as integers: some APIs refuse a `minLength` of 1.0.

    Raises:
        TooManyValues: it has more than SCHEMA_VALUES.
        ValueError: JSON cannot express one of its values.
    """
    # Without white space, which the model's API would bill.
    return json.dumps(plain(struct, count(1)), allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def plain(value: Any, numbers: Iterator[int]) -> Any:
    """Convert a value of google.protobuf.Struct for `json`; *numbers* counts the values.

    Protobuf's parser limits the depth.
    """
    if isinstance(value, Struct):
        return {name: plain(field, numbers) for name, field in value.fields.items()}
    if next(numbers) > SCHEMA_VALUES:
        raise TooManyValues
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain(value.struct_value, numbers)
        case "list_value":
            return [plain(item, numbers) for item in value.list_value.values]
        case "null_value":
            return None
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= EXACT_INTEGERS else number
        case None:
            raise ValueError("a value is not set")
        case kind:
            return getattr(value, kind)
