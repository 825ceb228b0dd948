"""Loss of power: every write and sync of a process on SQLite is recorded, and the record is cut at random moments.

Data synced before the cut is on the disk. Each write after a file's last sync is there, is
missing, or is torn: some of its sectors are there. Truncations too may be missing. Names are never lost: SQLite syncs
folders, which is not recorded. A shared library that is loaded before the C library records; it needs a C compiler.

    PYTHONPATH=tests python -m faults.power SAVES CUTS
"""

# ruff: noqa: T201 - a soak tells how it goes

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ilab_memory import ILabMemory, Observation, StorageError
from ilab_memory.stores.sqlite.check import check

THREADS = 8
SECTOR = 512
#: Once per this number of saves, a user is saved and forgotten.
FORGETS = 40

RECORDER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record = -1;

/* Whether the file is one of ours; its name without the common beginning goes to NAME. */
static int is_ours(int fd, char *name) {
    const char *prefix = getenv("RECORD_PREFIX");
    char link[64], path[PATH_MAX + 1];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX);
    if (!prefix || length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, prefix, strlen(prefix))) return 0;
    strcpy(name, path + strlen(prefix));
    return strcmp(name, "-record") != 0;
}

/* Under the lock, after the call: the order of the record is that of the calls. */
static void note(char kind, const char *name, uint64_t offset, const void *data, uint64_t size) {
    char head[32];
    uint32_t length = strlen(name);
    if (record < 0) record = open(getenv("RECORD_TO"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    memset(head, 0, sizeof head);
    head[0] = kind;
    memcpy(head + 4, &length, 4);
    memcpy(head + 8, &offset, 8);
    memcpy(head + 16, &size, 8);
    syscall(SYS_write, record, head, 24);
    syscall(SYS_write, record, name, length);
    if (data) syscall(SYS_write, record, data, size);
}

#define RECORDED(result, declaration, called, arguments, fd, noted)                                                  \
    result declaration {                                                                                               \
        char name[PATH_MAX + 1];                                                                                       \
        result returned;                                                                                               \
        result (*real) arguments = dlsym(RTLD_NEXT, called);                                                           \
        if (!is_ours(fd, name)) return REAL;                                                                           \
        pthread_mutex_lock(&lock);                                                                                     \
        returned = REAL;                                                                                               \
        if (returned >= 0) noted;                                                                                      \
        pthread_mutex_unlock(&lock);                                                                                   \
        return returned;                                                                                               \
    }

#define REAL real(fd, data, size, offset)
RECORDED(ssize_t, pwrite(int fd, const void *data, size_t size, off_t offset), "pwrite",
         (int, const void *, size_t, off_t), fd, note('w', name, offset, data, returned))
RECORDED(ssize_t, pwrite64(int fd, const void *data, size_t size, off64_t offset), "pwrite64",
         (int, const void *, size_t, off64_t), fd, note('w', name, offset, data, returned))
#undef REAL
#define REAL real(fd, data, size)
RECORDED(ssize_t, write(int fd, const void *data, size_t size), "write", (int, const void *, size_t), fd,
         note('a', name, 0, data, returned))
#undef REAL
#define REAL real(fd)
RECORDED(int, fsync(int fd), "fsync", (int), fd, note('s', name, 0, 0, 0))
RECORDED(int, fdatasync(int fd), "fdatasync", (int), fd, note('s', name, 0, 0, 0))
#undef REAL
#define REAL real(fd, size)
RECORDED(int, ftruncate(int fd, off_t size), "ftruncate", (int, off_t), fd, note('t', name, size, 0, 0))
RECORDED(int, ftruncate64(int fd, off64_t size), "ftruncate64", (int, off64_t), fd, note('t', name, size, 0, 0))
#undef REAL

int unlink(const char *path) {
    const char *prefix = getenv("RECORD_PREFIX");
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    int returned;
    if (!prefix || strncmp(path, prefix, strlen(prefix))) return real(path);
    pthread_mutex_lock(&lock);
    returned = real(path);
    if (!returned) note('u', path + strlen(prefix), 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return returned;
}
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One call: `w`rite, `s`ync, `t`runcate, `u`nlink, or `a`cknowledgement."""

    kind: str
    name: str
    offset: int
    data: bytes


def child(path: str, saves: int) -> None:
    """Save *saves* times from several threads, now and then forget a user; acknowledge each call that has returned."""
    acknowledgements = os.open(f"{path}-acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    mem = ILabMemory.from_path(path)

    def work(worker: int) -> None:
        for number in range(saves // THREADS):
            content = f"worker {worker} saved {number} " + "and more " * (number % 60)
            key = f"key {number % 7}" if number % 3 == 0 else None
            saved = mem.mem_save(f"user {worker}", content, type="discovery", title="t", topic_key=key)
            # An observation that is updated later is looked for by its id alone.
            os.write(acknowledgements, f"saved\t{worker}\t{saved.id}\t{'' if key else content}\n".encode())
            if number % FORGETS == FORGETS - 1:
                marker = f"erased {worker} {number}."
                mem.mem_save(f"gone {worker}", marker * 50, type="discovery", title="t")
                mem.mem_forget(f"gone {worker}")
                os.write(acknowledgements, f"forgotten\t{marker}\n".encode())

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # As a killed process: what closing would write is not to be relied on.
    os._exit(0)


def recorded(folder: Path, saves: int) -> list[Event]:
    """Run the child and return what it did, in order."""
    source, library, record = folder / "recorder.c", folder / "recorder.so", folder / "record"
    source.write_text(RECORDER)
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", library, source, "-ldl", "-lpthread"], check=True)
    path = folder / "memory.db"
    recording = {"LD_PRELOAD": str(library), "RECORD_PREFIX": str(path), "RECORD_TO": str(record)}
    subprocess.run(
        [sys.executable, __file__, "child", str(path), str(saves)],
        env={**os.environ, **recording},
        check=True,
        timeout=600,
    )
    return list(events(record.read_bytes()))


def events(record: bytes) -> Iterator[Event]:
    """Yield the events of a record."""
    place = 0
    while place < len(record):
        kind, length, offset, size = struct.unpack_from("<c3xIQQ", record, place)
        place += 24
        name = record[place : place + length].decode()
        place += length
        data = record[place : place + size]
        place += size
        yield Event(kind.decode(), name, offset, data)


@dataclass(slots=True)
class Disk:
    """The content of each file that is synced, and the calls since."""

    synced: dict[str, bytearray] = field(default_factory=dict)
    since: dict[str, list[Event]] = field(default_factory=dict)

    def do(self, event: Event) -> None:
        """Do what the process did."""
        if event.kind in {"w", "t"}:
            self.since.setdefault(event.name, []).append(event)
        elif event.kind == "s":
            for done in self.since.pop(event.name, []):
                apply(self.synced.setdefault(event.name, bytearray()), done)
        elif event.kind == "u":
            self.synced.pop(event.name, None)
            self.since.pop(event.name, None)

    def after_power_loss(self, rng: random.Random) -> dict[str, bytes]:
        """Return the files as the next start finds them."""
        names = self.synced.keys() | self.since.keys()
        left = {name: bytearray(self.synced.get(name, b"")) for name in names}
        for name, done in self.since.items():
            for event in done:
                fate = rng.choice(["there", "missing", "torn"])
                if fate == "there" or (fate == "torn" and event.kind == "t"):
                    apply(left[name], event)
                elif fate == "torn":
                    for start in range(0, len(event.data), SECTOR):
                        if rng.random() < 0.5:
                            data = event.data[start : start + SECTOR]
                            apply(left[name], Event("w", name, event.offset + start, data))
        return {name: bytes(content) for name, content in left.items()}


def apply(content: bytearray, event: Event) -> None:
    """Write or truncate."""
    end = event.offset + len(event.data)
    if event.kind == "t":
        del content[event.offset :]
    content.extend(bytes(max(0, end - len(content))))
    content[event.offset : end] = event.data


@dataclass(slots=True)
class Verdict:
    """The outcome of the cuts."""

    cuts: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    undead: list[str] = field(default_factory=list)
    """Forgotten text that is in a file."""
    damage: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.cuts} cuts, {self.acknowledged} calls acknowledged before them, {len(self.lost)} lost,"
            f" {len(self.doubled)} doubled, {len(self.undead)} forgotten and found again,"
            f" damage: {self.damage or 'none'}"
        )

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.undead or self.damage)


def cut(recording: Sequence[Event], folder: Path, cuts: int, rng: random.Random) -> Verdict:
    """Lose power at *cuts* random moments of *recording*; return what was lost."""
    verdict = Verdict()
    disk = Disk()
    acknowledged: list[list[str]] = []
    moments = sorted(rng.sample(range(1, len(recording)), min(cuts, len(recording) - 1)))
    for number, event in enumerate(recording, 1):
        if event.name == "-acks":
            acknowledged.append(event.data.decode().rstrip("\n").split("\t"))
        else:
            disk.do(event)
        if moments and number == moments[0]:
            moments.pop(0)
            judge(disk.after_power_loss(rng), acknowledged, folder / f"cut-{number}", verdict)
    return verdict


def judge(files: dict[str, bytes], acknowledged: Sequence[Sequence[str]], folder: Path, verdict: Verdict) -> None:
    """Start on *files* and see that all that was acknowledged holds; a start that fails is damage."""
    try:
        judge_start(files, acknowledged, folder, verdict)
    except StorageError as error:
        verdict.damage.append(str(error))


def judge_start(files: dict[str, bytes], acknowledged: Sequence[Sequence[str]], folder: Path, verdict: Verdict) -> None:
    """See `judge`."""
    verdict.cuts += 1
    verdict.acknowledged += len(acknowledged)
    if not acknowledged:
        return
    folder.mkdir(parents=True)
    path = folder / "memory.db"
    for name, content in files.items():
        Path(f"{path}{name}").write_bytes(content)
    forgotten = [marker for kind, marker, *_ in acknowledged if kind == "forgotten"]
    verdict.undead += [marker for marker in forgotten if any(marker.encode() in each for each in files.values())]
    with ILabMemory.from_path(path) as mem:
        for worker in range(THREADS):
            rows = {row.id: row.content for row in mem.mem_export(f"user {worker}") if isinstance(row, Observation)}
            verdict.doubled += [content for content, count in Counter(rows.values()).items() if count > 1]
            for kind, *saved in acknowledged:
                if kind == "saved" and saved[0] == str(worker):
                    _, observation_id, expected = saved
                    kept = rows.get(int(observation_id))
                    if kept is None or (expected and kept != expected):
                        verdict.lost.append(f"{folder}: {observation_id} {expected}")
    verdict.damage += check(path).damage


def soak(saves: int, cuts: int) -> bool:
    """Record and cut, tell what came of it, and return whether anything acknowledged was lost."""
    seed = random.randrange(10**6)
    with tempfile.TemporaryDirectory() as folder:
        recording = recorded(Path(folder), saves)
        verdict = cut(recording, Path(folder), cuts, random.Random(seed))
    print(f"power lost (seed {seed}, {len(recording)} writes and syncs): {verdict}", flush=True)
    return not verdict.is_clean


if __name__ == "__main__":
    if sys.argv[1] == "child":
        child(sys.argv[2], int(sys.argv[3]))
    else:
        raise SystemExit(soak(int(sys.argv[1]), int(sys.argv[2])))
