"""The keys of a model in the models file: types, descriptions and error messages. Pure."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import inspect

from ilab_chat_service.limits import OUTPUT_TOKENS_MOST, STOP_CHARACTERS, STOP_STRINGS, TEMPERATURE_MOST
from ilab_chat_service.model.profiles import SystemRole, TokenLimit  # noqa: TC001 - msgspec reads annotations
from ilab_chat_service.values import ReasoningEffort  # noqa: TC001 - the same

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


#: Maximum number of names in an error message.
NAMES_SHOWN = 20

Option = Literal[
    "temperature", "top_p", "max_output_tokens", "stop_sequences", "seed", "reasoning_effort", "response_format"
]


StopSequence = Annotated[str, msgspec.Meta(min_length=1, max_length=STOP_CHARACTERS)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=TEMPERATURE_MOST)]
TopP = Annotated[float, msgspec.Meta(gt=0, le=1)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
StopSequences = Annotated[list[StopSequence], msgspec.Meta(max_length=STOP_STRINGS)]
OutputTokens = Annotated[int, msgspec.Meta(ge=1, le=OUTPUT_TOKENS_MOST)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]


def about(text: str) -> msgspec.Meta:
    """Describe a key in one line, for docs/models.md."""
    return msgspec.Meta(description=text)


class OptionsTable(msgspec.Struct, forbid_unknown_fields=True):
    """`defaults` of a model."""

    temperature: Annotated[Temperature | None, about("Sampling temperature.")] = None
    top_p: Annotated[TopP | None, about("Share of probability mass for nucleus sampling.")] = None
    max_output_tokens: Annotated[OutputTokens | None, about("Maximum tokens of a reply.")] = None
    stop_sequences: Annotated[StopSequences, about("Strings that end the reply.")] = []
    seed: Annotated[Seed | None, about("Seed for sampling.")] = None
    reasoning_effort: Annotated[ReasoningEffort | None, about("How much a reasoning model thinks.")] = None


class CapsTable(msgspec.Struct, forbid_unknown_fields=True):
    """`caps` of a model."""

    max_output_tokens: Annotated[
        OutputTokens | None,
        about(
            "Upper limit of `max_output_tokens`. A larger value of a caller is lowered to it; a call that sets none "
            "gets it."
        ),
    ] = None


class ModelTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table `[models.NAME]`."""

    model: Annotated[str, about("Name of the model in its API. Default: the name of the table.")] = ""
    base_url: Annotated[
        str,
        about(
            "Base URL of the API. `/chat/completions` is appended to its path, and its query is kept. "
            "Default: `https://api.openai.com/v1`."
        ),
    ] = ""
    api_key_env: Annotated[
        str,
        about("Environment variable that contains the API key. Default: `OPENAI_API_KEY` if `base_url` is not set."),
    ] = ""
    api_key_file: Annotated[
        str, about("File that contains the API key, hot-reloaded. Relative to the working directory of the server.")
    ] = ""
    api_key_header: Annotated[
        str, about("Header that carries the key as it is. Default: `Authorization`, as a bearer token.")
    ] = ""
    api_version: Annotated[str, about("Query parameter `api-version`, for Azure.")] = ""
    headers: Annotated[dict[str, str], about("Headers added to each request.")] = {}
    query: Annotated[dict[str, str], about("Query parameters added to the URL.")] = {}
    body: Annotated[dict[str, Any], about("JSON fields added to each request, for options of one vendor.")] = {}
    context_window: Annotated[
        Tokens | None,
        about(
            "Context window of the model. The budget of the prompt is lowered to leave room for the reply in it: "
            "`caps.max_output_tokens`, else `defaults.max_output_tokens`, else a quarter of the window."
        ),
    ] = None
    prompt_tokens: Annotated[
        Tokens | None,
        about("Prompt budget, in estimated tokens. Default: `ILAB_CHAT_PROMPT_TOKENS`."),
    ] = None
    token_limit: Annotated[
        TokenLimit | None,
        about(
            "Name of the field for `max_output_tokens`; `none`: it is not sent. "
            "Default: `max_completion_tokens` for OpenAI and Azure, else `max_tokens`."
        ),
    ] = None
    include_usage: Annotated[bool, about("Ask for token counts in the stream (`stream_options.include_usage`).")] = True
    streaming: Annotated[
        bool, about("Ask for a stream. If false, StreamChat still works: the reply is one `text_delta`.")
    ] = True
    system_role: Annotated[
        SystemRole, about("Role of the system text; `user`: it is put before the first user message.")
    ] = "system"
    drop: Annotated[list[Option], about("Options of callers that are not sent to this model.")] = []
    defaults: Annotated[OptionsTable, about("Options for calls that do not set them.")] = msgspec.field(
        default_factory=OptionsTable
    )
    caps: Annotated[CapsTable, about("Upper limits for what callers ask for.")] = msgspec.field(
        default_factory=CapsTable
    )
    fallback: Annotated[
        str, about("Model of this file that is asked when this one is down, rate limited or out of quota.")
    ] = ""


class ModelFault(ValueError):
    """A key of the file is invalid. `path` leads to it. The text never quotes a value."""

    def __init__(self, path: Sequence[str], text: str) -> None:
        super().__init__(text)
        self.path = tuple(path)


def table_of(value: object, path: Sequence[str]) -> ModelTable:
    """Convert a table of the file. *path* leads to it.

    Raises:
        ModelFault: a key is unknown, or its value has the wrong type or is out of range.
    """
    try:
        return msgspec.convert(value, ModelTable)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        steps = re.findall(r"[^.\[\]`$]+", place.replace("...", "*"))
        if unknown := re.search(r"unknown field `(.*)`", text):
            keys = [key for key, *_ in keys_of(type_at(steps))]
            raise ModelFault([*path, *steps, unknown[1]], f"unknown key; {choice(unknown[1], keys)}") from None
        if steps[-1:] == ["*"]:
            # msgspec does not report which entry of the table is invalid.
            entries: Any = value
            for step in steps[:-1]:
                entries = entries[step]
            steps[-1] = next(key for key, entry in entries.items() if not isinstance(entry, str))
        subject = "each entry must" if steps[-1:] and steps[-1].isdigit() else "must"
        fault = f"{subject} be {described(type_at(steps))}"
        raise ModelFault([*path, *(step for step in steps if not step.isdigit())], fault) from None


def choice(wrong: str, names: Iterable[str]) -> str:
    """Return the valid alternatives to *wrong*, for an error message."""
    known = list(names)
    if near := difflib.get_close_matches(wrong, known, 1):
        return f"did you mean {near[0]}?"
    more = ", ..." if len(known) > NAMES_SHOWN else ""
    return f"possible: {', '.join(known[:NAMES_SHOWN])}{more}"


def keys_of(table: inspect.Type) -> Iterator[tuple[str, inspect.Type, object, str]]:
    """Yield name, type, default and description of each key of a table type."""
    assert isinstance(table, inspect.StructType)  # noqa: S101 - of our own types
    for field in table.fields:
        assert isinstance(field.type, inspect.Metadata)  # noqa: S101 - each has a description
        assert field.type.extra_json_schema  # noqa: S101 - the same
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        yield field.encode_name, bare(field.type), default, field.type.extra_json_schema["description"]


def bare(kind: inspect.Type) -> inspect.Type:
    """Return a type without annotations, and without None as an alternative: TOML has no null."""
    if isinstance(kind, inspect.Metadata):
        return bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        [other] = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        return bare(other)
    return kind


def type_at(steps: Iterable[str]) -> inspect.Type:
    """Return the type of the value that *steps* lead to in a ModelTable."""
    kind = bare(inspect.type_info(ModelTable))
    for step in steps:
        match kind:
            case inspect.StructType():
                kind = next(found for name, found, *_ in keys_of(kind) if name == step)
            case inspect.DictType():
                kind = bare(kind.value_type)
            case inspect.ListType():
                kind = bare(kind.item_type)
            case _:
                raise AssertionError(f"{step} leads into a value")
    return kind


def described(kind: inspect.Type) -> str:  # noqa: PLR0911 - a table, top to bottom
    """Describe the values of a type."""
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{described_range(kind)}"
        case inspect.FloatType():
            return f"a number{described_range(kind)}"
        case inspect.StrType(min_length=int(least), max_length=int(most)):
            return f"text of {least} to {most} characters"
        case inspect.StrType():
            return "text"
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, kind.values))}"
        case inspect.EnumType():
            return f"one of {', '.join(each.value for each in kind.cls)}"
        case inspect.ListType():
            at_most = f" (at most {kind.max_length})" if kind.max_length else ""
            return f"a list{at_most}, each {described(bare(kind.item_type))}"
        case inspect.DictType(value_type=inspect.StrType()):
            return "a table of texts"
        case _:
            return "a table"


def described_range(kind: inspect.IntType | inspect.FloatType) -> str:
    """Describe the range of a number."""
    if kind.gt is not None:
        return f" above {kind.gt:,} and at most {kind.le:,}"
    return f" from {kind.ge:,} to {kind.le:,}"
