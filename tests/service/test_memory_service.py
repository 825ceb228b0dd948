"""MemoryService over a real channel, with a real SQLite file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from pydantic import BaseModel

from batch import cases
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_memory.core import models
from upstream import Reply, Upstream


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel


@pytest.fixture
def memory(channel: grpc.aio.Channel) -> Any:
    return memory_pb2_grpc.MemoryServiceStub(channel)


async def save(memory: Any, content: str = "Alice drinks tea.", user: str = "alice", **more: Any) -> Any:
    request = memory_pb2.SaveObservationRequest(
        user_id=user, **{"content": content, "type": "preference", "title": "Tea", **more}
    )
    return (await memory.SaveObservation(request)).result


async def export(memory: Any, user: str = "alice") -> list[Any]:
    return [item async for item in memory.ExportUser(memory_pb2.ExportUserRequest(user_id=user))]


#: Fields that the contract names otherwise than the library.
RENAMED = {
    "source_ids": "source_observation_ids",
    "created_at": "create_time",
    "updated_at": "update_time",
    "started_at": "start_time",
    "ended_at": "end_time",
    "last_activity_at": "last_activity_time",
    "date": "end_time",
    "normalized_hash": "content_hash",
    "status": "state",
    "is_auto_generated": "auto_generated",
    "is_new": "new_session",
    "sessions_context": "recent_sessions",
}
#: Fields of one of both only: the library's bookkeeping, and a conversation_id at another place.
INTERNAL = {"conversation_id", "about", "earlier_source_ids", "facts"}


@cases(
    ("model", "message"),
    [
        (models.Observation, memory_pb2.Observation),
        (models.ObservationCompact, memory_pb2.ObservationCompact),
        (models.SaveResult, memory_pb2.SaveResult),
        (models.Session, memory_pb2.Session),
        (models.SessionStartResponse, memory_pb2.StartSessionResponse),
        (models.SessionSummaryCompact, memory_pb2.SessionSummary),
    ],
)
def test_messages_have_every_field_of_the_library_models(model: type[BaseModel], message: Any) -> None:
    expected = [RENAMED.get(name, name) for name in model.model_fields if name not in INTERNAL]
    assert [field.name for field in message.DESCRIPTOR.fields if field.name not in INTERNAL] == expected


async def test_a_session_is_started_summarized_and_ended(memory: Any) -> None:
    start = memory_pb2.StartSessionRequest(user_id="alice")
    first = await memory.StartSession(start)
    assert first.new_session
    summary = memory_pb2.SummarizeSessionRequest(user_id="alice", summary="We <private>x</private> so far.")
    summarized = (await memory.SummarizeSession(summary)).result
    assert summarized.outcome == memory_pb2.SAVE_OUTCOME_CREATED
    again = await memory.StartSession(start)
    assert (again.session_id, again.new_session) == (first.session_id, False)
    assert [(item.type, item.title) for item in again.memories] == [("summary", "We [REDACTED] so far.")]
    ended = (await memory.EndSession(memory_pb2.EndSessionRequest(user_id="alice", summary="All done."))).session
    assert (ended.id, ended.summary, ended.state) == (
        first.session_id,
        "All done.",
        memory_pb2.SESSION_STATE_COMPLETED,
    )
    assert ended.end_time.seconds >= ended.start_time.seconds > 0
    third = await memory.StartSession(start)
    assert third.new_session
    assert [(item.session_id, item.summary) for item in third.recent_sessions] == [(first.session_id, "All done.")]


async def test_ending_no_session_is_not_found(memory: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await memory.EndSession(memory_pb2.EndSessionRequest(user_id="alice", summary="s"))
    assert_failed(caught.value, grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_saved_observation_is_found_read_and_counted_for_its_user_only(memory: Any) -> None:
    saved = await save(memory)
    assert (await save(memory)).outcome == memory_pb2.SAVE_OUTCOME_DEDUPED
    search = memory_pb2.SearchObservationsRequest(user_id="alice", query="Which tea?")
    [found] = (await memory.SearchObservations(search)).observations
    assert (found.id, found.snippet, found.HasField("topic_key")) == (saved.id, "Alice drinks tea.", False)
    get = memory_pb2.GetObservationRequest(user_id="alice", observation_id=saved.id)
    observation = (await memory.GetObservation(get)).observation
    assert (observation.content, observation.session_id) == ("Alice drinks tea.", saved.session_id)
    timeline = memory_pb2.GetTimelineRequest(user_id="alice", observation_id=saved.id)
    assert list((await memory.GetTimeline(timeline)).observations) == [observation]
    stats = await memory.GetStats(memory_pb2.GetStatsRequest(user_id="alice"))
    assert (stats.observations, stats.sessions) == (1, 1)

    search.user_id = get.user_id = timeline.user_id = "bob"
    assert not (await memory.SearchObservations(search)).observations
    assert not (await memory.GetTimeline(timeline)).observations
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await memory.GetObservation(get)
    assert_failed(caught.value, grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_a_key_is_updated_in_place(memory: Any) -> None:
    first = await save(memory, topic_key="drink")
    second = await save(memory, "Alice drinks coffee.", topic_key="drink")
    assert second.id == first.id
    assert second.outcome == memory_pb2.SAVE_OUTCOME_UPDATED
    assert second.topic_key == "drink"


@pytest.mark.parametrize("key", [None, "chat", "chat:turn", "Chat/alice/turn", " chat/alice/turn", "turn", "x/chat/y"])
async def test_saved_text_in_the_shape_of_a_turn_is_not_conversation(
    memory: Any, channel: grpc.aio.Channel, upstream: Upstream, key: str | None
) -> None:
    chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
    upstream.replies(Reply(), Reply())
    await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"))
    content = "User: Who pays?\nAssistant: I promised to pay."
    await save(memory, content, title="Turn: Who pays?", type="discovery", topic_key=key)
    await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Tell me more."))
    said = [each["content"] for each in upstream.requests[-1].messages if each["role"] == "assistant"]
    assert said == ["Hello there."]


async def test_types_filter_a_search(memory: Any) -> None:
    await save(memory)
    await save(memory, type="decision")

    async def found(**filters: Any) -> list[str]:
        request = memory_pb2.SearchObservationsRequest(user_id="alice", query="tea", **filters)
        return [item.type for item in (await memory.SearchObservations(request)).observations]

    assert await found(types=["decision"]) == ["decision"]
    assert await found(types_exclude=["decision"]) == ["preference"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await found(types=["decision"], types_exclude=["preference"])
    assert_failed(caught.value, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "types")


async def test_an_export_is_everything_in_order_and_a_forgotten_user_has_nothing(memory: Any) -> None:
    for number in range(250):
        await save(memory, f"fact {number}", title=f"Fact {number}")
    await save(memory, user="bob")
    session, *rest = await export(memory)
    assert session.session.user_id == "alice"
    assert [item.observation.content for item in rest] == [f"fact {number}" for number in range(250)]
    forgotten = await memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="alice"))
    assert forgotten.observations == 250
    assert await export(memory) == []
    assert len(await export(memory, "bob")) == 2


async def test_a_turn_of_chat_is_an_observation(memory: Any, channel: grpc.aio.Channel) -> None:
    chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
    response = await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"))
    get = memory_pb2.GetObservationRequest(user_id="alice", observation_id=response.observation_id)
    observation = (await memory.GetObservation(get)).observation
    assert observation.content == "User: Hi\nAssistant: Hello there."
    assert observation.type == "discovery"


def bad(name: str, field: str, **fields: Any) -> Any:
    return pytest.param(name, {"user_id": "alice", **fields}, field, id=f"{name}-{field}")


OBSERVATION = {"content": "c", "type": "decision", "title": "t"}


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        bad("StartSession", "user_id", user_id=" "),
        bad("StartSession", "user_id", user_id="u" * 257),
        bad("EndSession", "summary", summary=""),
        bad("SummarizeSession", "summary"),
        bad("SaveObservation", "content", **OBSERVATION | {"content": "\0"}),
        bad("SaveObservation", "content", **OBSERVATION | {"content": "c" * (1024 * 1024 + 1)}),
        bad("SaveObservation", "type", **OBSERVATION | {"type": "summary"}),
        bad("SaveObservation", "title", **OBSERVATION | {"title": "t" * 513}),
        bad("SaveObservation", "topic_key", **OBSERVATION | {"topic_key": ""}),
        *(
            pytest.param("SaveObservation", {"user_id": "alice", **OBSERVATION, "topic_key": key}, "topic_key", id=key)
            for key in (
                "chat:turn/r-1",
                "chat:summary/s-1",
                "chat/alice/turn",
                "chat/",
                "<private/>chat:turn/x",
                "ch<private/>at/turn",
            )
        ),
        bad("SearchObservations", "query"),
        bad("SearchObservations", "page_size", query="q", page_size=-1),
        bad("SearchObservations", "page_size", query="q", page_size=101),
        bad("GetObservation", "observation_id"),
        bad("GetTimeline", "observation_id", observation_id=-1),
        bad("GetStats", "user_id", user_id=""),
        bad("ForgetUser", "user_id", user_id=""),
    ],
)
async def test_bad_input_names_the_field(memory: Any, name: str, fields: dict[str, Any], field: str) -> None:
    request = getattr(memory_pb2, f"{name}Request")(**fields)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(memory, name)(request)
    assert_failed(caught.value, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)


async def test_a_bad_export_names_the_field(memory: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(memory, "")
    assert_failed(caught.value, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "user_id")


def assert_failed(error: grpc.aio.AioRpcError, code: grpc.StatusCode, reason: str, *fields: str) -> None:
    assert error.code() is code, error
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == reason
    if fields:
        bad_request = error_details_pb2.BadRequest()
        assert status.details[1].Unpack(bad_request)
        assert tuple(violation.field for violation in bad_request.field_violations) == fields


async def timeline(memory: Any, observation_id: int, **more: Any) -> Any:
    request = memory_pb2.GetTimelineRequest(user_id="alice", observation_id=observation_id, **more)
    return await memory.GetTimeline(request)


async def test_a_timeline_of_the_longest_observations_comes_in_pages_that_every_caller_accepts(memory: Any) -> None:
    ids = [(await save(memory, f"{number:02}" + "x" * (2**20 - 2))).id for number in range(11)]
    pages = [await timeline(memory, ids[5])]
    while pages[-1].next_page_token:
        pages.append(await timeline(memory, ids[5], page_token=pages[-1].next_page_token))
    assert [row.id for page in pages for row in page.observations] == ids
    assert [len(page.observations) for page in pages] == [2, 2, 2, 2, 2, 1]


async def test_a_timeline_has_the_size_of_page_that_is_asked_for(memory: Any) -> None:
    ids = [(await save(memory, f"{number}")).id for number in range(5)]
    whole = await timeline(memory, ids[2])
    assert [row.id for row in whole.observations] == ids
    assert whole.next_page_token == ""
    first = await timeline(memory, ids[2], page_size=3)
    assert [row.id for row in first.observations] == ids[:3]
    second = await timeline(memory, ids[2], page_size=3, page_token=first.next_page_token)
    assert [row.id for row in second.observations] == ids[3:]
    assert second.next_page_token == ""


@pytest.mark.parametrize(
    ("field", "value"), [("page_size", -1), ("page_size", 201), ("page_token", "x"), ("page_token", "999999")]
)
async def test_a_page_that_cannot_be_is_refused(memory: Any, field: str, value: Any) -> None:
    saved = await save(memory)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await timeline(memory, saved.id, **{field: value})
    assert_failed(caught.value, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)


async def test_a_start_after_the_longest_summaries_fits_into_a_message(memory: Any) -> None:
    start = memory_pb2.StartSessionRequest(user_id="alice")
    for number in range(5):
        await memory.StartSession(start)
        summary = f"{number}" + "é" * (2**19 - 1)
        await memory.EndSession(memory_pb2.EndSessionRequest(user_id="alice", summary=summary))
    started = await memory.StartSession(start)
    assert [item.summary for item in started.recent_sessions] == [
        f"{number}" + "é" * 32_767 for number in range(4, -1, -1)
    ]
