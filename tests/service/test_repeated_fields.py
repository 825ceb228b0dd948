"""Lists in requests: each has a limit that is checked before any work for its items. A request has room for many."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.struct_pb2 import Struct

from batch import cases
from ilab_chat.v1 import memory_pb2
from ilab_chat_service.rpc.interceptors.layers import has_more_fields
from rpcs import METHODS
from service.talking import Served

#: Of two bytes each, so that the smallest of the limits on a request's size allows them.
ITEMS = 100_000

#: The items of an import are in another message. tests/memory/test_importing.py tests their list.
UNARY = [method for method in METHODS if not method.client_streaming]


def lists_of(message: Descriptor, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldDescriptor]]:
    """Yield each repeated field in *message* and the messages that it has, except schemas."""
    for field in message.fields:
        if field.is_repeated:
            yield (*path, field.name), field
        elif field.message_type and field.message_type is not Struct.DESCRIPTOR:
            yield from lists_of(field.message_type, (*path, field.name))


LISTS = [(method, path, field) for method in UNARY for path, field in lists_of(method.input_type)]


def test_the_lists_of_the_contract_are_found() -> None:
    found = {".".join(path) for _, path, _ in LISTS}
    assert found >= {"types", "types_exclude", "update_mask.paths", "context", "memory_types"}


def requests_in_memory() -> int:
    return sum(isinstance(each, memory_pb2.SearchObservationsRequest) for each in gc.get_objects())


async def test_refused_requests_are_freed_without_a_garbage_collection(served: Served) -> None:
    request = memory_pb2.SearchObservationsRequest(user_id="alice", query="tea", types=["x"] * 17).SerializeToString()
    search: Any = served.channel.unary_unary("/ilab_chat.v1.MemoryService/SearchObservations")
    gc.collect()
    gc.disable()
    try:
        before = requests_in_memory()
        for error in await asyncio.gather(*(search(request) for _ in range(8)), return_exceptions=True):
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        # Callers get the status a moment before the handlers end.
        for _ in range(1000):
            await asyncio.sleep(0)
        assert requests_in_memory() == before
    finally:
        gc.enable()


def test_fields_are_counted_as_the_parser_does() -> None:
    observation = memory_pb2.Observation(id=2**40, content="x" * 300, content_hash=b"\xff")
    request = memory_pb2.SearchObservationsRequest(user_id="alice", page_size=-1, types=["", "x"])
    for message, fields in ((observation, 3), (request, 4)):
        content = message.SerializeToString() + b"\x79" + bytes(8) + b"\x7d" + bytes(4)
        assert not has_more_fields(content, fields + 2)
        assert has_more_fields(content, fields + 1)
    assert not any(has_more_fields(broken, 1) for broken in (b"\xff" * 1000, b"\x0a", b"\x0b\x0b"))


@cases(("method", "path", "field"), LISTS)
async def test_long_list_is_refused_by_its_length(
    served: Served, method: MethodDescriptor, path: tuple[str, ...], field: FieldDescriptor
) -> None:
    request: Any = message_factory.GetMessageClass(method.input_type)(user_id="alice")
    if "message" in method.input_type.fields_by_name:
        request.message = "hi"
    *parents, name = path
    holder = request
    for parent in parents:
        holder = getattr(holder, parent)
    item = message_factory.GetMessageClass(field.message_type)() if field.message_type else ""
    getattr(holder, name).extend([item] * ITEMS)
    make = served.channel.unary_stream if method.server_streaming else served.channel.unary_unary
    call: Any = make(
        f"/{method.containing_service.full_name}/{method.name}", request_serializer=type(request).SerializeToString
    )(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [each async for each in call] if method.server_streaming else await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    # A list of the request itself is refused before it is parsed.
    expected = f"{'.'.join(path)}: must" if parents else "the request must"
    assert caught.value.details().startswith(f"{expected} have at most ")  # type: ignore[union-attr]
