"""`ilab-memory backup`, `restore` and `stats`: a SQLite file as of one moment, and back."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ilab_memory import ILabMemory, command
from ilab_memory.stores.sqlite import check
from processes import run_forked

SECRET = "s3cret"
USERS = [f"user {number}" for number in range(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with four users and ended sessions."""
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path) as mem:
        for number in range(100):
            mem.mem_save(USERS[number % 4], f"{SECRET} {number} " + "word " * 30, type="discovery", title="t")
        mem.mem_session_end(USERS[0], summary="s")
    return path


def run(*arguments: str | Path, code: int = 0, umask: int = -1) -> subprocess.CompletedProcess[str]:
    """Run the command and return what it printed."""
    if umask == -1:
        ended = run_forked("ilab-memory", *arguments)
    else:
        command = [sys.executable, "-m", "ilab_memory", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, umask=umask)
    assert "Traceback" not in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended


def exported(path: Path) -> dict[str, list[str]]:
    """Return everything of every user."""
    with ILabMemory.from_path(path) as mem:
        return {user: [item.model_dump_json() for item in mem.mem_export(user)] for user in USERS}


def damage(path: Path) -> None:
    """Overwrite the first page of an index."""
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'observations_timeline'"
        ).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def test_backup_restores_to_the_same_export(path: Path, tmp_path: Path) -> None:
    before = exported(path)
    ended = run("backup", "--from", path, tmp_path / "backup.db", umask=0)
    assert ended.stdout == f"{path}: backed up to {tmp_path / 'backup.db'}\n"
    run("restore", "--to", tmp_path / "new.db", tmp_path / "backup.db", umask=0)
    for name in ("backup.db", "new.db"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert not list(tmp_path.glob("backup.db-*")) + list(tmp_path.glob("new.db-*"))
    assert exported(tmp_path / "new.db") == before


def test_backup_under_load_contains_every_save_that_returned_before_it_and_a_beginning_of_the_others(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "backup.db"
    stop = threading.Event()
    with ILabMemory.from_path(path) as mem:
        returned: dict[str, int] = {}

        def save(user: str) -> None:
            number = 0
            while not stop.is_set():
                mem.mem_save(user, f"load {number}", type="discovery", title=f"Load {number}")
                returned[user] = number
                number += 1

        savers = [threading.Thread(target=save, args=(user,)) for user in USERS]
        for saver in savers:
            saver.start()
        while len(returned) < len(USERS):
            stop.wait(0.001)
        before = dict(returned)
        try:
            run("backup", "--from", path, copy)
        finally:
            stop.set()
            for saver in savers:
                saver.join()
        assert all(returned[user] > before[user] for user in USERS)
        run("restore", "--to", tmp_path / "restored.db", copy)
        now = {user: [item.model_dump_json() for item in mem.mem_export(user)] for user in USERS}
    assert check.check(tmp_path / "restored.db").damage == []
    for user, items in exported(tmp_path / "restored.db").items():
        observations = [item for item in items if '"session_id"' in item]
        # Sessions have a later last activity; observations never change here.
        assert observations == [item for item in now[user] if '"session_id"' in item][: len(observations)]
        assert sum('"title":"Load ' in item for item in observations) > before[user]


def test_backup_reads_what_is_only_in_the_log(path: Path, tmp_path: Path) -> None:
    with ILabMemory.from_path(path) as mem:
        mem.mem_save(USERS[2], "only in the log", type="discovery", title="New")
        run("backup", "--from", path, tmp_path / "backup.db")
    assert "only in the log" in "".join(exported(tmp_path / "backup.db")[USERS[2]])


def test_backup_is_restored_from_a_folder_that_cannot_be_written(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    run("backup", "--from", path, folder / "backup.db")
    assert (folder / "backup.db").read_bytes()[18:20] == b"\x01\x01", "not in WAL mode: it needs no -shm to be read"
    folder.chmod(0o500)
    run("restore", "--to", tmp_path / "new.db", folder / "backup.db")
    folder.chmod(0o700)


def test_existing_backup_is_overwritten_only_on_request(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backup.db"
    copy.write_text("precious")
    assert "exists" in run("backup", "--from", path, copy, code=2).stderr
    assert copy.read_text() == "precious"
    run("backup", "--from", path, "--replace", copy)
    assert exported(copy) == exported(path)
    assert "the same file" in run("backup", "--from", path, "--replace", path, code=2).stderr


def test_damaged_file_gives_no_backup_and_leaves_the_old_one(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backup.db"
    copy.write_text("the last good one")
    damage(path)
    printed = run("backup", "--from", path, "--replace", copy, code=1).stdout
    assert printed.endswith("damaged: nothing was written\n")
    assert copy.read_text() == "the last good one"
    assert not list(tmp_path.glob("backup.db-*"))


def test_restore_keeps_the_file_that_it_replaces_with_its_log(path: Path, tmp_path: Path) -> None:
    before = exported(path)
    run("backup", "--from", path, tmp_path / "backup.db")
    # A process that is killed leaves its log.
    script = (
        "import os, sys; from ilab_memory import ILabMemory; mem = ILabMemory.from_path(sys.argv[1]);"
        "mem.mem_save('user 3', 'after the backup', type='discovery', title='t'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True, timeout=60)
    assert (tmp_path / "memory.db-wal").stat().st_size
    assert "exists; --replace" in run("restore", "--to", path, tmp_path / "backup.db", code=2).stderr
    printed = run("restore", "--to", path, "--replace", tmp_path / "backup.db").stdout
    kept = re.search(r"the file before is (\S+);", printed)
    assert kept
    assert exported(path) == before
    assert "after the backup" in "".join(exported(Path(kept[1]))["user 3"])


def test_restore_replaces_a_damaged_file(path: Path, tmp_path: Path) -> None:
    before = exported(path)
    run("backup", "--from", path, tmp_path / "backup.db")
    path.write_bytes(b"\xff" * 8192)
    run("restore", "--to", path, "--replace", tmp_path / "backup.db")
    assert exported(path) == before


def test_restore_refuses_a_file_that_is_open(path: Path, tmp_path: Path) -> None:
    run("backup", "--from", path, tmp_path / "backup.db")
    with ILabMemory.from_path(path) as mem:
        refused = run("restore", "--to", path, "--replace", tmp_path / "backup.db", code=2)
        assert "another program has" in refused.stderr
        mem.mem_save(USERS[0], "still works", type="discovery", title="t")
    assert "still works" in "".join(exported(path)[USERS[0]])
    assert not list(tmp_path.glob("*-partial*"))


def test_restore_of_a_damaged_backup_changes_nothing(path: Path, tmp_path: Path) -> None:
    run("backup", "--from", path, tmp_path / "backup.db")
    damage(tmp_path / "backup.db")
    before = path.read_bytes()
    run("restore", "--to", path, "--replace", tmp_path / "backup.db", code=1)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("content", "said"), [(None, "does not exist"), ("", "is empty"), ("text" * 999, "NOTADB")])
def test_anything_but_a_memory_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    source = tmp_path / "source.db"
    if content is not None:
        source.write_text(content)
    assert said in run("backup", "--from", source, tmp_path / "copy.db", code=2).stderr
    assert said in run("restore", "--to", tmp_path / "copy.db", source, code=2).stderr
    assert not (tmp_path / "copy.db").exists()


def test_stats_counts_without_text_of_users(path: Path) -> None:
    with ILabMemory.from_path(path):
        stats = json.loads(run("stats", path).stdout)
    assert stats["users"] == 4
    assert stats["observations"] == 100
    assert stats["largest_user_observations"] == 25
    assert stats["observations_by_type"] == {"discovery": 100}
    assert stats["types"]["discovery"]["observations"] == 100
    assert stats["types"]["discovery"]["oldest_time"] == stats["oldest_time"]
    assert stats["text_bytes"] > 100 * 150
    assert stats["facts"] == 0
    assert stats["file_bytes"] > 0
    assert stats["pending_erasures"] == 0
    assert "does not exist" in run("stats", path.with_name("missing.db"), code=2).stderr


def test_stats_on_a_terminal_are_readable(path: Path) -> None:
    with ILabMemory.from_path(path) as mem:
        mem.mem_save(USERS[0], "I love hiking.", type="preference", title="hiking")
        _, shown = on_terminal("stats", path)
    lines = [line.split() for line in shown.splitlines()]
    assert ["facts", "1"] in lines
    assert lines[-3] == ["type", "observations", "text", "first", "last"]
    assert lines[-2][:2] == ["discovery", "100"]
    # In bytes: title and content.
    assert lines[-1][:4] == ["preference", "1", "20", "B"]
    assert re.search(r"file bytes +\d+\.\d [kM]B", shown)


def test_backup_on_a_terminal_says_how_far_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(command._Growing, "FIRST_SECONDS", 0)
    monkeypatch.setattr(command._Growing, "NEXT_SECONDS", 0.01)
    copy = path.with_name("copy.db-partial")
    path.write_bytes(b"x" * 3_000_000)
    copy.write_bytes(b"x" * 1_000_000)
    with command._Growing("backing up", path, copy):
        screen.until("backing up: 1 of 3 MB")
        copy.write_bytes(b"x" * 3_000_000)
        screen.until("backing up: checking the copy")
    assert screen.text.endswith("\r\x1b[K")
    screen.is_terminal, screen.text = False, ""
    with command._Growing("backing up", path, copy):
        pass
    assert screen.text == ""


class Screen:
    """Standard error, as a terminal."""

    def __init__(self) -> None:
        self.is_terminal = True
        self.text = ""
        self._written = threading.Condition()

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> None:
        with self._written:
            self.text += text
            self._written.notify_all()

    def flush(self) -> None:
        """Nothing is buffered."""

    def until(self, text: str) -> None:
        with self._written:
            assert self._written.wait_for(lambda: text in self.text, 30)


def on_terminal(*arguments: str | Path) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "ilab_memory", *arguments], stdout=theirs) as process:
        os.close(theirs)
        shown = bytearray()
        # Linux ends the terminal with EIO when its last user has gone.
        with suppress(OSError):
            while piece := os.read(ours, 4096):
                shown += piece
        code = process.wait(60)
    os.close(ours)
    return code, shown.decode()


def test_version_names_what_it_runs_on() -> None:
    printed = run("--version").stdout
    assert re.fullmatch(r"ilab-memory \S+ \(Python \S+, SQLite \S+, schema \d+\)\n", printed)


def test_file_comes_from_the_environment(path: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "ilab_memory", "backup", tmp_path / "backup.db"],
        env=os.environ | {"ILAB_MEMORY_DB_PATH": str(path)},
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert (tmp_path / "backup.db").exists()
