"""Any request of any method: what the descriptors allow, and what no server expects."""

from __future__ import annotations

from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
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


def values(field: Any) -> st.SearchStrategy[Any]:
    """Return the values of one field, not repeated."""
    if field.message_type:
        if field.message_type.full_name == Struct.DESCRIPTOR.full_name:
            return st.dictionaries(any_text, json_values, max_size=5).map(struct_of)
        return messages(message_factory.GetMessageClass(field.message_type))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=64)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        # It may be logged: visible ASCII of the caller's own choice.
        return st.text(max_size=70) if field.name == "request_id" else any_text | long_text | st.just("")
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
