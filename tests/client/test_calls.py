"""Behaviour of both clients against a real server: every test runs once through each."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from client.scripted import (
    REPLY,
    Caller,
    Context,
    Request,
    ScriptedChatService,
    abort,
    completed,
    delta,
    events,
    silent,
    started,
)
from ilab_chat import (
    ChatResponse,
    ContextDocument,
    DeadlineExceeded,
    GenerationOptions,
    IncompleteStream,
    InvalidArgument,
    MemoryMode,
    StreamChatResponse,
    TurnRetention,
    Unauthenticated,
)
from ilab_chat.v1.chat_pb2 import ChatRequest, Heartbeat


async def test_chat_returns_the_answer(caller: Caller, target: str) -> None:
    response = await caller.chat(target, "alice", "hi")
    assert isinstance(response, ChatResponse)
    assert (response.reply, response.session_id, response.observation_id) == (REPLY, "s-1", 7)


async def test_stream_gives_every_event_and_the_response(caller: Caller, target: str) -> None:
    seen, response = await caller.read(target, "alice", "hi")
    assert [event.WhichOneof("event") for event in seen] == ["started", "text_delta", "text_delta", "completed"]
    assert response == seen[-1].completed
    assert response.reply == REPLY


async def test_text_is_the_pieces_alone(caller: Caller, target: str) -> None:
    texts: list[str] = []
    await caller.read_text(target, texts.append, "alice", "hi")
    assert texts == ["Hello ", "Alice"]


async def test_request_carries_every_argument(caller: Caller, service: ScriptedChatService, target: str) -> None:
    options = {
        "request_id": "r-1",
        "generation": GenerationOptions(model="m", temperature=0.0, stop_sequences=["END"]),
        "memory_mode": MemoryMode.MEMORY_MODE_READ_ONLY,
        "turn_retention": TurnRetention.TURN_RETENTION_LATEST_ONLY,
        "conversation_id": "c-1",
        "instructions": "Be brief.",
        "context": [ContextDocument(title="a", text="b")],
        "time_zone": "Asia/Tokyo",
        "memory_types": ["profile"],
    }
    await caller.chat(target, "alice", "hi", **options)
    await caller.read(target, "alice", "hi", **options)
    preview_options = {name: options[name] for name in options.keys() - {"request_id", "turn_retention"}}
    preview = await caller.preview(target, "alice", "hi", **preview_options)
    assert preview.messages[0].content == "hi"
    unary, stream, previewed = service.requests
    assert unary.SerializeToString() == stream.SerializeToString()
    given = {"user_id", "message", *options}
    assert {field.name for field, _ in unary.ListFields()} == given == set(ChatRequest.DESCRIPTOR.fields_by_name)
    assert {field.name for field, _ in previewed.ListFields()} == given - {"request_id", "turn_retention"}
    assert (unary.conversation_id, unary.instructions, unary.time_zone) == ("c-1", "Be brief.", "Asia/Tokyo")
    assert (list(unary.context), list(unary.memory_types)) == (options["context"], ["profile"])
    assert (unary.user_id, unary.message, unary.request_id) == ("alice", "hi", "r-1")
    assert unary.generation == options["generation"]
    assert unary.generation.HasField("temperature")
    assert unary.memory_mode == MemoryMode.MEMORY_MODE_READ_ONLY
    assert unary.turn_retention == TurnRetention.TURN_RETENTION_LATEST_ONLY


async def test_one_string_is_not_a_list_of_memory_types(caller: Caller, target: str) -> None:
    with pytest.raises(TypeError, match="must be a sequence of strings"):
        await caller.chat(target, "alice", "hi", memory_types="profile")


async def test_request_has_no_optional_field_by_default(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    await caller.chat(target, "alice", "hi")
    assert {field.name for field, _ in service.requests[0].ListFields()} == {"user_id", "message", "request_id"}


@pytest.mark.parametrize("given", [None, ""])
async def test_a_request_id_is_made_for_each_call(
    caller: Caller, service: ScriptedChatService, target: str, given: str | None
) -> None:
    await caller.chat(target, "alice", "hi", request_id=given)
    await caller.read(target, "alice", "hi", request_id=given)
    first, second = (request.request_id for request in service.requests)
    assert len(first) == len(second) == 32
    assert first != second


async def test_metadata_reaches_the_server(caller: Caller, service: ScriptedChatService, target: str) -> None:
    await caller.chat(target, "alice", "hi", metadata=(("x-tenant", "t1"), ("x-key-bin", b"\x00\xff")))
    assert service.metadata["x-tenant"] == "t1"
    assert service.metadata["x-key-bin"] == b"\x00\xff"


async def test_a_call_has_the_clients_timeout(caller: Caller, service: ScriptedChatService, target: str) -> None:
    await caller.chat(target, "alice", "hi")
    assert service.time_remaining is not None
    assert 30 < service.time_remaining < 90  # 60; gRPC rounds it on the way
    await caller.read(target, "alice", "hi", timeout=20)
    assert 10 < service.time_remaining < 30
    await caller.read(target, "alice", "hi")
    assert service.time_remaining is None


@pytest.mark.slow
async def test_a_timeout_ends_the_call_on_both_sides(caller: Caller, service: ScriptedChatService, target: str) -> None:
    left = asyncio.Semaphore(0)

    async def watched(request: Request, context: Context) -> AsyncIterator[StreamChatResponse]:
        try:
            async for event in silent(request, context):
                yield event
        finally:
            left.release()

    service.script = watched
    texts: list[str] = []
    unary, stream = await asyncio.gather(
        caller.chat(target, "alice", "hi", request_id="r-1", timeout=2),
        caller.read_text(target, texts.append, "alice", "hi", timeout=2),
        return_exceptions=True,
    )
    assert isinstance(unary, DeadlineExceeded)
    assert isinstance(stream, DeadlineExceeded)
    assert unary.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert unary.request_id == "r-1"
    assert texts == ["Hel"]
    for _ in range(2):
        await left.acquire()


@pytest.mark.slow
async def test_a_silent_stream_ends_at_the_idle_timeout(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    service.script = silent
    texts: list[str] = []
    with pytest.raises(DeadlineExceeded, match=r"nothing arrived for 2 s, the idle timeout") as caught:
        await caller.read_text(target, texts.append, "alice", "hi", request_id="r-1", idle_timeout=2)
    assert (texts, caught.value.request_id) == (["Hel"], "r-1")
    await service.left.wait()


@pytest.mark.slow
async def test_a_stream_that_takes_longer_than_its_idle_timeout_is_read_whole(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    async def slow(_request: Request, _context: Context) -> AsyncIterator[StreamChatResponse]:
        yield started()
        for _ in range(8):
            await asyncio.sleep(0.4)  # the case under test is time that passes
            yield StreamChatResponse(heartbeat=Heartbeat())
        yield completed("")

    service.script = slow
    seen, _ = await caller.read(target, "alice", "hi", idle_timeout=3)
    assert len(seen) == 10


async def test_begin_waits_for_the_status_and_the_stream_is_still_whole(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    first, seen = await caller.begin(target, "alice", "hi")
    assert first == seen[0].started
    assert [event.WhichOneof("event") for event in seen] == ["started", "text_delta", "text_delta", "completed"]
    service.script = abort(grpc.StatusCode.UNAUTHENTICATED, "no")
    with pytest.raises(Unauthenticated):
        await caller.begin(target, "alice", "hi")
    service.script = events(delta("a"), completed("a"))
    with pytest.raises(IncompleteStream, match="did not begin with started"):
        await caller.begin(target, "alice", "hi")


async def test_pitfall_03_leaving_the_block_tells_the_server(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    service.script = silent
    await caller.leave(target, service.left)
    assert service.left.is_set()


async def test_event_of_an_unknown_kind_is_skipped(caller: Caller, service: ScriptedChatService, target: str) -> None:
    of_a_later_version = StreamChatResponse.FromString(b"\x9a\x06\x00")  # field 99, empty
    assert of_a_later_version.WhichOneof("event") is None
    service.script = events(started(), of_a_later_version, delta("Hi"), of_a_later_version, completed("Hi"))
    seen, response = await caller.read(target, "alice", "hi")
    assert [event.WhichOneof("event") for event in seen] == ["started", "text_delta", "completed"]
    assert response.reply == "Hi"


async def test_heartbeats_are_events_and_no_part_of_the_reply(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    heartbeat = StreamChatResponse(heartbeat=Heartbeat())
    service.script = events(started(), heartbeat, delta("Hi"), heartbeat, heartbeat, completed("Hi"))
    seen, response = await caller.read(target, "alice", "hi")
    kinds = [event.WhichOneof("event") for event in seen]
    assert kinds == ["started", "heartbeat", "text_delta", "heartbeat", "heartbeat", "completed"]
    assert response.reply == "Hi"
    texts: list[str] = []
    await caller.read_text(target, texts.append, "alice", "hi")
    assert texts == ["Hi"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((), id="nothing"),
        pytest.param((started(), delta("Hel")), id="no completed"),
        pytest.param((started(), delta("Hel"), completed("Hello")), id="a piece is missing"),
        pytest.param((started(), completed("Hello")), id="all pieces are missing"),
        pytest.param((started(), delta("Hi"), completed("Hi"), delta("!")), id="a piece after completed"),
        pytest.param((started(), delta("Hi"), completed("Hi"), completed("Hi")), id="completed twice"),
    ],
)
async def test_a_stream_that_is_not_whole_is_an_error(
    caller: Caller, service: ScriptedChatService, target: str, answer: tuple[StreamChatResponse, ...]
) -> None:
    service.script = events(*answer)
    with pytest.raises(IncompleteStream) as caught:
        await caller.read_text(target, print, "alice", "hi", request_id="r-1")
    assert caught.value.request_id == "r-1"


async def test_an_empty_reply_is_whole(caller: Caller, service: ScriptedChatService, target: str) -> None:
    service.script = events(started(), completed(""))
    _, response = await caller.read(target, "alice", "hi")
    assert response.reply == ""


@pytest.mark.parametrize("field", ["user_id", "message", "request_id"])
async def test_a_lone_surrogate_is_refused_and_not_quoted(
    caller: Caller, service: ScriptedChatService, target: str, field: str
) -> None:
    arguments = {"user_id": "alice", "message": "hi", field: "secret \ud83d"}
    with pytest.raises(InvalidArgument) as caught:
        await caller.chat(target, **arguments)
    with pytest.raises(InvalidArgument):
        await caller.read(target, **arguments)
    assert [violation.field for violation in caught.value.field_violations] == [field]
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None
    assert not service.requests


async def test_pieces_arrive_before_the_answer_is_complete(
    caller: Caller, service: ScriptedChatService, target: str
) -> None:
    read = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def wait_for_the_reader(_request: Request, _context: Context) -> AsyncIterator[StreamChatResponse]:
        yield delta("one")
        await read.wait()
        yield completed("one")

    service.script = wait_for_the_reader
    await caller.read_text(target, lambda _text: loop.call_soon_threadsafe(read.set), "alice", "hi")
