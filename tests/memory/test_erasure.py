"""How SQLite files are rewritten when users are forgotten: how often, at what cost, and what becomes of failures."""

import errno
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from ilab_memory import Config, ILabMemory, StorageError
from ilab_memory.stores.sqlite import (
    SQLiteStore,
    byte_erasure,
    erasure_schedule,
    group_commit,
    request_rewrite,
    user_erasure,
)
from ilab_memory.stores.sqlite.connections import LOG_BYTES
from ilab_memory.stores.sqlite.page_file import PageFile
from rewriting import locked, refusals


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@contextmanager
def opened(path: Path) -> Iterator[ILabMemory]:
    store = SQLiteStore(path, busy_timeout_seconds=0.1)
    with ILabMemory(store, Config()) as mem:
        yield mem


@contextmanager
def before_each_rewrite(mem: ILabMemory, step: Callable[[], None]) -> Iterator[None]:
    """Run *step* before each rewrite of the file."""
    rewriter = forgetting_of(mem)._rewriter
    rewrite_now = rewriter.rewrite

    def stepped() -> None:
        step()
        rewrite_now()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewriter, "rewrite", stepped)
        yield


def full_disk() -> None:
    """Fail as a write does where there is no space."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def forgetting_of(mem: ILabMemory) -> erasure_schedule.Forgetting:
    assert isinstance(mem._store, SQLiteStore)
    return mem._store._forgetting


def rewrites(mem: ILabMemory) -> int:
    return forgetting_of(mem)._rewriter.rewrites


def save(mem: ILabMemory, user_id: str, content: str) -> None:
    mem.mem_save(user_id, content, type="discovery", title="t")


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def assert_sound(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO search (search) VALUES ('integrity-check')")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM erasures").fetchone() == (0,)


def test_forgetting_a_user_without_data_only_reads(path: Path) -> None:
    with opened(path) as mem:
        save(mem, "alice", "tea")
        files = (path, path.with_name("memory.db-wal"))
        before = [file.read_bytes() for file in files]
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert mem.mem_forget("nobody") == 0
            other.execute("ROLLBACK")
        assert [file.read_bytes() for file in files] == before
        assert rewrites(mem) == 0


def test_concurrent_calls_share_a_rewrite(path: Path) -> None:
    """The first call's rewrite has begun when the others come, so these need a second one, and no third."""
    callers = 8
    may_go_on = threading.Event()
    asked: list[int] = []

    def wait() -> None:
        asked.append(1)
        may_go_on.wait()

    with opened(path) as mem, before_each_rewrite(mem, wait):
        for number in range(callers):
            save(mem, f"user{number}", f"marker{number}")
        save(mem, "bob", "kept")
        waiting = forgetting_of(mem)._changed
        with ThreadPoolExecutor(callers) as pool:
            calls = [pool.submit(mem.mem_forget, f"user{number}") for number in range(callers)]
            while len(waiting._waiters) < callers - 1 or not asked:  # type: ignore[attr-defined]
                may_go_on.wait(0.001)
            may_go_on.set()
            assert [call.result() for call in calls] == [1] * callers
        assert rewrites(mem) == 2
        assert b"marker" not in bytes_of(path.parent)
        assert len(mem.mem_search("bob", "kept")) == 1
    assert_sound(path)


def test_two_stores_on_one_file_share_their_rewrites(path: Path) -> None:
    with opened(path) as one, opened(path) as other:
        for number in range(6):
            save(one, f"user{number}", f"marker{number}")
        stores = [one, other] * 3
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(mem.mem_forget, f"user{number}") for number, mem in enumerate(stores)]
            assert [call.result() for call in calls] == [1] * 6
        assert b"marker" not in bytes_of(path.parent)
        assert one.mem_pending_erasures() == 0
    assert_sound(path)


def test_the_copy_that_a_killed_process_of_an_older_version_has_left_is_removed(path: Path) -> None:
    copy = path.with_name("memory.db-rewrite")
    with opened(path) as mem:
        save(mem, "alice", "marker")
        copy.write_bytes(b"marker" * 100_000)
        mem.mem_forget("alice")
        assert not copy.exists()
        assert b"marker" not in bytes_of(path.parent)


RESIDENT = """
import resource, sqlite3, sys
from pathlib import Path
from ilab_memory import ILabMemory
path = Path(sys.argv[1])
with ILabMemory.from_path(path) as mem:
    mem.mem_save("alice", "marker", type="discovery", title="t")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE filler (content BLOB)")
    for _ in range(1200):
        connection.execute("INSERT INTO filler VALUES (randomblob(100000))")
    connection.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mem.mem_forget("alice")
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_the_memory_of_a_rewrite_does_not_grow_with_the_file(path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", RESIDENT, str(path)], capture_output=True, text=True, timeout=100, check=False
    )
    assert child.returncode == 0, child.stderr
    assert path.stat().st_size > 120_000_000
    assert int(child.stdout) < 20
    assert b"marker" not in bytes_of(path.parent)


def test_an_erasure_without_disk_space_stays_pending_until_there_is_space(path: Path) -> None:
    with opened(path) as mem, before_each_rewrite(mem, full_disk):
        save(mem, "alice", "marker")
        save(mem, "bob", "kept")
        with pytest.raises(StorageError, match="No space left"):
            mem.mem_forget("alice")
        assert mem.mem_stats("alice") == {"observations": 0, "sessions": 0}
        assert mem.mem_pending_erasures() == 1
        with pytest.raises(StorageError, match="No space left"):
            mem.mem_finish_forgetting()
        with pytest.raises(StorageError, match="No space left"):
            mem.mem_forget("alice")
        assert mem.mem_forget("nobody") == 0, "the pending erasure is of another user"
    assert b"alice" not in path.read_bytes(), "a pending erasure does not name its user"
    with opened(path) as mem:
        assert mem.mem_pending_erasures() == 1
        assert mem.mem_finish_forgetting() == 0
        assert b"marker" not in bytes_of(path.parent)
        assert len(mem.mem_search("bob", "kept")) == 1
        assert mem.mem_finish_forgetting() == 0
        assert rewrites(mem) == 1
    assert_sound(path)


def test_calling_again_completes_a_pending_erasure(path: Path) -> None:
    with opened(path) as mem:
        save(mem, "alice", "marker")
        with before_each_rewrite(mem, full_disk), pytest.raises(StorageError, match="No space left"):
            mem.mem_forget("alice")
        assert mem.mem_forget("alice") == 0
        assert b"marker" not in bytes_of(path.parent)
        assert mem.mem_pending_erasures() == 0


KILLED = """
import os, sys
from ilab_memory import ILabMemory
from ilab_memory.stores.sqlite.byte_erasure import Rewriter
Rewriter.rewrite = lambda _: os._exit(9)
mem = ILabMemory.from_path(sys.argv[1])
for number in range(500):
    mem.mem_save("alice", f"marker {number}", type="discovery", title="t")
mem.mem_forget("alice")
"""


def test_the_next_process_completes_the_erasure_of_a_killed_one(path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=100, check=False)
    assert child.returncode == 9
    with opened(path) as mem:
        assert mem.mem_pending_erasures() == 1
        assert mem.mem_finish_forgetting() == 0
        assert b"marker" not in bytes_of(path.parent)
    assert_sound(path)


def test_a_long_reader_delays_the_rewrite_until_it_ends(path: Path) -> None:
    with opened(path) as mem:
        save(mem, "alice", "marker")
        with snapshot(path):
            with pytest.raises(StorageError, match="a reader"):
                mem.mem_forget("alice")
            with pytest.raises(StorageError, match="a reader"):
                mem.mem_finish_forgetting()
            assert rewrites(mem) == 0
        assert mem.mem_finish_forgetting() == 0
        assert rewrites(mem) == 1
        assert b"marker" not in bytes_of(path.parent)


@contextmanager
def snapshot(path: Path) -> Iterator[None]:
    """Keep a snapshot of the file open, as a backup does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM observations").fetchone()
        yield


def test_saves_and_reads_continue_while_an_erasure_waits_for_a_long_reader(path: Path) -> None:
    log = Path(f"{path}-wal")
    store = SQLiteStore(path, busy_timeout_seconds=3600)
    with ILabMemory(store, Config()) as mem, ThreadPoolExecutor(5) as pool:
        save(mem, "alice", "marker")

        def save_and_read(worker: int) -> None:
            for number in range(50):
                save(mem, f"other{worker}", f"content {number}")
                assert mem.mem_search(f"other{worker}", f"content {number}")

        with snapshot(path):
            erasure = pool.submit(mem.mem_forget, "alice")
            while not mem.mem_pending_erasures():
                save_and_read(0)
            for worker in [pool.submit(save_and_read, worker) for worker in range(1, 4)]:
                worker.result()
            assert not erasure.done()
            assert mem.mem_pending_erasures() == 1
        assert erasure.result() == 1
        assert mem.mem_pending_erasures() == 0
        assert b"marker" not in bytes_of(path.parent)
        assert log.stat().st_size < 1_000_000
    assert_sound(path)


def test_with_a_long_reader_all_calls_share_the_rewrite_after_it(path: Path) -> None:
    log = Path(f"{path}-wal")
    with opened(path) as mem:
        for number in range(4):
            save(mem, f"user{number}", "marker")
            save(mem, f"kept{number}", "kept " * 50_000)
        with snapshot(path):
            for number in range(4):
                with pytest.raises(StorageError, match="a reader"):
                    mem.mem_forget(f"user{number}")
            assert mem.mem_pending_erasures() == 4
        assert mem.mem_finish_forgetting() == 0
        assert log.stat().st_size < 1_000_000
        assert rewrites(mem) == 1
        assert b"marker" not in bytes_of(path.parent)
    assert_sound(path)


def test_the_wal_shrinks_after_a_long_reader_ends(path: Path) -> None:
    log = Path(f"{path}-wal")
    with opened(path) as mem:
        save(mem, "alice", "tea")
        with snapshot(path):
            for number in range(24):
                save(mem, "alice", f"{number} {'x' * 1_000_000}")
            assert log.stat().st_size > LOG_BYTES
        # The first checkpoints all of the log, the next begins it again.
        for number in range(24, 27):
            save(mem, "alice", f"{number} {'x' * 1_000_000}")
        assert log.stat().st_size <= LOG_BYTES
    assert_sound(path)


def test_checkpoints_continue_after_an_erasure(path: Path) -> None:
    with opened(path) as mem:
        save(mem, "alice", "marker")
        mem.mem_forget("alice")
        assert isinstance(mem._store, SQLiteStore)
        asked = mem._store._writer.run_alone(
            "ask", lambda writer: writer.execute("PRAGMA wal_autocheckpoint").fetchone()
        )
        assert asked == (1000,)


def leave_a_copy_in(path: Path) -> None:
    """Make a file with two users, and put the marker where SQLite may leave it when it moves rows between pages."""
    with opened(path) as mem:
        save(mem, "alice", "marker")
        save(mem, "bob", "kept")
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sessions'").fetchone()
    content = bytearray(path.read_bytes())
    (page_bytes,) = struct.unpack_from(">H", content, 16)
    begin = (root - 1) * page_bytes
    rows, first_row = struct.unpack_from(">HH", content, begin + 3)
    middle = begin + 8 + 2 * rows
    assert not any(content[middle : begin + first_row])
    content[middle + 100 : middle + 106] = b"marker"
    path.write_bytes(content)


def test_saves_go_on_while_the_pages_are_overwritten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that has read a page before it was overwritten writes the copy in it again."""
    overwrite = PageFile.overwrite
    threads: list[str] = []

    def overwrite_and_save(file: PageFile, pages: Iterable[int] | None, check: Callable[[], None]) -> None:
        threads.append(threading.current_thread().name)
        is_first = len(threads) == 1
        if is_first:
            save(mem, "bob", "saved before")
            mem.mem_session_end("bob", summary="ended")
        overwrite(file, pages, check)
        if is_first:
            save(mem, "bob", "saved after")
            assert b"marker" in bytes_of(path.parent)

    leave_a_copy_in(path)
    with opened(path) as mem:
        assert mem.mem_search("bob", "kept")
        monkeypatch.setattr(PageFile, "overwrite", overwrite_and_save)
        assert mem.mem_forget("alice") == 1
        assert b"marker" not in bytes_of(path.parent)
        # No connection has kept a page from before.
        mem.mem_session_end("bob", summary="ended again")
        assert b"marker" not in bytes_of(path.parent)
        assert mem.mem_stats("bob")["observations"] == 3
        # The pages of these saves, which are few.
        assert threads[1:] == ["ilab-memory-writer"]
    assert_sound(path)


def test_many_pages_of_other_saves_are_overwritten_while_saves_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_erasure, "MOST_PAGES_AT_ONCE", 0)
    overwrite = PageFile.overwrite
    threads: list[str] = []

    def overwrite_and_save(file: PageFile, pages: Iterable[int] | None, check: Callable[[], None]) -> None:
        threads.append(threading.current_thread().name)
        overwrite(file, pages, check)
        if len(threads) < 4:
            save(mem, "bob", f"saved {len(threads)}")

    with opened(path) as mem:
        save(mem, "alice", "marker")
        monkeypatch.setattr(PageFile, "overwrite", overwrite_and_save)
        assert mem.mem_forget("alice") == 1
        assert "ilab-memory-writer" not in threads[:4]
        assert mem.mem_stats("bob")["observations"] == 3
        assert b"marker" not in bytes_of(path.parent)
    assert_sound(path)


def test_saves_and_searches_continue_during_erasures(path: Path) -> None:
    with opened(path) as mem:
        for number in range(300):
            save(mem, f"user{number % 4}", f"marker{number} {'word ' * 100}")

        def work(worker: int) -> int:
            if worker < 4:
                return mem.mem_forget(f"user{worker}")
            for number in range(40):
                save(mem, f"other{worker}", f"kept {worker} {number}")
                assert mem.mem_search(f"other{worker}", "kept")
            return mem.mem_stats(f"other{worker}")["observations"]

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [75] * 4 + [40] * 4
        assert b"marker" not in bytes_of(path.parent)
    assert_sound(path)


def record_rewrite(path: Path, *, ended_at: float, seconds: float) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM last_rewrite")
        connection.execute("INSERT INTO last_rewrite VALUES (?, ?)", (ended_at, seconds))


def test_rewrites_pause_in_proportion_to_the_last_one_of_any_process(path: Path) -> None:
    with opened(path) as mem:
        save(mem, "alice", "marker")
        with before_each_rewrite(mem, full_disk), pytest.raises(StorageError):
            mem.mem_forget("alice")
        forgetting_of(mem)._earliest = 0.0
        for ended_at, rest in (
            (time.time(), 400.0),
            (time.time() - 100, 300.0),
            (0.0, 0.0),
            (time.time() + 9999, 400.0),
        ):
            record_rewrite(path, ended_at=ended_at, seconds=100.0)
            assert forgetting_of(mem)._remaining_rest() == pytest.approx(rest, abs=60)


def test_rewrite_costs_more_the_longer_saves_waited_for_it() -> None:
    assert erasure_schedule.cost(10.0, 0.0) == 10.0
    assert erasure_schedule.cost(0.3, 0.1) == 0.3, "as long as a save of a long text may take"
    assert erasure_schedule.cost(10.0, 8.1) == pytest.approx(80.0)


def test_next_rewrite_pauses_forty_times_as_long_as_saves_waited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = 0.0
    monkeypatch.setattr(
        byte_erasure, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late, sleep=time.sleep)
    )
    step = byte_erasure._Pass.step

    def step_slowly(one: byte_erasure._Pass, most: int, patience: float) -> set[int] | None:
        nonlocal late
        late += 10.0
        return step(one, most, patience)

    monkeypatch.setattr(byte_erasure._Pass, "step", step_slowly)
    with opened(path) as mem:
        save(mem, "alice", "marker")
        assert mem.mem_forget("alice") == 1
        # Two steps.
        assert forgetting_of(mem)._rewriter.held_seconds == pytest.approx(20, abs=5)
        save(mem, "alice", "marker")
        erasing = forgetting_of(mem)._writer.run("mark", partial(user_erasure.mark_deleted, user_id="alice"))
        assert erasing == 1
        assert forgetting_of(mem)._remaining_rest() == pytest.approx(40 * 20, abs=200)
    with opened(path) as mem:
        assert forgetting_of(mem)._remaining_rest() == pytest.approx(40 * 20, abs=200), "the file remembers it"


def test_without_a_rewrite_there_is_no_pause(path: Path) -> None:
    with opened(path) as mem:
        save(mem, "alice", "marker")
        record_rewrite(path, ended_at=time.time(), seconds=100.0)
        assert forgetting_of(mem)._remaining_rest() == 0
        assert mem.mem_forget("nobody") == 0


def test_close_ends_pausing_calls_and_their_erasures_stay_pending(path: Path) -> None:
    with opened(path) as mem:
        save(mem, "alice", "marker")
        save(mem, "bob", "marker")
        record_rewrite(path, ended_at=time.time(), seconds=1000.0)
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(mem.mem_forget, user) for user in ("alice", "bob")]
            while len(forgetting_of(mem)._changed._waiters) < 2:  # type: ignore[attr-defined]
                threading.Event().wait(0.001)
            mem.close()
            for call in calls:
                with pytest.raises(RuntimeError, match="closed"):
                    call.result()
    record_rewrite(path, ended_at=0, seconds=0)
    with opened(path) as mem:
        assert mem.mem_pending_erasures() == 2
        assert mem.mem_finish_forgetting() == 0
        assert b"marker" not in bytes_of(path.parent)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    return refusals(monkeypatch)


def test_save_waits_longer_than_the_busy_timeout_while_another_process_rewrites_the_file(
    path: Path, refused: threading.Semaphore
) -> None:
    with opened(path) as mem, ThreadPoolExecutor(1) as pool:
        with locked(path):
            saved = pool.submit(save, mem, "alice", "tea")
            for _ in range(3):
                assert refused.acquire(timeout=60)
            assert not saved.done()
        saved.result()
        assert len(mem.mem_search("alice", "tea")) == 1


def test_save_gives_up_on_a_rewrite_that_takes_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "REWRITE_SECONDS", 0.1)
    with opened(path) as mem, locked(path), pytest.raises(StorageError, match="SQLITE_BUSY"):
        save(mem, "alice", "tea")


def test_save_does_not_wait_for_the_copy_of_a_killed_process(path: Path, refused: threading.Semaphore) -> None:
    with opened(path) as mem, locked(path):
        path.with_name("memory.db-rewrite").unlink()
        path.with_name("memory.db-rewrite").touch()
        with pytest.raises(StorageError, match="SQLITE_BUSY"):
            save(mem, "alice", "tea")
        assert refused.acquire(blocking=False)
        assert not refused.acquire(blocking=False), "it asked once"


def test_closing_ends_a_save_that_waits_for_a_rewrite(path: Path, refused: threading.Semaphore) -> None:
    with opened(path) as mem, ThreadPoolExecutor(1) as pool, locked(path):
        saved = pool.submit(save, mem, "alice", "tea")
        assert refused.acquire(timeout=60)
        mem.close()
        with pytest.raises(StorageError, match="SQLITE_BUSY"):
            saved.result()


def test_closing_interrupts_a_rewrite(path: Path) -> None:
    closing_it = threading.Event()

    def close() -> None:
        threading.Thread(target=mem.close).start()
        forgetting_of(mem)._closed.wait()
        closing_it.set()

    with opened(path) as mem, before_each_rewrite(mem, close):
        save(mem, "alice", "marker")
        with pytest.raises(RuntimeError, match="closed"):
            mem.mem_forget("alice")
        assert closing_it.is_set()
    with opened(path) as mem:
        assert mem.mem_pending_erasures() == 1


def test_an_application_can_request_a_rewrite_for_rows_of_its_own(path: Path) -> None:
    with opened(path) as mem:
        with closing(sqlite3.connect(path)) as own, own:
            own.execute("CREATE TABLE own (content TEXT)")
            own.executemany("INSERT INTO own VALUES (?)", [("marker" * 20,)] * 100)
        with closing(sqlite3.connect(path)) as own, own:
            own.execute("DELETE FROM own")
            request_rewrite(own, "alice")
        assert mem.mem_forget("bob") == 0
        assert rewrites(mem) == 0
        assert mem.mem_forget("alice") == 0
        assert rewrites(mem) == 1
        assert b"marker" not in bytes_of(path.parent)


def test_an_in_memory_database_needs_no_rewrite() -> None:
    with ILabMemory.from_path(":memory:") as mem:
        save(mem, "alice", "marker")
        assert mem.mem_forget("alice") == 1
        assert mem.mem_pending_erasures() == mem.mem_finish_forgetting() == 0
        assert rewrites(mem) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_an_erasure_needs_no_space_for_a_copy_of_the_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        with ILabMemory.from_path(disk / "memory.db") as mem:
            save(mem, "alice", "marker")
            for number in range(4):
                save(mem, "bob", f"{number} {'x' * 1_000_000}")
            (disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(disk).free - 1_000_000))
            assert mem.mem_forget("alice") == 1
            assert b"marker" not in bytes_of(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
