"""The server as a process of its own, as an operator runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(sys.executable).with_name("ilab-chat-server")

#: What the log says of a worker: its number and its process.
WORKER = r"worker (\d) serves, process (\d+)"


class ServerProcess:
    """A running server. `address` is where it serves; `log` what it has said so far."""

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
        """Read its log up to a line with *pattern*."""
        while (line := self._next_line()) is not None:
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"the server ended with {self.process.wait()}:\n{''.join(self.log)}")

    def workers(self) -> list[int]:
        """The process ids of its workers, in the order of their numbers."""
        return [int(pid) for _, pid in sorted(dict(re.findall(WORKER, "".join(self.log))).items())]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(60)
        self._reader.join(60)
        return code

    def _listen(self) -> None:
        """Keep reading what it says: a server that logs into a full pipe waits for its reader."""
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
    """This process's environment with these settings and no other of the server's, which stops without delay."""
    ours = ("ILAB_", "OPENAI_")
    others = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return others | {"ILAB_CHAT_PROPAGATION_SECONDS": "0"} | dict(settings)


@contextmanager
def running_server(**settings: str) -> Iterator[ServerProcess]:
    """Start `ilab-chat-server` with these environment variables, on a free port unless they name one.

    It is killed at the end if it runs.
    """
    with subprocess.Popen(
        [SERVER],
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
    """Run `ilab-chat-server` to its end."""
    return subprocess.run(
        [SERVER, *arguments], env=environment(settings), capture_output=True, text=True, timeout=60, check=False
    )
