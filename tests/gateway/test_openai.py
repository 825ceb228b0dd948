"""The OpenAI-compatible API, called with the openai package."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from batch import cases
from http_gateway import Client
from ilab_chat import AsyncChatClient
from upstream import Reply, Upstream

HI: Any = [{"role": "user", "content": "Hi, my name is Alice and I love hiking."}]


@pytest.fixture
async def client(web: Client) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="any", base_url=f"http://{web.address}/v1/openai", max_retries=0) as client:
        yield client


async def test_completion_is_answered_and_remembered(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    answer = await client.chat.completions.create(model="ilab-chat", messages=HI, user="alice", temperature=0.5)
    assert answer.choices[0].message.content == "Hello there."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (20, 5)
    assert answer.id.startswith("chatcmpl-")
    await client.chat.completions.create(
        model="ilab-chat", messages=[{"role": "user", "content": "What do I love?"}], user="alice"
    )
    assert upstream.requests[0].body["temperature"] == 0.5
    assert upstream.requests[0].body["model"] == "test-model"
    assert "I love hiking" in upstream.requests[1].system


async def test_stream_has_text_finish_reason_and_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="ilab-chat", messages=HI, user="alice", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello there."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 25


async def test_system_messages_are_instructions_of_the_call(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    messages: Any = [
        {"role": "system", "content": "Answer in rhyme."},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "Earlier question"},
        {"role": "assistant", "content": "Earlier answer"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    raw = await client.chat.completions.with_raw_response.create(model="ilab-chat", messages=messages, user="alice")
    assert raw.headers["x-ignored-messages"] == "2"
    assert "Answer in rhyme.\n\nBe brief." in upstream.requests[0].system
    assert upstream.requests[0].said == ["Hi"]


async def test_headers_name_user_and_conversation(client: openai.AsyncOpenAI, address: str) -> None:
    headers = {"X-User-Id": "zoe", "X-Conversation-Id": "work", "Idempotency-Key": "k"}
    for _ in range(2):
        answer = await client.chat.completions.create(model="ilab-chat", messages=HI, extra_headers=headers)
    extra: Any = answer.model_extra
    assert extra["ilab_chat"]["replayed"] is True
    async with AsyncChatClient(address) as direct:
        [session] = [each async for each in direct.memory.list_sessions("zoe")]
    assert session.conversation_id == "work"


async def test_response_format_and_limits_reach_the_model(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    schema: Any = {"name": "answer", "strict": True, "schema": {"type": "object"}}
    await client.chat.completions.create(
        model="ilab-chat",
        messages=HI,
        user="alice",
        max_completion_tokens=7,
        stop="END",
        seed=3,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    body = upstream.requests[0].body
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (body["stop"], body["seed"]) == (["END"], 3)


@cases(
    ("parameters", "param"),
    [
        ({"user": None}, "user"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}, *HI]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "messages[0].content",
        ),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 9}, "temperature"),
        ({"reasoning_effort": "heroic"}, "reasoning_effort"),
        ({"extra_body": {"wishes": 1}}, "wishes"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": True}, "top_p"),
        ({"seed": 1.5}, "seed"),
        ({"max_tokens": "7"}, "max_tokens"),
        ({"max_tokens": 10**400}, "max_tokens"),
        ({"max_tokens": -1}, "max_completion_tokens"),
        ({"stop": {"a": 1}}, "stop"),
        ({"extra_body": {"model": []}}, "model"),
        ({"extra_body": {"user": 1}}, "user"),
        ({"extra_body": {"stream": "false"}}, "stream"),
        ({"extra_body": {"stream_options": {"include_usage": "no"}}}, "stream_options"),
        ({"messages": [{"role": [], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages[0].name"),
        ({"messages": [{"role": "system", "content": "x", "name": "bob"}, *HI]}, "messages[0].name"),
    ],
)
async def test_parameter_that_cannot_be_honoured_is_refused(
    client: openai.AsyncOpenAI, upstream: Upstream, parameters: dict[str, Any], param: str
) -> None:
    arguments: Any = {"model": "ilab-chat", "messages": HI, "user": "alice"} | parameters
    arguments = {name: value for name, value in arguments.items() if value is not None}
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(**arguments)
    assert refused.value.param == param
    assert refused.value.code == "INVALID_FIELD"
    assert upstream.requests == []


async def test_failures_have_the_classes_of_the_package(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.replies(Reply(status=429, headers={"retry-after": "7"}))
    with pytest.raises(openai.RateLimitError) as limited:
        await client.chat.completions.create(model="ilab-chat", messages=HI, user="alice")
    assert limited.value.code == "MODEL_RATE_LIMITED"
    assert limited.value.response.headers["retry-after"] == "7"
    assert limited.value.response.headers["x-should-retry"] == "true"
    upstream.replies(Reply(pieces=("a", "b", "c"), cut_before=2))
    with pytest.raises(openai.InternalServerError) as broken:
        await client.chat.completions.create(model="ilab-chat", messages=HI, user="alice")
    assert broken.value.response.headers["x-should-retry"] == "false"


async def test_failure_in_a_stream_is_raised(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("a", "b", "c"), cut_before=2))
    stream = await client.chat.completions.create(model="ilab-chat", messages=HI, user="alice", stream=True)
    with pytest.raises(openai.APIError) as broken:
        _ = [chunk async for chunk in stream]
    assert broken.value.code == "MODEL_INTERRUPTED"


async def test_stream_that_is_closed_stops_the_model(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    stream = await client.chat.completions.create(model="ilab-chat", messages=HI, user="alice", stream=True)
    async for _ in stream:
        break
    await stream.close()
    assert await asyncio.to_thread(upstream.requests[0].gone.wait, 10)


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["ilab-chat"]
    assert (await client.models.retrieve("ilab-chat")).id == "ilab-chat"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-4o")


async def test_other_model_is_asked_for_by_name(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    await client.chat.completions.create(model="other-model", messages=HI, user="alice")
    assert upstream.requests[0].body["model"] == "other-model"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 10_000,
        b'{"user": "a", "user": "b"}',
        b'{"\\ud800": 1}',
        '{"user": "a"}'.encode("utf-16"),
    ],
)
async def test_body_that_is_not_an_object_is_refused(web: Client, body: bytes) -> None:
    answer = await web.post("/v1/openai/chat/completions", body)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"
