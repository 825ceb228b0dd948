"""Where a faults run takes place: ports, a memory, the fake upstream, and the servers as child processes."""

from __future__ import annotations

import asyncio
import random
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import upstream as fake
from faults.kept import Kept
from faults.talk import Model, Moments
from processes import ServerProcess, running_server

#: Size that no file may pass when the disk is full, in bytes: little more than the file of the first turns.
FULL_BYTES = 512 * 1024

#: How long the server may take to close what nobody uses any more.
CLOSED_SECONDS = 20.0


@dataclass(slots=True, kw_only=True)
class Stage:
    """The parts of a run. `seed` is of everything random in it, `addresses` are those of its servers."""

    kept: Kept
    seed: int
    addresses: Sequence[str]
    upstream_port: int
    moments: Moments
    model: Model
    rng: random.Random
    upstream: ExitStack = field(default_factory=ExitStack)
    """Holds the fake upstream while it is up."""
    requests: list[fake.Request] = field(default_factory=list)
    """The requests of the model since it started."""

    def model_up(self) -> None:
        """Let the upstream listen."""
        self.requests = self.upstream.enter_context(fake.running(self.model, self.upstream_port)).requests

    def model_down(self) -> None:
        """Cut the upstream's connections and refuse new ones."""
        self.upstream.close()

    @property
    def target(self) -> str:
        """All servers, as a client names them."""
        return f"ipv4:{','.join(self.addresses)}"

    def abandoned_requests(self) -> int:
        """Return how many requests of the model are still open although their callers have left."""
        end = time.monotonic() + CLOSED_SECONDS
        held = [request for request in self.requests if request.held.is_set()]
        return sum(not request.gone.wait(max(0, end - time.monotonic())) for request in held)

    @contextmanager
    def server(self, address: str, **settings: str) -> Iterator[ServerProcess]:
        """Run a server, which is killed at the end if it runs."""
        variables = {
            "ILAB_CHAT_ADDRESS": address,
            **self.kept.variables,
            "OPENAI_BASE_URL": f"http://127.0.0.1:{self.upstream_port}/v1",
            "OPENAI_MODEL": "test-model",
            "ILAB_CHAT_DRAIN_SECONDS": "10",
        }
        with running_server(**(variables | settings)) as server:
            yield server

    @asynccontextmanager
    async def serving(self, **settings: str) -> AsyncIterator[Servers]:
        """Run all servers, which have to end as they should when they are told to."""
        with ExitStack() as lives:
            servers = Servers(self, lives, settings)
            await asyncio.gather(*(asyncio.to_thread(servers.start, address) for address in self.addresses))
            yield servers
            for server in servers.running.values():
                assert await asyncio.to_thread(server.stop) == 0


class Servers:
    """The servers of a stage, by address."""

    def __init__(self, stage: Stage, lives: ExitStack, settings: Mapping[str, str]) -> None:
        self.running: dict[str, ServerProcess] = {}
        self._stage = stage
        self._lives = lives
        self._settings = settings

    def start(self, address: str) -> None:
        """Start a server at *address* to replace the one that ended."""
        self.running[address] = self._lives.enter_context(self._stage.server(address, **self._settings))


@contextmanager
def stage(kept: Kept, seed: int, *, servers: int = 1) -> Iterator[Stage]:
    """Yield a stage with the model up."""
    moments = Moments()
    with ExitStack() as ports:
        *addresses, upstream_port = [ports.enter_context(reserved_port()) for _ in range(servers + 1)]
        built = Stage(
            kept=kept,
            seed=seed,
            addresses=[f"127.0.0.1:{port}" for port in addresses],
            upstream_port=upstream_port,
            moments=moments,
            model=Model(moments, seed),
            rng=random.Random(seed),
        )
        with built.upstream:
            built.model_up()
            yield built


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a loopback port that nobody else gets while programs start and stop listening on it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def descriptors(server: ServerProcess) -> int:
    """Return how many descriptors *server* has open."""
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def threads(server: ServerProcess) -> int:
    """Return how many threads *server* has."""
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


def descriptors_left(server: ServerProcess, most: int) -> int:
    """Return how many descriptors *server* has open, as soon as they are at most *most*, or when it took too long."""
    end = time.monotonic() + CLOSED_SECONDS
    while (left := descriptors(server)) > most and time.monotonic() < end:
        time.sleep(0.05)
    return left


@contextmanager
def full_disk(server: ServerProcess) -> Iterator[None]:
    """Let *server* write no file beyond FULL_BYTES, until the block is left.

    A limit of the process instead of a small file system: mounting one needs privileges that not every machine gives.
    Python ignores SIGXFSZ, so a write fails with EFBIG.
    """
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (FULL_BYTES, hard))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
