"""Names and dictionaries that the clients accept where the contract has enums and messages.

    client.chat("alice", "hi", memory_mode="read_only", generation={"temperature": 0, "reasoning_effort": "low"})

`enum_name` is the way back: it returns the name of a value that an answer contains.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypeAlias, TypedDict, TypeVar

from google.protobuf.struct_pb2 import Struct

from ilab_chat.v1.chat_pb2 import (
    ContextDocument,
    GenerationOptions,
    JsonObjectFormat,
    JsonSchemaFormat,
    MemoryMode,
    ReasoningEffort,
    ResponseFormat,
    TextFormat,
    TurnRetention,
)

if TYPE_CHECKING:
    # Exists for type checkers only; protobuf has no public name for it.
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper as Enum

MemoryModeName: TypeAlias = Literal["read_write", "read_only", "off"]
TurnRetentionName: TypeAlias = Literal["every_turn", "latest_only"]
ReasoningEffortName: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class JsonSchemaDict(TypedDict):
    """`JsonSchemaFormat` as a dictionary."""

    name: str
    """1 to 64 characters, each a letter, a digit, an underscore or a hyphen."""
    schema: Mapping[str, Any]
    """The JSON Schema."""
    strict: NotRequired[bool]
    """Whether the reply must match the schema exactly. Left out: the model's own default."""


class GenerationDict(TypedDict, total=False):
    """`GenerationOptions` as a dictionary. An option that is missing is left to the model's own default."""

    model: str
    temperature: float
    top_p: float
    max_output_tokens: int
    stop_sequences: Sequence[str]
    seed: int
    reasoning_effort: ReasoningEffortName
    response_format: Literal["text", "json_object"] | JsonSchemaDict


class ContextDict(TypedDict):
    """`ContextDocument` as a dictionary."""

    text: str
    title: NotRequired[str]


#: The types of the clients' arguments.
MemoryModeOption: TypeAlias = MemoryMode.ValueType | MemoryModeName
TurnRetentionOption: TypeAlias = TurnRetention.ValueType | TurnRetentionName
GenerationOption: TypeAlias = GenerationOptions | GenerationDict
ContextOption: TypeAlias = Sequence[ContextDocument | ContextDict]

Value = TypeVar("Value", bound=int)


def enum_name(enum: "Enum[Value]", value: Value) -> str:
    """Return the name of *value* in lower case and without its prefix: FINISH_REASON_STOP is "stop".

    A value that this client does not know is "unknown" and its number, for example "unknown 9".
    """
    known = enum.DESCRIPTOR.values_by_number.get(value)
    return f"unknown {value}" if known is None else known.name.removeprefix(_prefix(enum)).lower()


def enum_value(enum: "Enum[Value]", field: str, value: Value | str) -> Value:
    """Return the value of the enum that *value* names. A number is returned as it is.

    Raises:
        ValueError: no value has this name.
    """
    if not isinstance(value, str):
        return value
    prefix = _prefix(enum)
    names = {each.name.removeprefix(prefix).lower(): each.name for each in enum.DESCRIPTOR.values if each.number}
    if value not in names:
        raise ValueError(f"{field} must be one of {', '.join(names)}{_suggestion(value, names)}")
    return enum.Value(names[value])


def generation_message(generation: GenerationOption | None) -> GenerationOptions | None:
    """Return *generation* as a message.

    Raises:
        TypeError: it has an unknown key.
        ValueError: a name in it is unknown.
    """
    if generation is None or isinstance(generation, GenerationOptions):
        return generation
    fields: dict[str, Any] = {**generation}
    _check_keys("generation", fields, GenerationDict.__annotations__)
    if "reasoning_effort" in fields:
        fields["reasoning_effort"] = enum_value(
            ReasoningEffort, "generation.reasoning_effort", fields["reasoning_effort"]
        )
    if "response_format" in fields:
        fields["response_format"] = _response_format(fields["response_format"])
    return GenerationOptions(**fields)


def context_messages(context: ContextOption) -> list[ContextDocument]:
    """Return *context* as messages.

    Raises:
        TypeError: a document has an unknown key.
    """
    documents = []
    for each in context:
        if not isinstance(each, ContextDocument):
            _check_keys("context", each, ContextDict.__annotations__)
            each = ContextDocument(**each)  # noqa: PLW2901
        documents.append(each)
    return documents


def _response_format(wanted: object) -> ResponseFormat:
    if isinstance(wanted, ResponseFormat):
        return wanted
    if isinstance(wanted, Mapping):
        _check_keys("generation.response_format", wanted, JsonSchemaDict.__annotations__)
        schema = Struct()
        schema.update(wanted["schema"])
        return ResponseFormat(json_schema=JsonSchemaFormat(**{**wanted, "schema": schema}))
    if wanted == "text":
        return ResponseFormat(text=TextFormat())
    if wanted == "json_object":
        return ResponseFormat(json_object=JsonObjectFormat())
    raise ValueError('generation.response_format must be "text", "json_object" or a dictionary with name and schema')


def _check_keys(field: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for key in given:
        if key not in known:
            hint = _suggestion(key, known) or f": it has {', '.join(known)}"
            raise TypeError(f"{field} has no {key!r}{hint}")


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _prefix(enum: "Enum[Value]") -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper() + "_"
