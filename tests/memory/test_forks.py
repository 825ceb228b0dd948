"""A memory that was opened before a fork: the child is told to open its own, and the parent is not disturbed."""

import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ilab_memory import ILabMemory, Store
from ilab_memory.recall import analysis

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")]

#: Seconds after which a child hangs.
PATIENCE = 60


def in_child(call: Callable[[], str]) -> str:
    """Return what *call* returns in a child of this process.

    A child that hangs is killed.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks of processes with threads, which this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            os.write(writing, call().encode())
        finally:
            os._exit(0)
    os.close(writing)
    is_done = bool(select.select([reading], [], [], PATIENCE)[0])
    if not is_done:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = os.read(reading, 65536).decode()
    os.close(reading)
    assert is_done, "the child hangs"
    return said


def said_by(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return f"{type(error).__name__}: {error}"
    return "nothing"


CALLS: dict[str, Callable[[ILabMemory], object]] = {
    "save": lambda mem: mem.mem_save("alice", "tea", type="discovery", title="t"),
    "long save": lambda mem: mem.mem_save("alice", "tea " * 10_000, type="discovery", title="t"),
    "search": lambda mem: mem.mem_search("alice", "tea"),
    "session start": lambda mem: mem.mem_session_start("alice"),
    "forget": lambda mem: mem.mem_forget("alice"),
    "delete": lambda mem: mem.mem_delete("alice", 1),
    "export": lambda mem: list(mem.mem_export("alice")),
    "stats": lambda mem: mem.mem_stats("alice"),
}


@pytest.mark.parametrize("name", CALLS)
def test_call_in_a_forked_child_says_what_to_do(mem: ILabMemory, name: str) -> None:
    mem.mem_save("alice", "coffee", type="discovery", title="t")
    said = in_child(lambda: said_by(lambda: CALLS[name](mem)))
    assert said.startswith("RuntimeError: the memory was opened before this process was forked: open another one")


def test_close_in_a_forked_child_leaves_the_parent_alone(mem: ILabMemory, store: Store) -> None:
    mem.mem_save("alice", "coffee", type="discovery", title="t")
    assert in_child(lambda: said_by(mem.close)) == "nothing"
    mem.mem_save("alice", "tea", type="discovery", title="t")
    assert mem.mem_stats("alice")["observations"] == 2


@contextmanager
def busy(lock: threading.Lock) -> Iterator[None]:
    """Let another thread take *lock* again and again."""
    ended, taken = threading.Event(), threading.Event()

    def take() -> None:
        while not ended.is_set():
            with lock:
                taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        assert taken.wait(PATIENCE)
        yield
    finally:
        ended.set()
        thread.join()


def test_child_may_open_its_own_memory_whatever_the_parent_does(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"

    def save() -> None:
        with ILabMemory.from_path(path) as mem:
            mem.mem_save("alice", "tea " * 10_000, type="discovery", title="t")

    with ILabMemory.from_path(path) as mem:
        with busy(analysis._analyzing):
            for _ in range(5):
                assert in_child(lambda: said_by(save)) == "nothing"
        assert mem.mem_stats("alice")["observations"] == 1
