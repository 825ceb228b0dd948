"""Learning which of our fields an API rejects: from calls that succeed, and for similar calls only."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ilab_chat_service.failures import ContextTooLong, ModelRejected
from ilab_chat_service.model.model_choice import ModelClient, open_model
from ilab_chat_service.settings import Settings
from ilab_chat_service.values import ChatMessage, Generation, JsonObjectFormat
from upstream import Reply, Request, Upstream

MESSAGES = (ChatMessage("system", "s"), ChatMessage("user", "u"))


@pytest.fixture
async def model(settings: Settings) -> AsyncIterator[ModelClient]:
    async with open_model(settings) as model:
        yield model


async def ask(client: ModelClient, /, **generation: Any) -> str:
    async with client.choose(Generation(**generation)).answer(MESSAGES, math.inf) as answer:
        return "".join([piece async for piece in answer if isinstance(piece, str)])


def refusing(param: str, when: Callable[[dict[str, Any]], bool]) -> Callable[[Request], Reply]:
    error = json.dumps({"error": {"param": param, "code": "unsupported_parameter", "message": "no"}}).encode()
    return lambda request: Reply(status=400, body=error) if when(request.body) else Reply()


async def test_first_call_learns_a_rejection(model: ModelClient, upstream: Upstream) -> None:
    upstream.otherwise = refusing("stream_options", lambda body: "stream_options" in body)
    assert [await ask(model) for _ in range(3)] == ["Hello there."] * 3
    assert ["stream_options" in request.body for request in upstream.requests] == [True, False, False, False]


async def test_rejections_are_learned_per_model(model: ModelClient, upstream: Upstream) -> None:
    upstream.otherwise = refusing("stream_options", lambda body: "stream_options" in body)
    await ask(model, model="one")
    await ask(model, model="other")
    assert len(upstream.requests) == 4


async def test_unrelated_options_share_a_learned_shape(model: ModelClient, upstream: Upstream) -> None:
    upstream.otherwise = refusing("stream_options", lambda body: "stream_options" in body)
    await ask(model, temperature=0.5, max_output_tokens=9)
    await ask(model)
    await ask(model, response_format=JsonObjectFormat())
    assert len(upstream.requests) == 4


async def test_calls_with_a_format_learn_separately(model: ModelClient, upstream: Upstream) -> None:
    upstream.otherwise = refusing("stream", lambda body: "response_format" in body and bool(body.get("stream")))
    for _ in range(2):
        assert await ask(model, response_format=JsonObjectFormat()) == "Hello there."
    assert await ask(model) == "Hello there."
    assert [bool(request.body.get("stream")) for request in upstream.requests] == [True, False, False, True]


async def test_persistent_rejection_is_not_learned(model: ModelClient, upstream: Upstream) -> None:
    upstream.otherwise = refusing("stream_options", lambda _: True)
    with pytest.raises(ModelRejected):
        await ask(model)
    upstream.otherwise = lambda _: Reply()
    await ask(model)
    assert "stream_options" in upstream.requests[-1].body


async def test_option_of_the_caller_is_never_dropped(model: ModelClient, upstream: Upstream) -> None:
    upstream.otherwise = refusing("seed", lambda body: "seed" in body)
    with pytest.raises(Exception, match=r"generation\.seed"):
        await ask(model, seed=7)
    assert len(upstream.requests) == 1


async def test_cap_of_the_operator_is_never_dropped(settings: Settings, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(f'[models.m]\nbase_url = "{upstream.base_url}"\n[models.m.caps]\nmax_output_tokens = 256\n')
    # vLLM sends this for a prompt that leaves no room for the reply.
    words = (
        "'max_tokens' or 'max_completion_tokens' is too large: 256. This model's maximum context length is 600 tokens "
        "and your request has 458 input tokens (256 > 600 - 458)."
    )
    error = json.dumps({"error": {"message": words, "param": "max_tokens", "code": 400}}).encode()
    of_file = replace(settings, openai_base_url="", openai_model="", models_file=str(path))
    async with open_model(of_file) as model:
        upstream.replies(Reply(status=400, body=error))
        with pytest.raises(ContextTooLong):
            await ask(model)
        await ask(model)
    assert [request.body["max_tokens"] for request in upstream.requests] == [256, 256]
