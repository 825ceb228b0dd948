"""Child processes, with their CPU time and memory from /proc."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BENCH = Path(__file__).parent.parent
#: The packages of this working tree, whatever is installed.
PYTHONPATH = ":".join(map(str, (BENCH, *(BENCH.parent / each for each in ("client", "service", "memory")))))
START_SECONDS = 60.0
STOP_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


class DidNotStart(Exception):
    """A child exited, or did not listen in time."""


@dataclass(frozen=True, slots=True)
class Child:
    """A server process."""

    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float
    """Time from before it was spawned until it accepted connections."""
    output: Path
    """File with its output."""

    def wait_until_said(self, text: str) -> None:
        """Wait until it has printed *text*.

        Raises:
            DidNotStart: it did not print *text* within START_SECONDS.
        """
        deadline = time.monotonic() + START_SECONDS
        while text not in self.output.read_text():
            if time.monotonic() > deadline:
                raise DidNotStart(f"{text!r} was not printed:\n{self.output.read_text()[-2000:]}")
            time.sleep(0.005)

    def cpu_seconds(self) -> float:
        """Return its CPU time, including running and exited children."""
        return cpu_seconds(self.process.pid)

    def peak_rss_kib(self) -> int:
        """Return its peak resident memory, including running children."""
        return sum(map(peak_kib, tree(self.process.pid)))


def tree(pid: int) -> list[int]:
    """Return *pid* and the process ids of all its descendants."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, including running and exited children."""
    return sum(map(cpu_ticks, tree(pid))) / TICKS


def cpu_ticks(pid: int) -> int:
    """Return the sum of utime, stime, cutime and cstime.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    # The fields follow the last bracket, because the command's name may contain anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def peak_kib(pid: int) -> int:
    """Return the peak resident memory of a process, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@contextmanager
def running(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    *,
    name: str,
    port: int,
    python: Path | None = None,
) -> Iterator[Child]:
    """Run `python *arguments*` while the block runs, with its output in a file in *folder*.

    *python*: the interpreter. None: this one.

    Raises:
        DidNotStart: it exited or did not listen; the text contains the end of its output.
    """
    output = folder / f"{name}-{port}.log"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "ILAB_"))}
    begun = time.perf_counter()
    with output.open("wb") as log:
        process = subprocess.Popen(
            [python or sys.executable, *arguments],
            env={**kept, "PYTHONPATH": PYTHONPATH, **environ},
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        if not listens(process, port):
            raise DidNotStart(f"{name} did not start:\n{output.read_text()[-2000:]}")
        yield Child(process, port, time.perf_counter() - begun, output)
    finally:
        stop(process)


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until *process* accepts connections on *port*. Return False if it exits or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.005)
        else:
            return True
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate *process*, and kill it if it does not exit in time."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
