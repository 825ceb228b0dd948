"""Overload: running calls and queued calls are bounded, and one user does not starve another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fuzz import http2
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.limits import ERASURE_THREADS, READ_THREADS, WRITE_THREADS
from ilab_chat_service.rpc import memory_admission, memory_export
from ilab_chat_service.rpc.admission import Admission
from ilab_chat_service.rpc.errors import ServerBusy
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_memory import ILabMemory
from rpcs import reason
from upstream import Reply, Upstream

#: Channel arguments with which gRPC buffers little of a stream that its caller does not read.
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]


def chat(user: str, **more: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(user_id=user, message="Hi", **more)


@asynccontextmanager
async def channel_of(settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(settings) as address, grpc.aio.insecure_channel(address, SMALL_WINDOW) as channel:
        yield channel


@asynccontextmanager
async def full_server(settings: Settings, upstream: Upstream) -> AsyncIterator[tuple[grpc.aio.Channel, Any]]:
    """A server whose one call runs until the upstream is released."""
    upstream.replies(Reply(hold_before=1))
    async with channel_of(replace(settings, max_calls=1, max_queued_calls=0)) as channel:
        running: Any = chat_pb2_grpc.ChatServiceStub(channel).Chat(chat("alice"))
        await asyncio.to_thread(upstream.wait_for, 1)
        yield channel, running


def limits(**more: Any) -> Admission:
    return Admission(**({"running": 1, "queued": 1, "per_user": 9, "wait_seconds": 60.0} | more))


async def held(admission: Admission, user: str, entered: asyncio.Event, leave: asyncio.Event) -> None:
    async with admission.slot(user):
        entered.set()
        await leave.wait()


async def test_slots_are_granted_first_come_first_served() -> None:
    admission, order, leave = limits(queued=5), [], asyncio.Event()

    async def call(number: int) -> None:
        async with admission.slot("alice"):
            order.append(number)
            await leave.wait()

    calls = [asyncio.create_task(call(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert order == [0]
    leave.set()
    await asyncio.gather(*calls)
    assert order == [0, 1, 2, 3, 4]


async def test_cancelled_waiter_leaves_the_queue_and_loses_no_slot() -> None:
    admission, entered, leave = limits(), asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(held(admission, "alice", entered, leave))
    await entered.wait()
    for _ in range(3):
        waiting = asyncio.create_task(held(admission, "bob", asyncio.Event(), leave))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    last = asyncio.create_task(held(admission, "bob", asyncio.Event(), leave))
    await asyncio.sleep(0)
    # Cancel it at the moment it gets the slot.
    leave.set()
    await running
    last.cancel()
    await asyncio.wait([last])
    async with asyncio.timeout(10), admission.slot("carol"):
        pass


@pytest.mark.parametrize("given_first", [False, True])
async def test_slot_of_a_cancelled_waiter_goes_to_the_next(given_first: bool) -> None:  # noqa: FBT001
    admission, leave, got = limits(queued=2), asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as first:
        await first.enter_async_context(admission.slot("alice"))
        leaving = asyncio.create_task(held(admission, "bob", asyncio.Event(), leave))
        staying = asyncio.create_task(held(admission, "carol", got, leave))
        await asyncio.sleep(0)
        if given_first:
            await first.aclose()
        leaving.cancel()
    await asyncio.wait_for(got.wait(), 10)
    leave.set()
    await staying


async def test_call_is_rejected_after_the_maximum_wait() -> None:
    admission = limits(wait_seconds=0.01)
    async with admission.slot("alice"):
        with pytest.raises(ServerBusy, match="no slot became free within"):
            async with admission.slot("bob"):
                pass


async def test_one_user_cannot_take_the_slots_of_another() -> None:
    admission = limits(running=3, per_user=2)
    async with admission.slot("alice"), admission.slot("alice"):
        with pytest.raises(ServerBusy, match="this user"):
            async with admission.slot("alice"):
                pass
        async with admission.slot("bob"):
            pass
    async with admission.slot("alice"):
        pass


async def test_calls_of_others_overtake_those_of_a_user_at_its_limit() -> None:
    admission, leave = limits(running=3, queued=9, running_per_user=2), asyncio.Event()
    entered = [asyncio.Event() for _ in range(4)]
    calls = [asyncio.create_task(held(admission, "alice", each, leave)) for each in entered[:3]]
    await asyncio.sleep(0)
    assert [each.is_set() for each in entered] == [True, True, False, False]
    calls.append(asyncio.create_task(held(admission, "bob", entered[3], leave)))
    await asyncio.sleep(0)
    assert [each.is_set() for each in entered] == [True, True, False, True]
    leave.set()
    await asyncio.gather(*calls)
    assert entered[2].is_set()


async def test_bytes_of_requests_are_bounded_in_total_and_per_user() -> None:
    admission = limits(running=9, size=10, size_per_user=6)
    async with admission.slot("alice", 4):
        with pytest.raises(ServerBusy, match="bytes"):
            async with admission.slot("alice", 3):
                pass
        async with admission.slot("bob", 6):
            with pytest.raises(ServerBusy, match="the server is busy"):
                async with admission.slot("carol", 1):
                    pass
            async with admission.slot("carol", 0):
                pass
        async with admission.slot("carol", 6):
            pass
    async with admission.slot("alice", 6):
        pass


async def test_large_saves_beyond_the_users_byte_limit_are_rejected(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowMethod(monkeypatch, "mem_save")
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)

        def save(user: str) -> Any:
            return memory.SaveObservation(
                memory_pb2.SaveObservationRequest(user_id=user, content="x" * 1_048_576, type="profile", title="t")
            )

        large = [save("alice") for _ in range(3)]
        await slow.wait_for(memory_admission.RUNNING_PER_USER)
        try:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.gather(save("alice"), save("alice"))
            assert reason(caught.value) == "SERVER_BUSY"
            other = save("bob")
            await slow.wait_for(1)
        finally:
            slow.end.set()
        for each in (*large, other):
            assert (await each).result.id


async def test_full_server_rejects_at_once_with_a_retry_delay(settings: Settings, upstream: Upstream) -> None:
    async with full_server(settings, upstream) as (channel, running):
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Chat(chat("bob"))
        upstream.release()
        assert (await running).observation_id
        assert (await stub.Chat(chat("bob"))).observation_id
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailers: dict[str, Any] = dict(caught.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert info.reason == "SERVER_BUSY"
    assert int(trailers["grpc-retry-pushback-ms"]) == pytest.approx(retry.retry_delay.ToMilliseconds(), abs=1)
    assert 500 <= int(trailers["grpc-retry-pushback-ms"]) <= 1500


async def test_bad_input_and_other_methods_need_no_slot(settings: Settings, upstream: Upstream) -> None:
    async with full_server(settings, upstream) as (channel, running):
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Chat(chat(""))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        assert (await memory.GetStats(memory_pb2.GetStatsRequest(user_id="bob"))).observations == 0
        upstream.release()
        await running


async def test_pitfall_07_full_server_still_answers_health(settings: Settings, upstream: Upstream) -> None:
    async with full_server(settings, upstream) as (channel, running):
        health: Any = health_pb2_grpc.HealthStub(channel)
        checks = [health.Check(health_pb2.HealthCheckRequest()) for _ in range(20)]
        for check in checks:
            assert (await check).status == health_pb2.HealthCheckResponse.SERVING
        upstream.release()
        await running


async def test_cancelled_call_frees_its_slot(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with channel_of(replace(settings, max_calls=1, max_queued_calls=1)) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        running = stub.StreamChat(chat_pb2.StreamChatRequest(user_id="alice", message="Hi"))
        await running.read()
        running.cancel()
        assert (await stub.Chat(chat("bob"))).reply == "Hello there."


async def test_work_of_a_cancelled_caller_keeps_its_slot_until_it_ends() -> None:
    admission, begun, end = limits(), [], asyncio.Event()

    async def work(name: str) -> None:
        begun.append(name)
        await end.wait()

    left = asyncio.create_task(admission.run("alice", lambda: work("left")))
    await asyncio.sleep(0.001)
    waiting = asyncio.create_task(admission.run("alice", lambda: work("never begun")))
    await asyncio.sleep(0.001)
    for caller in (left, waiting):
        caller.cancel()
        await asyncio.wait([caller])
    last = asyncio.create_task(admission.run("bob", lambda: work("last")))
    await asyncio.sleep(0.001)
    assert begun == ["left"]
    end.set()
    await last
    assert begun == ["left", "last"]


class SlowMethod:
    """Replaces a method of every memory by one that returns only when `end` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str = "mem_stats") -> None:
        self.begun = threading.Semaphore(0)
        self.users: list[str] = []
        self.end = threading.Event()
        method = getattr(ILabMemory, name)

        def slow(memory: ILabMemory, user_id: str, *args: Any, **options: Any) -> Any:
            self.users.append(user_id)
            self.begun.release()
            assert self.end.wait(60)
            return method(memory, user_id, *args, **options)

        monkeypatch.setattr(ILabMemory, name, slow)

    async def wait_for(self, calls: int) -> None:
        for _ in range(calls):
            assert await asyncio.to_thread(self.begun.acquire, timeout=30)


async def test_cancelled_memory_reads_leave_threads_for_chat(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert memory_admission.READS + memory_admission.EXPORTS < READ_THREADS
    assert memory_admission.WRITES < WRITE_THREADS
    slow = SlowMethod(monkeypatch)
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        reads = [memory.GetStats(memory_pb2.GetStatsRequest(user_id=f"user {number}")) for number in range(32)]
        await slow.wait_for(memory_admission.READS)
        health: Any = health_pb2_grpc.HealthStub(channel)
        for _ in reads:
            # Any further read would have started by now.
            await health.Check(health_pb2.HealthCheckRequest())
        try:
            for read in reads:
                read.cancel()
            answer = await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat("bob"), timeout=30)
        finally:
            slow.end.set()
        assert answer.reply == "Hello there."
        await memory.GetStats(memory_pb2.GetStatsRequest(user_id="last"), timeout=30)
    assert len(slow.users) == memory_admission.READS + 1
    assert slow.users[-1] == "last"


async def test_one_user_cannot_take_all_memory_slots(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowMethod(monkeypatch)
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        request = memory_pb2.GetStatsRequest(user_id="alice")
        reads = [memory.GetStats(request) for _ in range(memory_admission.PER_USER)]
        await slow.wait_for(memory_admission.RUNNING_PER_USER)
        try:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await memory.GetStats(request, timeout=30)
            assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY")
            assert "grpc-retry-pushback-ms" in dict(caught.value.trailing_metadata() or ())
            other = memory.GetStats(memory_pb2.GetStatsRequest(user_id="bob"))
            await slow.wait_for(1)
            assert slow.users == ["alice"] * memory_admission.RUNNING_PER_USER + ["bob"]
        finally:
            slow.end.set()
        for read in (*reads, other):
            assert (await read).observations == 0


async def test_unread_exports_are_bounded_and_block_no_other_method(settings: Settings) -> None:
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        for number in range(8):
            save = memory_pb2.SaveObservationRequest(
                user_id="alice", content=f"{number} " + "x" * 900_000, type="profile", title="t"
            )
            await memory.SaveObservation(save)
        request = memory_pb2.ExportUserRequest(user_id="alice")
        exports = [memory.ExportUser(request) for _ in range(memory_admission.EXPORTS_PER_USER)]
        for export in exports:
            await export.read()
        refused = memory.ExportUser(request, timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused.read()
        assert reason(caught.value) == "SERVER_BUSY"
        assert (await memory.GetStats(memory_pb2.GetStatsRequest(user_id="alice"))).observations == 8
        for export in exports:
            export.cancel()


async def test_waiting_erasures_block_no_other_call(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_admission.ERASURES < ERASURE_THREADS
    slow = SlowMethod(monkeypatch, "mem_forget")
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        requests = [memory_pb2.ForgetUserRequest(user_id=f"user {number}") for number in range(32)]
        erasures = [memory.ForgetUser(request) for request in requests]
        await slow.wait_for(memory_admission.ERASURES)
        try:
            answer = await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat("bob"), timeout=30)
            stats = await memory.GetStats(memory_pb2.GetStatsRequest(user_id="bob"), timeout=30)
            assert len(slow.users) == memory_admission.ERASURES
        finally:
            slow.end.set()
        assert answer.reply == "Hello there."
        assert stats.observations == 1
        for erasure in erasures:
            await erasure


async def test_one_user_cannot_take_all_erasure_slots(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowMethod(monkeypatch, "mem_forget")
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        request = memory_pb2.ForgetUserRequest(user_id="alice")
        erasures = [memory.ForgetUser(request) for _ in range(memory_admission.ERASURES_PER_USER)]
        await slow.wait_for(memory_admission.RUNNING_PER_USER)
        try:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await memory.ForgetUser(request, timeout=30)
            assert reason(caught.value) == "SERVER_BUSY"
            other = memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="bob"))
            await slow.wait_for(1)
            assert slow.users == ["alice"] * memory_admission.RUNNING_PER_USER + ["bob"]
        finally:
            slow.end.set()
        for erasure in (*erasures, other):
            assert (await erasure).observations == 0


async def test_two_users_cannot_take_all_erasure_slots(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowMethod(monkeypatch, "mem_forget")
    users = ["alice", "bob"] * memory_admission.ERASURES_PER_USER
    assert len(users) >= memory_admission.ERASURES
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        erasures = [memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id=user)) for user in users]
        await slow.wait_for(2 * memory_admission.RUNNING_PER_USER)
        try:
            erasures.append(memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="carol"), timeout=30))
            await slow.wait_for(1)
            assert slow.users[-1] == "carol"
        finally:
            slow.end.set()
        for erasure in erasures:
            assert (await erasure).observations == 0


async def fill(memory: Any, *users: str) -> None:
    """Save more for each user than gRPC buffers for a caller that does not read."""
    for user in users:
        for number in range(8):
            save = memory_pb2.SaveObservationRequest(
                user_id=user, content=f"{number} " + "x" * 900_000, type="profile", title="t"
            )
            await memory.SaveObservation(save)


async def unread(memory: Any, *users: str) -> list[Any]:
    """Return exports of which only the first response is read."""
    exports = [memory.ExportUser(memory_pb2.ExportUserRequest(user_id=user)) for user in users]
    for export in exports:
        await export.read()
    return exports


async def read_all(export: Any) -> int:
    """Read to the end; return the number of responses."""
    count = 0
    while await export.read() is not grpc.aio.EOF:
        count += 1
    if await export.code() is not grpc.StatusCode.OK:
        raise grpc.aio.AioRpcError(
            await export.code(),
            await export.initial_metadata(),
            await export.trailing_metadata(),
            await export.details(),
        )
    return count


async def test_unread_export_frees_its_slot(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_export, "UNREAD_SECONDS", 0.1)
    monkeypatch.setattr(memory_admission, "QUEUE_SECONDS", 60.0)
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        await fill(memory, "alice", "bob")
        stuck = await unread(memory, "alice", "alice", "bob")
        assert len(stuck) == memory_admission.EXPORTS
        request = memory_pb2.ExportUserRequest(user_id="carol")
        assert await read_all(memory.ExportUser(request, timeout=30)) == 0
        # It counts for its user until its caller is gone, because gRPC still buffers a response.
        mine = memory_pb2.ExportUserRequest(user_id="alice")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_all(memory.ExportUser(mine, timeout=30))
        assert reason(caught.value) == "SERVER_BUSY"
        # At least the one whose slot carol got has ended.
        results = await asyncio.gather(*map(read_all, stuck), return_exceptions=True)
        failures = [each for each in results if isinstance(each, grpc.aio.AioRpcError)]
        assert failures
        for each in failures:
            assert (each.code(), reason(each)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
            assert "did not read" in str(each.details())


@pytest.mark.parametrize("limit", ["CROWDED_SECONDS", "CROWDED_TOTAL_SECONDS"])
async def test_an_export_that_is_read_slowly_ends_when_another_waits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    # The other limit is never reached.
    monkeypatch.setattr(memory_export, limit, 0.1)
    monkeypatch.setattr(memory_export, {"CROWDED_SECONDS", "CROWDED_TOTAL_SECONDS"}.difference({limit}).pop(), 50.0)
    monkeypatch.setattr(memory_admission, "QUEUE_SECONDS", 60.0)
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        await fill(memory, "alice", "bob")
        slow = await unread(memory, "alice", "alice", "bob")
        if limit == "CROWDED_TOTAL_SECONDS":
            for export in slow:
                await export.read()
        request = memory_pb2.ExportUserRequest(user_id="carol")
        assert await read_all(memory.ExportUser(request, timeout=20)) == 0
        results = await asyncio.gather(*map(read_all, slow), return_exceptions=True)
        [ended] = [each for each in results if isinstance(each, grpc.aio.AioRpcError)]
        assert (ended.code(), reason(ended)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY")


async def test_export_aborted_in_its_first_write_has_a_status(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_export, "UNREAD_SECONDS", 0.1)
    monkeypatch.setattr(memory_admission, "QUEUE_SECONDS", 60.0)
    monkeypatch.setattr(memory_admission, "EXPORTS", 1)
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        await memory.StartSession(memory_pb2.StartSessionRequest(user_id="alice"))
        export = memory_pb2.ExportUserRequest(user_id="alice").SerializeToString()
        pairs = http2.fields("/ilab_chat.v1.MemoryService/ExportUser")
        with await asyncio.to_thread(http2.Connection, address) as stuck:
            await asyncio.to_thread(
                stuck.send, [http2.PREFACE, http2.window(0), http2.request(pairs, http2.message(export))]
            )
            await asyncio.to_thread(stuck.until, http2.HEADERS)
            # This one gets the only slot when the other export has ended.
            assert await read_all(memory.ExportUser(memory_pb2.ExportUserRequest(user_id="bob"))) == 0
            await asyncio.to_thread(stuck.send, [http2.window(65_535)])
            assert await asyncio.to_thread(stuck.status) == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


@pytest.mark.parametrize("limit", ["default", "maximum"])
async def test_export_has_a_deadline(settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    usual = memory_admission.LONG_CALL_TIME
    short: dict[str, Any] = {limit: 0.2}
    monkeypatch.setattr(memory_admission, "LONG_CALL_TIME", replace(usual, **short))
    monkeypatch.setattr(memory_admission, "EXPORTS", 1)
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        await fill(memory, "alice")
        [export] = await unread(memory, "alice")
        monkeypatch.setattr(memory_admission, "LONG_CALL_TIME", usual)
        # This one gets the only slot when the other export has ended.
        assert await read_all(memory.ExportUser(memory_pb2.ExportUserRequest(user_id="bob"))) == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_all(export)
        assert (caught.value.code(), reason(caught.value)) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "DEADLINE_EXCEEDED",
        )


@pytest.mark.parametrize(("limit", "seconds"), [("default", None), ("maximum", None), ("maximum", 60)])
async def test_memory_call_has_a_deadline(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: str, seconds: float | None
) -> None:
    short: dict[str, Any] = {limit: 0.2}
    monkeypatch.setattr(memory_admission, "CALL_TIME", replace(memory_admission.CALL_TIME, **short))
    slow = SlowMethod(monkeypatch, "mem_stats")
    async with channel_of(settings) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        try:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await memory.GetStats(memory_pb2.GetStatsRequest(user_id="alice"), timeout=seconds)
        finally:
            slow.end.set()
        assert (caught.value.code(), reason(caught.value)) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "DEADLINE_EXCEEDED",
        )
