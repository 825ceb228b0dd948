from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest

from ilab_chat_service.failures import Failure
from ilab_chat_service.model.model_api import RequestTemplate
from ilab_chat_service.model.model_choice import ModelClient, open_model
from ilab_chat_service.settings import Settings
from ilab_chat_service.telemetry.call_record import CALL, Call
from ilab_chat_service.values import ChatMessage, Generation
from upstream import Reply, Request, Upstream

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def model(settings: Settings) -> AsyncIterator[ModelClient]:
    async with open_model(settings) as model:
        yield model


async def text_of(model: ModelClient, message: str = "hello") -> str:
    async with model.choose(Generation()).answer([ChatMessage("user", message)], math.inf) as answer:
        return "".join([text async for text in answer if isinstance(text, str)])


def headers_of(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


async def test_later_requests_have_url_and_headers_of_the_first(model: ModelClient, upstream: Upstream) -> None:
    assert await text_of(model) == await text_of(model, "hello, this one is longer") == "Hello there."
    first, later = upstream.requests
    assert first.path == later.path
    assert headers_of(first).pop("content-length") < headers_of(later).pop("content-length")
    differing = {name for name, _ in headers_of(first).items() ^ headers_of(later).items()}
    assert differing == {"content-length"}
    assert [message["content"] for request in upstream.requests for message in request.messages] == [
        "hello",
        "hello, this one is longer",
    ]


async def test_header_of_a_trace_is_sent_with_its_own_request_only(model: ModelClient, upstream: Upstream) -> None:
    for traceparent in (TRACEPARENT, "", TRACEPARENT[:-1] + "0", ""):
        CALL.set(Call(method="test", traceparent=traceparent))
        await text_of(model)
    sent = [headers_of(request).get("traceparent", "") for request in upstream.requests]
    assert sent == [TRACEPARENT, "", TRACEPARENT[:-1] + "0", ""]


async def test_new_key_is_sent_from_the_next_request_on(model: ModelClient, upstream: Upstream) -> None:
    key = ChangingKey("first-key")
    model.upstreams[0].profile = replace(model.upstreams[0].profile, key=key)
    for key.value in ("first-key", "first-key", "other-key", "other-key"):
        await text_of(model)
    sent = [headers_of(request)["authorization"] for request in upstream.requests]
    assert sent == ["Bearer first-key"] * 2 + ["Bearer other-key"] * 2


async def test_request_with_an_old_key_is_not_sent_again(model: ModelClient, upstream: Upstream) -> None:
    key = ChangingKey("first-key")
    model.upstreams[0].profile = replace(model.upstreams[0].profile, key=key)
    upstream.replies(Reply(hold_before=0))
    first = asyncio.create_task(text_of(model))
    await asyncio.to_thread(upstream.wait_for, 1)
    key.value = "other-key"
    await text_of(model)
    upstream.release()
    await first
    await text_of(model)
    sent = [headers_of(request)["authorization"] for request in upstream.requests]
    assert sent == ["Bearer first-key", "Bearer other-key", "Bearer other-key"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=307, headers={"location": "http://127.0.0.1:1/other"}),
        Reply(status=400, body=b'{"error": {"message": "bad", "code": "context_length_exceeded"}}'),
        Reply(status=400, body=b'{"error": {"code": "x", "param": "temperature"}}', headers={"x-request-id": "req-1"}),
        Reply(status=400, body=b'["not an object"]'),
        Reply(status=401, body=b" plain text "),
        Reply(status=404, body=b'{"detail": "nothing here"}'),
        Reply(status=413, body=b"\xff\xfe"),
        Reply(status=429, headers={"retry-after": "7"}),
        Reply(status=429, body=b'{"error": {"code": "insufficient_quota"}}'),
        Reply(status=500, body=b"[" * 50_000),
        Reply(status=503),
        Reply(raw=[b"this is not HTTP\r\n\r\n"]),
        Reply(raw=[b""]),
        Reply(raw=[b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"]),
        Reply(body=b"<html>"),
        Reply(headers={"content-encoding": "br"}, body=b"x"),
        Reply(headers={"content-encoding": "gzip"}, body=b"not gzip"),
    ],
    ids=repr,
)
async def test_later_request_fails_like_a_first_one(settings: Settings, upstream: Upstream, reply: Reply) -> None:
    upstream.replies(reply, Reply(), reply, Reply())
    async with open_model(settings) as model:
        first = await failure_of(model)
        assert await text_of(model) == "Hello there."
        later = await failure_of(model)
        assert await text_of(model) == "Hello there."
    assert (type(later), str(later), later.cause) == (type(first), str(first), first.cause)
    assert later.retry_after_seconds == first.retry_after_seconds


async def test_unreachable_api_fails_like_at_the_first_request(settings: Settings, upstream: Upstream) -> None:
    async with open_model(settings) as fresh, open_model(settings) as model:
        await text_of(model)
        upstream.shutdown()
        upstream.server_close()
        first, later = await failure_of(fresh), await failure_of(model)
    assert (type(later), str(later)) == (type(first), str(first))
    assert later.cause["upstream.error"] in {first.cause["upstream.error"], "disconnected"}


@pytest.mark.slow
async def test_silent_api_fails_after_the_timeout(settings: Settings, upstream: Upstream) -> None:
    async with open_model(replace(settings, model_timeout_seconds=2.0)) as model:
        await text_of(model)
        upstream.replies(Reply(hold_before=0))
        failure = await failure_of(model)
    assert failure.cause["upstream.error"] == "timeout"


async def test_no_prompt_is_kept_for_later_requests(model: ModelClient) -> None:
    await text_of(model, "a very private message")
    # Those of other tests may not be collected yet.
    found = [each for each in gc.get_objects() if isinstance(each, RequestTemplate)]
    assert found
    kept = [value for each in found for value in vars(each).values()]
    assert not any(isinstance(each, bytes | httpx2.Request) for each in kept)
    assert "private message" not in repr(kept)


async def failure_of(model: ModelClient) -> Failure:
    with pytest.raises(Failure) as caught:
        await text_of(model)
    return caught.value


class ChangingKey:
    """A key that a test changes."""

    def __init__(self, value: str) -> None:
        self.value = value

    async def current(self) -> str:
        return self.value
