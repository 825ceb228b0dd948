"""Methods without a stream of requests take exactly one, and reject any other number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor

from batch import cases
from ilab_chat.v1 import chat_pb2
from ilab_chat_service.rpc.interceptors import layers
from rpcs import METHODS, reason
from upstream import Upstream

REQUEST = chat_pb2.ChatRequest(user_id="alice", message="Hi").SerializeToString()


def call(channel: grpc.aio.Channel, path: str, requests: Any) -> Any:
    """Call a method as a stream of requests. On the wire there is no difference."""
    return channel.stream_stream(path)(requests)


async def rejection(channel: grpc.aio.Channel, path: str, requests: Any) -> tuple[str, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call(channel, path, requests):
            pass
    return caught.value.code().name, reason(caught.value), caught.value.details() or ""


@cases("method", [method for method in METHODS if not method.client_streaming])
@cases("requests", [(), (REQUEST, REQUEST)])
async def test_missing_or_second_request_is_rejected_at_once(
    address: str, upstream: Upstream, method: MethodDescriptor, requests: Iterable[bytes]
) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    async with grpc.aio.insecure_channel(address) as channel:
        code, reason, text = await rejection(channel, path, iter(requests))
    assert (code, reason) == ("UNIMPLEMENTED", "INVALID_REQUEST")
    assert text == f"the method takes exactly one message; the call has {'more' if requests else 'none'}"
    assert upstream.requests == []


@pytest.mark.parametrize("first", [[], [REQUEST]])
async def test_missing_request_times_out(
    address: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, first: list[bytes]
) -> None:
    monkeypatch.setattr(layers, "REQUEST_SECONDS", 0.05)

    async def endless() -> Any:
        for each in first:
            yield each
        await asyncio.Event().wait()

    async with grpc.aio.insecure_channel(address) as channel:
        code, reason, _ = await rejection(channel, "/ilab_chat.v1.ChatService/Chat", endless())
    assert (code, reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert upstream.requests == []


async def test_request_sent_as_a_stream_is_answered(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        [answer] = [each async for each in call(channel, "/ilab_chat.v1.ChatService/Chat", iter([REQUEST]))]
    assert chat_pb2.ChatResponse.FromString(answer).reply == "Hello there."
