"""Run the server as a process, like an operator. Programs that are mostly imports are forked by `fork_server.py`."""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TypeAlias

SERVER = Path(sys.executable).with_name("ilab-chat-server")

#: Held while a fork server is started, one for each program.
FORKING = threading.Lock()
FORK_SERVER = Path(__file__).with_name("fork_server.py")

#: Variables that are read when Python starts or a package is imported.
READ_AT_IMPORT = {"OPENAI_LOG", "PYTHONPATH"}

#: Log line of a worker that serves: its number and process id.
WORKER = r"worker (\d) \(process (\d+)\) is serving"


class ForkedProcess:
    """A process of a fork server, with the interface of `subprocess.Popen`.

    Args:
        program: its name, a key of `fork_server.PROGRAMS`.
        arguments: those after its name.
        variables: its environment.
        standard: descriptors of its standard input, output and error.
    """

    def __init__(
        self, program: str, arguments: Sequence[str], variables: Mapping[str, str], standard: tuple[int, int, int]
    ) -> None:
        self._program = program
        self.returncode: int | None = None
        self._answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps({"arguments": arguments, "environment": dict(variables)}).encode()
        with theirs:
            with FORKING:
                control = fork_server(program)
            socket.send_fds(control, [request], [theirs.fileno(), *standard])
        self.pid = int(self._answers.recv(64))
        self._ended = threading.Event()
        threading.Thread(target=self._wait, daemon=True).start()

    def poll(self) -> int | None:
        """Return the exit code. None: the process runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end, and return its exit code."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(self._program, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self) -> None:
        with self._answers:
            self.returncode = int(self._answers.recv(64))
        self._ended.set()


Process: TypeAlias = "subprocess.Popen[bytes] | subprocess.Popen[str] | ForkedProcess"


@cache
def fork_server(program: str) -> socket.socket:
    """Return the control socket of a program's fork server.

    The first call starts it, and it ends with the tests.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)
    with theirs:
        command = [sys.executable, str(FORK_SERVER), program, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def end() -> None:
        ours.close()
        process.wait(60)

    atexit.register(end)
    return ours


class ServerProcess:
    """A running server, with its `address` and its `log` so far, which is read from *log*."""

    def __init__(self, process: Process, log: IO[str]) -> None:
        self.process = process
        self.address = ""
        self.log: list[str] = []
        self._read = 0
        self._heard = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._listen, args=(log,), daemon=True)
        self._reader.start()

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read the log up to a line that matches *pattern*."""
        while (line := self._next_line()) is not None:
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"the server ended with {self.process.wait()}:\n{''.join(self.log)}")

    def workers(self) -> list[int]:
        """Return the process ids of the workers, ordered by worker number."""
        return [int(pid) for _, pid in sorted(dict(re.findall(WORKER, "".join(self.log))).items())]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the process to end, and return its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(60)
        self._reader.join(60)
        return code

    def _listen(self, log: IO[str]) -> None:
        """Read the log continuously, because a server blocks on a full pipe."""
        with log:
            for line in log:
                with self._heard:
                    self.log.append(line)
                    self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def _next_line(self) -> str | None:
        with self._heard:
            self._heard.wait_for(lambda: self._ended or self._read < len(self.log))
            if self._read == len(self.log):
                return None
            self._read += 1
            return self.log[self._read - 1]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with exactly these settings of the server.

    Unless given: no propagation delay and no consolidation, whose calls of the model would come between others.
    """
    ours = ("ILAB_", "OPENAI_")
    others = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    ours_unless_given = {"ILAB_CHAT_PROPAGATION_SECONDS": "0", "ILAB_CHAT_CONSOLIDATION": "off"}
    # Loading a model takes seconds of each server's start.
    ours_unless_given["ILAB_MEMORY_EMBEDDER"] = "none"
    return others | ours_unless_given | dict(settings)


@contextmanager
def running_server(
    command: Sequence[str | Path] | None = None, arguments: Sequence[str] = (), **settings: str
) -> Iterator[ServerProcess]:
    """Run `ilab-chat-server` with these arguments and environment variables; by default, on a free port.

    Kill it at the end.

    *command*: a program that runs it, instead of forking where that makes no difference.
    """
    reading, writing = os.pipe()
    with Path(os.devnull).open("wb") as nothing:
        settings = {"ILAB_CHAT_ADDRESS": "127.0.0.1:0", **settings}
        process = start(arguments, settings, nothing.fileno(), writing, command=command)
    os.close(writing)
    server = ServerProcess(process, os.fdopen(reading))
    try:
        server.address = server.read_until(r"serving on (\S+)")[1]
        yield server
    finally:
        process.kill()
        server.wait()


def run_server(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `ilab-chat-server` until it exits."""
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        process = start(arguments, settings, stdout.fileno(), stderr.fileno())
        try:
            code = process.wait(60)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess([SERVER, *arguments], code, stdout.read(), stderr.read())


def run_forked(
    program: str, *arguments: str | Path, stdin: bytes = b"", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in a fork of a process that has imported it until it exits.

    Args:
        program: its name, a key of `fork_server.PROGRAMS`.
        arguments: those after its name.
        stdin: all of its standard input.
        variables: environment variables that it has in addition to ours.
    """
    command = [*map(str, arguments)]
    reading, writing = os.pipe()
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        with os.fdopen(writing, "wb", buffering=0) as keyboard:
            with os.fdopen(reading, "rb"):
                standard = reading, stdout.fileno(), stderr.fileno()
                process = ForkedProcess(program, command, {**os.environ, **variables}, standard)
            with suppress(BrokenPipeError):  # it ended without reading
                keyboard.write(stdin)
        code = process.wait(100)
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess([program, *command], code, stdout.read(), stderr.read())


def start(
    arguments: Sequence[str],
    settings: Mapping[str, str],
    stdout: int,
    stderr: int,
    *,
    command: Sequence[str | Path] | None = None,
) -> Process:
    """Start `ilab-chat-server` with these arguments, environment variables, and descriptors to write to."""
    variables = environment(settings)
    # The process that starts workers imports little: they are what takes time, and programs in any case.
    if command or READ_AT_IMPORT & settings.keys() or settings.get("ILAB_CHAT_WORKERS", "1") != "1":
        return subprocess.Popen([*(command or (SERVER,)), *arguments], env=variables, stdout=stdout, stderr=stderr)
    with Path(os.devnull).open("rb") as nothing:
        return ForkedProcess(SERVER.name, arguments, variables, (nothing.fileno(), stdout, stderr))
