"""Child processes, and what the kernel says of them."""

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
START_SECONDS = 60.0
STOP_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


class DidNotStart(Exception):
    """A child ended, or did not listen in time."""


@dataclass(frozen=True, slots=True)
class Child:
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float
    """From before it was spawned until it took connections."""
    output: Path
    """Holds what it prints."""

    def wait_until_said(self, text: str) -> None:
        """Wait until it has printed *text*.

        Raises:
            DidNotStart: it did not, in START_SECONDS.
        """
        deadline = time.monotonic() + START_SECONDS
        while text not in self.output.read_text():
            if time.monotonic() > deadline:
                raise DidNotStart(f"no {text!r} in what was said:\n{self.output.read_text()[-2000:]}")
            time.sleep(0.005)

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used, its children included, also those that have ended."""
        return cpu_seconds(self.process.pid)

    def peak_rss_kib(self) -> int:
        """Return the most memory that it has had resident, its living children included."""
        return sum(map(peak_kib, tree(self.process.pid)))


def tree(pid: int) -> list[int]:
    """Return *pid* and the process ids of all its descendants."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, its children included, also those that have ended."""
    return sum(map(cpu_ticks, tree(pid))) / TICKS


def cpu_ticks(pid: int) -> int:
    """Return utime, stime, cutime and cstime.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    # Behind the last bracket, since the command's name may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def peak_kib(pid: int) -> int:
    """Return the high-water mark of resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@contextmanager
def running(
    arguments: Sequence[str], environ: Mapping[str, str], folder: Path, *, name: str, port: int
) -> Iterator[Child]:
    """Run `python *arguments*` until the block ends; what it prints goes to a file in *folder*.

    Raises:
        DidNotStart: with the end of what it printed.
    """
    output = folder / f"{name}-{port}.log"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "ILAB_"))}
    begun = time.perf_counter()
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**kept, "PYTHONPATH": str(BENCH), **environ},
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
    """Wait until *process* takes connections on *port*; False if it does not."""
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
    """End *process*: with time to end by itself, then at once."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
