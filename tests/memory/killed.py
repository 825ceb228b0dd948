"""A child that saves from many threads, says what was acknowledged, and is killed at a random moment.

    python tests/memory/killed.py ROUNDS        the soak; 50 rounds take about a minute

Each round goes on with the file of the one before. With an argument `child PATH` it is the child.
"""

# ruff: noqa: T201 - a soak tells how it goes

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, suppress
from pathlib import Path

from ilab_memory import ILabMemory

THREADS = 16


def child(path: str) -> None:
    """Save without end, with and without keys; print one line per save that returned."""
    mem = ILabMemory.from_path(path)

    def work(worker: int) -> None:
        number = 0
        while True:
            number += 1
            content = f"worker {worker} of {os.getpid()} saved {number} " + "and more " * (number % 50)
            key = f"key{number % 5}" if number % 4 == 0 else None
            saved = mem.mem_save(f"user{worker % 5}", content, type="discovery", title=f"{number}", topic_key=key)
            if number % 50 == 0:
                # Another worker of the same user may have ended it just now.
                with suppress(LookupError):
                    mem.mem_session_end(f"user{worker % 5}", summary="s")
                mem.mem_session_start(f"user{worker % 5}")
            stable = "" if key else content
            # One write of one line: whatever is read whole has been acknowledged.
            os.write(1, f"{worker % 5}\t{saved.id}\t{stable}\n".encode())

    for worker in range(THREADS):
        threading.Thread(target=work, args=(worker,), daemon=True).start()
    signal.pause()


def kill_round(path: Path, seconds: float) -> list[tuple[str, int, str]]:
    """Run the child, kill it *seconds* after its first acknowledgement; return what it acknowledged."""
    with subprocess.Popen([sys.executable, __file__, "child", str(path)], stdout=subprocess.PIPE) as process:
        killer = threading.Timer(seconds, process.kill)
        assert process.stdout is not None
        told = process.stdout.readline()
        killer.start()
        told += process.stdout.read()
        killer.join()
    lines = (line.split("\t") for line in told.decode().split("\n")[:-1])
    return [(user, int(observation_id), content) for user, observation_id, content in lines]


def lost(path: Path, acknowledged: list[tuple[str, int, str]]) -> list[int]:
    """Return the ids of *acknowledged* that are missing or differ from what was saved."""
    with ILabMemory.from_path(path) as mem:
        return [
            observation_id
            for user, observation_id, content in acknowledged
            if (row := mem.mem_get_observation(f"user{user}", observation_id)) is None
            or (content and row.content != content)
        ]


def faults(path: Path) -> list[str]:
    """Return what SQLite and FTS5 find wrong with the file, and rows and index that do not belong together."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO search (search) VALUES ('integrity-check')")
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        rows = set(connection.execute("SELECT (user << 28) | number FROM observations"))
        indexed = set(connection.execute("SELECT DISTINCT doc FROM search_places"))
        found += [f"{len(rows ^ indexed)} rows are not as indexed"] if rows != indexed else []
    return [] if found == ["ok"] else found


def soak(rounds: int) -> None:
    """Kill *rounds* times and report what was lost."""
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.db"
        for number in range(1, rounds + 1):
            acknowledged = kill_round(path, random.uniform(0, 0.5))
            total += len(acknowledged)
            missing, wrong = lost(path, acknowledged), faults(path)
            print(
                f"round {number}: {len(acknowledged)} acknowledged, {len(missing)} lost, faults {wrong or 'none'}",
                flush=True,
            )
            if missing or wrong:
                raise SystemExit(1)
    print(f"{rounds} of {rounds} rounds lost nothing; {total} saves acknowledged")


if __name__ == "__main__":
    if sys.argv[1] == "child":
        child(sys.argv[2])
    else:
        soak(int(sys.argv[1]))
