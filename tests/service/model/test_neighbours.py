"""Two clients on one server: one sends every kind of bad input, and the other is not affected."""

# ruff: noqa: E501 - a kind of bad input is a line

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from batch import batch
from ilab_chat.v1 import chat_pb2
from ilab_chat_service.model.breaker import FAILURES_TO_OPEN
from service.model.apis import errors, learning
from service.model.apis.case import (
    anthropic,
    data_of,
    end,
    gemini,
    openai,
    plain,
    refusal,
    stream,
    text,
    vllm,
)
from service.model.apis.stage import METHODS, Method, Stage, stage_in
from upstream import Reply, Request

GOOD = "Tell me about hiking."
#: Enough to open a breaker several times if they counted as outages.
TIMES = 2 * FAILURES_TO_OPEN

GENERATION: Mapping[str, Any] = {
    "max_output_tokens": 9,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "stop_sequences": ["x"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """One kind of bad input and the upstream's answer. Without `upstream`, the server itself rejects it."""

    name: str
    reason: str
    """Acceptable reasons of the failure, separated by |. Empty: the call succeeds."""
    upstream: Reply | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""


def event(payload: Any) -> Reply:
    return stream(data_of(payload).decode())


def of(cases: list[tuple[str, int, Any]], number: int) -> Reply:
    _, status, payload = cases[number]
    return refusal(status, payload)


OPTIONS = [(name, status, payload) for name, _, _, status, payload in errors.OPTIONS]
ECHO = "Unknown parameter: 'stream_options'. 'max_tokens' is not supported with this model. System role not supported."
KINDS = [
    Bad(name="a prompt that is too long", reason="CONTEXT_TOO_LONG", upstream=refusal(400, openai(errors.OPENAI_LENGTH, "context_length_exceeded"))),
    Bad(name="a prompt that is too long, as an event", reason="CONTEXT_TOO_LONG", upstream=event(openai("x", "context_length_exceeded"))),
    Bad(name="a prompt that is too long, with status 500", reason="CONTEXT_TOO_LONG", upstream=refusal(500, {"error": {"code": 500, "message": errors.LLAMA_LENGTH, "type": "exceed_context_size_error"}})),
    Bad(name="a prompt that is too long, with status 413", reason="CONTEXT_TOO_LONG", upstream=refusal(413)),
    Bad(name="a prompt that is filtered", reason="CONTENT_FILTERED", upstream=refusal(400, errors.azure("content_filter"))),
    Bad(name="a prompt that is filtered, as an event", reason="CONTENT_FILTERED", upstream=event(errors.azure("content_filter"))),
    Bad(name="an option that the model refuses", reason="MODEL_OPTION_UNSUPPORTED", generation={"temperature": 2.0}, upstream=of(OPTIONS, 0)),
    Bad(name="an option that the model refuses, as an event", reason="MODEL_OPTION_UNSUPPORTED", generation={"temperature": 2.0}, upstream=event(OPTIONS[0][2])),
    Bad(name="too many tokens", reason="MODEL_OPTION_UNSUPPORTED", generation={"max_output_tokens": 1_000_000}, upstream=of(OPTIONS, 6)),
    Bad(name="a format that the model refuses", reason="MODEL_OPTION_UNSUPPORTED", generation=errors.JSON_SCHEMA, upstream=refusal(400, openai("This response_format type is unavailable now"))),
    Bad(name="a schema that the model refuses", reason="MODEL_OPTION_UNSUPPORTED", generation=errors.JSON_SCHEMA, upstream=refusal(400, openai("Invalid schema for response_format 'answer'", param="response_format"))),
    Bad(name="an unknown model", reason="MODEL_NOT_FOUND", generation={"model": "no-such-model"}, upstream=of(errors.MODELS, 0)),
    Bad(name="an unknown model, as an event", reason="MODEL_NOT_FOUND", generation={"model": "no-such-model"}, upstream=event(errors.MODELS[0][2])),
    Bad(name="a request that the API refuses", reason="MODEL_REJECTED", upstream=refusal(400, gemini(400, "Request contains an invalid argument."))),
    Bad(name="a request that the API refuses, as an event", reason="MODEL_REJECTED", upstream=event(anthropic("invalid_request_error", "messages: text content blocks must be non-empty"))),
    Bad(name="a request that the API refuses, in a body without a stream", reason="MODEL_REJECTED", upstream=Reply(body=data_of(vllm("Bad request")))),
    Bad(name="a message whose text comes back in the error", reason="MODEL_REJECTED", message=ECHO, upstream=refusal(400, openai(f"Invalid message: {ECHO}"))),
    Bad(name="a message that looks like a refused stream_options", reason="MODEL_REJECTED", upstream=of(learning.STREAM_OPTIONS, 0)),
    Bad(name="a message that looks like a refused limit", reason="MODEL_REJECTED|MODEL_OPTION_UNSUPPORTED", generation={"max_output_tokens": 9}, upstream=of(learning.TOKEN_LIMIT, 0)),
    Bad(name="a message that looks like a refused stream", reason="MODEL_REJECTED", upstream=of(learning.STREAMING, 0)),
    Bad(name="a message that looks like a refused role", reason="MODEL_REJECTED", upstream=of(learning.SYSTEM_ROLE, 0)),
    Bad(name="a message that looks like a refused role, as an event", reason="MODEL_REJECTED", upstream=event(learning.SYSTEM_ROLE[0][2])),
    Bad(name="a rate that is too high", reason="MODEL_RATE_LIMITED", upstream=refusal(429, plain("slow down", 429))),
    Bad(name="a rate that is too high, as an event", reason="MODEL_RATE_LIMITED", upstream=event(plain("slow down", 429))),
    Bad(name="an error after text", reason="MODEL_INTERRUPTED", upstream=stream(text("Hel"), data_of(openai("Output data may contain inappropriate content.", "data_inspection_failed")).decode())),
    Bad(name="a filtered reply after text", reason="", upstream=stream(text("Hel"), end("content_filter"))),
    Bad(name="a blank message", reason="INVALID_FIELD", message=" "),
    Bad(name="a message that is too long for the contract", reason="INVALID_FIELD", message="m" * 32_769),
    Bad(name="an option out of range", reason="INVALID_FIELD", generation={"temperature": 3.0}),
    Bad(name="a format without a name", reason="INVALID_FIELD", generation={"response_format": {"json_schema": {"name": ""}}}),
    Bad(name="a model with a space in its name", reason="INVALID_FIELD", generation={"model": "a b"}),
]  # fmt: skip


def by_content(request: Request) -> Reply:
    """Answer by the message: the number of a kind of bad input, or anything else."""
    said = request.messages[-1]["content"]
    for number, kind in enumerate(KINDS):
        if kind.upstream and f"BAD-{number}." in said:
            return kind.upstream
    return Reply()


async def good_call(stage: Stage, method: Method, generation: Mapping[str, Any]) -> None:
    """Call as the good client, without memory, so that all requests are equal."""
    told = await stage.ask(
        method,
        "good",
        GOOD,
        generation=chat_pb2.GenerationOptions(**generation),
        memory_mode=chat_pb2.MEMORY_MODE_OFF,
    )
    assert told.error is None, told.reason
    assert told.response
    assert told.response.reply == "Hello there."


async def bad_call(stage: Stage, method: Method, number: int, kind: Bad) -> str:
    """Call as the bad client, and return the reason of the failure. Empty: the call succeeds."""
    message = kind.message if kind.reason == "INVALID_FIELD" and kind.message else f"BAD-{number}. {kind.message}"
    generation = chat_pb2.GenerationOptions(**kind.generation)
    told = await stage.ask(method, "bad", message, generation=generation)
    if told.error is None:
        return ""
    assert told.error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN}
    return told.reason


def good_bodies(stage: Stage) -> list[dict[str, Any]]:
    return [body for body in stage.script.bodies("test-model") if body["messages"][-1]["content"].endswith(GOOD)]


@pytest.mark.parametrize("method", ["Chat", pytest.param("StreamChat", marks=pytest.mark.slow)])
async def test_bad_input_fails_for_its_sender_only(tmp_path: Path, method: Method) -> None:
    async with stage_in(tmp_path, model_retries=0) as stage:
        stage.script.otherwise = by_content
        with batch() as each:
            for number, kind in enumerate(KINDS):
                with each(kind.name):
                    stage.script.asked.clear()
                    await good_call(stage, method, GENERATION)
                    reasons = {await bad_call(stage, method, number, kind) for _ in range(TIMES)}
                    assert reasons <= set(kind.reason.split("|"))
                    await good_call(stage, method, GENERATION)
                    before, after = good_bodies(stage)
                    assert before == after


@pytest.mark.slow
async def test_client_that_sends_only_bad_input_does_not_affect_others(tmp_path: Path) -> None:
    async with stage_in(tmp_path, model_retries=1) as stage:
        stage.script.otherwise = by_content
        settings: list[Mapping[str, Any]] = [{}, GENERATION]
        for generation in settings:
            await good_call(stage, "Chat", generation)
        before = good_bodies(stage)

        async def only_bad_input() -> list[str]:
            wrong = []
            for _ in range(FAILURES_TO_OPEN):
                for number, kind in enumerate(KINDS):
                    reasons = await asyncio.gather(*(bad_call(stage, method, number, kind) for method in METHODS))
                    wrong += [f"{kind.name}: {reason}" for reason in reasons if reason not in kind.reason.split("|")]
            return wrong

        sending = asyncio.create_task(only_bad_input())
        calls = 0
        while not sending.done():
            for generation in settings:
                await good_call(stage, METHODS[calls % 2], generation)
            calls += 1
        assert await sending == []
        for generation in settings:
            await good_call(stage, "StreamChat", generation)
        bodies = good_bodies(stage)
        assert len(bodies) == len(settings) * (calls + 2)
        # No request was retried, and all are unchanged.
        assert [body for body in bodies if body not in before] == []
        assert calls > FAILURES_TO_OPEN
