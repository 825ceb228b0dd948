"""The service as its operators run it: a process of its own, on a free port, in front of the fake upstream."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import upstream as fake
from processes import SERVER, running_server

BIN = SERVER.parent
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
            "ILAB_MEMORY_DB_PATH": str(directory / "memory.db"),
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_MODEL": "test-model",
        }
        with running_server([SERVER], **settings) as server:
            yield Served(server.address, upstream)
            assert server.stop() == 0
