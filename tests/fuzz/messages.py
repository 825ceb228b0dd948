"""Any request of any method: what the descriptors allow, and what no server expects."""

from __future__ import annotations

from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from fuzz.target import MARK

#: Lengths at the limits of the contract, and far beyond, but within what one message may have.
LENGTHS = [1, 64, 65, 256, 257, 32_768, 32_769, 300_000]

#: Characters of one to four bytes, those that JSON, terminals and C escape, and those that people do not see.
CHARACTERS = [
    "a",
    "é",
    "\u4e2d",
    "\U0001f600",
    "\0",
    "\n",
    '"',
    "\\",
    "\x1b",
    "\u202e",
    "\u200b",
    "\ufeff",
    "\U0010ffff",
]

any_text = st.text(max_size=40).map(lambda text: f"{text}{MARK}{text}")
long_text = st.builds(
    lambda character, length: MARK + character * length, st.sampled_from(CHARACTERS), st.sampled_from(LENGTHS)
)

INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: st.sampled_from([-(2**31), -1, 0, 1, 10, 101, 2**31 - 1]),
    FieldDescriptor.CPPTYPE_INT64: st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 2**63 - 1]),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.sampled_from([-(2**31), -1, 0, 1, 2, 3, 99, 2**31 - 1]),
}

any_words = any_text | long_text | st.just("")

#: Messages that state facts, or tell the memory what to keep.
statements = st.sampled_from(
    [
        f"My name is {MARK}.",
        f"I moved to {MARK}.",
        f"From now on, answer in Spanish. Remember that {MARK}",
        f"I'm allergic to {MARK}, {MARK}s and peanuts.",
        f"Don't remember this: I live in {MARK}.",
        "Forget that.",
    ]
)

#: The values of text fields by name: also words that a field accepts, which nobody would guess.
WORDS = {
    # It may be logged: visible ASCII of the caller's own choice.
    "request_id": st.text(max_size=70),
    "message": statements | any_words,
    "paths": st.sampled_from(["content", "title", "type", "pinned", "expire_time"]) | any_words,
    "type": st.sampled_from(["profile", "preference", "decision", "pattern", "discovery"]) | any_words,
    "types": st.sampled_from(["profile", "preference", "decision", "pattern", "discovery"]) | any_words,
    "memory_types": st.sampled_from(["profile", "preference", "discovery", "summary"]) | any_words,
    "time_zone": st.sampled_from(["Asia/Tokyo", "America/New_York"]) | any_words,
}

#: Seconds of moments in the past and the future, the first and last that are valid, and those beyond.
SECONDS = [-(2**63), -62_135_596_801, -62_135_596_800, -1, 0, 10**9, 4 * 10**9, 253_402_300_799, 253_402_300_800]
NANOS = [-1, 0, 1, 999_999_999, 1_000_000_000]
moments = st.builds(
    lambda seconds, nanos: Timestamp(seconds=seconds, nanos=nanos), st.sampled_from(SECONDS), st.sampled_from(NANOS)
)

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(any_text, inner, max_size=5),
    max_leaves=20,
)


def struct_of(fields: dict[str, Any]) -> Struct:
    """Return JSON as a message."""
    made = Struct()
    made.update(fields)
    return made


WELL_KNOWN: dict[str, st.SearchStrategy[Any]] = {
    Struct.DESCRIPTOR.full_name: st.dictionaries(any_text, json_values, max_size=5).map(struct_of),
    Timestamp.DESCRIPTOR.full_name: moments,
}


def values(field: Any) -> st.SearchStrategy[Any]:
    """Return the values of one field, not repeated."""
    if field.message_type:
        known = WELL_KNOWN.get(field.message_type.full_name)
        return messages(message_factory.GetMessageClass(field.message_type)) if known is None else known
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=64)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return WORDS.get(field.name, any_words)
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return st.floats()
    return INTEGERS[field.cpp_type]


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Return messages of this kind, with some of their fields."""
    fields = {
        field.name: st.lists(values(field), max_size=6) if field.is_repeated else values(field)
        for field in kind.DESCRIPTOR.fields
    }
    user = {"user_id": st.just(MARK) | fields.pop("user_id")} if "user_id" in fields else {}
    return st.fixed_dictionaries(user, optional=fields).map(lambda chosen: kind(**chosen))


def requests(method: MethodDescriptor) -> st.SearchStrategy[Message]:
    """Return requests of a method."""
    return messages(message_factory.GetMessageClass(method.input_type))


def unknown_field(number: int, data: bytes) -> bytes:
    """Return a field of wire type LEN, as a newer client might send it."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    coded = bytearray()
    while value >= 128:
        coded.append(value % 128 + 128)
        value //= 128
    return bytes([*coded, value])
