"""Run the server as a process, like an operator."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(sys.executable).with_name("ilab-chat-server")

#: Log line of a worker that serves: its number and process id.
WORKER = r"worker (\d) \(process (\d+)\) is serving"


class ServerProcess:
    """A running server, with its `address` and its `log` so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address = ""
        self.log: list[str] = []
        self._read = 0
        self._heard = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._listen, daemon=True)
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

    def _listen(self) -> None:
        """Read the log continuously, because a server blocks on a full pipe."""
        assert self.process.stderr
        for line in self.process.stderr:
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
def running_server(command: Sequence[str | Path] = (SERVER,), **settings: str) -> Iterator[ServerProcess]:
    """Run `ilab-chat-server` with these environment variables, on a free port by default. Kill it at the end.

    *command*: another one that runs it.
    """
    with subprocess.Popen(
        [*command],
        env=environment({"ILAB_CHAT_ADDRESS": "127.0.0.1:0", **settings}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        server = ServerProcess(process)
        try:
            server.address = server.read_until(r"serving on (\S+)")[1]
            yield server
        finally:
            process.kill()
            server.wait()


def run_server(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `ilab-chat-server` until it exits."""
    return subprocess.run(
        [SERVER, *arguments], env=environment(settings), capture_output=True, text=True, timeout=60, check=False
    )
