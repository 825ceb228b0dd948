"""The server as a process of its own, as an operator runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SERVER = Path(sys.executable).with_name("ilab-chat-server")


@dataclass(slots=True)
class ServerProcess:
    """A running server. `address` is where it serves; `log` what it has said so far."""

    process: subprocess.Popen[str]
    address: str = ""
    log: list[str] = field(default_factory=list)

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read its log up to a line with *pattern*."""
        assert self.process.stderr
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"the server ended with {self.process.wait()}:\n{''.join(self.log)}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        assert self.process.stderr
        self.log.extend(self.process.stderr)
        return self.process.wait(60)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these settings and no other of the server's."""
    ours = ("ILAB_", "OPENAI_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | dict(settings)


@contextmanager
def running_server(**settings: str) -> Iterator[ServerProcess]:
    """Start `ilab-chat-server` on a free port with these environment variables; it is killed at the end if it runs."""
    with subprocess.Popen(
        [SERVER, "--address", "127.0.0.1:0"],
        env=environment(settings),
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


def run_server(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `ilab-chat-server` to its end."""
    return subprocess.run(
        [SERVER, *arguments], env=environment(settings), capture_output=True, text=True, timeout=60, check=False
    )
