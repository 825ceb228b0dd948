"""The service as its operators run it: a process of its own, on a free port, in front of the fake upstream."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import upstream as fake

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Served:
    """A running service, and the model's API behind it."""

    address: str
    upstream: fake.Upstream


@contextmanager
def service(directory: Path) -> Iterator[Served]:
    """Run `ilab-chat-server` with its files in *directory*, and stop it as an operator does."""
    with fake.running() as upstream:
        settings = {
            "ILAB_CHAT_ADDRESS": "127.0.0.1:0",
            "ILAB_MEMORY_DB_PATH": str(directory / "memory.db"),
            "OPENAI_API_KEY": "",
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_MODEL": "test-model",
        }
        with subprocess.Popen(
            [BIN / "ilab-chat-server"],
            env={**os.environ, **settings},
            cwd=directory,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            log: list[str] = []
            while not (found := re.search(r"serving on (\S+)", log[-1] if log else "")):
                log.append(process.stderr.readline())
                assert log[-1], f"the service did not start: {''.join(log)}"
            threading.Thread(target=process.stderr.read).start()  # a full pipe would stop the server
            try:
                yield Served(found[1], upstream)
            finally:
                process.terminate()
        assert process.returncode == 0
