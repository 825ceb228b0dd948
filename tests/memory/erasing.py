"""Processes that save, read and erase in one file, and are killed at random moments.

    cd tests && python -m memory.erasing ROUNDS     the soak; 20 rounds take some minutes

Each round goes on with the file of the one before. With an argument `erase PATH NAME` or `read PATH` it is a child.
"""

# ruff: noqa: T201 - a soak tells how it goes

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from ilab_memory import ILabMemory, StorageError
from ilab_memory.stores.sqlite import erasure_schedule, request_rewrite
from memory import killed

#: The folder in which `memory` is a package.
TESTS = Path(__file__).parents[1]
#: The beginning of each text that is erased.
MARKER = "marker"


def connect(path: str) -> sqlite3.Connection:
    """Open the file as an application does that has a table of its own in it."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("CREATE TABLE IF NOT EXISTS own (id INTEGER PRIMARY KEY, content TEXT)")
    connection.execute("CREATE INDEX IF NOT EXISTS own_content ON own (content, id)")
    return connection


def fill(connection: sqlite3.Connection, content: str, dice: random.Random) -> None:
    """Write rows of random sizes to random places: SQLite leaves copies where it moves some of them."""
    connection.execute("BEGIN IMMEDIATE")
    for _ in range(200):
        text = dice.choice((content, "kept"))
        row = (dice.randrange(1 << 40), f"{dice.randrange(1 << 30):x} {text} {'x' * dice.randrange(600)}")
        connection.execute("INSERT OR REPLACE INTO own VALUES (?, ?)", row)
    connection.execute("COMMIT")


def delete(connection: sqlite3.Connection, content: str, user_id: str) -> None:
    """Delete the rows with *content*, some at a time, and have the file rewritten for the user."""
    while True:
        connection.execute("BEGIN IMMEDIATE")
        found = "SELECT id FROM own WHERE instr(content, ?) LIMIT 200"
        deleted = connection.execute(f"DELETE FROM own WHERE id IN ({found})", (content,)).rowcount
        request_rewrite(connection, user_id)
        connection.execute("COMMIT")
        if not deleted:
            return


def erase(path: str, name: str) -> None:
    """Save and erase users without end. Print one line for each that is about to be saved, and for each failure."""
    # Without a rest between two rewrites.
    erasure_schedule.REST = 0
    dice = random.Random(name)
    with ILabMemory.from_path(path) as mem, closing(connect(path)) as own:
        number = 0
        while True:
            number += 1
            user_id, content = f"{name} {number}", f"{MARKER} {name} {number}."
            print(f"saves\t{user_id}", flush=True)
            for turn in range(5):
                text = f"{content} {'word ' * dice.randrange(200)}"
                mem.mem_save(user_id, text, type="discovery", title=f"{content} {turn}")
            fill(own, content, dice)
            delete(own, content, user_id)
            try:
                mem.mem_forget(user_id)
            except StorageError as error:
                print(f"failed\t{error}", flush=True)
                continue
            print(f"erased\t{user_id}", flush=True)
            if is_in_files(Path(path), content):
                print(f"left\t{content}", flush=True)


def read(path: str) -> None:
    """Read the whole file without a pause, sometimes in a transaction that stays open for a while."""
    dice = random.Random(path)
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        print("reads\t", flush=True)
        while True:
            connection.execute("BEGIN")
            connection.execute("SELECT sum(length(content)) FROM observations").fetchone()
            time.sleep(dice.choice((0, 0, 0, 0.02, 0.1)))
            connection.execute("COMMIT")


def is_in_files(path: Path, text: str) -> bool:
    """Tell whether *text* is in the file or in those next to it.

    Another process reads them: closing a file frees the locks that SQLite has on it in this process.
    """
    return subprocess.run(["grep", "-aqFr", text, path.parent], stderr=subprocess.DEVNULL, check=False).returncode == 0


class Round:
    """The output of the processes of one round, which are killed."""

    def __init__(self, path: Path, seconds: float) -> None:
        """Run two processes that erase, one that reads and one that saves on *path*, until all of them have begun.

        Kill the first one *seconds* later, and the others moments after it.
        """
        ILabMemory.from_path(path).close()
        me = [sys.executable, "-m", "memory.erasing"]
        commands = [[*me, "erase", str(path), f"{os.urandom(4).hex()}"] for _ in range(2)]
        commands += [[*me, "read", str(path)], [sys.executable, killed.__file__, "child", str(path)]]
        with ExitStack() as running:
            said = [running.enter_context(tempfile.TemporaryFile()) for _ in commands]
            processes = [
                running.enter_context(subprocess.Popen(command, stdout=out, cwd=TESTS))
                for command, out in zip(commands, said, strict=True)
            ]
            while all(process.poll() is None for process in processes):
                if all(os.fstat(out.fileno()).st_size for out in said):
                    break
                time.sleep(0.05)
            time.sleep(seconds)
            self.ended = [f"{each.args!r}: {each.returncode}" for each in processes if each.poll() is not None]
            for process in processes:
                process.send_signal(signal.SIGKILL)
                time.sleep(random.uniform(0, 0.2))
            for process in processes:
                process.wait()
            lines: list[list[str]] = []
            for out in said:
                out.seek(0)
                lines += [line.split("\t") for line in out.read().decode().split("\n")[:-1]]
        self.saved, self.erased, self.failed, self.left = (
            [line[1] for line in lines if line[0] == kind] for kind in ("saves", "erased", "failed", "left")
        )
        self.acknowledged = [(line[0], int(line[1]), line[2]) for line in lines if line[0].isdigit()]


def left(path: Path, users: list[str]) -> list[str]:
    """Erase what killed processes have not; return what is left of it."""
    with ILabMemory.from_path(path) as mem:
        with closing(connect(str(path))) as own:
            delete(own, MARKER, "some")
        for user_id in users:
            mem.mem_forget(user_id)
        mem.mem_finish_forgetting()
        found = [f"{mem.mem_pending_erasures()} pending"] if mem.mem_pending_erasures() else []
        found += [f"{MARKER} is in a file"] if is_in_files(path, MARKER) else []
    return found


def main(rounds: int) -> None:
    """Run *rounds* rounds on one file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.db"
        acknowledged: list[tuple[str, int, str]] = []
        for number in range(rounds):
            done = Round(path, random.uniform(2, 12))
            acknowledged += done.acknowledged
            wrong = [
                *done.ended,
                *done.left,
                *left(path, done.saved),
                *killed.faults(path),
                *killed.lost(path, acknowledged),
            ]
            print(
                f"round {number}: {len(done.saved)} users, {len(done.erased)} erased, {len(done.failed)} failed,"
                f" {len(acknowledged)} saves, {path.stat().st_size} bytes, wrong: {wrong[:5]}",
                *sorted(set(done.failed)),
                flush=True,
            )
            assert not wrong


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["erase", path, name]:
            erase(path, name)
        case ["read", path]:
            read(path)
        case [rounds]:
            main(int(rounds))
