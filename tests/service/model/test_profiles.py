"""Models of a file, end to end: from the caller's request to the request at the upstream."""

from __future__ import annotations

import asyncio
import base64
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from upstream import Reply, Upstream, running

Stub: TypeAlias = "chat_pb2_grpc.ChatServiceAsyncStub"
Options: TypeAlias = chat_pb2.GenerationOptions
Serve: TypeAlias = Callable[[str], AbstractAsyncContextManager[Stub]]


@pytest.fixture
def serve(settings: Settings, tmp_path: Path) -> Serve:
    """Run a server with a models file."""

    @asynccontextmanager
    async def served(text: str) -> AsyncIterator[Stub]:
        path = tmp_path / "models.toml"
        path.write_text(text)
        of_file = replace(settings, openai_base_url="", openai_model="", models_file=str(path))
        async with serving(of_file) as address, grpc.aio.insecure_channel(address) as channel:
            yield chat_pb2_grpc.ChatServiceStub(channel)

    return served


@pytest.fixture
def other() -> Iterator[Upstream]:
    with running() as server:
        yield server


def model(upstream: Upstream, keys: str = "", name: str = "m") -> str:
    return f'[models.{name}]\nbase_url = "{upstream.base_url}"\n{keys}\n'


def request(message: str = "Hi", **options: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(user_id="alice", message=message, generation=Options(**options))


def reason_of(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """Return the reason of a status and its field."""
    packed = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(packed).details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return info.reason, "".join(violation.field for violation in bad.field_violations)


def headers(upstream: Upstream, index: int = -1) -> dict[str, str]:
    return {name.lower(): value for name, value in upstream.requests[index].headers.items()}


async def test_request_to_a_minimal_model_contains_only_the_callers_options(serve: Serve, upstream: Upstream) -> None:
    async with serve(model(upstream)) as stub:
        assert (await stub.Chat(request())).reply == "Hello there."
    [sent] = upstream.requests
    assert sent.path == "/v1/chat/completions"
    assert sent.body.keys() == {"model", "messages", "stream", "stream_options"}
    assert sent.body["model"] == "m"
    assert [message["role"] for message in sent.messages] == ["system", "user"]
    assert "authorization" not in headers(upstream)


async def test_alias_is_mapped_to_the_models_name(serve: Serve, upstream: Upstream) -> None:
    async with serve(model(upstream, 'model = "vendor/big-1.5:free"', name='"gpt-4.1"')) as stub:
        await stub.Chat(request(model="gpt-4.1"))
        await stub.Chat(request())
    assert [each.body["model"] for each in upstream.requests] == ["vendor/big-1.5:free"] * 2


async def test_each_model_has_its_own_api_and_the_default_answers_without_a_name(
    serve: Serve, upstream: Upstream, other: Upstream
) -> None:
    text = f'default = "n"\n{model(upstream)}{model(other, name="n")}'
    async with serve(text) as stub:
        await stub.Chat(request())
        await stub.Chat(request(model="m"))
        await stub.Chat(request(model="n"))
    assert [each.body["model"] for each in other.requests] == ["n", "n"]
    assert [each.body["model"] for each in upstream.requests] == ["m"]


@pytest.mark.parametrize(
    ("path", "keys", "called"),
    [
        ("", "", "/chat/completions"),
        ("/", "", "/chat/completions"),
        ("/a/b//", "", "/a/b/chat/completions"),
        ("/a?x=1&y=%20", "", "/a/chat/completions?x=1&y=%20"),
        ("/a", 'query = { q = "a b&c", r = "" }', "/a/chat/completions?q=a+b%26c&r="),
        ("/a?x=1", 'query.q = "2"', "/a/chat/completions?x=1&q=2"),
        (
            "/openai/deployments/d",
            'api_version = "2024-10-21"\nquery.q = "2"',
            "/openai/deployments/d/chat/completions?api-version=2024-10-21&q=2",
        ),
    ],
)
async def test_path_and_query_of_the_url(serve: Serve, upstream: Upstream, path: str, keys: str, called: str) -> None:
    base_url = upstream.base_url.removesuffix("/v1") + path
    async with serve(f'[models.m]\nbase_url = "{base_url}"\n{keys}\n') as stub:
        await stub.Chat(request())
    assert upstream.requests[0].path == called


async def test_key_of_a_variable(serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "k-1")
    async with serve(model(upstream, 'api_key_env = "SOME_KEY"')) as stub:
        await stub.Chat(request())
    assert headers(upstream)["authorization"] == "Bearer k-1"


async def test_key_of_azure_is_sent_in_its_own_header_only(
    serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "k-1")
    async with serve(model(upstream, 'api_key_env = "SOME_KEY"\napi_key_header = "api-key"')) as stub:
        await stub.Chat(request())
    assert headers(upstream)["api-key"] == "k-1"
    assert "authorization" not in headers(upstream)


async def test_key_in_the_authorization_header_is_sent_unchanged(
    serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "k-1")
    async with serve(model(upstream, 'api_key_env = "SOME_KEY"\napi_key_header = "Authorization"')) as stub:
        await stub.Chat(request())
    assert headers(upstream)["authorization"] == "k-1"


async def test_login_of_the_url_is_sent_as_basic_authorization(serve: Serve, upstream: Upstream) -> None:
    base_url = upstream.base_url.replace("//", "//us%40er:pa%3Ass@")
    async with serve(f'[models.m]\nbase_url = "{base_url}"\n') as stub:
        await stub.Chat(request())
    assert headers(upstream)["authorization"] == f"Basic {base64.b64encode(b'us@er:pa:ss').decode()}"
    assert headers(upstream)["host"] == f"127.0.0.1:{upstream.server_port}"


@pytest.mark.slow
async def test_key_file_is_hot_reloaded(serve: Serve, upstream: Upstream, tmp_path: Path) -> None:
    key_file, newer = tmp_path / "key", tmp_path / "newer"
    await asyncio.to_thread(key_file.write_text, "k-1\n")
    async with serve(model(upstream, f'api_key_file = "{key_file}"')) as stub:
        await stub.Chat(request())
        assert headers(upstream)["authorization"] == "Bearer k-1"

        async def replaced_by(content: str) -> None:
            await asyncio.to_thread(newer.write_text, content)
            await asyncio.to_thread(os.replace, newer, key_file)

        await replaced_by("k-2")
        async with asyncio.timeout(30):
            while headers(upstream)["authorization"] != "Bearer k-2":
                await asyncio.sleep(0.1)
                await stub.Chat(request())
        # An empty key file keeps the previous key.
        await replaced_by("")
        await asyncio.sleep(1.2)
        await stub.Chat(request())
        assert headers(upstream)["authorization"] == "Bearer k-2"


async def test_headers_are_added_and_replace_those_of_the_client(serve: Serve, upstream: Upstream) -> None:
    keys = 'headers = { X-Title = "My App", User-Agent = "shop/1", Authorization = "Token t" }'
    async with serve(model(upstream, keys)) as stub:
        await stub.Chat(request())
    assert (
        headers(upstream).items() >= {"x-title": "My App", "user-agent": "shop/1", "authorization": "Token t"}.items()
    )
    names = [name.lower() for name in upstream.requests[0].headers]
    assert len(names) == len(set(names))


async def test_body_fields_are_added(serve: Serve, upstream: Upstream) -> None:
    keys = "[models.m.body]\ntop_k = 40\nstore = false\nchat_template_kwargs = { enable_thinking = false }"
    async with serve(model(upstream, keys)) as stub:
        await stub.Chat(request())
    added = {"top_k": 40, "store": False, "chat_template_kwargs": {"enable_thinking": False}}
    assert upstream.requests[0].body.items() >= added.items()


@pytest.mark.parametrize("keys", ["prompt_tokens = 100", "context_window = 120\ncaps.max_output_tokens = 20"])
async def test_prompt_stays_below_the_models_budget(serve: Serve, upstream: Upstream, keys: str) -> None:
    small_model = model(upstream, keys, name="small")
    async with serve(f'default = "m"\n{model(upstream)}{small_model}') as stub:
        for number in range(4):
            await stub.Chat(request(message=f"My hobby number {number} is {'hiking ' * 30}"))
        await stub.Chat(request(message="What are my hobbies?"))
        await stub.Chat(request(message="What are my hobbies?", model="small"))
    large, small = (sum(len(each["content"]) for each in sent.messages) for sent in upstream.requests[-2:])
    assert small < 600 < large


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ("", "max_tokens"),
        ('token_limit = "max_tokens"', "max_tokens"),
        ('token_limit = "max_completion_tokens"', "max_completion_tokens"),
        ('token_limit = "none"', None),
    ],
)
async def test_token_limit_has_the_name_of_the_profile(
    serve: Serve, upstream: Upstream, keys: str, field: str | None
) -> None:
    async with serve(model(upstream, keys)) as stub:
        await stub.Chat(request(max_output_tokens=9))
    sent = upstream.requests[0].body
    limits = {name: sent[name] for name in ("max_tokens", "max_completion_tokens", "none") if name in sent}
    assert limits == ({field: 9} if field else {})


async def test_usage_is_not_requested(serve: Serve, upstream: Upstream) -> None:
    async with serve(model(upstream, "include_usage = false")) as stub:
        await stub.Chat(request())
    assert upstream.requests[0].body["stream"] is True
    assert "stream_options" not in upstream.requests[0].body


async def test_model_without_streaming_answers_stream_chat(serve: Serve, upstream: Upstream) -> None:
    async with serve(model(upstream, "streaming = false")) as stub:
        streamed = chat_pb2.StreamChatRequest(user_id="alice", message="Hi")
        events = [event async for event in stub.StreamChat(streamed)]
        unary = await stub.Chat(request())
    assert [event.WhichOneof("event") for event in events] == ["started", "text_delta", "completed"]
    assert events[1].text_delta.text == events[-1].completed.reply == unary.reply == "Hello there."
    assert events[-1].completed.usage == unary.usage
    assert unary.usage.input_tokens == 20
    for sent in upstream.requests:
        assert "stream" not in sent.body
        assert "stream_options" not in sent.body


@pytest.mark.parametrize(
    ("role", "roles"),
    [("system", ["system", "user"]), ("developer", ["developer", "user"]), ("user", ["user"])],
)
async def test_role_of_the_system_text(serve: Serve, upstream: Upstream, role: str, roles: list[str]) -> None:
    async with serve(model(upstream, f'system_role = "{role}"')) as stub:
        await stub.Chat(request(message="Ahoy"))
        await stub.Chat(request(message="Hello"))
    first, second = upstream.requests
    assert [message["role"] for message in first.messages] == roles
    assert first.messages[0]["content"].startswith("You are a helpful assistant.")
    assert first.messages[-1]["content"].endswith("Ahoy")
    assert [message["role"] for message in second.messages] == [*roles, "assistant", "user"]


async def test_dropped_options_are_not_sent(serve: Serve, upstream: Upstream) -> None:
    every: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.5,
        "max_output_tokens": 9,
        "stop_sequences": ["x"],
        "seed": 1,
        "reasoning_effort": "REASONING_EFFORT_LOW",
        "response_format": {"json_object": {}},
    }
    async with serve(model(upstream, f"drop = {list(every)}")) as stub:
        await stub.Chat(request(**every))
    assert upstream.requests[0].body.keys() == {"model", "messages", "stream", "stream_options"}


async def test_defaults_apply_to_calls_that_do_not_set_them(serve: Serve, upstream: Upstream) -> None:
    keys = """
    [models.m.defaults]
    temperature = 0
    top_p = 0.25
    max_output_tokens = 50
    stop_sequences = ["END"]
    seed = 7
    reasoning_effort = "low"
    """
    async with serve(model(upstream, keys)) as stub:
        await stub.Chat(request())
        await stub.Chat(
            request(
                temperature=1,
                top_p=0.5,
                max_output_tokens=9,
                stop_sequences=["x"],
                seed=0,
                reasoning_effort="REASONING_EFFORT_HIGH",
            )
        )
    first, second = (each.body for each in upstream.requests)
    ours = {"top_p": 0.25, "temperature": 0, "max_tokens": 50, "stop": ["END"], "seed": 7, "reasoning_effort": "low"}
    theirs = {"top_p": 0.5, "temperature": 1, "max_tokens": 9, "stop": ["x"], "seed": 0, "reasoning_effort": "high"}
    assert first.items() >= ours.items()
    assert second.items() >= theirs.items()


async def test_cap_limits_the_callers_value_and_is_the_default(serve: Serve, upstream: Upstream) -> None:
    async with serve(model(upstream, "caps.max_output_tokens = 100")) as stub:
        await stub.Chat(request(max_output_tokens=9))
        await stub.Chat(request(max_output_tokens=1000))
        await stub.Chat(request())
    assert [each.body["max_tokens"] for each in upstream.requests] == [9, 100, 100]


async def test_default_below_the_cap_is_sent(serve: Serve, upstream: Upstream) -> None:
    async with serve(model(upstream, "caps.max_output_tokens = 100\ndefaults.max_output_tokens = 50")) as stub:
        await stub.Chat(request())
        await stub.Chat(request(max_output_tokens=70))
        await stub.Chat(request(max_output_tokens=1000))
    assert [each.body["max_tokens"] for each in upstream.requests] == [50, 70, 100]


def with_fallback(upstream: Upstream, other: Upstream) -> str:
    first = model(upstream, 'fallback = "n"')
    second = model(other, 'model = "second"', name="n")
    return f'default = "m"\n{first}{second}'


def error(status: int, code: str) -> Reply:
    return Reply(status=status, body=f'{{"error": {{"message": "no", "code": "{code}"}}}}'.encode())


@pytest.mark.parametrize(
    "failure",
    [
        Reply(status=503),
        Reply(status=401, body=b'{"error": {"message": "no", "code": "insufficient_quota"}}'),
        error(429, "rate_limit_exceeded"),
        error(429, "insufficient_quota"),
        Reply(cut_before=0),
        Reply(events=['{"error": {"code": 429}}']),
    ],
)
async def test_fallback_answers_if_a_model_cannot(
    serve: Serve, upstream: Upstream, other: Upstream, failure: Reply
) -> None:
    upstream.replies(failure)
    async with serve(with_fallback(upstream, other)) as stub:
        answer = await stub.Chat(request(temperature=0.5))
    assert answer.reply == "Hello there."
    [sent] = other.requests
    assert sent.body["model"] == "second"
    assert sent.body["temperature"] == 0.5
    assert sent.messages == upstream.requests[0].messages


async def test_model_of_the_answer_is_the_one_that_answered(serve: Serve, upstream: Upstream, other: Upstream) -> None:
    upstream.replies(Reply(status=503))
    word = '{"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}'
    other.replies(Reply(events=[word]))
    async with serve(with_fallback(upstream, other)) as stub:
        answer = await stub.Chat(request())
    assert answer.model == "second"


async def test_fallbacks_form_a_chain(serve: Serve, upstream: Upstream, other: Upstream) -> None:
    upstream.replies(Reply(status=503), error(429, "rate_limit_exceeded"))
    first = model(upstream, 'fallback = "b"', name="a")
    second = model(upstream, 'fallback = "c"', name="b")
    third = model(other, name="c")
    async with serve(f'default = "a"\n{first}{second}{third}') as stub:
        assert (await stub.Chat(request())).reply == "Hello there."
        other.server_close()
        upstream.replies(Reply(status=503), error(429, "insufficient_quota"))
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stub.Chat(request())
    assert [each.body["model"] for each in upstream.requests] == ["a", "b", "a", "b"]
    assert reason_of(told.value)[0] == "MODEL_UNAVAILABLE"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Reply(status=400, body=b'{"error": {"param": "temperature"}}'), "MODEL_OPTION_UNSUPPORTED"),
        (error(400, "content_filter"), "CONTENT_FILTERED"),
        (error(400, "context_length_exceeded"), "CONTEXT_TOO_LONG"),
        (error(401, "invalid_api_key"), "MODEL_REJECTED"),
        (error(404, "model_not_found"), "MODEL_REJECTED"),
        (Reply(cut_before=1), "MODEL_INTERRUPTED"),
    ],
)
async def test_fallback_is_not_asked_after_errors_of_request_or_profile(
    serve: Serve, upstream: Upstream, other: Upstream, failure: Reply, reason: str
) -> None:
    upstream.replies(*[failure] * 3)
    async with serve(with_fallback(upstream, other)) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stub.Chat(request(temperature=0.5))
    assert reason_of(told.value)[0] == reason
    assert not other.requests


async def test_unlisted_model_is_rejected_without_side_effects(
    serve: Serve, settings: Settings, upstream: Upstream
) -> None:
    async with serve(model(upstream, 'model = "big"')) as stub:
        for name in ("big", "M", "gpt-4o", "m "):
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await stub.Chat(request(model=name))
            assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert reason_of(told.value)[1] == "generation.model"
            if name != "m ":
                assert reason_of(told.value)[0] == "MODEL_NOT_FOUND"
    with closing(sqlite3.connect(settings.memory_db_path)) as database:
        assert database.execute("SELECT count(*) FROM users").fetchone() == (0,)
    assert not upstream.requests


async def test_retry_gets_the_stored_answer_of_a_removed_model(serve: Serve, upstream: Upstream) -> None:
    asked = request(model="old")
    asked.request_id = "r-1"
    async with serve(model(upstream, name="old")) as stub:
        first = await stub.Chat(asked)
    async with serve(model(upstream, name="new")) as stub:
        again = await stub.Chat(asked)
    assert (again.reply, again.replayed) == (first.reply, True)


async def test_without_a_file_any_model_is_passed_on(
    stub: chat_pb2_grpc.ChatServiceAsyncStub, upstream: Upstream
) -> None:
    await stub.Chat(request(model="any/model:1"))
    assert upstream.requests[0].body["model"] == "any/model:1"
