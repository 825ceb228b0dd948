"""Check requests against the limits of the contract, and convert valid chat requests to a TurnRequest."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from google.protobuf.struct_pb2 import Struct
from pydantic import ValidationError

from ilab_chat.v1 import chat_pb2, memory_pb2
from ilab_chat_service import statements, time_zones
from ilab_chat_service.limits import (
    CHAT_BYTES,
    CONVERSATION_ID_CHARACTERS,
    DOCUMENT_BYTES,
    DOCUMENT_TITLE_CHARACTERS,
    DOCUMENTS,
    EXACT_INTEGERS,
    HEADER_BYTES,
    INSTRUCTIONS_CHARACTERS,
    MASK_PATHS,
    MASK_VIOLATIONS,
    MEMORY_TYPE_CHARACTERS,
    MEMORY_TYPES,
    MESSAGE_CHARACTERS,
    MODEL_CHARACTERS,
    OUTPUT_TOKENS_MOST,
    PAGE_SIZE,
    PAGE_SIZE_MOST,
    REQUEST_ID_CHARACTERS,
    SCHEMA_BYTES,
    SCHEMA_VALUES,
    SEARCH_PAGE_SIZE,
    SEARCH_PAGE_SIZE_MOST,
    STOP_CHARACTERS,
    STOP_STRINGS,
    TEMPERATURE_MOST,
    TITLE_CHARACTERS,
    USER_ID_CHARACTERS,
)
from ilab_chat_service.values import (
    RESERVED_KEYS,
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
from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.work import SUMMARY_KEY
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    import enum
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from ilab_chat_service.statements import Reading
    from ilab_chat_service.values import ResponseFormat

SCHEMA_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Fields of an observation that can be updated.
UPDATABLE = ("content", "title", "type", "pinned", "expire_time")

#: Arguments of the library that have other names than the fields they come from.
FIELDS: Mapping[str, str] = {
    "before": "page_token",
    "limit": "page_size",
    "created_at": "create_time",
    "updated_at": "update_time",
    "started_at": "start_time",
    "ended_at": "end_time",
    "last_activity_at": "last_activity_time",
}

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

#: A field's path in the proto, and what is wrong with its value (which is never quoted).
Violation: TypeAlias = tuple[str, str]

E = TypeVar("E", bound="enum.Enum")


class TooManyValues(Exception):
    """A schema has more values than SCHEMA_VALUES."""


class InvalidFields(Exception):
    """A request breaks the contract's limits."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__("; ".join(f"{field}: {description}" for field, description in violations))
        self.violations = violations


class RequestTooLarge(Exception):
    """A request is larger than all of its limits together allow."""


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
    reading = statements.read(strip_private(request.message))
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
    yield from text("user_id", request.user_id, USER_ID_CHARACTERS)
    yield from text("message", request.message, MESSAGE_CHARACTERS)
    yield from visible_ascii("request_id", request.request_id, REQUEST_ID_CHARACTERS)
    yield from generation(request.generation)
    if request.memory_mode not in MEMORY_MODES:
        yield "memory_mode", "must be a value of MemoryMode"
    if request.turn_retention not in TURN_RETENTIONS:
        yield "turn_retention", "must be a value of TurnRetention"
    yield from visible_ascii("conversation_id", request.conversation_id, CONVERSATION_ID_CHARACTERS)
    yield from optional_text("instructions", request.instructions, INSTRUCTIONS_CHARACTERS)
    yield from documents(request.context)
    if request.time_zone and request.time_zone not in time_zones.NAMES:
        yield "time_zone", "must be the name of an IANA time zone"
    if len(request.memory_types) > MEMORY_TYPES:
        yield "memory_types", f"must have at most {MEMORY_TYPES} types"
    for index, name in enumerate(request.memory_types[:MEMORY_TYPES]):
        yield from text(f"memory_types[{index}]", name, MEMORY_TYPE_CHARACTERS)


def documents(context: Sequence[chat_pb2.ContextDocument]) -> Iterator[Violation]:
    """Yield what is wrong with the documents of a call."""
    if len(context) > DOCUMENTS:
        yield "context", f"must have at most {DOCUMENTS} documents, has {len(context):,}"
        return
    size = sum(len(each.title.encode()) + len(each.text.encode()) for each in context)
    if size > DOCUMENT_BYTES:
        yield "context", f"titles and texts must have at most {DOCUMENT_BYTES:,} bytes together, have {size:,}"
        return
    for index, each in enumerate(context):
        yield from optional_text(f"context[{index}].title", each.title, DOCUMENT_TITLE_CHARACTERS)
        yield from text(f"context[{index}].text", each.text, DOCUMENT_BYTES)


def generation(options: chat_pb2.GenerationOptions) -> Iterator[Violation]:
    """Yield what is wrong with the generation options."""
    yield from visible_ascii("generation.model", options.model, MODEL_CHARACTERS)
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


def text(field: str, value: str, most: int) -> Iterator[Violation]:
    """Yield what is wrong with a required text."""
    if not value.strip():
        yield field, "must not be empty or blank"
    elif len(value) > most:
        yield field, f"must have at most {most:,} characters, has {len(value):,}"
    elif "\0" in value:
        yield field, "must not contain U+0000"


def optional_text(field: str, value: str, most: int) -> Iterator[Violation]:
    """Yield what is wrong with a text that may be empty or blank."""
    if value.strip():
        yield from text(field, value, most)
    elif len(value) > most:
        yield field, f"must have at most {most:,} characters, has {len(value):,}"


def visible_ascii(field: str, value: str, most: int) -> Iterator[Violation]:
    """Yield what is wrong with an optional identifier."""
    if len(value) > most:
        yield field, f"must have at most {most} characters, has {len(value):,}"
    elif not all("!" <= character <= "~" for character in value):
        yield field, "must have visible ASCII characters only"


def check_headers(size: int) -> None:
    """Check the size of the headers.

    Raises:
        RequestTooLarge: they have more than HEADER_BYTES.
    """
    if size > HEADER_BYTES:
        raise RequestTooLarge(f"the header fields must have at most {HEADER_BYTES:,} bytes, have {size:,}")


def search_page_size(request: memory_pb2.SearchObservationsRequest) -> int:
    """Return the maximum number of results of a search.

    Raises:
        InvalidFields: page_size is out of range.
    """
    return page_size(request.page_size, default=SEARCH_PAGE_SIZE, most=SEARCH_PAGE_SIZE_MOST)


def page_size(requested: int, *, default: int = PAGE_SIZE, most: int = PAGE_SIZE_MOST) -> int:
    """Return the maximum number of items of a page: *default* if 0 is requested.

    Raises:
        InvalidFields: *requested* is negative or above *most*.
    """
    if not 0 <= requested <= most:
        raise InvalidFields([("page_size", f"must be between 0 and {most}")])
    return requested or default


def check_identifiers(request: Any) -> None:
    """Check the identifiers and lists of types that a request of MemoryService has.

    Raises:
        InvalidFields: one of them breaks a limit.
    """
    fields = request.DESCRIPTOR.fields_by_name
    violations = list(text("user_id", request.user_id, USER_ID_CHARACTERS))
    # Before checks that take time per item: a request may contain hundreds of thousands of items.
    violations += [
        (name, f"must have at most {MEMORY_TYPES} types")
        for name in ("types", "types_exclude")
        if name in fields and len(getattr(request, name)) > MEMORY_TYPES
    ]
    for name, most in (("request_id", REQUEST_ID_CHARACTERS), ("conversation_id", CONVERSATION_ID_CHARACTERS)):
        if name in fields:
            violations += visible_ascii(name, getattr(request, name), most)
    if violations:
        raise InvalidFields(violations)


def fact_types(request: memory_pb2.ListFactsRequest) -> list[str]:
    """Return the types by which a list of facts is filtered, sorted.

    Raises:
        InvalidFields: one of them is not a type of facts.
    """
    violations = [
        (f"types[{index}]", f"must be one of {', '.join(FACT_TYPES)}")
        for index, kind in enumerate(request.types)
        if kind not in FACT_TYPES
    ]
    if violations:
        raise InvalidFields(violations[:1])
    return sorted(set(request.types))


def fact_arguments(request: memory_pb2.SaveObservationRequest) -> dict[str, Any]:
    """Return the library's arguments for a fact. Omit unset ones, which the published library does not know.

    Raises:
        InvalidFields: the time is out of range.
    """
    arguments: dict[str, Any] = {"pinned": True} if request.pinned else {}
    if request.HasField("expire_time"):
        arguments["expire_time"] = expire_time(request)
    return arguments


def expire_time(
    request: memory_pb2.SaveObservationRequest | memory_pb2.UpdateObservationRequest,
) -> datetime | None:
    """Return the time in expire_time, None if it is not set.

    Raises:
        InvalidFields: it is out of range.
    """
    if not request.HasField("expire_time"):
        return None
    try:
        return request.expire_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidFields([("expire_time", "must be between the years 1 and 9999")]) from None


def list_types(request: memory_pb2.ListObservationsRequest) -> list[str]:
    """Return the types by which a list is filtered, sorted.

    Raises:
        InvalidFields: one of them is blank or too long.
    """
    named = [violation for kind in request.types for violation in text("types", kind, TITLE_CHARACTERS)]
    if named:
        raise InvalidFields(named[:1])
    return sorted(set(request.types))


def update_of(request: memory_pb2.UpdateObservationRequest) -> dict[str, Any]:
    """Return the new values of an observation's fields, by name.

    Raises:
        InvalidFields: the mask has too many paths or a path that cannot be updated, or no field is given.
    """
    if len(request.update_mask.paths) > MASK_PATHS:
        raise InvalidFields([("update_mask.paths", f"must have at most {MASK_PATHS} paths")])
    paths = list(request.update_mask.paths) or [name for name in UPDATABLE if is_set(request, name)]
    if "*" in paths:
        paths = list(UPDATABLE)
    allowed = ", ".join(UPDATABLE)
    violations = [
        (f"update_mask.paths[{index}]", f"must be one of {allowed}")
        for index, path in enumerate(paths)
        if path not in UPDATABLE
    ]
    if violations:
        raise InvalidFields(violations[:MASK_VIOLATIONS])
    if not paths:
        raise InvalidFields([("update_mask", f"must name at least one of {allowed}, unless one of them is set")])
    return {path: expire_time(request) if path == "expire_time" else getattr(request, path) for path in paths}


def is_set(request: memory_pb2.UpdateObservationRequest, name: str) -> bool:
    """Return whether a field of *request* differs from its default."""
    return request.HasField("expire_time") if name == "expire_time" else bool(getattr(request, name))


def caller_key(request: memory_pb2.SaveObservationRequest) -> str | None:
    """Return the topic_key of a caller's observation, None if it has none.

    Raises:
        InvalidFields: the key is reserved for turns and summaries.
    """
    if not request.HasField("topic_key"):
        return None
    reserved = (*RESERVED_KEYS, SUMMARY_KEY)
    if strip_private(request.topic_key).startswith(reserved):
        raise InvalidFields(
            [("topic_key", f"must not begin with {', '.join(reserved)}: reserved for turns and summaries")]
        )
    return request.topic_key


def is_reserved(topic_key: str) -> bool:
    """Return whether *topic_key*, as the library stores it (redacted), is reserved for stored turns."""
    return strip_private(topic_key).startswith(RESERVED_KEYS)


@contextmanager
def library_limits() -> Iterator[None]:
    """Convert the library's ValueError to InvalidFields, so that only the library defines the limits of memory."""
    try:
        yield
    except ValueError as error:
        raise InvalidFields([library_violation(error)]) from error


def library_violation(error: ValueError) -> Violation:
    """Return the field that caused the library's *error*, and a description.

    The library's own errors begin with the argument's name and quote nothing. Pydantic's errors quote the value.
    """
    if isinstance(error, ValidationError):
        [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        field, description = ".".join(map(str, first["loc"])), "must have a valid value"
    else:
        field, _, description = str(error).partition(" ")
    return FIELDS.get(field, field), description
