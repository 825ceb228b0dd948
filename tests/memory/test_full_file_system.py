"""A full file system is an error, never a signal, also where the index of SQLite's log has no space of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ilab_memory import ILabMemory, StorageError
from mounts import fill, mounted

#: Opens the memory, does something of each kind, and prints the errors.
USE = """
import sys
from ilab_memory import ILabMemory, StorageError
def save(mem):
    for number in range(int(sys.argv[3])):
        mem.mem_save("alice", f"{number} " + "word " * 200, type="discovery", title="t")
steps = (
    lambda mem: mem.mem_stats("alice"),
    lambda mem: mem.mem_search("alice", "hiking"),
    lambda mem: mem.mem_probe(room=64 * 1024),
    save,
    lambda mem: mem.mem_recall("alice", "hiking"),
)
def use(mem):
    for step in steps:
        try:
            step(mem)
        except StorageError as error:
            print(error)
try:
    with ILabMemory.from_path(sys.argv[1]) as mem:
        if sys.argv[2] == "later":
            mem.mem_save("alice", "loves hiking", type="profile", title="t")
            print("open", flush=True)
            sys.stdin.readline()
        use(mem)
        if sys.argv[2] == "later":
            print("ready", flush=True)
            sys.stdin.readline()
            mem.mem_save("alice", "there is space again", type="discovery", title="t")
except StorageError as error:
    print(error)
"""


@pytest.fixture(params=["ext4", "btrfs", "tmpfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with mounted(request.param, tmp_path) as folder:
        yield folder


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    with mounted("ext4", tmp_path) as folder:
        yield folder


def child(path: Path, when: str, saves: int = 3) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USE, path, when, str(saves)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout
    lines: list[str] = []
    while (not lines or lines[-1] != f"{word}\n") and (line := process.stdout.readline()):
        lines.append(line)
    return "".join(lines)


def test_starting_on_a_full_disk_is_an_error(disk: Path) -> None:
    path = disk / "memory.db"
    ILabMemory.from_path(path).close()
    fill(disk)
    with child(path, "now") as process:
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert "could not" in said


def test_a_disk_that_fills_up_fails_calls_until_there_is_space(disk: Path) -> None:
    path = disk / "memory.db"
    with child(path, "later", saves=5000) as process:
        read_until(process, "open")
        assert process.stdin
        filler = fill(disk)
        process.stdin.write("go\n")
        process.stdin.flush()
        said = read_until(process, "ready")
        assert "could not save the observation" in said
        assert "the disk is full" in said or os.strerror(28) in said
        filler.unlink()
        process.stdin.write("go\n")
        process.stdin.close()
        assert process.wait(60) == 0
    with ILabMemory.from_path(path) as mem:
        assert mem.mem_search("alice", "space again")


def test_few_free_blocks_at_the_start_are_an_error(ext4: Path) -> None:
    """SQLite's own way allocates the last block of each page, and maps the others, which may not exist."""
    path = ext4 / "memory.db"
    ILabMemory.from_path(path).close()
    filler = fill(ext4)
    with filler.open("r+b") as file:
        for _ in range(5):
            file.truncate(filler.stat().st_size - 8192)
            os.fsync(file.fileno())
            with child(path, "now") as process:
                said = process.communicate(timeout=60)[0]
            assert process.returncode == 0, said


def test_processes_share_a_file_whose_index_has_its_space(ext4: Path) -> None:
    path = ext4 / "memory.db"
    with ILabMemory.from_path(path) as mem:
        # Its files are closed, and with them, if they were opened twice, SQLite's locks.
        ILabMemory.from_path(path).close()
        with child(path, "now") as process:
            said = process.communicate(timeout=60)[0]
        assert process.returncode == 0, said
        saved = mem.mem_stats("alice")["observations"]
        assert saved > 1
        mem.mem_save("alice", "of the first process", type="discovery", title="t")
        assert mem.mem_stats("alice")["observations"] == saved + 1
    assert [file.name for file in ext4.glob("memory.db*")] == ["memory.db"]
    with ILabMemory.from_path(path) as mem:
        assert mem.mem_check() == []


def test_commands_work_while_the_file_is_in_use(ext4: Path, tmp_path: Path) -> None:
    path = ext4 / "memory.db"
    command = (sys.executable, "-m", "ilab_memory")
    with ILabMemory.from_path(path) as mem:
        mem.mem_save("alice", "loves hiking", type="profile", title="t")
        for arguments in (("check", path), ("stats", path), ("backup", "--from", path, tmp_path / "backup.db")):
            subprocess.run([*command, *arguments], check=True, capture_output=True)
        mem.mem_save("alice", "loves skiing", type="profile", title="t")
    with ILabMemory.from_path(tmp_path / "backup.db") as mem:
        assert mem.mem_stats("alice")["observations"] == 1


def test_read_only_file_system_is_named(ext4: Path) -> None:
    path = ext4 / "memory.db"
    with ILabMemory.from_path(path) as mem:
        mem.mem_save("alice", "loves hiking", type="profile", title="t")
        # As after an error of the disk: files that are open for writing fail, too.
        subprocess.run(["mount", "-o", "remount,abort", ext4], check=True)
        with pytest.raises(StorageError, match=r"file system is read-only"):
            mem.mem_save("alice", "loves skiing", type="profile", title="t")
        with pytest.raises(StorageError, match="file system is read-only"):
            mem.mem_probe()


def test_start_on_a_read_only_file_system_names_it(ext4: Path) -> None:
    path = ext4 / "memory.db"
    ILabMemory.from_path(path).close()
    subprocess.run(["mount", "-o", "remount,ro", ext4], check=True)
    with pytest.raises(StorageError, match="file system is read-only"):
        ILabMemory.from_path(path)
    with pytest.raises(StorageError, match="Read-only file system"):
        ILabMemory.from_path(ext4 / "new.db")


def test_probe_writes_as_much_as_it_says_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path) as mem:
        log = Path(f"{path}-wal")
        before = log.stat().st_size
        mem.mem_probe()
        small = log.stat().st_size
        assert before < small < before + 16 * 1024
        mem.mem_probe(room=256 * 1024)
        assert log.stat().st_size >= small + 256 * 1024
        path.rename(tmp_path / "away")
        with pytest.raises(StorageError, match="No such file"):
            mem.mem_probe()
