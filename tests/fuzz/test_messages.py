"""Anything at all as the message or the metadata of a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.messages import requests, unknown_field
from fuzz.target import CALL_SECONDS, MARK, Target
from rpcs import METHODS

CODE = grpc.StatusCode

#: Valid statuses for an invalid request: never an internal error, and never no status.
REFUSED = {CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.FAILED_PRECONDITION, CODE.RESOURCE_EXHAUSTED}

each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
any_method = st.sampled_from(METHODS)
marked_bytes = st.builds(lambda before, after: before + MARK.encode() + after, st.binary(), st.binary())


@pytest.fixture(scope="module")
def channel(target: Target) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


def send(channel: grpc.Channel, path: str, data: bytes, metadata: Any = ()) -> grpc.StatusCode:
    """Call a method with these bytes; return the code that its caller gets."""
    method: Any = channel.unary_stream(path)
    call = method(data, metadata=metadata, timeout=CALL_SECONDS)
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        pass
    code: grpc.StatusCode = call.code()
    return code


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


@settings(deadline=None)
@given(method=any_method, data=st.binary(max_size=300) | marked_bytes)
def test_random_bytes_as_messages(target: Target, channel: grpc.Channel, method: MethodDescriptor, data: bytes) -> None:
    assert send(channel, path_of(method), data) in REFUSED | {CODE.OK}
    target.check()


@each_method
@settings(deadline=None, max_examples=max(1, settings().max_examples // 5))
@given(data=st.data())
def test_any_fields_of_any_size_in_all_unicode(
    target: Target, channel: grpc.Channel, method: MethodDescriptor, data: st.DataObject
) -> None:
    request = data.draw(requests(method))
    assert send(channel, path_of(method), request.SerializeToString()) in REFUSED | {CODE.OK}
    target.check()


@settings(deadline=None)
@given(
    method=any_method,
    number=st.sampled_from([15, 16, 2047, 2048, 19_000, 2**29 - 1]),
    data=marked_bytes,
    user=st.sampled_from(["", MARK]),
)
def test_unknown_fields_are_passed_over(
    target: Target, channel: grpc.Channel, method: MethodDescriptor, number: int, data: bytes, user: str
) -> None:
    request = unknown_field(number, data) + unknown_field(1, user.encode())
    assert send(channel, path_of(method), request) in REFUSED | {CODE.OK}
    target.check()


@pytest.mark.parametrize("size", [1 << 20, (4 << 20) - 8, 4 << 20, 16 << 20])
@pytest.mark.parametrize("method", [method for method in METHODS if method.name in {"StreamChat", "SaveObservation"}])
def test_messages_of_maximal_size_are_refused(
    target: Target, channel: grpc.Channel, method: MethodDescriptor, size: int
) -> None:
    request = unknown_field(1, MARK.encode()) + unknown_field(2, MARK[:1].encode() * size)
    assert send(channel, path_of(method), request) in REFUSED
    target.check()


header_names = st.from_regex(r"[a-z0-9_.-]{1,40}", fullmatch=True).filter(lambda name: not name.startswith("grpc-"))
read_names = ["authorization", "traceparent", "grpc-previous-rpc-attempts", "grpc-trace-bin", "user-agent", "cookie"]
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)


@settings(deadline=None)
@given(
    method=any_method,
    pairs=st.lists(st.tuples(st.sampled_from(read_names) | header_names, header_values), max_size=20),
    times=st.sampled_from([1, 1, 10, 300]),
)
def test_floods_of_metadata(
    target: Target, channel: grpc.Channel, method: MethodDescriptor, pairs: list[tuple[str, str]], times: int
) -> None:
    metadata = [(name, value.encode() if name.endswith("-bin") else f"{MARK} {value}") for name, value in pairs] * times
    # Malformed credentials are rejected even if none are required.
    codes = REFUSED | {CODE.OK, CODE.UNAUTHENTICATED}
    assert send(channel, path_of(method), b"\x0a\x01u\x12\x01m", metadata) in codes
    target.check()


@settings(deadline=None)
@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126)))
def test_methods_that_do_not_exist(target: Target, channel: grpc.Channel, path: str) -> None:
    assert send(channel, f"/ilab_chat.v1.ChatService/{MARK}{path}", b"") is CODE.UNIMPLEMENTED
    target.check()
