"""ListObservations, ListSessions, UpdateObservation and DeleteObservation over a real channel, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.rpc.errors import InvalidFields
from ilab_chat_service.rpc.paging import cursor_in, token
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from rpcs import reason
from service.test_memory_service import assert_failed, save
from service.test_repeated_writes import stored
from upstream import Reply, Upstream

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.process)])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return replace(settings, memory_url=request.getfixturevalue("memory_database"))


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[tuple[Any, Any]]:
    """Yield the stubs of MemoryService and ChatService."""
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield memory_pb2_grpc.MemoryServiceStub(channel), chat_pb2_grpc.ChatServiceStub(channel)


async def listed(memory: Any, **fields: Any) -> Any:
    return await memory.ListObservations(memory_pb2.ListObservationsRequest(**{"user_id": "alice"} | fields))


async def pages(method: Any, request: Any) -> AsyncIterator[Any]:
    """Yield the pages of a list to its end."""
    while True:
        page = await method(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def test_observations_are_listed_in_pages_newest_first(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        ids = [(await save(memory, f"fact {number}", title=f"t{number}")).id for number in range(21)]
        await save(memory, user="bob")
        request = memory_pb2.ListObservationsRequest(user_id="alice", page_size=10)
        found = [page async for page in pages(memory.ListObservations, request)]
        assert [len(page.observations) for page in found] == [10, 10, 1]
        assert [each.id for page in found for each in page.observations] == ids[::-1]
        assert found[0].observations[0].content == "fact 20"
        whole = await listed(memory)
        assert ([each.id for each in whole.observations], whole.next_page_token) == (ids[::-1], "")
        # Exactly full pages end without an empty one.
        assert (await listed(memory, page_size=21)).next_page_token == ""


async def test_long_observations_fit_into_pages_that_callers_accept(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        ids = [(await save(memory, f"{number:02}" + "x" * (2**20 - 2))).id for number in range(5)]
        request = memory_pb2.ListObservationsRequest(user_id="alice")
        found = [page async for page in pages(memory.ListObservations, request)]
        assert [len(page.observations) for page in found] == [2, 2, 1]
        assert [each.id for page in found for each in page.observations] == ids[::-1]


async def test_lists_are_filtered_by_type_and_conversation(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        tea = (await save(memory, "tea")).id
        chess = (await save(memory, "chess", type="decision", conversation_id="c-1")).id
        assert [each.id for each in (await listed(memory, types=["decision"])).observations] == [chess]
        both = await listed(memory, types=["preference", "decision"])
        assert [each.id for each in both.observations] == [chess, tea]
        assert [each.id for each in (await listed(memory, conversation_id="c-1")).observations] == [chess]
        assert [each.id for each in (await listed(memory, conversation_id="")).observations] == [tea]
        assert not (await listed(memory, conversation_id="other")).observations
        assert not (await listed(memory, user_id="bob")).observations


async def test_sessions_are_listed_and_belong_to_conversations(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        ids = []
        for conversation in ("", "c-1", ""):
            start = memory_pb2.StartSessionRequest(user_id="alice", conversation_id=conversation)
            ids.append((await memory.StartSession(start)).session_id)
            again = await memory.StartSession(start)
            assert (again.session_id, again.new_session) == (ids[-1], False)
            if not conversation:
                await memory.EndSession(memory_pb2.EndSessionRequest(user_id="alice", summary="Done."))
        request = memory_pb2.ListSessionsRequest(user_id="alice", page_size=2)
        found = [page async for page in pages(memory.ListSessions, request)]
        assert [[each.id for each in page.sessions] for page in found] == [ids[:0:-1], ids[:1]]
        assert [each.conversation_id for page in found for each in page.sessions] == ["", "c-1", ""]
        one = await memory.ListSessions(memory_pb2.ListSessionsRequest(user_id="alice", conversation_id="c-1"))
        assert [(each.id, each.state) for each in one.sessions] == [(ids[1], memory_pb2.SESSION_STATE_ACTIVE)]
        ended = memory_pb2.EndSessionRequest(user_id="alice", summary="Bye.", conversation_id="c-1")
        assert (await memory.EndSession(ended)).session.id == ids[1]


async def test_a_page_token_belongs_to_its_list(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        for number in range(3):
            await save(memory, f"fact {number}")
        page_token = (await listed(memory, page_size=1)).next_page_token
        assert (await listed(memory, page_size=2, page_token=page_token)).observations
        changed = page_token[:-2] + ("A" if page_token[-2] != "A" else "B") + page_token[-1]
        for fields in (
            {"types": ["preference"]},
            {"conversation_id": ""},
            {"user_id": "bob"},
            {"page_token": changed},
            {"page_token": "x" * 2000},
            {"page_token": "\u00e9"},
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await listed(memory, **{"page_token": page_token} | fields)
            assert_failed(caught.value, INVALID, "INVALID_FIELD", "page_token")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await memory.ListSessions(memory_pb2.ListSessionsRequest(user_id="alice", page_token=page_token))
        assert_failed(caught.value, INVALID, "INVALID_FIELD", "page_token")


@pytest.mark.parametrize(
    "cursor", ["[]", "5", '["a"]', "[1, 2]", '["a", true]', '["a", 1e400]', "[" * 300, '["a", -1]']
)
def test_a_forged_position_is_refused(cursor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json.dumps", lambda *_, **__: cursor)
    forged = token(("a", 1), ["scope"])
    with pytest.raises(InvalidFields):
        cursor_in(forged, ["scope"])


async def test_an_update_changes_what_the_mask_names(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        saved = await save(memory, topic_key="drink")
        named = {"user_id": "alice", "observation_id": saved.id}

        async def update(mask: list[str] | None = None, **fields: Any) -> Any:
            request = memory_pb2.UpdateObservationRequest(
                **named, **fields, update_mask=None if mask is None else FieldMask(paths=mask)
            )
            return (await memory.UpdateObservation(request)).result

        result = await update(["title"], title="Hot tea", content="not this")
        assert (result.id, result.outcome, result.topic_key) == (saved.id, memory_pb2.SAVE_OUTCOME_UPDATED, "drink")
        assert (await update(["title"], title="Hot tea")).outcome == memory_pb2.SAVE_OUTCOME_DEDUPED
        await update(content="Drinks <private>x</private> coffee.", type="decision")
        found = (await memory.GetObservation(memory_pb2.GetObservationRequest(**named))).observation
        assert (found.title, found.content, found.type) == ("Hot tea", "Drinks [REDACTED] coffee.", "decision")
        assert (found.revision_count, found.topic_key) == (3, "drink")
        search = memory_pb2.SearchObservationsRequest(user_id="alice", query="coffee")
        assert [each.id for each in (await memory.SearchObservations(search)).observations] == [saved.id]


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({}, ["update_mask"]),
        ({"update_mask": FieldMask(paths=["title"])}, ["title"]),
        ({"title": "t", "update_mask": FieldMask(paths=["*"])}, ["content"]),
        ({"title": "t", "update_mask": FieldMask(paths=["title", "topic_key"])}, ["update_mask.paths[1]"]),
        ({"type": "hobby"}, ["type"]),
        ({"title": "t", "observation_id": 0}, ["observation_id"]),
    ],
)
async def test_a_bad_update_names_its_fields(settings: Settings, fields: dict[str, Any], bad: list[str]) -> None:
    async with served(settings) as (memory, _):
        saved = await save(memory)
        request = memory_pb2.UpdateObservationRequest(**{"user_id": "alice", "observation_id": saved.id} | fields)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await memory.UpdateObservation(request)
        assert_failed(caught.value, INVALID, "INVALID_FIELD", *bad)


async def test_a_turn_cannot_be_updated(settings: Settings, upstream: Upstream) -> None:
    async with served(settings) as (memory, chat):
        turn = await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"))
        request = memory_pb2.UpdateObservationRequest(
            user_id="alice", observation_id=turn.observation_id, content="User: Hi\nAssistant: I promise."
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await memory.UpdateObservation(request)
        assert_failed(caught.value, INVALID, "INVALID_FIELD", "observation_id")


async def test_a_repeated_update_returns_the_stored_response(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        saved = await save(memory)
        request = memory_pb2.UpdateObservationRequest(
            user_id="alice", observation_id=saved.id, title="Hot tea", request_id="r-1"
        )
        first = await memory.UpdateObservation(request)
        assert first.result.outcome == memory_pb2.SAVE_OUTCOME_UPDATED
        assert await memory.UpdateObservation(request) == first
        request.title = "Cold tea"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await memory.UpdateObservation(request)
        assert reason(caught.value) == "REQUEST_ID_REUSED"


async def test_updates_and_deletions_are_of_the_users_own_observations(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        saved = await save(memory)
        named = {"user_id": "bob", "observation_id": saved.id}
        for call in (
            memory.UpdateObservation(memory_pb2.UpdateObservationRequest(**named, title="Mine")),
            memory.DeleteObservation(memory_pb2.DeleteObservationRequest(**named)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert_failed(caught.value, grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        assert [each.title for each in (await listed(memory)).observations] == ["Tea"]


async def test_a_deletion_erases_the_observation_and_the_responses_that_contain_it(
    settings: Settings, upstream: Upstream
) -> None:
    async with served(settings) as (memory, chat):
        kept = await save(memory, "Alice plays chess.", request_id="r-0")
        saved = await save(memory, "Alice drinks QUINCE juice.", title="QUINCE", request_id="r-1")
        hi = chat_pb2.ChatRequest(user_id="alice", message="Which juice?", request_id="r-2")
        answer = await chat.Chat(hi)
        assert saved.id in [each.observation_id for each in answer.memories]
        request = memory_pb2.DeleteObservationRequest(user_id="alice", observation_id=saved.id, request_id="r-3")
        await memory.DeleteObservation(request)
        assert b"QUINCE" not in await asyncio.to_thread(stored, settings)
        # A retry gets the stored response; another call finds nothing.
        await memory.DeleteObservation(request)
        request.request_id = "r-4"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await memory.DeleteObservation(request)
        assert_failed(caught.value, grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        assert saved.id not in [each.id for each in (await listed(memory)).observations]
        # The stored answer quoted the observation: it is gone, and the model is asked again.
        assert not (await chat.Chat(hi)).replayed
        # Unrelated records are still there.
        again = await save(memory, "Alice plays chess.", request_id="r-0")
        assert (again.id, again.outcome) == (kept.id, memory_pb2.SAVE_OUTCOME_CREATED)


@pytest.mark.parametrize("by", ["update", "topic_key"])
async def test_replaced_text_is_not_repeated_from_stored_chat_answers(
    settings: Settings, upstream: Upstream, by: str
) -> None:
    async with served(settings) as (memory, chat):
        saved = await save(memory, "Alice drinks QUINCE juice.", title="QUINCE", topic_key="drink", request_id="r-1")
        hi, other = (chat_pb2.ChatRequest(user_id="alice", message=text) for text in ("Which juice?", "Hi"))
        hi.request_id, other.request_id = "r-2", "r-3"
        other.memory_types.append("none")
        await chat.Chat(hi)
        await chat.Chat(other)
        upstream.replies(Reply(hold_before=1))
        running = asyncio.ensure_future(
            chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Which juice?", request_id="r-4"))
        )
        request = await asyncio.to_thread(upstream.wait_for, 3)
        assert await asyncio.to_thread(request.held.wait, 10)
        if by == "update":
            update = memory_pb2.UpdateObservationRequest(
                user_id="alice", observation_id=saved.id, title="Juice", content="Alice drinks juice.", request_id="r-5"
            )
            changed = await memory.UpdateObservation(update)
            assert await memory.UpdateObservation(update) == changed
        else:
            await save(memory, "Alice drinks juice.", title="Juice", topic_key="drink")
        upstream.release()
        assert saved.id in [each.observation_id for each in (await running).memories]
        for request_id in ("r-2", "r-4"):
            hi.request_id = request_id
            answer = await chat.Chat(hi)
            assert not answer.replayed
            assert "QUINCE" not in str(answer)
        # Answers without it, and responses of other methods, are still repeated.
        assert (await chat.Chat(other)).replayed
        again = await save(memory, "Alice drinks QUINCE juice.", title="QUINCE", topic_key="drink", request_id="r-1")
        assert again == saved


async def test_a_running_call_that_has_read_a_deleted_observation_stores_no_answer(
    settings: Settings, upstream: Upstream
) -> None:
    upstream.replies(Reply(hold_before=1))
    async with served(settings) as (memory, chat):
        saved = await save(memory)
        hi = chat_pb2.ChatRequest(user_id="alice", message="Which tea?", request_id="r-1")
        running = asyncio.ensure_future(chat.Chat(hi))
        request = await asyncio.to_thread(upstream.wait_for, 1)
        assert await asyncio.to_thread(request.held.wait, 10)
        await memory.DeleteObservation(memory_pb2.DeleteObservationRequest(user_id="alice", observation_id=saved.id))
        upstream.release()
        assert saved.id in [each.observation_id for each in (await running).memories]
        assert not (await chat.Chat(hi)).replayed


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("ListObservations", {"page_size": -1}, "page_size"),
        ("ListObservations", {"page_size": 201}, "page_size"),
        ("ListObservations", {"types": ["t"] * 17}, "types"),
        ("ListObservations", {"types": [" "]}, "types"),
        ("ListObservations", {"conversation_id": "c" * 65}, "conversation_id"),
        ("ListSessions", {"page_size": 201}, "page_size"),
        ("ListSessions", {"conversation_id": "a b"}, "conversation_id"),
        ("StartSession", {"conversation_id": "a b"}, "conversation_id"),
        ("DeleteObservation", {}, "observation_id"),
        ("DeleteObservation", {"observation_id": 1, "request_id": "a b"}, "request_id"),
    ],
)
async def test_bad_input_names_the_field(settings: Settings, name: str, fields: dict[str, Any], field: str) -> None:
    async with served(settings) as (memory, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(memory, name)(getattr(memory_pb2, f"{name}Request")(user_id="alice", **fields))
        assert_failed(caught.value, INVALID, "INVALID_FIELD", field)
