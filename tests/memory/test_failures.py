"""Failures below the store are StorageErrors, quote no content, and end with their cause."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ilab_memory import Config, ILabMemory, StorageError
from ilab_memory.stores.sqlite import SQLiteStore

CONTENT = "c0ntent "


def save(mem: ILabMemory, number: int = 0, size: int = 1, user_id: str = "us3r") -> int:
    return mem.mem_save(user_id, f"{number} {CONTENT * size}", type="discovery", title="t1tle").id


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO search (search) VALUES ('integrity-check')")
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def assert_says_nothing(error: BaseException) -> None:
    for said in (str(error), repr(error.__cause__)):
        assert not any(word in said for word in (CONTENT.strip(), "us3r", "t1tle"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def mem(path: Path) -> Iterator[ILabMemory]:
    with ILabMemory.from_path(path, Config(busy_timeout_seconds=0.05)) as opened:
        save(opened)
        yield opened


@pytest.mark.parametrize("content", [b"", b"plainly not a database" * 100])
def test_a_file_that_is_not_a_database_is_rejected_unless_empty(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if content:
        with pytest.raises(StorageError, match="SQLITE_NOTADB"):
            ILabMemory.from_path(path)
        assert path.read_bytes() == content
    else:
        ILabMemory.from_path(path).close()


def test_a_folder_or_a_path_through_a_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        ILabMemory.from_path(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        ILabMemory.from_path(tmp_path / "file" / "memory.db")


def pragma(mem: ILabMemory, text: str) -> int:
    """Run a PRAGMA on the writer's connection."""
    store = mem._store
    assert isinstance(store, SQLiteStore)
    return int(store._writer.run_alone("test", lambda writer: writer.execute(f"PRAGMA {text}").fetchone()[0]))


def save_until_it_fails(mem: ILabMemory) -> tuple[int, StorageError]:
    for number in range(1, 5000):
        try:
            save(mem, number, size=50)
        except StorageError as error:
            return number, error
    pytest.fail("it never failed")


def test_a_full_disk_fails_saves_completely_until_there_is_space(mem: ILabMemory, path: Path) -> None:
    pragma(mem, f"max_page_count = {pragma(mem, 'page_count')}")
    saved, error = save_until_it_fails(mem)
    assert "SQLITE_FULL" in str(error)
    assert_says_nothing(error)
    assert mem.mem_stats("us3r")["observations"] == saved
    assert len(mem.mem_search("us3r", "c0ntent", limit=5000)) == saved
    pragma(mem, "max_page_count = 1000000")
    save(mem, 5000)
    assert mem.mem_stats("us3r")["observations"] == saved + 1
    assert is_sound(path)


FILE_SIZE_LIMIT = """
import resource, signal, sys
from ilab_memory import ILabMemory, StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
mem = ILabMemory.from_path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
acknowledged = 0
started = 0
while started < 100:
    try:
        while True:
            mem.mem_save("alice", f"{acknowledged} " + "word " * 200, type="discovery", title="t")
            acknowledged += 1
    except StorageError as error:
        print(error, file=sys.stderr)
    try:
        # Needs less room than a save, so it may succeed some more times.
        mem.mem_session_start("alice")
        started += 1
    except StorageError as error:
        print(error, file=sys.stderr)
        break
assert mem.mem_stats("alice")["observations"] == acknowledged
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
mem.mem_save("alice", "there is room again", type="discovery", title="t")
mem.close()
print(acknowledged + 1)
"""


def test_a_rejected_write_fails_the_save_completely(path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", FILE_SIZE_LIMIT, str(path)], capture_output=True, text=True, timeout=100, check=False
    )
    assert child.returncode == 0, child.stderr
    assert "could not save the observation: SQLITE_" in child.stderr
    assert "could not open a session: SQLITE_" in child.stderr
    with ILabMemory.from_path(path) as mem:
        assert mem.mem_stats("alice")["observations"] == int(child.stdout)
    assert is_sound(path)


def test_waiting_for_a_lock_of_another_process_is_bounded(mem: ILabMemory, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="SQLITE_BUSY") as caught:
            save(mem, 1)
        assert_says_nothing(caught.value)
        assert len(mem.mem_search("us3r", "c0ntent")) == 1, "readers do not wait for writers"
        other.execute("ROLLBACK")
    save(mem, 1)
    assert mem.mem_stats("us3r")["observations"] == 2


def test_a_start_waits_for_the_commit_after_a_failed_one(mem: ILabMemory, path: Path) -> None:
    """So a caller learns that saves fail before it pays for a model call."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        mem.mem_session_start("us3r")
        with pytest.raises(StorageError):
            save(mem, 1)
        with pytest.raises(StorageError, match="could not open a session: SQLITE_BUSY"):
            mem.mem_session_start("us3r")
        other.execute("ROLLBACK")
    mem.mem_session_start("us3r")
    save(mem, 1)


def test_concurrent_callers_wait_for_a_lock_together(path: Path) -> None:
    with ILabMemory.from_path(path, Config(busy_timeout_seconds=1)) as mem:
        save(mem)
        failures: list[StorageError] = []

        def try_to_save(number: int) -> None:
            with pytest.raises(StorageError) as caught:
                save(mem, number)
            failures.append(caught.value)

        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            threads = [threading.Thread(target=try_to_save, args=(number,)) for number in range(64)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=20)
            assert not any(thread.is_alive() for thread in threads)
        assert len(failures) == len(set(map(id, failures))) == 64


def test_a_removed_file_is_reported_until_it_is_back(mem: ILabMemory, path: Path, tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    path.rename(aside)
    for call in (
        lambda: save(mem, 1),
        lambda: mem.mem_search("us3r", "c0ntent"),
        lambda: mem.mem_session_start("us3r"),
    ):
        with pytest.raises(StorageError, match="FileNotFoundError") as caught:
            call()
        assert str(path) not in str(caught.value)
    assert not path.exists()
    aside.rename(path)
    save(mem, 2)
    assert mem.mem_stats("us3r")["observations"] == 2


def test_a_restored_backup_is_used_by_the_next_call(mem: ILabMemory, path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    save(mem, 1)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    backup.replace(path)
    assert mem.mem_stats("us3r")["observations"] == 1
    save(mem, 2)
    with ILabMemory.from_path(path) as again:
        assert again.mem_stats("us3r")["observations"] == 2


def test_a_restored_backup_is_rejected_until_the_old_wal_is_removed(
    mem: ILabMemory, path: Path, tmp_path: Path
) -> None:
    """SQLite would apply the old log to the backup and destroy both."""
    backup = tmp_path / "backup"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    for number in range(50):
        save(mem, number, size=100)
    backup.replace(path)
    restored = path.read_bytes()
    for call in (lambda: save(mem, 1), lambda: mem.mem_stats("us3r"), lambda: mem.mem_session_start("us3r")):
        with pytest.raises(StorageError, match="remove the files that end in -wal and -shm"):
            call()
    assert path.read_bytes() == restored
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    assert mem.mem_stats("us3r")["observations"] == 1
    save(mem, 2)
    mem.close()
    assert is_sound(path)
    with ILabMemory.from_path(path) as again:
        assert again.mem_stats("us3r")["observations"] == 2


READ_ONLY = """
import os, sys
from ilab_memory import ILabMemory, StorageError
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    with ILabMemory.from_path(sys.argv[1]) as mem:
        mem.mem_save("alice", "c", type="discovery", title="t")
except StorageError as error:
    print(error)
"""


def test_a_read_only_file_is_reported(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    ILabMemory.from_path(path).close()
    public = Path("/tmp") / f"ilab-memory-{os.getpid()}"
    public.mkdir(mode=0o755)
    try:
        shutil.copy(path, public / "memory.db")
        (public / "memory.db").chmod(0o444)
        child = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(public / "memory.db")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert child.returncode == 0, child.stderr
        assert "could not" in child.stdout
        assert "SQLITE_" in child.stdout
    finally:
        shutil.rmtree(public)


def test_a_failing_operation_fails_no_other(mem: ILabMemory) -> None:
    """mem_session_end of users without a session fails in the same batches as saves that succeed."""

    def end_nothing(number: int) -> None:
        with pytest.raises(LookupError):
            mem.mem_session_end(f"nobody{number}", summary="s")

    threads = [threading.Thread(target=end_nothing, args=(number,)) for number in range(20)]
    threads += [threading.Thread(target=save, args=(mem, number)) for number in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert mem.mem_stats("us3r")["observations"] == 21
