"""Reported behaviours of real APIs, one row each, unary and streamed, over real HTTP and real gRPC.

The rows are in `apis/`, by kind, and so are the tests. Each row asks for a model of its own, so that what is learned of
one stays with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from batch import batch
from ilab_chat.v1 import chat_pb2
from service.model.apis import errors, learning, replies
from service.model.apis.case import (
    HELLO,
    OK,
    Answers,
    Case,
    Fails,
    data_of,
    delta,
    end,
    openai,
    refusal,
    stream,
    text,
    vllm,
)
from service.model.apis.learning import (
    STREAM_OPTIONS,
    has_max_tokens,
    has_stream_options,
    has_system_role,
    streams,
)
from service.model.apis.stage import METHODS, Method, Stage, Told, stage_in
from upstream import Reply, Request, without_context

KINDS = {
    "context": errors.context,
    "rate limit": errors.rate,
    "quota": errors.quota,
    "content filter": errors.content_filter,
    "unknown model": errors.unknown_model,
    "option": errors.options,
    "rejected": errors.rejected,
    "outage": errors.outages,
    "broken off": errors.broken_off,
    "finish reason": replies.reasons,
    "usage": replies.usage,
    "reasoning": replies.reasoning,
    "think tag": replies.tags,
    "parts": replies.parts,
    "frame": replies.frames,
    "ending": replies.endings,
    "not streamed": replies.not_streamed,
    "HTTP": replies.http,
    "learning": learning.learning,
}

#: Rows that are checked at once: together they take less than one after the other.
AT_ONCE = 16


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Run the server that all rows share."""
    async with stage_in(tmp_path_factory.mktemp("apis")) as stage:
        yield stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Run a server for one row."""
    async with stage_in(tmp_path) as stage:
        yield stage


def test_names_of_rows_are_unique() -> None:
    for cases in KINDS.values():
        names = [case.name for case in cases()]
        assert len(set(names)) == len(names)


# All rows of both methods would take a fifth of the time of `make test-unit`.
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", ["Chat", "StreamChat"])
@pytest.mark.parametrize("kind", KINDS)
async def test_behaviour(shared: Stage, tmp_path_factory: pytest.TempPathFactory, kind: str, method: Method) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    with batch() as each:

        async def check(case: Case) -> None:
            async with slots, asyncio.timeout(60):
                with each(case.name):
                    await check_case(shared, tmp_path_factory, kind, case, method)

        await asyncio.gather(*map(check, KINDS[kind]()))
    assert not await shared.file_contains("ponder")


async def check_case(
    shared: Stage, tmp_path_factory: pytest.TempPathFactory, kind: str, case: Case, method: Method
) -> None:
    async with AsyncExitStack() as leaving:
        stage = shared
        if case.settings or case.servers_model:
            folder = tmp_path_factory.mktemp("own")
            stage = await leaving.enter_async_context(stage_in(folder, **case.settings))
        own = hashlib.sha256(f"{kind} {case.name} {method}".encode()).hexdigest()[:16]
        model = "test-model" if case.servers_model else f"model-{own}"
        generation = dict(case.generation) if case.servers_model else {"model": model, **case.generation}
        if method == "StreamChat" and not case.servers_model:
            # Later requests are built in another way than the first one of a model.
            off = chat_pb2.MEMORY_MODE_OFF
            await stage.ask("Chat", own, HELLO, generation=options(model=model), memory_mode=off)
            stage.script.asked[model].clear()
        stage.script.behaviours[model] = case.upstream
        told = await stage.ask(method, own, HELLO, generation=options(**generation))
        if isinstance(case.expect, Fails):
            check_failure(told, case.expect)
            assert await stage.stored(own) == []
        else:
            check_answer(told, case.expect, method)
            await check_memory(stage, own, case.expect)
        assert len(stage.script.asked[model]) == case.requests
        if case.again is not None:
            told = await stage.ask(method, f"{own}-2", HELLO, generation=options(**generation))
            check_answer(told, OK, method)
            assert len(stage.script.asked[model]) == case.requests + case.again


def options(**fields: Any) -> chat_pb2.GenerationOptions:
    return chat_pb2.GenerationOptions(**fields)


def check_failure(told: Told, expected: Fails) -> None:
    """Check the status, and that nothing was sent before it unless the model had begun."""
    assert told.error, f"succeeded with {told.response}"
    assert (told.error.code(), told.reason) == (expected.code, expected.reason)
    fields = told.fields
    assert (fields[0] in expected.field and len(fields) == 1) if expected.field else not fields, fields
    if expected.wait is None:
        assert told.wait is None
    else:
        low, high = expected.wait if isinstance(expected.wait, tuple) else (expected.wait, expected.wait)
        assert told.wait is not None
        assert low - 0.001 <= told.wait <= high + 0.001
    assert told.kinds[:1] in ([], ["started"])
    assert not told.kinds or expected.code is grpc.StatusCode.ABORTED


def check_answer(told: Told, expected: Answers, method: Method) -> None:
    """Check the answer, and that the stream is equal to it."""
    assert told.error is None, f"{told.reason} {told.fields}"
    assert told.response
    assert told.response.reply == expected.reply
    assert chat_pb2.FinishReason.Name(told.response.finish_reason) == f"FINISH_REASON_{expected.finish}"
    if expected.usage != "any":
        usage = told.response.usage
        counted = (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.reasoning_tokens)
        assert (counted if told.response.HasField("usage") else None) == expected.usage
    if method == "StreamChat":
        assert told.text == expected.reply
        assert told.reasoning.strip() == expected.reasoning
        if expected.kinds != "any":
            assert told.kinds == expected.kinds


async def check_memory(stage: Stage, user: str, expected: Answers) -> None:
    """Check that the reply is stored and the reasoning is not, and that the next prompt contains only the reply."""
    if expected.reply:
        turn = f"User: {HELLO}\nAssistant: {expected.reply}"
        assert await stage.stored(user) == [(f"Turn: {HELLO}", turn)]
    if expected.reasoning or not expected.reply:
        told = await stage.ask("Chat", user, "What next?", generation=options(model=f"next-{user}"))
        assert told.error is None
        [body] = stage.script.bodies(f"next-{user}")
        messages = [(each["role"], each["content"]) for each in body["messages"]]
        assert all(content for _, content in messages)
        assert [role for role, _ in messages[1:]] == (["user", "assistant", "user"] if expected.reply else ["user"])
        assert "ponder" not in str(body).lower()


@pytest.mark.parametrize("method", METHODS)
async def test_failure_quotes_no_text_of_the_api(stage: Stage, method: Method) -> None:
    for status in (400, 401, 404, 413, 422, 429, 500):
        for reply in (
            refusal(status, openai("SECRET WORDS", "SECRET")),
            stream(data_of(vllm("SECRET", status)).decode()),
        ):
            model = f"model-{len(stage.script.behaviours)}"
            stage.script.behaviours[model] = reply
            told = await stage.ask(method, "alice", HELLO, generation=options(model=model))
            assert told.error
            assert "SECRET" not in str(told.status)


def window(tokens: int, refused: Reply) -> Any:
    """Return a behaviour that rejects prompts above a number of characters."""
    return lambda request: refused if len(str(request.messages)) > tokens else Reply()


LONG = refusal(400, openai("This model's maximum context length is 1 tokens", "context_length_exceeded"))
LONG_EVENT = stream(data_of(openai("too long", "context_length_exceeded")).decode())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("refused", [LONG, LONG_EVENT], ids=["response", "event"])
async def test_prompt_that_does_not_fit_is_resent_with_less_memory(
    stage: Stage, method: Method, refused: Reply
) -> None:
    for number in range(6):
        await stage.ask("Chat", "alice", f"Fact {number}: {'I love hiking in the mountains. ' * 20}")
    whole = await longest_prompt(stage)
    alone = len(str((await prompts(stage, "bob", "So?"))[-1].messages))
    stage.script.behaviours["half"] = window(alone + (whole - alone) * 3 // 4, refused)
    stage.script.behaviours["none"] = window(alone + 200, refused)
    stage.script.behaviours["never"] = refused
    asked = {}
    for model in ("half", "none", "never"):
        told = await stage.ask(method, "alice", "So?", generation=options(model=model), memory_mode=2)
        asked[model] = len(stage.script.asked[model])
        if model == "never":
            check_failure(told, Fails(code=grpc.StatusCode.INVALID_ARGUMENT, reason="CONTEXT_TOO_LONG"))
        else:
            check_answer(told, OK, method)
        sizes = [len(str(request.messages)) for request in stage.script.asked[model]]
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) == len(sizes)
        assert all(request.messages[-1]["content"].endswith("So?") for request in stage.script.asked[model])
    assert asked == {"half": 2, "none": 3, "never": 3}


async def longest_prompt(stage: Stage) -> int:
    return len(str((await prompts(stage, "alice", "So?"))[-1].messages))


async def prompts(stage: Stage, user: str, message: str) -> list[Request]:
    told = await stage.ask("Chat", user, message, memory_mode=chat_pb2.MEMORY_MODE_READ_ONLY)
    assert told.error is None
    return stage.script.asked["test-model"]


async def test_prompt_without_memory_that_does_not_fit_is_sent_once(stage: Stage) -> None:
    stage.script.behaviours["test-model"] = LONG
    told = await stage.ask("Chat", "alice", HELLO, memory_mode=chat_pb2.MEMORY_MODE_OFF)
    check_failure(told, Fails(code=grpc.StatusCode.INVALID_ARGUMENT, reason="CONTEXT_TOO_LONG"))
    assert len(stage.script.asked["test-model"]) == 1


@pytest.mark.parametrize("method", METHODS)
async def test_rejected_stream_options_are_dropped_for_that_model_only(stage: Stage, method: Method) -> None:
    stage.script.behaviours["picky"] = learned_refusal
    for number in range(3):
        told = await stage.ask(method, f"user-{number}", HELLO, generation=options(model="picky"))
        check_answer(told, OK, method)
    check_answer(await stage.ask(method, "user-4", HELLO), OK, method)
    assert [has_stream_options(body) for body in stage.script.bodies("picky")] == [True, False, False, False]
    assert all(streams(body) for body in stage.script.bodies("picky"))
    assert [has_stream_options(body) for body in stage.script.bodies("test-model")] == [True]


def learned_refusal(request: Request) -> Reply:
    return refusal(422, STREAM_OPTIONS[0][-1]) if has_stream_options(request.body) else Reply()


@pytest.mark.parametrize("method", METHODS)
async def test_name_of_the_token_limit_is_changed_for_that_model(stage: Stage, method: Method) -> None:
    _, status, payload = learning.TOKEN_LIMIT[0]
    stage.script.behaviours["newer"] = lambda request: (
        refusal(status, payload) if has_max_tokens(request.body) else Reply()
    )
    for number in range(2):
        generation = options(model="newer", max_output_tokens=9)
        check_answer(await stage.ask(method, f"user-{number}", HELLO, generation=generation), OK, method)
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in stage.script.bodies("newer")]
    assert limits == [(9, None), (None, 9), (None, 9)]


@pytest.mark.parametrize("method", METHODS)
async def test_model_that_may_not_stream_answers_in_one_delta(stage: Stage, method: Method) -> None:
    stage.script.behaviours["whole"] = learning.strict_about_stream_options
    for number in range(2):
        told = await stage.ask(method, f"user-{number}", HELLO, generation=options(model="whole"))
        check_answer(told, OK, method)
        if method == "StreamChat":
            assert [event.text_delta.text for event in told.events if event.HasField("text_delta")] == ["Hello there."]
    assert [streams(body) for body in stage.script.bodies("whole")] == [True, False, False]


@pytest.mark.parametrize("method", METHODS)
async def test_system_text_is_prepended_to_the_first_user_message(stage: Stage, method: Method) -> None:
    _, status, payload = learning.SYSTEM_ROLE[0]
    stage.script.behaviours["gemma"] = lambda request: (
        refusal(status, payload) if has_system_role(request.body) else Reply()
    )
    generation = options(model="gemma")
    check_answer(await stage.ask(method, "alice", HELLO, generation=generation), OK, method)
    check_answer(await stage.ask(method, "alice", "So?", generation=generation), OK, method)
    first, second, third = (body["messages"] for body in stage.script.bodies("gemma"))
    assert [each["role"] for each in first] == ["system", "user"]
    assert [each["role"] for each in second] == ["user"]
    assert [each["role"] for each in third] == ["user", "assistant", "user"]
    assert second[0]["content"].startswith(stage.settings.instruction)
    assert second[0]["content"].endswith(HELLO)
    assert third[0]["content"].startswith(stage.settings.instruction)
    assert third[0]["content"].endswith(HELLO)


@pytest.mark.parametrize("method", METHODS)
async def test_rejection_is_not_learned_if_the_call_fails_without_the_field_too(stage: Stage, method: Method) -> None:
    refused = refusal(422, STREAM_OPTIONS[0][-1])
    stage.script.behaviours["odd"] = [refused, refusal(400, openai("No.")), Reply()]
    generation = options(model="odd")
    told = await stage.ask(method, "alice", HELLO, generation=generation)
    check_failure(told, Fails(code=grpc.StatusCode.INTERNAL, reason="MODEL_REJECTED"))
    check_answer(await stage.ask(method, "alice", HELLO, generation=generation), OK, method)
    assert [has_stream_options(body) for body in stage.script.bodies("odd")] == [True, False, True]


@pytest.mark.parametrize("method", METHODS)
async def test_rejection_is_learned_from_a_retry_after_an_outage(stage: Stage, method: Method) -> None:
    down = refusal(503, retry_after="0.01")
    stage.script.behaviours["shaky"] = [down, refusal(422, STREAM_OPTIONS[0][-1]), Reply(), Reply()]
    for _ in range(2):
        check_answer(await stage.ask(method, "alice", HELLO, generation=options(model="shaky")), OK, method)
    assert [has_stream_options(body) for body in stage.script.bodies("shaky")] == [True, True, False, False]


async def test_turn_without_a_reply_never_enters_the_conversation(stage: Stage) -> None:
    empty = [stream(end("tool_calls")), stream(end("content_filter")), stream(text(""), end())]
    stage.script.behaviours["test-model"] = empty
    for number in range(len(empty)):
        told = await stage.ask("Chat", "alice", f"Call the tool, {number}.")
        assert told.response
        assert told.response.reply == ""
    check_answer(await stage.ask("Chat", "alice", HELLO), OK, "Chat")
    check_answer(await stage.ask("Chat", "alice", "So?"), OK, "Chat")
    messages = stage.script.bodies("test-model")[-1]["messages"]
    said = [(each["role"], without_context(each["content"])) for each in messages[1:]]
    assert said == [("user", HELLO), ("assistant", "Hello there."), ("user", "So?")]


async def test_first_reasoning_starts_the_stream(stage: Stage) -> None:
    held = Reply(events=[delta(reasoning_content="Ponder"), text("Hello"), end()], hold_before=1)
    stage.script.behaviours["test-model"] = held
    request = chat_pb2.StreamChatRequest(user_id="alice", message=HELLO)
    call = stage.stub.StreamChat(request)
    first, second = await call.read(), await call.read()
    assert isinstance(first, chat_pb2.StreamChatResponse)
    assert isinstance(second, chat_pb2.StreamChatResponse)
    assert first.WhichOneof("event") == "started"
    assert second.reasoning_delta.text == "Ponder"
    call.cancel()
    # The reply had not begun.
    assert await stage.stored("alice") == []


async def test_heartbeats_are_sent_while_the_model_reasons(tmp_path: Path) -> None:
    async with stage_in(tmp_path, heartbeat_seconds=0.05) as stage:
        stage.script.behaviours["test-model"] = Reply(
            events=[delta(reasoning_content="Ponder"), text("Hello"), end()], hold_before=1
        )
        call = stage.stub.StreamChat(chat_pb2.StreamChatRequest(user_id="alice", message=HELLO))
        kinds: list[str | None] = []
        while kinds[-1:] != ["heartbeat"]:
            event = await call.read()
            assert isinstance(event, chat_pb2.StreamChatResponse)
            kinds.append(event.WhichOneof("event"))
        call.cancel()
    assert kinds == ["started", "reasoning_delta", "heartbeat"]
