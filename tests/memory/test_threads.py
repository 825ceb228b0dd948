"""One instance, many threads; and what comes after close."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from batch import cases
from ilab_memory import Config, ILabMemory, Observation, Store
from memory.support import Clock

USERS = 4
SAVES = 40


def use(mem: ILabMemory, user_id: str, worker: int) -> None:
    for number in range(SAVES):
        mem.mem_session_start(user_id)
        saved = mem.mem_save(user_id, f"worker {worker} saw {number}", type="discovery", title=f"{worker}/{number}")
        assert saved.outcome == "created"
        found = mem.mem_search(user_id, f"saw {number}", limit=1000)
        assert saved.id in {row.id for row in found}
        assert saved.id in {row.id for row in mem.mem_timeline(user_id, saved.id)}


@pytest.mark.slow
def test_many_threads_lose_nothing_and_see_their_own_writes(mem: ILabMemory) -> None:
    with ThreadPoolExecutor(2 * USERS) as pool:
        uses = [pool.submit(use, mem, f"user{worker % USERS}", worker) for worker in range(2 * USERS)]
        for done in uses:
            done.result()
    for user in range(USERS):
        assert mem.mem_stats(f"user{user}") == {"observations": 2 * SAVES, "sessions": 1}
        rows = [row for row in mem.mem_export(f"user{user}") if isinstance(row, Observation)]
        assert len({row.title for row in rows}) == 2 * SAVES


def test_one_key_saved_from_many_threads_is_one_row(mem: ILabMemory) -> None:
    together = threading.Barrier(8)

    def save(worker: int) -> str:
        together.wait()
        return mem.mem_save("alice", f"by {worker}", type="profile", title="t", topic_key="k").outcome

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(save, range(8)))
    assert outcomes == ["created", *["updated"] * 7]
    (row,) = mem.mem_search("alice", "by")
    stored = mem.mem_get_observation("alice", row.id)
    assert stored is not None
    assert stored.revision_count == 8


def test_a_session_opened_from_many_threads_is_one(mem: ILabMemory) -> None:
    together = threading.Barrier(8)

    def start(_: int) -> tuple[str, bool]:
        together.wait()
        response = mem.mem_session_start("alice")
        return response.session_id, response.is_new

    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(start, range(8)))
    assert len({session_id for session_id, _ in started}) == 1
    assert [is_new for _, is_new in started].count(True) == 1


CALLS: dict[str, Callable[[ILabMemory], object]] = {
    "session_start": lambda mem: mem.mem_session_start("alice"),
    "session_end": lambda mem: mem.mem_session_end("alice", summary="s"),
    "session_summary": lambda mem: mem.mem_session_summary("alice", "s"),
    "save": lambda mem: mem.mem_save("alice", "c", type="discovery", title="t"),
    "search": lambda mem: mem.mem_search("alice", "query"),
    "short search": lambda mem: mem.mem_search("alice", "q"),
    "get": lambda mem: mem.mem_get_observation("alice", 1),
    "timeline": lambda mem: mem.mem_timeline("alice", 1),
    "recent": lambda mem: mem.mem_recent("alice", "s"),
    "stats": lambda mem: mem.mem_stats("alice"),
    "type stats": lambda mem: mem.mem_type_stats("alice"),
    "forget": lambda mem: mem.mem_forget("alice"),
    "export": lambda mem: mem.mem_export("alice"),
}


@cases("name", CALLS)
def test_every_call_after_close_is_a_runtime_error(mem: ILabMemory, name: str) -> None:
    mem.close()
    mem.close()
    with pytest.raises(RuntimeError, match="closed"):
        CALLS[name](mem)


def test_the_context_manager_closes(store: Store, clock: Clock) -> None:
    with ILabMemory(store, Config(clock=clock)) as mem:
        mem.mem_stats("alice")
    with pytest.raises(RuntimeError, match="closed"):
        mem.mem_stats("alice")


def test_close_finishes_running_operations(mem: ILabMemory) -> None:
    together = threading.Barrier(9)

    def save(worker: int) -> int:
        together.wait()
        try:
            return mem.mem_save("alice", f"c{worker}", type="discovery", title="t").id
        except RuntimeError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        saves = [pool.submit(save, worker) for worker in range(8)]
        together.wait()
        mem.close()
        assert all(saved.result(timeout=30) >= 0 for saved in saves)
