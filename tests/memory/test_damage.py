"""A damaged file is named as such, and `ilab-memory check` says what is damaged."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ilab_memory import Config, ILabMemory, StorageDamaged
from memory.concepts import Concepts
from processes import run_forked

SECRET = "s3cret"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with two users, several sessions and pages."""
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path) as mem:
        for number in range(200):
            mem.mem_save(f"user {number % 2}", f"{SECRET} {number} " + "word " * 30, type="discovery", title="t")
            if number % 50 == 49:
                mem.mem_session_end("user 0", summary="s")
    return path


def damage(path: Path, *names: str) -> None:
    """Overwrite the first page of these tables or indexes."""
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        pages = dict(connection.execute("SELECT name, rootpage FROM sqlite_schema"))
    with path.open("r+b") as file:
        for name in names:
            file.seek((pages[name] - 1) * size)
            file.write(b"\xff" * size)


def check(path: Path) -> tuple[int, str, str]:
    """Run the command; return its exit code and output."""
    ended = run_forked("ilab-memory", "check", path)
    assert "Traceback" not in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_check_of_an_intact_file_reports_sound_and_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    assert check(path) == (0, f"{path}: sound\n", "")
    assert path.read_bytes() == before


def test_check_names_the_embedders_and_what_they_have_left(path: Path) -> None:
    with ILabMemory.from_path(path, Config(embedder=Concepts())) as mem:
        mem.mem_embed()
        mem.mem_save("user 0", "I moved to Oslo.", type="discovery", title="t")
        users = mem._store._read("SELECT count(*) FROM users", ())[0][0]  # type: ignore[attr-defined]
    line = f"embedder concepts-1: {users} users, 1 observations to embed"
    assert check(path) == (0, f"{path}: {line}\n{path}: sound\n", "")


def test_a_file_is_checked_while_others_save(path: Path) -> None:
    with ILabMemory.from_path(path) as mem:
        mem.mem_save("user 0", "only in the log so far", type="discovery", title="t")
        assert check(path) == (0, f"{path}: sound\n", "")
        assert mem.mem_check() == []


def test_damaged_pages_are_reported_by_the_command_and_by_every_call(path: Path) -> None:
    damage(path, "observations_timeline")
    code, printed, _ = check(path)
    assert code == 1
    assert "SQLITE_CORRUPT" in printed
    with ILabMemory.from_path(path) as mem:
        assert mem.mem_check()
        with pytest.raises(StorageDamaged, match="SQLITE_CORRUPT: `ilab-memory check`") as caught:
            list(mem.mem_export("user 0"))
        assert SECRET not in str(caught.value)


def test_a_destroyed_first_page_is_reported(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * 4096)
    code, printed, _ = check(path)
    assert (code, printed) == (1, f"{path}: SQLITE_NOTADB\n")
    with pytest.raises(StorageDamaged, match="SQLITE_NOTADB"):
        ILabMemory.from_path(path)


BROKEN = {
    "UPDATE observations SET session = 10000 WHERE number = 7": "observations without a session of their user: 2",
    "DELETE FROM users WHERE user_id = 'user 1'": "observations without a user: 100",
    "UPDATE users SET user_id = NULL WHERE user_id = 'user 1'": "deleted users whose erasure is not recorded: 1",
    "UPDATE users SET observations = 7 WHERE user_id = 'user 1'": "users whose observations or terms are miscounted: 1",
    "UPDATE users SET last_number = 99": "observations numbered beyond the last number of their user: 2",
    "UPDATE observations SET id = 1 << 53 WHERE number = 7 AND user = 1": "an id beyond the ids of their user: 1",
    "UPDATE observations SET content = 'x' WHERE number = 7": "observations whose content does not match its hash: 2",
    "UPDATE observations SET preview = 'x' WHERE number = 7": "preview is not the beginning of their content: 2",
    "UPDATE observations SET conversation_id = 'x' WHERE number = 7": "conversation is not that of their session: 2",
    "DELETE FROM observations WHERE number = 7": "index entries without one: 2",
    "INSERT INTO search (search) VALUES ('delete-all')": "observations that are not indexed by their words",
    "INSERT INTO sources (user, fact, source) SELECT user, id, 1 FROM observations WHERE number = 7": (
        "sources of a fact without the fact or the source: 2"
    ),
    "DELETE FROM search_data WHERE id > 10": "SQLITE_CORRUPT_VTAB",
}


@pytest.mark.parametrize(("statement", "reported"), BROKEN.items())
def test_inconsistent_rows_are_reported(path: Path, statement: str, reported: str) -> None:
    execute(path, "DROP TRIGGER observation_changed", statement)
    code, printed, _ = check(path)
    assert (code, reported in printed) == (1, True), printed


def test_a_check_that_cannot_run_exits_with_2(tmp_path: Path) -> None:
    assert check(tmp_path / "missing.db")[0] == 2
    (tmp_path / "empty.db").touch()
    assert check(tmp_path / "empty.db")[0] == 2
    (tmp_path / "lost.db").touch()
    (tmp_path / "lost.db-wal").touch()
    assert check(tmp_path / "lost.db")[0] == 1
    execute(tmp_path / "other.db", "CREATE TABLE users (name)")
    code, _, complaint = check(tmp_path / "other.db")
    assert (code, "another program" in complaint) == (2, True)
    assert not (tmp_path / "missing.db").exists()


def test_no_random_damage_ends_in_a_traceback(path: Path) -> None:
    """For any overwritten page, the command exits normally and prints no user text."""
    rng = random.Random(7)
    whole = path.read_bytes()
    for _ in range(8):
        damaged = bytearray(whole)
        start = rng.randrange(4096, len(whole) - 512)
        damaged[start : start + 512] = rng.randbytes(512)
        path.write_bytes(damaged)
        assert check(path)[0] in {0, 1}
