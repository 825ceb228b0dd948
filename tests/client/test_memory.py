"""client.memory, against a real server: every test runs once through each client, unless it says otherwise."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from client.scripted import Context, serving
from client.scripted_memory import (
    AT,
    SESSION,
    Item,
    MemoryCaller,
    ScriptedMemoryService,
    compact,
    exported,
    observation,
)
from ilab_chat import (
    NEVER,
    AsyncChatClient,
    Cancelled,
    ChatClient,
    ChatError,
    DeadlineExceeded,
    Fact,
    Internal,
    Interrupted,
    InvalidArgument,
    NotFound,
    SaveOutcome,
    SaveResult,
    Unavailable,
    Unimplemented,
)
from ilab_chat.v1 import memory_pb2 as pb

Code = grpc.StatusCode

SAVED = SaveResult(id=7, outcome=SaveOutcome.SAVE_OUTCOME_CREATED, session_id="s-1")
STARTED = pb.StartSessionResponse(session_id="s-1", new_session=True)
STATS = pb.GetStatsResponse(observations=3, sessions=1)

# method of the client, its arguments, RPC, the request that is sent, the response that comes, what the caller gets
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str, Message, Message, Any]] = [
    ("start_session", ("a",), {}, "StartSession", pb.StartSessionRequest(user_id="a"), STARTED, STARTED),
    (
        *("end_session", ("a", "done"), {}, "EndSession", pb.EndSessionRequest(user_id="a", summary="done")),
        *(pb.EndSessionResponse(session=SESSION), SESSION),
    ),
    (
        *("summarize_session", ("a", "so far"), {}, "SummarizeSession"),
        *(pb.SummarizeSessionRequest(user_id="a", summary="so far"), pb.SummarizeSessionResponse(result=SAVED), SAVED),
    ),
    (
        *("save", ("a", "hikes"), {"type": "profile", "title": "Hobby"}, "SaveObservation"),
        pb.SaveObservationRequest(user_id="a", content="hikes", type="profile", title="Hobby"),
        *(pb.SaveObservationResponse(result=SAVED), SAVED),
    ),
    (
        *("save", ("a", "hikes"), {"type": "profile", "title": "Hobby", "topic_key": "hobby"}, "SaveObservation"),
        pb.SaveObservationRequest(user_id="a", content="hikes", type="profile", title="Hobby", topic_key="hobby"),
        *(pb.SaveObservationResponse(result=SAVED), SAVED),
    ),
    (
        *("save", ("a", "b"), {"type": "t", "title": "c", "conversation_id": "c-1", "request_id": "r-1"}),
        "SaveObservation",
        pb.SaveObservationRequest(
            user_id="a", content="b", type="t", title="c", conversation_id="c-1", request_id="r-1"
        ),
        *(pb.SaveObservationResponse(result=SAVED), SAVED),
    ),
    (
        *("update", ("a", 7), {"title": "t", "type": ""}, "UpdateObservation"),
        pb.UpdateObservationRequest(
            user_id="a", observation_id=7, title="t", update_mask=FieldMask(paths=["title", "type"])
        ),
        *(pb.UpdateObservationResponse(result=SAVED), SAVED),
    ),
    (
        *("save", ("a", "b"), {"type": "t", "title": "c", "pinned": True, "expire_time": AT.ToDatetime(UTC)}),
        *("SaveObservation",),
        pb.SaveObservationRequest(user_id="a", content="b", type="t", title="c", pinned=True, expire_time=AT),
        *(pb.SaveObservationResponse(result=SAVED), SAVED),
    ),
    (
        *("update", ("a", 7), {"pinned": False, "expire_time": AT.ToDatetime(UTC)}, "UpdateObservation"),
        pb.UpdateObservationRequest(
            user_id="a", observation_id=7, expire_time=AT, update_mask=FieldMask(paths=["pinned", "expire_time"])
        ),
        *(pb.UpdateObservationResponse(result=SAVED), SAVED),
    ),
    (
        *("update", ("a", 7), {"expire_time": NEVER}, "UpdateObservation"),
        pb.UpdateObservationRequest(user_id="a", observation_id=7, update_mask=FieldMask(paths=["expire_time"])),
        *(pb.UpdateObservationResponse(result=SAVED), SAVED),
    ),
    (
        *("delete", ("a", 7), {"request_id": "r-1"}, "DeleteObservation"),
        pb.DeleteObservationRequest(user_id="a", observation_id=7, request_id="r-1"),
        *(pb.DeleteObservationResponse(), None),
    ),
    (
        *("start_session", ("a",), {"conversation_id": "c-1"}, "StartSession"),
        *(pb.StartSessionRequest(user_id="a", conversation_id="c-1"), STARTED, STARTED),
    ),
    (
        *("search", ("a", "hiking"), {}, "SearchObservations"),
        *(pb.SearchObservationsRequest(user_id="a", query="hiking"), pb.SearchObservationsResponse(), ()),
    ),
    (
        *("search", ("a", "b"), {"limit": 3, "types": ["profile"], "types_exclude": ("summary",)}),
        "SearchObservations",
        pb.SearchObservationsRequest(user_id="a", query="b", page_size=3, types=["profile"], types_exclude=["summary"]),
        pb.SearchObservationsResponse(observations=[compact(2), compact(1)]),
        (compact(2), compact(1)),
    ),
    (
        *("get", ("a", 7), {}, "GetObservation", pb.GetObservationRequest(user_id="a", observation_id=7)),
        *(pb.GetObservationResponse(observation=observation()), observation()),
    ),
    (
        *("timeline", ("a", 7), {}, "GetTimeline", pb.GetTimelineRequest(user_id="a", observation_id=7)),
        pb.GetTimelineResponse(observations=[observation(6), observation(7)]),
        (observation(6), observation(7)),
    ),
    ("stats", ("a",), {}, "GetStats", pb.GetStatsRequest(user_id="a"), STATS, STATS),
    ("stats", ("a",), {"by_type": True}, "GetStats", pb.GetStatsRequest(user_id="a", by_type=True), STATS, STATS),
    ("forget", ("a",), {}, "ForgetUser", pb.ForgetUserRequest(user_id="a"), pb.ForgetUserResponse(observations=3), 3),
]


async def read(caller: MemoryCaller, target: str, *args: Any, **options: Any) -> list[Item]:
    items: list[Item] = []
    await caller.export(target, items.append, *args, **options)
    return items


@pytest.mark.parametrize(("method", "args", "options", "rpc", "request_", "response", "result"), CALLS)
async def test_each_method_sends_its_request_and_unwraps_the_response(
    memory_caller: MemoryCaller,
    memory: ScriptedMemoryService,
    memory_target: str,
    method: str,
    args: tuple[Any, ...],
    options: dict[str, Any],
    rpc: str,
    request_: Message,
    response: Message,
    result: Any,
) -> None:
    memory.says(rpc, response)
    assert await memory_caller.call(memory_target, method, *args, **options) == result
    [(called, sent)] = memory.calls
    if "request_id" in sent.DESCRIPTOR.fields_by_name and not options.get("request_id"):
        assert len(sent.request_id) == 32
        sent.ClearField("request_id")
    assert (called, sent) == (rpc, request_)


async def test_a_timeline_in_pages_is_put_together(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    pages = {
        "": pb.GetTimelineResponse(observations=[observation(5), observation(6)], next_page_token="6"),
        "6": pb.GetTimelineResponse(next_page_token="x"),
        "x": pb.GetTimelineResponse(observations=[observation(7)]),
    }

    async def script(request: Message, _context: object) -> AsyncIterator[Message]:
        assert isinstance(request, pb.GetTimelineRequest)
        yield pages[request.page_token]

    memory.scripts["GetTimeline"] = script
    seen = await memory_caller.call(memory_target, "timeline", "a", 7)
    assert seen == (observation(5), observation(6), observation(7))
    asked = [pb.GetTimelineRequest(user_id="a", observation_id=7, page_token=token) for token in pages]
    assert memory.calls == [("GetTimeline", request) for request in asked]


async def test_lists_ask_for_page_after_page(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    pages = {
        "": pb.ListObservationsResponse(observations=[observation(3), observation(2)], next_page_token="x"),
        "x": pb.ListObservationsResponse(observations=[observation(1)]),
    }

    async def script(request: Message, _context: object) -> AsyncIterator[Message]:
        assert isinstance(request, pb.ListObservationsRequest)
        yield pages[request.page_token]

    memory.scripts["ListObservations"] = script
    memory.says("ListSessions", pb.ListSessionsResponse(sessions=[SESSION]))
    found = await memory_caller.listed(
        memory_target, "list_observations", "a", types=["t"], conversation_id="", page_size=2
    )
    assert found == [observation(3), observation(2), observation(1)]
    asked = [
        pb.ListObservationsRequest(user_id="a", types=["t"], conversation_id="", page_size=2, page_token=token)
        for token in pages
    ]
    assert memory.calls == [("ListObservations", request) for request in asked]
    assert await memory_caller.listed(memory_target, "list_sessions", "a") == [SESSION]
    assert memory.calls[-1] == ("ListSessions", pb.ListSessionsRequest(user_id="a"))


async def test_facts_come_page_after_page(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    facts = [Fact(observation_id=number, type="profile", content=f"c{number}") for number in range(3)]
    pages = {
        "": pb.ListFactsResponse(facts=facts[:2], next_page_token="x"),
        "x": pb.ListFactsResponse(facts=facts[2:]),
    }

    async def script(request: Message, _context: object) -> AsyncIterator[Message]:
        assert isinstance(request, pb.ListFactsRequest)
        yield pages[request.page_token]

    memory.scripts["ListFacts"] = script
    assert await memory_caller.listed(memory_target, "list_facts", "a", types=["profile"], page_size=2) == facts
    asked = [pb.ListFactsRequest(user_id="a", types=["profile"], page_size=2, page_token=token) for token in pages]
    assert memory.calls == [("ListFacts", request) for request in asked]
    with pytest.raises(TypeError, match="must be a sequence of strings"):
        await memory_caller.listed(memory_target, "list_facts", "a", types="profile")


async def test_a_time_without_a_zone_is_refused(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    when = datetime(2027, 1, 31)  # noqa: DTZ001 - what is refused
    with pytest.raises(ValueError, match="expire_time must have a time zone"):
        await memory_caller.call(memory_target, "save", "a", "b", type="t", title="c", expire_time=when)
    with pytest.raises(ValueError, match="expire_time must have a time zone"):
        await memory_caller.call(memory_target, "update", "a", 7, expire_time=when)
    assert memory.calls == []


ADDED = pb.ImportUserResponse(sessions=1, observations=1)


async def test_an_import_sends_the_user_and_each_item(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.says("ImportUser", ADDED)
    assert await memory_caller.call(memory_target, "import_items", "a", [SESSION, observation(1)]) == ADDED
    sent = [
        pb.ImportUserRequest(user_id="a"),
        pb.ImportUserRequest(session=SESSION),
        pb.ImportUserRequest(observation=observation(1)),
    ]
    assert memory.calls == [("ImportUser", sent)]


async def test_error_of_the_items_iterator_of_an_import_is_raised(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.says("ImportUser", ADDED)

    def broken() -> Iterator[Item]:
        yield SESSION
        raise FileNotFoundError("no such file")

    with pytest.raises(FileNotFoundError, match="no such file"):
        await memory_caller.call(memory_target, "import_items", "a", broken())
    with pytest.raises(TypeError, match="not str"):
        await memory_caller.call(memory_target, "import_items", "a", ["text"])


async def test_a_failed_import_is_its_error(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.scripts["ImportUser"] = failing(Code.INVALID_ARGUMENT)
    with pytest.raises(InvalidArgument, match="no"):
        await memory_caller.call(memory_target, "import_items", "a", [])


async def test_an_export_can_be_imported_while_it_is_read(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.says("ExportUser", exported(SESSION), exported(observation(1)))
    memory.says("ImportUser", ADDED)
    async with AsyncChatClient(memory_target) as client:
        assert await client.memory.import_items("b", client.memory.export("a")) == ADDED
        # An error of the export is raised.
        memory.scripts["ExportUser"] = failing(Code.ABORTED, exported(SESSION))
        with pytest.raises(Interrupted):
            await client.memory.import_items("b", client.memory.export("a"))


async def test_an_export_gives_each_item_and_skips_unknown_kinds(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    items: list[Item] = [SESSION, observation(1), observation(2)]
    memory.says("ExportUser", exported(SESSION), pb.ExportUserResponse(), *map(exported, items[1:]))
    assert await read(memory_caller, memory_target, "alice") == items
    assert memory.calls == [("ExportUser", pb.ExportUserRequest(user_id="alice"))]


async def test_an_empty_export_ends(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.says("ExportUser")
    assert await read(memory_caller, memory_target, "alice") == []


async def test_leaving_an_export_cancels_the_call(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.scripts["ExportUser"] = memory.endless
    await memory_caller.leave(memory_target, memory.left)


async def raised(caller: MemoryCaller, target: str) -> list[ChatError]:
    """Return what a unary method and what an export raise."""
    with pytest.raises(ChatError) as unary:
        await caller.call(target, "get", "alice", 7)
    with pytest.raises(ChatError) as stream:
        await read(caller, target, "alice")
    return [unary.value, stream.value]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.NOT_FOUND, NotFound),
        (Code.INVALID_ARGUMENT, InvalidArgument),
        (Code.UNAVAILABLE, Unavailable),
        (Code.INTERNAL, Internal),
    ],
)
async def test_a_status_becomes_its_error(
    memory_caller: MemoryCaller,
    memory: ScriptedMemoryService,
    memory_target: str,
    code: Code,
    kind: type[ChatError],
) -> None:
    memory.scripts = dict.fromkeys(("GetObservation", "ExportUser"), failing(code))
    for error in await raised(memory_caller, memory_target):
        assert type(error) is kind
        assert (error.code, error.message, error.request_id) == (code, "no", "")
        assert isinstance(error.__cause__, grpc.RpcError)


def failing(code: Code, *before: Message) -> Any:
    async def script(_request: Message, context: Context) -> AsyncIterator[Message]:
        for response in before:
            yield response
        await context.abort(code, "no")

    return script


async def test_an_export_that_breaks_off_was_interrupted(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.scripts["ExportUser"] = failing(Code.UNAVAILABLE, exported(SESSION))
    items: list[Item] = []
    with pytest.raises(Interrupted):
        await memory_caller.export(memory_target, items.append, "alice")
    assert items == [SESSION]


async def test_another_program_listens(memory_caller: MemoryCaller) -> None:
    async with serving(None) as target:
        for error in await raised(memory_caller, target):
            assert type(error) is Unimplemented


async def test_an_answer_that_cannot_be_parsed_is_internal(memory_caller: MemoryCaller) -> None:
    async def unary(_request: bytes, _context: Context) -> bytes:
        return b"\xff\xff"

    async def stream(_request: bytes, _context: Context) -> AsyncIterator[bytes]:
        yield b"\xff\xff"

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "GetObservation": grpc.unary_unary_rpc_method_handler(unary),
        "ExportUser": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("ilab_chat.v1.MemoryService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    for error in await raised(memory_caller, f"127.0.0.1:{port}"):
        assert type(error) is Internal
    await server.stop(None)


async def test_a_call_has_its_own_timeout_and_metadata(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.says("GetStats", STATS)
    memory.says("ExportUser")
    await memory_caller.call(memory_target, "stats", "alice", metadata=(("x-a", "call"),))
    assert memory.metadata["x-a"] == "call"
    assert memory.time_remaining is not None
    assert 30 < memory.time_remaining < 90  # 60; gRPC rounds it on the way
    await memory_caller.call(memory_target, "stats", "alice", timeout=None)
    # No deadline at all, which grpc.aio tells as infinity.
    assert memory.time_remaining is None or memory.time_remaining > 10**6
    await read(memory_caller, memory_target, "alice", timeout=20, metadata=(("x-a", "export"),))
    assert memory.metadata["x-a"] == "export"
    assert memory.time_remaining is not None
    assert 10 < memory.time_remaining < 30


@pytest.mark.slow
async def test_the_timeout_lasts_to_the_last_item(
    memory_caller: MemoryCaller, memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.scripts["ExportUser"] = memory.endless
    with pytest.raises(DeadlineExceeded):
        await read(memory_caller, memory_target, "alice", timeout=2)
    await memory.left.wait()


async def test_a_lone_surrogate_is_refused_by_field_and_not_quoted(
    memory_caller: MemoryCaller, memory_target: str
) -> None:
    bad = "secret \udce4"
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
        ("stats", (bad,), {}, "user_id"),
        ("search", ("alice", bad), {}, "query"),
        ("search", ("alice", "hi"), {"types": [bad]}, "types"),
        ("save", ("alice", "hikes"), {"type": "profile", "title": bad}, "title"),
        ("import_items", (bad, ()), {}, "user_id"),
    ]
    for method, args, options, field in calls:
        with pytest.raises(InvalidArgument) as caught:
            await memory_caller.call(memory_target, method, *args, **options)
        assert [violation.field for violation in caught.value.field_violations] == [field]
        assert "secret" not in repr(caught.value)
        assert caught.value.__context__ is None


async def test_one_text_is_not_a_list_of_types(memory_caller: MemoryCaller, memory_target: str) -> None:
    for name in ("types", "types_exclude"):
        with pytest.raises(TypeError, match="must be a sequence of strings"):
            await memory_caller.call(memory_target, "search", "alice", "hi", **{name: "decision"})


async def test_an_unknown_option_is_refused(memory_caller: MemoryCaller, memory_target: str) -> None:
    with pytest.raises(TypeError, match="topickey"):
        await memory_caller.call(memory_target, "save", "a", "b", type="profile", title="t", topickey="k")


async def test_cancelling_the_task_cancels_the_export(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.scripts["ExportUser"] = memory.endless
    read_one = asyncio.Event()

    async def read_all(client: AsyncChatClient) -> None:
        async for _ in client.memory.export("alice"):
            read_one.set()

    async with AsyncChatClient(memory_target) as client:
        reading = asyncio.create_task(read_all(client))
        await read_one.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await memory.left.wait()


async def test_reading_on_after_the_block_is_cancelled_through_asyncio(
    memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.scripts["ExportUser"] = memory.endless
    async with AsyncChatClient(memory_target) as client:
        async with client.memory.export("alice") as export:
            await anext(export)
        for _ in range(2):
            with pytest.raises(Cancelled):
                await anext(export)


async def test_reading_on_after_the_block_is_cancelled_in_a_thread(
    memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.scripts["ExportUser"] = memory.endless

    def leave(client: ChatClient) -> None:
        with client.memory.export("alice") as export:
            next(export)
        for _ in range(2):
            with pytest.raises(Cancelled):
                next(export)

    with ChatClient(memory_target) as client:
        await asyncio.to_thread(leave, client)


async def test_reading_on_after_a_failure_tells_the_same_through_asyncio(
    memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.scripts["ExportUser"] = failing(Code.ABORTED, exported(SESSION))
    async with AsyncChatClient(memory_target) as client:
        export = client.memory.export("alice")
        await anext(export)
        for _ in range(2):
            with pytest.raises(Interrupted):
                await anext(export)


async def test_a_closed_client_has_no_memory(memory_target: str) -> None:
    threaded = ChatClient(memory_target)
    threaded.close()
    with pytest.raises(RuntimeError, match="closed"):
        threaded.memory.stats("alice")
    with pytest.raises(RuntimeError, match="closed"):
        next(threaded.memory.export("alice"))
    client = AsyncChatClient(memory_target)
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await client.memory.stats("alice")
    with pytest.raises(RuntimeError, match="closed"):
        await anext(client.memory.export("alice"))


async def test_a_given_channel_is_shared_with_the_memory(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.says("GetStats", STATS)
    async with grpc.aio.insecure_channel(memory_target) as channel:
        client = AsyncChatClient(channel=channel, metadata=(("x-a", "client"),))
        assert await client.memory.stats("alice") == STATS
    assert memory.metadata["x-a"] == "client"
