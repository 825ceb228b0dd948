"""The files in which several workers keep their metrics: one process reads them and exposes the sum.

This is the multiprocess mode of prometheus_client: https://prometheus.github.io/client_python/multiprocess
The files belong to a worker's number, not to its process, so that counters go on when a worker is replaced.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The variable that names the folder to prometheus_client.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

PREFIX = "ilab-chat-metrics-"

#: Memory, where containers have a little even if their file system is read-only.
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made in it

#: Bytes of each file by its kind, far more than all series need. Allocated at the start: the files are mapped into
#: memory, and a disk that is full when a page is first written ends the process with SIGBUS.
SIZES = {
    "counter": 512 * 1024,
    "histogram": 2 * 1024 * 1024,
    "gauge_livesum": 128 * 1024,
    "gauge_livemin": 64 * 1024,
    "gauge_livemax": 64 * 1024,
    "gauge_livemostrecent": 64 * 1024,
}


#: A folder that is newer may belong to a server that is starting.
STARTING_SECONDS = 60.0


class WorkerFiles:
    """The folder of the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, number: int) -> None:
        """Make the files of worker *number* before it starts; those of its predecessor are used again.

        Raises:
            OSError: the disk is full.
        """
        for kind, size in SIZES.items():
            descriptor = os.open(self.folder / f"{kind}_{number}.db", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a worker needs."""
        return {VARIABLE: str(self.folder)}

    def ended(self, number: int) -> None:
        """Forget the gauges of worker *number*, which has ended. Its counters stay."""
        mark_process_dead(number, str(self.folder))  # type: ignore[no-untyped-call]

    def registry(self) -> CollectorRegistry:
        """Return a registry of the sum of all workers."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self.folder))  # type: ignore[no-untyped-call]
        return registry


@contextmanager
def worker_files() -> Iterator[WorkerFiles]:
    """Make a folder for the files while the block runs, and remove it and those of servers that were killed.

    Raises:
        OSError: there is no folder in which it could be made.
    """
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        with locked(folder):
            yield WorkerFiles(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock *folder* while the block runs, or raise BlockingIOError if another process has done so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders in *parent* that no running server has locked."""
    for folder in parent.glob(f"{PREFIX}*"):
        # Fails for those of another user, and of a server that runs. One that starts may not have locked its own yet.
        with suppress(OSError), locked(folder):
            if time.time() - folder.stat().st_mtime > STARTING_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


class Buffered:
    """A value in a file, as prometheus_client expects it. Increments reach the file with the next `flush`.

    Writing each one takes longer than counting it. A worker that is killed loses those since the last flush. For the
    event loop's thread only.
    """

    _multiprocess = True
    """Read by the package."""

    to_file: Callable[..., Any]
    """Makes the value that writes at once."""
    waiting: ClassVar[list[Buffered]] = []

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._file = type(self).to_file(*arguments, **named)
        self._increment = 0.0

    def inc(self, amount: float) -> None:
        """Add *amount*."""
        if not self._increment:
            self.waiting.append(self)
        self._increment += amount

    def write(self) -> None:
        """Write what was added."""
        increment, self._increment = self._increment, 0.0
        if increment:
            self._file.inc(increment)

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Set the value in the file."""
        self._increment = 0.0
        self._file.set(value, timestamp)

    def get(self) -> float:
        """Return the value."""
        return float(self._file.get() + self._increment)

    def set_exemplar(self, exemplar: object) -> None:
        """Do nothing, as for every value in a file."""

    def get_exemplar(self) -> None:
        """Return None, as for every value in a file."""


def flush() -> None:
    """Write the increments of this process to its files, if it is a worker."""
    waiting = Buffered.waiting[:]
    Buffered.waiting.clear()
    for value in waiting:
        value.write()


def use_files_of(number: int) -> None:
    """Keep the metrics of this process in the files of worker *number*. Call it before any metric is declared."""
    Buffered.to_file = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
    values.ValueClass = Buffered


def use_no_files() -> None:
    """Keep the metrics of this process in memory, whatever the environment says."""
    values.ValueClass = values.MutexValue
