"""Measure what a server needs per process, user, turn and connection: RAM, CPU and disk. JSON.

    PYTHONPATH=tests python bench/capacity.py [--users 200] [--turns 5] [--connections 200]

A real server on a SQLite file answers with a fake model in another process. Messages and replies have 25 words. CPU is
the time of the server's process, so a busy machine changes it little; RAM is its resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import grpc

from ilab_chat import ChatClient
from processes import SERVER, running_server
from upstream import Reply, running

TICKS = os.sysconf("SC_CLK_TCK")
CALLERS = 8
WORDS = (
    "The old lighthouse keeper walked along the quiet harbour each morning, counted boats and wrote a number".split()
)


def text(seed: int) -> str:
    """Return 25 words, some of them different for each *seed*."""
    return " ".join([*WORDS, *(f"word{seed * 7 + each}" for each in range(25 - len(WORDS)))])


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--connections", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        model = stack.enter_context(running(lambda _request: Reply(pieces=(text(1),))))
        file = Path(folder, "memory.db")
        server = stack.enter_context(
            running_server(
                [SERVER],
                ILAB_MEMORY_DB_PATH=str(file),
                OPENAI_BASE_URL=model.base_url,
                OPENAI_MODEL="m",
                ILAB_CHAT_METRICS_ADDRESS="127.0.0.1:0",
                PYTHONPATH=os.environ["PYTHONPATH"],
            )
        )
        process = server.process.pid
        client = stack.enter_context(ChatClient(server.address))
        pool = stack.enter_context(ThreadPoolExecutor(CALLERS))
        list(pool.map(lambda number: client.chat(f"warm-{number}", text(number)), range(4 * CALLERS)))
        figures: dict[str, float] = {"rss_at_start_mb": megabytes(process)}
        for turn in range(options.turns):
            before, size = cpu(process), written(file)
            list(pool.map(lambda user, turn=turn: client.chat(f"user-{user}", text(user + turn)), range(options.users)))
            figures[f"cpu_ms_of_turn_{turn + 1}"] = round(1000 * (cpu(process) - before) / options.users, 2)
            figures[f"disk_bytes_of_turn_{turn + 1}"] = round((written(file) - size) / options.users)
        figures["rss_after_turns_mb"] = megabytes(process)
        before = resident(process)
        channels = [grpc.insecure_channel(server.address, [("number", each)]) for each in range(options.connections)]
        for channel in channels:
            stack.callback(channel.close)
            grpc.channel_ready_future(channel).result(60)
        figures["rss_kb_per_connection"] = round((resident(process) - before) / 1000 / options.connections, 1)
        print(json.dumps(figures, indent=2))


def resident(process: int) -> int:
    """Return the resident set of a process, in bytes."""
    return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def megabytes(process: int) -> float:
    """Return the resident set of a process, in megabytes."""
    return round(resident(process) / 1e6, 1)


def cpu(process: int) -> float:
    """Return the CPU time of a process so far, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def written(file: Path) -> int:
    """Return the bytes of the memory's pages in use, after its log was copied into the file."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(FULL)")
        [(pages,)], [(free,)], [(size,)] = (
            connection.execute(f"PRAGMA {name}").fetchall() for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


if __name__ == "__main__":
    main()
