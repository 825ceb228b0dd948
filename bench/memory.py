"""Measure ilab_memory on SQLite: saves, reads at scale, reads during writes, forgetting.

    python bench/memory.py                       about a minute, up to 10,000 rows
    python bench/memory.py --rows 1000000        all sizes up to a million rows; takes some 20 minutes and 3 GB of disk
    python bench/memory.py --sync-ms 5           as on a disk that needs 5 ms for a sync (needs a C compiler)

Everything happens in a temporary folder (--folder to choose the disk). Latencies are in milliseconds.
"""

import argparse
import itertools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ilab_memory import Config, ILabMemory
from ilab_memory.stores.sqlite import write_queue
from slow_syncs import slow_syncs

CALLERS = (1, 8, 64)
#: Rows of the user whose calls are measured while the file around it grows.
OWN_ROWS = 600
QUESTIONS = [
    "Where did we plan to travel in summer?",
    "Which tickets should we book for the museum?",
    "What did the doctor say about the knee?",
    "When is the birthday of my sister?",
]
#: Words of a language: half of what is said are these...
COMMON = [
    "the",
    "to",
    "and",
    "a",
    "of",
    "i",
    "it",
    "in",
    "you",
    "that",
    "is",
    "was",
    "for",
    "on",
    "we",
    "my",
    "with",
    "be",
    "have",
    "so",
    "but",
    "this",
    "not",
    "at",
    "are",
    "they",
    "what",
    "as",
    "just",
]
#: ... and the other half are these and 20,000 more, as unevenly common as words are.
TOPICS = [
    "travel",
    "summer",
    "plan",
    "tickets",
    "book",
    "museum",
    "doctor",
    "knee",
    "birthday",
    "sister",
    "garden",
    "work",
    "family",
    "music",
    "dinner",
    "stack",
    "weekend",
    "friend",
    "school",
    "running",
    "kitchen",
    "movie",
    "dog",
    "train",
    "beach",
    "money",
    "coffee",
    "painting",
    "winter",
    "party",
    "lesson",
    "team",
    "letter",
    "bread",
    "river",
    "story",
]


VOCABULARY = [*TOPICS, *(f"w{rank}" for rank in range(20_000))]
UNEVEN = list(itertools.accumulate(1 / (rank + 30) for rank in range(len(VOCABULARY))))


def words(dice: random.Random, count: int) -> str:
    """Return text whose words are about as unevenly common as those of a language."""
    rare = dice.choices(VOCABULARY, cum_weights=UNEVEN, k=count // 2)
    return " ".join(word for pair in zip(dice.choices(COMMON, k=count // 2), rare, strict=True) for word in pair)


def message(dice: random.Random) -> str:
    """Return a message of a conversation, some 25 words."""
    return f"Ann: {words(dice, dice.randint(10, 40))}"


def messages(dice: random.Random) -> list[str]:
    """Return what is saved, made beforehand: making one costs a tenth of saving it."""
    return [message(dice) for _ in range(2_000)]


def save(mem: ILabMemory, user_id: str, content: str) -> None:
    """Save *content* as one message."""
    mem.mem_save(user_id, content, type="discovery", title=content[:60])


def saves_per_second(folder: Path, callers: int, durability: str, seconds: float) -> float:
    """Return how many saves return in a second, all callers together, each for a user of its own."""
    counts = [0] * callers
    texts = messages(random.Random(callers))
    with ILabMemory.from_path(
        folder / f"{durability}{callers}.db", Config.model_validate({"durability": durability})
    ) as mem:
        deadline = time.perf_counter() + seconds

        def call(caller: int) -> None:
            for text in itertools.islice(itertools.cycle(texts), caller, None):
                if time.perf_counter() >= deadline:
                    return
                # No two saves of a user are the same.
                save(mem, f"user{caller}", f"{text} {counts[caller]}")
                counts[caller] += 1

        run_threads([lambda caller=caller: call(caller) for caller in range(callers)])  # type: ignore[misc]
    for path in folder.iterdir():
        path.unlink()
    return sum(counts) / seconds


def run_threads(works: Sequence[Callable[[], None]]) -> None:
    """Run every one of *works* in a thread of its own."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def milliseconds(call: Callable[[], object], times: int) -> list[float]:
    """Return how long each of *times* calls takes, sorted."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begun) * 1000)
    return sorted(taken)


def quantile(taken: Sequence[float], share: float) -> float:
    """Return the value that *share* of *taken*, which is sorted, do not exceed."""
    return taken[min(int(len(taken) * share), len(taken) - 1)]


def fill(mem: ILabMemory, users: Sequence[str], rows: int, dice: random.Random) -> None:
    """Save *rows* messages, in turn for each of *users*, from several threads, so that they share commits."""
    texts = messages(dice)

    def call(part: int) -> None:
        for number in range(part, rows, 16):
            save(mem, users[number % len(users)], f"{texts[number * 7919 % len(texts)]} {number}")

    run_threads([lambda part=part: call(part) for part in range(16)])  # type: ignore[misc]


def report_saves(folder: Path, seconds: float) -> None:
    """Print the saves a second of each durability, and of one sync for each save."""
    syncs = milliseconds(lambda: sync_once(folder / "sync"), 200)
    print(f"\nsaves a second            one sync of 4 KiB takes {statistics.median(syncs):.2f} ms here (median)")
    print(f"{'callers':>10}{'full':>10}{'normal':>10}{'a sync each':>14}{'full against that':>20}")
    for callers in CALLERS:
        full = saves_per_second(folder, callers, "full", seconds)
        normal = saves_per_second(folder, callers, "normal", seconds)
        group, write_queue.MAX_BATCH = write_queue.MAX_BATCH, 1
        each = saves_per_second(folder, callers, "full", seconds)
        write_queue.MAX_BATCH = group
        print(f"{callers:>10}{full:>10.0f}{normal:>10.0f}{each:>14.0f}{full / each:>19.1f}x", flush=True)


def sync_once(path: Path) -> None:
    """Write a page and sync it."""
    with path.open("ab") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fdatasync(file.fileno())


def report_reads(mem: ILabMemory, user_id: str, label: str) -> list[float]:
    """Print one line of latencies of *user_id*; return the medians of a start and of a search."""
    start = milliseconds(lambda: mem.mem_session_start(user_id), 200)
    search = milliseconds(lambda: mem.mem_search(user_id, random.choice(QUESTIONS)), 200)
    figures = [quantile(start, 0.5), quantile(start, 0.95), quantile(search, 0.5), quantile(search, 0.95)]
    print(f"{label:>34}" + "".join(f"{figure:>10.2f}" for figure in figures), flush=True)
    return [figures[0], figures[2]]


def report_file_sizes(folder: Path, largest: int) -> None:
    """Print the latencies of one user of OWN_ROWS while the file around it grows to *largest* rows."""
    print(f"\n{'a user of 600 rows in a file of':>34}{'start':>10}{'p95':>10}{'search':>10}{'p95':>10}")
    path = folder / "file.db"
    with ILabMemory.from_path(path, Config(durability="normal")) as mem:
        fill(mem, ["own"], OWN_ROWS, random.Random(0))
        first = last = report_reads(mem, "own", f"{OWN_ROWS:,} rows")
        rows = OWN_ROWS
        for size in (10**3, 10**4, 10**5, 10**6):
            if size <= largest:
                others = [f"user{size}/{number}" for number in range(max((size - rows) // OWN_ROWS, 1))]
                fill(mem, others, size - rows, random.Random(size))
                rows = size
                last = report_reads(mem, "own", f"{size:,} rows")
        print(f"{'the last against the first':>34}{last[0] / first[0]:>9.2f}x{'':>10}{last[1] / first[1]:>9.2f}x")
        begun = time.perf_counter()
        mem.mem_forget("own")
        print(f"{'forgetting that user':>34}{(time.perf_counter() - begun) * 1000:>9.0f} ms")
    print(
        f"{'file':>34}{path.stat().st_size / rows:>9.0f} bytes a message of {len(message(random.Random(0)))} characters"
    )


def report_user_sizes(folder: Path, largest: int) -> None:
    """Print the latencies of users of different sizes in one file."""
    print(f"\n{'a user of':>34}{'start':>10}{'p95':>10}{'search':>10}{'p95':>10}")
    with ILabMemory.from_path(folder / "users.db", Config(durability="normal")) as mem:
        for size in (100, 1_000, 10_000, 100_000):
            if size <= largest:
                fill(mem, [f"user of {size}"], size, random.Random(size))
                report_reads(mem, f"user of {size}", f"{size:,} rows")


def report_reads_beside_writers(folder: Path, seconds: float) -> None:
    """Print the latencies of reads alone and while 64 writers save as fast as they can."""
    print(f"\n{'reads':>34}{'median':>10}{'p99':>10}")
    with ILabMemory.from_path(folder / "beside.db") as mem:
        fill(mem, ["own"], OWN_ROWS, random.Random(0))

        def read() -> list[float]:
            deadline = time.perf_counter() + seconds
            taken: list[float] = []
            while time.perf_counter() < deadline:
                taken += milliseconds(lambda: mem.mem_search("own", random.choice(QUESTIONS)), 10)
            return sorted(taken)

        alone = read()
        texts = messages(random.Random(1))
        stop = threading.Event()

        def write(caller: int) -> None:
            for number, text in enumerate(itertools.cycle(texts)):
                if stop.is_set():
                    return
                save(mem, f"writer{caller}", f"{text} {number}")

        threads = [threading.Thread(target=write, args=(caller,)) for caller in range(64)]
        for thread in threads:
            thread.start()
        beside = read()
        stop.set()
        for thread in threads:
            thread.join()
    for label, taken in (("alone", alone), ("while 64 writers run", beside)):
        print(f"{label:>34}{quantile(taken, 0.5):>10.2f}{quantile(taken, 0.99):>10.2f}")
    print(f"{'the second against the first':>34}{'':>10}{quantile(beside, 0.99) / quantile(alone, 0.99):>9.1f}x")


def again_with_slow_syncs(sync_ms: float) -> None:
    """Run this program again, in a process in which each sync takes *sync_ms* longer."""
    with tempfile.TemporaryDirectory() as folder:
        changed = slow_syncs(sync_ms, Path(folder))
        subprocess.run([sys.executable, *sys.argv], env={**os.environ, **changed}, check=True)


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the largest file (default: 10,000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement of saves (default: 3)")
    parser.add_argument("--sync-ms", type=float, default=0.0, help="what a sync takes in addition (default: 0)")
    parser.add_argument("--only", choices=["saves", "files", "users", "beside"], help="one table alone")
    parser.add_argument("--folder", help="where the files are made (default: the system's temporary folder)")
    options = parser.parse_args()
    if options.sync_ms and "BENCH_SYNC_US" not in os.environ:
        again_with_slow_syncs(options.sync_ms)
        return
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    tables: dict[str, Callable[[], None]] = {
        "saves": lambda: report_saves(folder, options.seconds),
        "files": lambda: report_file_sizes(folder, options.rows),
        "users": lambda: report_user_sizes(folder, min(options.rows, 100_000)),
        "beside": lambda: report_reads_beside_writers(folder, options.seconds),
    }
    try:
        for name, table in tables.items():
            if options.only in (None, name):
                table()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
