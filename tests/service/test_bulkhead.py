"""Bulkheads: each user has a share, no thread is lost, and a cancelled call never starts."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from ilab_chat_service.failures import MemoryUnavailable
from ilab_chat_service.memory.bulkhead import Bulkhead


class Calls:
    """Blocking calls that run until `end` is set."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.begun: list[str] = []
        self._begun = threading.Semaphore(0)

    def call(self, name: str) -> str:
        self.begun.append(name)
        self._begun.release()
        assert self.end.wait(60)
        return name

    async def wait_for(self, calls: int) -> None:
        for _ in range(calls):
            assert await asyncio.to_thread(self._begun.acquire, timeout=30)


async def test_user_at_its_limit_does_not_block_others() -> None:
    lane, calls = Bulkhead("test", threads=3, per_user=2), Calls()
    running = [asyncio.create_task(lane.run("alice", lambda: calls.call("alice"))) for _ in range(16)]
    await calls.wait_for(2)
    running.append(asyncio.create_task(lane.run("bob", lambda: calls.call("bob"))))
    await calls.wait_for(1)
    assert calls.begun == ["alice", "alice", "bob"]
    calls.end.set()
    assert await asyncio.gather(*running) == ["alice"] * 16 + ["bob"]
    await lane.close()


async def test_cancelled_waiting_call_never_starts_and_cancelled_running_call_keeps_its_thread() -> None:
    lane, calls = Bulkhead("test", threads=1, per_user=1), Calls()
    left = asyncio.create_task(lane.run("alice", lambda: calls.call("left")))
    await calls.wait_for(1)
    waiting = asyncio.create_task(lane.run("bob", lambda: calls.call("never begun")))
    last = asyncio.create_task(lane.run("carol", lambda: calls.call("last")))
    await asyncio.sleep(0)
    for caller in (left, waiting):
        caller.cancel()
        await asyncio.wait([caller])
    assert not last.done()
    assert calls.begun == ["left"]
    calls.end.set()
    assert await last == "last"
    assert calls.begun == ["left", "last"]
    await lane.close()


async def test_thread_of_a_cancelled_waiter_goes_to_the_next() -> None:
    lane, calls = Bulkhead("test", threads=1, per_user=1), Calls()
    first = asyncio.create_task(lane.run("alice", lambda: calls.call("first")))
    await calls.wait_for(1)
    leaving = asyncio.create_task(lane.run("bob", lambda: calls.call("leaving")))
    last = asyncio.create_task(lane.run("carol", lambda: calls.call("last")))
    await asyncio.sleep(0)
    calls.end.set()
    await first
    leaving.cancel()
    assert await asyncio.wait_for(last, 30) == "last"
    await lane.close()


async def test_error_of_a_call_is_raised_and_frees_its_thread() -> None:
    lane = Bulkhead("test", threads=1, per_user=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await lane.run("alice", lambda: 1 // 0)
    await lane.close()


@pytest.mark.parametrize(("threads", "is_long"), [(1, False), (2, True)])
async def test_waiting_calls_fail_when_the_bulkhead_is_refused(*, threads: int, is_long: bool) -> None:
    lane, calls = Bulkhead("test", threads=threads, per_user=1), Calls()
    running = asyncio.create_task(lane.run("alice", lambda: calls.call("running"), is_long=is_long))
    await calls.wait_for(1)
    waiting = asyncio.create_task(lane.run("bob", lambda: calls.call("waiting"), is_long=is_long))
    await asyncio.sleep(0)
    lane.refuse()
    with pytest.raises(MemoryUnavailable):
        await waiting
    calls.end.set()
    assert await running == "running"
    await lane.close()


async def test_calls_with_long_texts_leave_half_of_the_threads_to_others() -> None:
    lane, calls = Bulkhead("test", threads=4, per_user=1), Calls()
    names = ["alice", "alice", "bob", "carol", "dave"]
    long = [asyncio.create_task(lane.run(name, partial(calls.call, name), is_long=True)) for name in names]
    await calls.wait_for(2)
    short = [asyncio.create_task(lane.run(name, partial(calls.call, name))) for name in ("erin", "frank")]
    await calls.wait_for(2)
    assert calls.begun == ["alice", "bob", "erin", "frank"]
    calls.end.set()
    assert await asyncio.gather(*long, *short) == [*names, "erin", "frank"]
    await lane.close()


async def test_place_of_a_cancelled_call_with_a_long_text_goes_to_the_next() -> None:
    lane, calls = Bulkhead("test", threads=2, per_user=2), Calls()
    short = [asyncio.create_task(lane.run("alice", lambda: calls.call("short"))) for _ in range(2)]
    await calls.wait_for(2)
    leaving, waiting = (asyncio.create_task(lane.run("bob", partial(calls.call, name), is_long=True)) for name in "ab")
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    calls.end.set()
    assert await asyncio.wait_for(waiting, 30) == "b"
    assert await asyncio.gather(*short) == ["short"] * 2
    await lane.close()
