"""proto3 JSON with the field names of the contract: requests from bodies and parameters, and responses."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from ilab_chat.errors import FieldViolation
from ilab_chat_gateway.problems import Problem, invalid_field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

#: Larger messages are converted on a thread, so that the event loop keeps serving others.
LARGE_BYTES = 65_536

#: Parsing stops at this depth. A JSON schema may be nested 30 levels, and each level of it is two of messages.
MAX_DEPTH = 200

FAILED_FIELD = re.compile(r"Failed to parse (\w+) field")
FAULTY_PATH = re.compile(r'at "?\w+Request\.([a-z0-9_.\[\]]+?)"?\.(?:\n|$)')
UNKNOWN_FIELD = re.compile(r'has no field named "(\w{1,64})"')

M = TypeVar("M", bound="Message")


BOOLEANS = {"true": True, "false": False}


async def from_json(kind: type[M], body: bytes) -> M:
    """Return the message in *body*.

    Raises:
        Problem: it is not JSON, or does not match *kind*.
    """
    if len(body) > LARGE_BYTES:
        return await asyncio.to_thread(parsed, kind, body)
    return parsed(kind, body)


def parsed(kind: type[M], body: bytes) -> M:
    """Return the message in *body*.

    Raises:
        Problem: it is not JSON, or does not match *kind*. The text quotes no value.
    """
    try:
        return json_format.Parse(body.decode(), kind(), max_recursion_depth=MAX_DEPTH)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        fault = str(error)
    # Raised outside the handler: the first exception quotes the body.
    raise refused(fault)


def refused(fault: str) -> Problem:
    """Return the problem of a message that does not parse, from the text of protobuf's error, which quotes values."""
    paths = [path.rstrip(".") for path in FAULTY_PATH.findall(fault)]
    fields = paths[-1:] or FAILED_FIELD.findall(fault)
    if unknown := UNKNOWN_FIELD.search(fault):
        return invalid_field(".".join([*fields, unknown[1]]), "is not a field of the request")
    if fields:
        return invalid_field(".".join(fields), "has the wrong type or an invalid value")
    return Problem("INVALID_REQUEST", "the body must be a JSON object that matches the request")


def from_query(kind: type[M], parameters: Iterable[tuple[str, str]]) -> M:
    """Return the message with *parameters* as its fields. Repeated fields are repeated parameters.

    Raises:
        Problem: a parameter is unknown, repeated or invalid.
    """
    values: dict[str, Any] = {}
    violations = []
    for name, value in parameters:
        field = kind.DESCRIPTOR.fields_by_name.get(name)
        if field is None or name == "user_id" or field.type == FieldDescriptor.TYPE_MESSAGE:
            violations.append(FieldViolation(name[:64], "is not a parameter of this route"))
        elif field.is_repeated:
            values.setdefault(name, []).append(value)
        elif name in values:
            violations.append(FieldViolation(name, "must not be repeated"))
        else:
            values[name] = BOOLEANS.get(value, value) if field.type == FieldDescriptor.TYPE_BOOL else value
    if violations:
        raise Problem("INVALID_FIELD", "a parameter is invalid", violations)
    try:
        return json_format.ParseDict(values, kind())
    except (json_format.ParseError, ValueError) as error:
        fault = str(error)
    raise refused(fault)


async def to_json(message: Message) -> str:
    """Return *message* as one line of JSON."""
    if message.ByteSize() > LARGE_BYTES:
        return await asyncio.to_thread(json_line, message)
    return json_line(message)


def json_line(message: Message) -> str:
    """Return *message* as one line of JSON, with the names of the contract. Unset fields are included."""
    text: str = json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
        ensure_ascii=False,
    )
    return text
