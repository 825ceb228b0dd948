"""Several processes on one port: starts them, tells them to stop, and starts another for one that dies.

It never imports gRPC: what forks after gRPC has started may hang
(https://github.com/grpc/grpc/blob/master/doc/fork_support.md). Each worker is a program of its own, `worker.py`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import secrets
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from ilab_chat_service.settings import Settings, environment
from ilab_chat_service.settings.addresses import AddressUnavailable, split_address, with_port
from ilab_chat_service.signals import end_at_once, signals

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Iterator

log = logging.getLogger(__name__)

#: What a worker writes to its standard output when it serves.
SERVING = b"serving\n"

#: Pause before another worker is started for one that ended, in seconds. It doubles while they end before they serve.
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0

#: Exit codes of workers that did as they were told: drained, or ended by the signal before they served.
AS_TOLD = (0, -signal.SIGTERM, -signal.SIGINT)


async def supervise(settings: Settings) -> int:
    """Serve with as many workers as *settings* say until SIGTERM or SIGINT, then let them drain.

    A second signal ends them, and this process, at once.

    Returns:
        The exit code: 0, that of a worker that could not start, or 1 if one ended badly while draining.

    Raises:
        AddressUnavailable: the address cannot be listened on, or another server does.
    """
    with held(settings.address) as address:
        # One key for all of them, so that a user has the same hash in every line.
        key = settings.log_key or secrets.token_hex()
        shared = dataclasses.replace(settings, address=address, log_key=key)
        workers = Workers(shared)
        with signals(workers.stop, workers.skip_propagation, workers.kill):
            return await workers.run()


def variables(settings: Settings) -> dict[str, str]:
    """Return the environment of a worker with these settings and no other."""
    names = {field.metadata["env"] for field in dataclasses.fields(Settings)}
    others = {name: value for name, value in os.environ.items() if name not in names}
    return others | environment(settings)


@contextmanager
def held(address: str) -> Iterator[str]:
    """Take *address* for this process and its workers, and yield it with the port that it got.

    Workers share the port by SO_REUSEPORT, and so would a second server that nobody meant to start. So the address is
    bound without that option, which fails while anybody is there; set afterwards, it lets the workers in, and nobody
    who tries the same way. Nothing listens on what is bound here: connections go to the workers.

    Raises:
        AddressUnavailable: it cannot be bound.
    """
    host, port = split_address(address)
    with ExitStack() as sockets:
        try:
            for family, kind, protocol, _, place in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                each = sockets.enter_context(socket.socket(family, kind, protocol))
                # Connections of an earlier server that linger are nobody.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.bind((place[0], port, *place[2:]))
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                port = each.getsockname()[1]
        except OSError:
            raise AddressUnavailable(address) from None
        yield with_port(address, port)


class Workers:
    """The worker processes. `stop` ends them, and with `skip_propagation` they do not wait for clients to go elsewhere.

    Args:
        settings: theirs; the address is held for them.
    """

    def __init__(self, settings: Settings) -> None:
        self.stop = asyncio.Event()
        self.skip_propagation = asyncio.Event()
        self._settings = settings
        self._running: set[Process] = set()
        self._code = 0

    async def run(self) -> int:
        """Run them until `stop`; return the exit code.

        The first one serves before the others are started: it makes the memory's file, and says once what is wrong.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell())
            first, *others = (asyncio.Event() for _ in range(self._settings.workers))
            tasks.create_task(self._keep(1, first))
            await first.wait()
            for number, served in enumerate(others, 2):
                tasks.create_task(self._keep(number, served))
            for served in others:
                await served.wait()
            if not self.stop.is_set():
                tls = "with" if self._settings.tls_cert_file else "without"
                log.info("serving on %s %s TLS, %d workers", self._settings.address, tls, self._settings.workers)
        if not self._code:
            log.info("stopped")
        return self._code

    def kill(self, number: signal.Signals) -> None:
        """End all of them, and this process, at once."""
        for process in self._running:
            with suppress(ProcessLookupError):
                process.kill()
        end_at_once(number)

    async def _tell(self) -> None:
        await self.stop.wait()
        if not self._code:
            log.info("draining for at most %g s", self._settings.drain_seconds)
        for process in self._running:
            self._tell_one(process)

    def _tell_one(self, process: Process) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT if self.skip_propagation.is_set() else signal.SIGTERM)

    async def _keep(self, number: int, served: asyncio.Event) -> None:
        """Keep a worker of this *number* running until `stop`, and set *served* when it serves first or never will."""
        pause = PAUSE_SECONDS
        while not self.stop.is_set():
            process = await self._start(number)
            assert process.stdout  # noqa: S101 - it is a pipe
            async for line in process.stdout:
                if line == SERVING:
                    log.info("worker %d serves, process %d", number, process.pid)
                    served.set()
                    pause = PAUSE_SECONDS
            code = await process.wait()
            self._running.discard(process)
            if self.stop.is_set():
                self._code = self._code or int(code not in AS_TOLD)
            elif not served.is_set():
                # It has said why, unless it was killed. No caller is there yet who had to be told.
                if code < 0:
                    log.error("worker %d, process %d, ended with %d before it served", number, process.pid, code)
                self._code = max(code, 1)
                self.skip_propagation.set()
                self.stop.set()
            else:
                log.warning("worker %d, process %d, ended with %d: another in %g s", number, process.pid, code, pause)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        served.set()

    async def _start(self, number: int) -> Process:
        """Start a worker. Its standard input is a pipe that ends when this process does, however it does."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "ilab_chat_service.worker", str(number)),
            env=variables(self._settings),
            stdin=PIPE,
            stdout=PIPE,
        )
        self._running.add(process)
        if self.stop.is_set():
            self._tell_one(process)
        return process
