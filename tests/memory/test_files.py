"""The file: where it is made, who may read it, what it may be, and two processes on it."""

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from ilab_memory import Config, ILabMemory, StorageError
from ilab_memory.stores.postgres import schema as postgres_schema
from ilab_memory.stores.sqlite import connections, migrations, schema
from ilab_memory.stores.sqlite.numbered_parameters import Connection


def save(mem: ILabMemory, content: str, user_id: str = "alice") -> int:
    return mem.mem_save(user_id, content, type="discovery", title="t").id


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_from_path_creates_private_parent_folders_and_expands_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with ILabMemory.from_path("~/a/b/memory.db") as mem:
        save(mem, "c")
        files = sorted((tmp_path / "a/b").iterdir())
        assert [path.name for path in files] == ["memory.db", "memory.db-shm", "memory.db-wal"]
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_from_path_overrides_the_configured_path(tmp_path: Path) -> None:
    config = Config(db_path=tmp_path / "unused.db", session_timeout_hours=1)
    with ILabMemory.from_path(tmp_path / "used.db", config) as mem:
        assert mem.config == config.model_copy(update={"db_path": tmp_path / "used.db"})
    assert [path.name for path in tmp_path.iterdir()] == ["used.db"]


def test_the_file_uses_wal_and_close_leaves_one_file(tmp_path: Path) -> None:
    with ILabMemory.from_path(tmp_path / "memory.db") as mem:
        save(mem, "c")
    assert [path.name for path in tmp_path.iterdir()] == ["memory.db"]
    assert pragma(tmp_path / "memory.db", "journal_mode") == "wal"


def test_everything_survives_reopening(tmp_path: Path) -> None:
    with ILabMemory.from_path(tmp_path / "memory.db") as mem:
        saved = save(mem, "green tea")
        session = mem.mem_session_start("alice").session_id
    with ILabMemory.from_path(str(tmp_path / "memory.db")) as mem:
        assert [row.id for row in mem.mem_search("alice", "tea")] == [saved]
        assert mem.mem_session_start("alice").session_id == session


def test_an_in_memory_database_creates_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ILabMemory.from_path(":memory:") as mem:
        save(mem, "c")
    assert list(tmp_path.iterdir()) == []


def test_the_schema_version_is_in_the_file(tmp_path: Path) -> None:
    ILabMemory.from_path(tmp_path / "memory.db").close()
    assert pragma(tmp_path / "memory.db", "user_version") == schema.VERSION == max(migrations.MIGRATIONS)
    assert pragma(tmp_path / "memory.db", "application_id") == schema.APPLICATION_ID


def test_tables_have_not_changed() -> None:
    """If this fails, raise `schema.VERSION` and the number of the migration, so that older files are refused."""
    statements = "\n".join((*schema.TABLES, *schema.TRIGGERS, *schema.INDEXES))
    assert (schema.VERSION, digest(statements)) == (3, "dae157d9bff88f10")
    statements = "\n".join(postgres_schema.statements(1))
    assert (postgres_schema.VERSION, digest(statements)) == (3, "2b696f5d369a9974")


def digest(statements: str) -> str:
    """Return a hash of what is in *statements* besides comments and white space."""
    code = "".join(line.partition("--")[0] for line in statements.splitlines())
    return hashlib.sha256("".join(code.split()).encode()).hexdigest()[:16]


def test_a_newer_schema_is_rejected_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    ILabMemory.from_path(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(StorageError, match=f"{schema.VERSION + 1} is newer than {schema.VERSION}"):
        ILabMemory.from_path(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("application", [schema.APPLICATION_ID, schema.UNRELEASED_APPLICATION_ID])
def test_an_unreleased_file_is_rejected_with_instructions_and_unchanged(tmp_path: Path, application: int) -> None:
    path = tmp_path / "memory.db"
    ILabMemory.from_path(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA application_id = {application}")
        connection.execute("PRAGMA user_version = 1")
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"unreleased version of ilab-memory; export .* import"):
        ILabMemory.from_path(path)
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_rejected_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        ILabMemory.from_path(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["other.db"]


def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (done)")
        connection.execute("CREATE TABLE half (done)")

    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path) as mem:
        saved = save(mem, "green tea")
    with monkeypatch.context() as newer:
        newer.setattr(schema, "VERSION", schema.VERSION + 1)
        newer.setattr(migrations, "MIGRATIONS", {**migrations.MIGRATIONS, schema.VERSION: broken})
        with pytest.raises(StorageError):
            ILabMemory.from_path(path)
    with ILabMemory.from_path(path) as mem:
        assert [row.id for row in mem.mem_search("alice", "tea")] == [saved]


def test_a_migration_and_its_version_are_committed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    path = tmp_path / "memory.db"
    ILabMemory.from_path(path).close()
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(
        migrations,
        "MIGRATIONS",
        {**migrations.MIGRATIONS, schema.VERSION: lambda _connection: runs.append(schema.VERSION)},
    )
    ILabMemory.from_path(path).close()
    ILabMemory.from_path(path).close()
    assert runs == [schema.VERSION]


def test_a_file_migrated_by_a_newer_version_is_not_written_to(tmp_path: Path) -> None:
    """This version would write index entries of its own format."""
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path) as mem:
        save(mem, "tea")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        with pytest.raises(StorageError, match=f"{schema.VERSION + 1} is newer than {schema.VERSION}"):
            save(mem, "coffee")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT content FROM observations").fetchall() == [("tea",)]


OTHER_PROCESS = """
import sys
from ilab_memory import ILabMemory
with ILabMemory.from_path(sys.argv[1]) as mem:
    print(mem.mem_session_start("alice").session_id, flush=True)
    for number in range(50):
        mem.mem_save("alice", f"other {number}", type="discovery", title="t")
    mem.mem_save("alice", "theirs", type="profile", title="t", topic_key="k")
    sys.stdin.read()
    print(len(mem.mem_search("alice", "own", limit=1000)), flush=True)
"""


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path) as mem:
        session = mem.mem_session_start("alice").session_id
        with subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline().strip() == session
            for number in range(50):
                save(mem, f"own {number}")
            mem.mem_save("alice", "ours", type="profile", title="t", topic_key="k")
            seen, _ = other.communicate("", timeout=60)
        assert other.returncode == 0
        assert int(seen) >= 50
        assert mem.mem_stats("alice") == {"observations": 101, "sessions": 1}
        assert len(mem.mem_search("alice", "other", limit=1000)) >= 50


def test_opening_a_new_file_waits_for_a_process_that_creates_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memory.db"
    path.touch(0o600)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        refused: list[str] = []

        class Refused(Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                try:
                    return super().execute(sql, *parameters)
                except sqlite3.OperationalError:
                    refused.append(sql)
                    other.execute("ROLLBACK")
                    raise

        monkeypatch.setattr(connections, "Connection", Refused)
        other.execute("BEGIN IMMEDIATE")
        with ILabMemory.from_path(path) as mem:
            save(mem, "green tea")
    assert refused == ["PRAGMA journal_mode = WAL"]


STARTING_PROCESS = """
import os, sys
from ilab_memory import ILabMemory
for barrier, path in zip(sys.argv[1::2], sys.argv[2::2]):
    print("ready", flush=True)
    os.read(int(barrier), 1)
    with ILabMemory.from_path(path) as mem:
        mem.mem_save("alice", str(os.getpid()), type="discovery", title="t")
"""


def test_processes_start_at_once_on_new_files(tmp_path: Path) -> None:
    processes, paths = 8, [tmp_path / f"{number}.db" for number in range(6)]
    with ExitStack() as running:
        # Closing the writing end releases all readers of a pipe.
        pipes = [os.pipe() for _ in paths]
        waiting = [running.enter_context(os.fdopen(reading)).fileno() for reading, _ in pipes]
        command = [sys.executable, "-c", STARTING_PROCESS]
        command += [str(each) for pair in zip(waiting, paths, strict=True) for each in pair]
        starting = [
            running.enter_context(subprocess.Popen(command, pass_fds=waiting, stdout=subprocess.PIPE, text=True))
            for _ in range(processes)
        ]
        barriers = [running.enter_context(os.fdopen(writing, "wb")) for _, writing in pipes]
        for barrier in barriers:
            assert [process.stdout.readline() for process in starting if process.stdout] == ["ready\n"] * processes
            barrier.close()
        assert [process.wait() for process in starting] == [0] * processes
    for path in paths:
        with ILabMemory.from_path(path) as mem:
            assert mem.mem_stats("alice") == {"observations": processes, "sessions": 1}


def test_a_relative_path_survives_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with ILabMemory.from_path("memory.db") as mem:
        monkeypatch.chdir(tmp_path / "elsewhere")
        save(mem, "green tea")
        assert len(mem.mem_search("alice", "tea")) == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_path_may_start_with_two_slashes(tmp_path: Path) -> None:
    with ILabMemory.from_path(f"/{tmp_path}/memory.db") as mem:
        save(mem, "green tea")
    assert [path.name for path in tmp_path.iterdir()] == ["memory.db"]


@pytest.mark.parametrize("name", ["a b?mode=memory#c%20.db", "ünïcödé 🎉.db"])
def test_any_file_name_works(tmp_path: Path, name: str) -> None:
    with ILabMemory.from_path(tmp_path / name) as mem:
        save(mem, "green tea")
        assert len(mem.mem_search("alice", "tea")) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def lost(path: Path, how: str) -> None:
    """Leave only the log of the file, as after a kill and the removal of the database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS filler (content)")
        connection.execute("INSERT INTO filler VALUES ('acknowledged')")
        log = Path(f"{path}-wal").read_bytes()
    Path(f"{path}-wal").write_bytes(log)
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_missing_file_with_a_wal_is_rejected_and_the_wal_kept(tmp_path: Path, how: str) -> None:
    path = tmp_path / "memory.db"
    ILabMemory.from_path(path).close()
    lost(path, how)
    log = Path(f"{path}-wal").read_bytes()
    assert log
    with pytest.raises(StorageError, match=r"missing or empty, but .* -wal .* restore the file .* or set `create`"):
        ILabMemory.from_path(path)
    assert Path(f"{path}-wal").read_bytes() == log
    assert path.exists() == (how == "empty")
    with ILabMemory.from_path(path, Config(create=True)) as mem:
        save(mem, "green tea")
    with ILabMemory.from_path(path) as mem:
        assert len(mem.mem_search("alice", "tea")) == 1


def test_a_missing_file_with_the_locks_of_the_service_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "memory.db-locks").touch()
    with pytest.raises(StorageError, match="-locks"):
        ILabMemory.from_path(tmp_path / "memory.db")
    assert [file.name for file in tmp_path.iterdir()] == ["memory.db-locks"]


CREATE = """
import sys
from ilab_memory import ILabMemory
sys.stdin.readline()
with ILabMemory.from_path(sys.argv[1]) as mem:
    mem.mem_save("alice", sys.argv[2], type="discovery", title="t")
"""


def test_processes_can_create_the_file_concurrently(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    creators = [
        subprocess.Popen([sys.executable, "-c", CREATE, str(path), f"tea {number}"], stdin=subprocess.PIPE)
        for number in range(4)
    ]
    for creator in creators:
        assert creator.stdin
        creator.stdin.write(b"\n")
        creator.stdin.flush()
    for creator in creators:
        creator.communicate(timeout=60)
    assert [creator.returncode for creator in creators] == [0] * 4
    with ILabMemory.from_path(path) as mem:
        assert mem.mem_stats("alice")["observations"] == 4


def test_size_counts_the_file_and_its_log(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(str(path)) as mem:
        before = mem.mem_size()
        mem.mem_save("alice", "x" * 100_000, type="discovery", title="t")
        assert mem.mem_size() == path.stat().st_size + Path(f"{path}-wal").stat().st_size > before
