"""Repetitions of a call, by request_id: over a real channel, and the log itself."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import psycopg
import pytest
from google.rpc import error_details_pb2, status_pb2

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.failures import MemoryUnavailable, StoreNotOpened
from ilab_chat_service.idempotency import postgres as postgres_store
from ilab_chat_service.idempotency import sqlite as sqlite_store
from ilab_chat_service.idempotency.chat_answer_codec import TurnCall
from ilab_chat_service.idempotency.store import SingleFlight
from ilab_chat_service.memory.adapter import MemoryAdapter
from ilab_chat_service.memory.executor import open_memory
from ilab_chat_service.server import open_idempotency_store, serving
from ilab_chat_service.settings import Settings
from ilab_chat_service.values import Answered, RequestKey, StoredResponse, Turn, TurnRequest, TurnRetention
from ilab_memory import ILabMemory
from postgres import Cluster
from processes import running_server
from service.leases import ANSWERED, NOW, REQUEST, leases, open_log
from upstream import Reply, Upstream

T = TypeVar("T")

#: REQUEST, of a caller who gave no id.
NEW = replace(REQUEST, request_id_is_new=True)


@pytest.fixture(params=["sqlite", "postgres"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An empty memory, as the variable that names it."""
    if request.param == "sqlite":
        return {"ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db")}
    return {"ILAB_MEMORY_URL": request.getfixturevalue("memory_database")}


@pytest.fixture
def place(memory: dict[str, str]) -> str:
    [place] = memory.values()
    return place


@pytest.fixture
def settings(settings: Settings, memory: dict[str, str], place: str) -> Settings:
    return replace(settings, memory_url=place) if "ILAB_MEMORY_URL" in memory else settings


@asynccontextmanager
async def channel_of(settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


def chat(message: str = "Hi", **more: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(**{"user_id": "alice", "message": message, "request_id": "r-1", **more})


def stream(message: str = "Hi", **more: Any) -> chat_pb2.StreamChatRequest:
    return chat_pb2.StreamChatRequest(**{"user_id": "alice", "message": message, "request_id": "r-1", **more})


async def turns(channel: grpc.aio.Channel) -> int:
    stub: Any = memory_pb2_grpc.MemoryServiceStub(channel)
    return int((await stub.GetStats(memory_pb2.GetStatsRequest(user_id="alice"))).observations)


async def test_a_repetition_gets_the_same_answer_also_after_a_restart(settings: Settings, upstream: Upstream) -> None:
    async with channel_of(settings) as channel:
        first = await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat())
        second = await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat())
        assert (first.replayed, second.replayed) == (False, True)
        assert len({first.correlation_id, second.correlation_id, ""}) == 3
        second.replayed, second.correlation_id = False, first.correlation_id
        assert second == first
        assert await turns(channel) == 1
    async with channel_of(settings) as channel:
        call = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(stream())
        started, delta, completed = [event async for event in call]
        assert started.started.session_id == first.session_id
        assert delta.text_delta.text == first.reply
        assert completed.completed.replayed
        assert started.started.correlation_id == completed.completed.correlation_id
        completed.completed.replayed, completed.completed.correlation_id = False, first.correlation_id
        assert completed.completed == first
        assert await turns(channel) == 1
    assert len(upstream.requests) == 1


async def test_a_crash_between_the_turn_and_its_record_leaves_one_turn(settings: Settings, upstream: Upstream) -> None:
    upstream.says("before")
    upstream.says("after")
    async with channel_of(settings) as channel:
        first = await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat())
    # The state after a crash in between: the turn is durable, and the record, which comes after it, is missing.
    await asyncio.to_thread(forget_records, settings)
    async with channel_of(settings) as channel:
        second = await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat())
        assert not second.replayed
        assert (first.reply, second.reply) == ("before", "after")
        assert second.observation_id == first.observation_id
        assert await turns(channel) == 1


async def test_a_request_id_without_a_record_adds_a_turn_in_each_conversation(settings: Settings) -> None:
    ids = []
    async with channel_of(settings) as channel:
        for conversation_id in ("", "c-1", "c-2"):
            answer = await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat(conversation_id=conversation_id))
            ids.append(answer.observation_id)
            await asyncio.to_thread(forget_records, settings)
        assert len(set(ids)) == await turns(channel) == 3


def forget_records(settings: Settings) -> None:
    if settings.memory_url:
        with psycopg.connect(settings.memory_url) as database:
            assert database.execute("DELETE FROM ilab_chat.idempotency_records").rowcount == 1
        return
    with closing(sqlite3.connect(settings.memory_db_path)) as file, file:
        assert file.execute("DELETE FROM idempotency_records").rowcount == 1


async def test_a_repetition_that_overlaps_waits_and_shares_the_answer(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        calls = [asyncio.ensure_future(stub.Chat(chat())) for _ in range(5)]
        request = await asyncio.to_thread(upstream.wait_for, 1)
        assert await asyncio.to_thread(request.held.wait, 10)
        upstream.release()
        answers = await asyncio.gather(*calls)
        assert sorted(answer.replayed for answer in answers) == [False, True, True, True, True]
        assert {answer.reply for answer in answers} == {"Hello there."}
        assert await turns(channel) == 1
    assert len(upstream.requests) == 1


async def test_waiting_call_takes_over_when_the_first_is_cancelled(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1), Reply(pieces=["the whole answer"]))
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        first: Any = stub.StreamChat(stream())
        assert [(await first.read()).WhichOneof("event") for _ in range(2)] == ["started", "text_delta"]
        second = asyncio.ensure_future(stub.Chat(chat()))
        first.cancel()
        answer = await second
        assert (answer.reply, answer.replayed) == ("the whole answer", False)
        assert await turns(channel) == 1
    assert len(upstream.requests) == 2


async def test_a_failed_call_may_be_repeated(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(status=500))
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Chat(chat())
        assert not (await stub.Chat(chat())).replayed


@pytest.mark.parametrize(
    "other",
    [
        {"message": "Ho"},
        {"generation": chat_pb2.GenerationOptions(temperature=1)},
        {"turn_retention": chat_pb2.TURN_RETENTION_LATEST_ONLY},
    ],
)
async def test_a_request_id_belongs_to_one_request(
    settings: Settings, upstream: Upstream, other: dict[str, Any]
) -> None:
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        await stub.Chat(chat())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Chat(chat(**other))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        trailers = dict(caught.value.trailing_metadata() or ())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert info.reason == "REQUEST_ID_REUSED"
        assert await turns(channel) == 1
    assert len(upstream.requests) == 1


async def test_another_request_of_a_running_id_is_refused_at_once(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        first = asyncio.ensure_future(stub.Chat(chat()))
        await asyncio.to_thread(upstream.wait_for, 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Chat(chat("Ho"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        upstream.release()
        assert not (await first).replayed


async def test_users_do_not_share_request_ids(settings: Settings, upstream: Upstream) -> None:
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        await stub.Chat(chat())
        assert not (await stub.Chat(chat(user_id="bob", message="other"))).replayed


@pytest.mark.parametrize("mode", [chat_pb2.MEMORY_MODE_READ_ONLY, chat_pb2.MEMORY_MODE_OFF])
async def test_without_writing_there_is_no_record(settings: Settings, mode: Any) -> None:
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        for _ in range(2):
            assert not (await stub.Chat(chat(memory_mode=mode))).replayed
        assert await turns(channel) == 0


@pytest.mark.parametrize("mode", [chat_pb2.MEMORY_MODE_READ_ONLY, chat_pb2.MEMORY_MODE_OFF])
async def test_without_writing_the_request_id_of_another_request_may_be_used(settings: Settings, mode: Any) -> None:
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        await stub.Chat(chat())
        assert not (await stub.Chat(chat("Something else.", memory_mode=mode))).replayed
        assert (await stub.Chat(chat())).replayed
        assert await turns(channel) == 1


async def test_private_text_is_not_in_the_record(settings: Settings, upstream: Upstream) -> None:
    upstream.says("Your code is TANGERINE-77.")
    message = "My code is <private>TANGERINE-77</private>."
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        assert (await stub.Chat(chat(message))).reply == "Your code is TANGERINE-77."
        assert (await stub.Chat(chat(message))).reply == "Your code is [REDACTED]."
        assert b"tangerine" not in stored(settings).lower()


async def test_a_forgotten_user_leaves_no_record(settings: Settings, upstream: Upstream) -> None:
    upstream.says("About MARZIPAN.")
    async with channel_of(settings) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        await stub.Chat(chat("QUINCE?"))
        assert b"MARZIPAN" in stored(settings)
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        await memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="alice"))
        left = stored(settings)
        assert not any(word in left for word in (b"MARZIPAN", b"QUINCE", b"alice"))
        assert not (await stub.Chat(chat("QUINCE?"))).replayed


async def test_answers_of_a_user_without_memory_leave_the_file_too(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")
    memory = await asyncio.to_thread(ILabMemory.from_path, path)
    async with sqlite_store.open_sqlite_store(path, lambda: NOW) as log:
        for number in range(30):
            lease = await log.begin(TurnCall(replace(REQUEST, request_id=f"r-{number}")))
            await lease.put(replace(ANSWERED, reply="MARZIPAN " * number))
            lease.release()
        assert await log.forget("alice") == 30
        assert await asyncio.to_thread(memory.mem_pending_erasures) == 1
        assert await asyncio.to_thread(memory.mem_forget, "alice") == 0
        left = await asyncio.to_thread(lambda: b"".join(file.read_bytes() for file in tmp_path.iterdir()))
        assert b"MARZIPAN" not in left
        assert await log.forget("alice") == 0
    await asyncio.to_thread(memory.close)


async def test_a_call_that_runs_while_its_user_is_forgotten_stores_its_turn(
    settings: Settings, upstream: Upstream
) -> None:
    upstream.replies(Reply(), Reply(hold_before=1))
    async with channel_of(settings) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        await stub.Chat(chat("Before.", request_id="r-0"))
        running = stub.Chat(chat())
        await asyncio.to_thread(upstream.wait_for, 2)
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        await memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="alice"))
        upstream.release()
        await running
        assert await turns(channel) == 1


def stored(settings: Settings) -> bytes:
    """Everything that is kept: the bytes of the files, or the rows of the database."""
    if not settings.memory_url:
        return b"".join(file.read_bytes() for file in Path(settings.memory_db_path).parent.glob("memory.db*"))
    tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname LIKE 'ilab\\_%'"
    with psycopg.connect(settings.memory_url) as connection:
        rows = [
            connection.execute(f"SELECT row_to_json(t)::text FROM {table} t".encode()).fetchall()
            for (table,) in connection.execute(tables.encode()).fetchall()
        ]
    return repr(rows).encode()


async def test_an_interrupted_turn_overwrites_no_answered_one(settings: Settings) -> None:
    """A lease in this process knows nothing of an answer that another replica stored in between."""
    turn = {"user_id": "alice", "request_id": "r-1", "message": "Hi", "retention": TurnRetention.EVERY_TURN}
    async with open_memory(settings) as library, open_idempotency_store(settings) as responses:
        memory = MemoryAdapter(library, responses, search_limit=5)
        answered = await memory.persist(Turn(**turn, reply="whole"))  # type: ignore[arg-type]
        assert await memory.persist(Turn(**turn, reply="par", interrupted=True)) == answered  # type: ignore[arg-type]
        row = await library.read("alice", lambda library: library.mem_get_observation("alice", answered.observation_id))
    assert row
    assert row.content == "User: Hi\nAssistant: whole"


async def test_a_call_that_runs_while_its_user_is_forgotten_keeps_no_answer(place: str) -> None:
    async with open_log(place, lambda: NOW) as log:
        lease = await log.begin(TurnCall(REQUEST))
        assert await log.forget("alice") == 0
        await lease.put(ANSWERED)
        lease.release()
        assert await answer(log) is None
        lease = await log.begin(TurnCall(REQUEST))
        putting = asyncio.create_task(lease.put(ANSWERED))
        await asyncio.sleep(0)
        assert await log.forget("alice") == 1
        await putting
        lease.release()
        assert await answer(log) is None


async def test_answers_are_kept_for_24_hours_and_then_swept(place: str) -> None:
    now = [NOW]
    swept = sqlite_store.ANSWERS_A_SWEEP * sqlite_store.SWEPT_FOR_EACH
    many = 10 + max(swept, postgres_store.SWEPT_AT_ONCE)
    async with open_log(place, lambda: now[0]) as log:
        for number in range(many):
            await put(log, replace(REQUEST, request_id=f"r-{number}"))
        now[0] += timedelta(hours=24) - timedelta(microseconds=1)
        assert await answer(log) == ANSWERED
        now[0] += timedelta(microseconds=1)
        assert await answer(log) is None
        await put(log, replace(REQUEST, user_id="bob"))
        if isinstance(log._records, postgres_store.PostgresRecords):
            await log._records.sweep(now[0])
            assert count(place) == 1
        else:
            assert count(place) == many + 1 - swept


async def test_answers_that_are_put_or_looked_for_at_once_are_each_their_own(tmp_path: Path) -> None:
    place = str(tmp_path / "memory.db")
    requests = [replace(REQUEST, request_id=f"r-{number}") for number in range(50)]
    async with open_log(place, lambda: NOW) as log:
        putting = [asyncio.create_task(put(log, request)) for request in requests]
        await asyncio.sleep(0)
        putting[0].cancel()
        outcomes = await asyncio.gather(*putting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, *[type(None)] * 49]
        unknown = [replace(request, user_id="bob") for request in requests]
        asked = [request for pair in zip(requests, unknown, strict=True) for request in pair]
        assert await asyncio.gather(*(answer(log, request) for request in asked)) == [ANSWERED, None] * 50
        ask(place, "ALTER TABLE idempotency_records RENAME TO away")
        outcomes = await asyncio.gather(*(put(log, request) for request in requests), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {MemoryUnavailable}
        ask(place, "ALTER TABLE away RENAME TO idempotency_records")
        await put(log, REQUEST)
        assert count(place) == 50


async def put(log: SingleFlight, request: TurnRequest) -> None:
    call = TurnCall(request)
    await log.put(call, call.to_store(ANSWERED))


async def answer(log: SingleFlight, request: TurnRequest = REQUEST) -> Answered | None:
    lease = await log.begin(TurnCall(request))
    lease.release()
    return lease.earlier


def count(place: str) -> int:
    [[rows]] = ask(place, "SELECT count(*) FROM {}idempotency_records")
    return int(rows)


def ask(place: str, statement: str) -> list[Any]:
    """Run a statement, its tables after braces, behind the back of the log."""
    if "://" in place:
        with psycopg.connect(place) as database:
            found = database.execute(statement.format("ilab_chat.").encode())
            return found.fetchall() if found.description else []
    with closing(sqlite3.connect(place)) as file, file:
        return file.execute(statement.format("")).fetchall()


async def test_a_log_of_a_newer_version_is_refused(place: str) -> None:
    async with open_log(place, lambda: NOW):
        pass
    ask(place, f"UPDATE {{}}{'schema_version' if '://' in place else 'idempotency_schema'} SET version = version + 1")
    with pytest.raises(StoreNotOpened, match="newer version"):
        async with open_log(place, lambda: NOW):
            pass


async def test_a_database_that_lets_nobody_make_tables_says_so(postgres: Cluster) -> None:
    url = await asyncio.to_thread(postgres.create_database)
    ask(url, "CREATE ROLE guest LOGIN")
    with pytest.raises(
        StoreNotOpened, match=r"^ILAB_MEMORY_URL: could not open the idempotency store: permission denied"
    ):
        async with open_log(url.replace("user=ilab", "user=guest"), lambda: NOW):
            pass


async def test_lock_file_is_next_to_the_memory_and_private_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    async with open_log("~/memory.db", lambda: NOW) as log, open_log(":memory:", lambda: NOW) as other:
        (await log.begin(TurnCall(REQUEST))).release()
        (await other.begin(TurnCall(REQUEST))).release()
    locks = tmp_path / "memory.db-locks"
    assert (locks.stat().st_mode & 0o777, locks.stat().st_size) == (0o600, 0)
    assert not (tmp_path / ":memory:-locks").exists()


async def test_a_released_request_leaves_nothing_behind(place: str) -> None:
    async with open_log(place, lambda: NOW) as log:
        first = await log.begin(TurnCall(REQUEST))
        waiting = asyncio.ensure_future(log.begin(TurnCall(REQUEST)))
        leaving = asyncio.ensure_future(log.begin(TurnCall(REQUEST)))
        await asyncio.sleep(0)
        leaving.cancel()
        first.release()
        first.release()
        (await waiting).release()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert log._flights == {}
        with await asyncio.to_thread(enter, leases(place)):
            pass


def enter(context: AbstractContextManager[T]) -> ExitStack:
    """Enter a context whose entering blocks; leaving the stack leaves it."""
    with ExitStack() as stack:
        stack.enter_context(context)
        return stack.pop_all()


class Looks:
    """Counts how often a log looks whether a request is free."""

    def __init__(self, log: SingleFlight) -> None:
        self.seen = asyncio.Semaphore(0)
        self._enter = log._records.enter
        log._records.enter = self.enter  # type: ignore[method-assign]

    async def enter(self, key: RequestKey, since: datetime, *, is_new: bool) -> tuple[bool, StoredResponse | None]:
        found = await self._enter(key, since, is_new=is_new)
        self.seen.release()
        return found


@asynccontextmanager
async def waiting_for_another_process(
    place: str, request: TurnRequest = REQUEST
) -> AsyncIterator[tuple[asyncio.Task[Any], subprocess.Popen[str]]]:
    """Yield a task that leases what another process has, when it has been seen to wait, and that process."""
    async with open_log(place, lambda: NOW) as log:
        looks = Looks(log)
        with ExitStack() as stack:
            other = await asyncio.to_thread(stack.enter_context, leases(place))
            task = asyncio.create_task(log.begin(TurnCall(request)))
            for _ in range(3):
                await looks.seen.acquire()
            assert not task.done()
            yield task, other
            if not task.cancelled():
                (await task).release()
        assert log._flights == {}


async def test_call_waits_for_the_answer_of_another_process(place: str) -> None:
    async with waiting_for_another_process(place) as (task, other):
        assert other.stdin
        other.stdin.write("put\n")
        assert (await task).earlier == ANSWERED


async def test_no_answer_is_looked_for_under_a_request_id_that_is_new(place: str) -> None:
    async with open_log(place, lambda: NOW) as log:
        await put(log, REQUEST)
        assert await answer(log, NEW) is None
        assert await answer(log) == ANSWERED


@pytest.mark.parametrize("mine", [REQUEST, NEW], ids=["known", "new"])
async def test_lease_that_another_process_releases_is_free(place: str, mine: TurnRequest) -> None:
    async with waiting_for_another_process(place, mine) as (task, other):
        assert other.stdin
        other.stdin.write("release\n")
        assert (await task).earlier is None


async def test_lease_of_a_killed_process_is_free(place: str) -> None:
    async with waiting_for_another_process(place) as (task, other):
        other.kill()
        assert (await task).earlier is None


async def test_caller_that_waits_for_another_process_may_leave(place: str) -> None:
    async with waiting_for_another_process(place) as (task, _):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_servers_on_one_memory_answer_a_request_once_and_one_takes_over_from_a_killed_one(
    memory: dict[str, str], upstream: Upstream
) -> None:
    upstream.replies(Reply(hold_before=1), Reply(hold_before=1), Reply(pieces=["the whole answer"]))
    variables = memory | {"OPENAI_BASE_URL": upstream.base_url}
    with ExitStack() as stack:
        servers = [stack.enter_context(running_server(**variables)) for _ in range(2)]
        channels = [stack.enter_context(grpc.insecure_channel(server.address)) for server in servers]
        first, second = map(chat_pb2_grpc.ChatServiceStub, channels)

        calls = [first.Chat.future(chat())]
        assert upstream.wait_for(1).held.wait(10)
        calls.append(second.Chat.future(chat()))
        upstream.release()
        assert sorted(call.result(timeout=30).replayed for call in calls) == [False, True]
        assert second.Chat(chat(), timeout=30).replayed
        assert len(upstream.requests) == 1

        upstream.released.clear()
        lost = first.Chat.future(chat(request_id="r-2"))
        assert upstream.wait_for(2).held.wait(10)
        taken_over = second.Chat.future(chat(request_id="r-2"))
        servers[0].process.kill()
        assert isinstance(lost.exception(timeout=30), grpc.RpcError)
        found = taken_over.result(timeout=30)
        assert (found.reply, found.replayed) == ("the whole answer", False)
        stub: Any = memory_pb2_grpc.MemoryServiceStub(channels[1])
        assert stub.GetStats(memory_pb2.GetStatsRequest(user_id="alice")).observations == 2
