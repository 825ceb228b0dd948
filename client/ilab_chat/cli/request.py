"""The options of `chat` and `preview` that describe a request, and the request that they make."""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from google.protobuf import struct_pb2

from ilab_chat.cli import files, options, output
from ilab_chat.v1.chat_pb2 import (
    ContextDocument,
    GenerationOptions,
    JsonObjectFormat,
    JsonSchemaFormat,
    MemoryMode,
    ReasoningEffort,
    ResponseFormat,
)

MEMORY_MODES: Mapping[str, MemoryMode.ValueType] = {
    "read-write": MemoryMode.MEMORY_MODE_READ_WRITE,
    "read-only": MemoryMode.MEMORY_MODE_READ_ONLY,
    "off": MemoryMode.MEMORY_MODE_OFF,
}
EFFORTS: Mapping[str, ReasoningEffort.ValueType] = {
    name.removeprefix("REASONING_EFFORT_").lower(): value for name, value in ReasoningEffort.items() if value
}
GENERATION_FIELDS = ("model", "temperature", "top_p", "max_output_tokens", "stop_sequences", "seed")


class Fields(TypedDict):
    """The arguments that `ChatClient.chat`, `stream_chat` and `preview_prompt` share."""

    conversation_id: str
    instructions: str
    context: Sequence[ContextDocument]
    time_zone: str
    memory_types: Sequence[str]
    generation: GenerationOptions | None
    memory_mode: MemoryMode.ValueType


def add_message(parser: argparse.ArgumentParser, user_help: str) -> None:
    """Add the message and the user."""
    parser.add_argument(
        "message",
        nargs="*",
        metavar="MESSAGE",
        help="the message; `-`, or no message in a pipe, reads standard input",
    )
    parser.add_argument("--user", required=True, metavar="ID", help=user_help)


def add_memory(parser: argparse.ArgumentParser, mode_help: str) -> argparse._ArgumentGroup:
    """Add the options about memory."""
    group = parser.add_argument_group("memory")
    group.add_argument(
        "--conversation", default="", metavar="ID", help="conversation (default: the user's default one)"
    )
    group.add_argument("--memory-mode", choices=MEMORY_MODES, help=f"{mode_help} (default: read-write)")
    group.add_argument(
        "--memory-type",
        action="append",
        default=[],
        metavar="TYPE",
        help=f"type of observations that may enter the prompt: {options.TYPES}; repeatable (default: all)",
    )
    return group


def add_prompt(parser: argparse.ArgumentParser) -> None:
    """Add what the caller puts into the prompt."""
    group = parser.add_argument_group("prompt")
    group.add_argument("--instructions", default="", metavar="TEXT", help="instructions for this call; not stored")
    group.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="FILE",
        help="text file for the model to use as data; not stored; up to 32 times",
    )
    group.add_argument(
        "--time-zone", default="", metavar="NAME", help="time zone of the user, such as Europe/Berlin (default: UTC)"
    )


def add_generation(parser: argparse.ArgumentParser) -> None:
    """Add one option for each field of GenerationOptions."""
    group = parser.add_argument_group("generation (the server has the defaults)")
    group.add_argument("--model", metavar="NAME", help="model that answers")
    group.add_argument("--temperature", type=float, metavar="T", help="sampling temperature, 0 to 2")
    group.add_argument("--top-p", type=float, metavar="P", help="share of probability mass considered, up to 1")
    group.add_argument("--max-output-tokens", type=options.int32, metavar="N", help="maximum tokens in the reply")
    group.add_argument(
        "--stop", dest="stop_sequences", action="append", metavar="TEXT", help="text that ends the reply; up to 4 times"
    )
    group.add_argument("--seed", type=options.int32, metavar="N", help="seed for sampling")
    group.add_argument("--reasoning-effort", choices=EFFORTS, help="how much a reasoning model should think")
    formats = group.add_mutually_exclusive_group()
    formats.add_argument("--json-reply", action="store_true", help="the reply is one JSON object")
    formats.add_argument("--json-schema", metavar="FILE", help="the reply is JSON that matches the schema in this file")


def read_message(words: Sequence[str]) -> str | None:
    """Return the message. None: no message was given, and standard input is a terminal."""
    if words and list(words) != ["-"]:
        return " ".join(words)
    if not words and sys.stdin is not None and sys.stdin.isatty():
        return None
    if sys.stdin is None:
        raise output.CommandError("there is no message, and standard input is closed", output.EXIT_USAGE)
    try:
        message = sys.stdin.buffer.read().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise output.CommandError("standard input is not UTF-8 text", output.EXIT_USAGE) from None
    if not message:
        raise output.CommandError(
            "there is no message: pass one as an argument or on standard input", output.EXIT_USAGE
        )
    return message


def fields_of(arguments: argparse.Namespace) -> Fields:
    """Return the request's fields from the options. The server chooses those that were not given.

    Raises:
        CommandError: a file cannot be read, or an option is not valid Unicode.
    """
    try:
        return Fields(
            conversation_id=arguments.conversation,
            instructions=arguments.instructions,
            context=[ContextDocument(title=Path(name).name, text=files.read_text(name)) for name in arguments.context],
            time_zone=arguments.time_zone,
            memory_types=arguments.memory_type,
            generation=generation(arguments),
            memory_mode=MEMORY_MODES.get(arguments.memory_mode, MemoryMode.MEMORY_MODE_UNSPECIFIED),
        )
    except UnicodeEncodeError:
        raise output.CommandError(
            "an option, a file name or the schema is not valid Unicode", output.EXIT_USAGE
        ) from None


def generation(arguments: argparse.Namespace) -> GenerationOptions | None:
    """Return the options for the model. None: none was given."""
    given: dict[str, Any] = {
        name: value for name in GENERATION_FIELDS if (value := getattr(arguments, name)) is not None
    }
    if arguments.reasoning_effort:
        given["reasoning_effort"] = EFFORTS[arguments.reasoning_effort]
    if arguments.json_reply:
        given["response_format"] = ResponseFormat(json_object=JsonObjectFormat())
    if arguments.json_schema:
        given["response_format"] = ResponseFormat(json_schema=schema(arguments.json_schema))
    return GenerationOptions(**given) if given else None


def schema(name: str) -> JsonSchemaFormat:
    """Return the schema in the file *name*, named after the file.

    Raises:
        CommandError: the file cannot be read, or is not a JSON object.
    """
    try:
        value = json.loads(files.read_text(name))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise output.CommandError(f"{name} is not a JSON object", output.EXIT_USAGE)
    struct = struct_pb2.Struct()
    struct.update(value)
    return JsonSchemaFormat(name=re.sub(r"[^A-Za-z0-9_-]", "_", Path(name).stem)[:64], schema=struct)
