"""Bytes that belong to nothing in a database file: in pages that SQLite has made, and in damaged ones."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ilab_memory import StorageError
from ilab_memory.stores.sqlite.page_file import PageFiles
from ilab_memory.stores.sqlite.pages import DamagedPageError

MARKER = b"marker"


@pytest.fixture(params=[512, 4096, 65536])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file whose deleted rows are in free blocks, free pages and the list of free pages, as without secure_delete."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {request.param}")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("CREATE TABLE kept (number INTEGER PRIMARY KEY, content TEXT)")
        connection.execute("CREATE INDEX by_content ON kept (content, number)")
        words = ["left", "marker", "marker"]
        rows = [(number, f"{words[number % 3]} {number} {'x' * (number % 700)}") for number in range(3000)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO kept VALUES (?, ?)", rows)
        connection.execute("COMMIT")
        connection.execute("DELETE FROM kept WHERE number > 2000")
        connection.execute("DELETE FROM kept WHERE number % 3")
    assert MARKER in path.read_bytes()
    return path


def overwrite(path: Path) -> None:
    files = PageFiles(path)
    with files.opened() as file:
        file.overwrite(None, lambda: None)
        file.sync()
    files.close()


def test_no_byte_of_deleted_rows_is_left_and_all_others_are_there(path: Path) -> None:
    overwrite(path)
    assert MARKER not in path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM kept WHERE content GLOB 'left*'").fetchone() == (667,)
    before = path.read_bytes()
    overwrite(path)
    assert path.read_bytes() == before


def test_a_damaged_page_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    # The beginning of the first row of the first page, behind the page.
    content[105:107] = b"\xff\xff"
    content[103:105] = b"\xff\xff"
    path.write_bytes(content)
    with pytest.raises(DamagedPageError):
        overwrite(path)


def test_file_with_auto_vacuum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = FULL")
        connection.execute("CREATE TABLE kept (content TEXT)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="auto_vacuum"):
        overwrite(path)
    assert path.read_bytes() == before


def test_locks_of_sqlite_stay_when_the_file_is_released(tmp_path: Path) -> None:
    """Closing a file frees all locks that a process has on it."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE kept (content TEXT)")
        connection.execute("BEGIN EXCLUSIVE")
        overwrite(path)
        locks = Path("/proc/locks").read_text()
        assert f":{path.stat().st_ino} " in locks
        connection.execute("ROLLBACK")
    files = PageFiles(path)
    with files.opened():
        pass
    before = len(list(Path("/proc/self/fd").iterdir()))
    files.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 1


def test_a_file_that_is_lent_stays_open_until_it_is_back_and_is_not_lent_again(path: Path) -> None:
    files = PageFiles(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with files.opened() as file:
        files.close()
        assert file.identity[1] == path.stat().st_ino
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(RuntimeError, match="closed"), files.opened():
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
