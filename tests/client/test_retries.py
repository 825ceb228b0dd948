"""Which calls a client repeats by itself: those of a chat, by their request_id, until the answer begins."""

from collections.abc import AsyncIterator

import grpc
import pytest

from client.scripted import REPLY, Caller, Context, Request, Script, ScriptedChatService, abort, delta, greet, started
from client.scripted_memory import MemoryCaller, ScriptedMemoryService
from ilab_chat import ChatError, Interrupted, StreamChatResponse, Unavailable
from ilab_chat._target import MEMORY_WRITES
from ilab_chat.v1 import memory_pb2

ATTEMPTS = 4


def failing(times: int, code: grpc.StatusCode, then: Script = greet) -> Script:
    """Make the script that fails before the first event, that often, before it does what *then* does."""
    left = [abort(code, "not now")] * times

    async def script(request: Request, context: Context) -> AsyncIterator[StreamChatResponse]:
        async for event in (left.pop() if left else then)(request, context):
            yield event

    return script


async def test_a_chat_that_fails_before_its_answer_is_sent_again(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    service.script = failing(ATTEMPTS - 1, grpc.StatusCode.UNAVAILABLE)
    assert (await caller.chat(target, "alice", "hi")).reply == REPLY
    assert len({request.request_id for request in service.requests}) == 1
    assert len(service.requests) == ATTEMPTS


async def test_a_stream_that_fails_before_its_first_event_is_sent_again(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    service.script = failing(ATTEMPTS - 1, grpc.StatusCode.UNAVAILABLE)
    seen, response = await caller.read(target, "alice", "hi")
    assert (len(seen), response.reply) == (4, REPLY)
    assert len({request.request_id for request in service.requests}) == 1
    assert len(service.requests) == ATTEMPTS


async def test_there_is_an_end_to_it(caller: Caller, service: ScriptedChatService, target: str) -> None:
    service.script = failing(ATTEMPTS, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable, match="not now"):
        await caller.chat(target, "alice", "hi")
    assert len(service.requests) == ATTEMPTS


async def test_pitfall_01_nothing_is_sent_again_once_the_answer_has_begun(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    service.script = abort(grpc.StatusCode.UNAVAILABLE, "not now", after=(started(), delta("Hel")))
    with pytest.raises(Interrupted):
        await caller.read(target, "alice", "hi")
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code not in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}]
)
async def test_no_other_failure_is_repeated(
    caller: Caller, service: ScriptedChatService, target: str, code: grpc.StatusCode
) -> None:
    service.script = failing(1, code)
    with pytest.raises(ChatError) as caught:
        await caller.chat(target, "alice", "hi")
    assert caught.value.code is code
    assert len(service.requests) == 1


async def test_a_deadline_of_the_caller_is_that_of_every_attempt(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    service.script = failing(1, grpc.StatusCode.UNAVAILABLE)
    await caller.chat(target, "alice", "hi", timeout=10)
    assert len(service.requests) == 2
    assert service.time_remaining is not None
    assert service.time_remaining < 15  # gRPC rounds it on the way


async def test_pitfall_19_a_call_without_a_request_id_is_not_repeated(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.scripts["ForgetUser"] = abort(grpc.StatusCode.UNAVAILABLE, "not now")  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        await memory_caller.call(memory_target, "forget", "alice")
    assert [method for method, _ in memory.calls] == ["ForgetUser"]


async def test_a_write_of_the_memory_is_retried_with_its_request_id(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.scripts["SaveObservation"] = abort(grpc.StatusCode.UNAVAILABLE, "not now")  # type: ignore[assignment]
    with pytest.raises(Unavailable) as caught:
        await memory_caller.call(memory_target, "save", "alice", "hikes", type="preference", title="Hobby")
    assert [method for method, _ in memory.calls] == ["SaveObservation"] * ATTEMPTS
    assert {request.request_id for _, request in memory.calls} == {caught.value.request_id}


def test_the_writes_that_are_retried_are_those_with_a_request_id() -> None:
    methods = memory_pb2.DESCRIPTOR.services_by_name["MemoryService"].methods
    assert {each.name for each in methods if "request_id" in each.input_type.fields_by_name} == set(MEMORY_WRITES)
