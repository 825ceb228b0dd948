"""Supervisor: runs several server processes on one port, stops them, and replaces those that die.

It never imports gRPC, because a process that forks after gRPC has started may hang
(https://github.com/grpc/grpc/blob/master/doc/fork_support.md). Each worker runs `worker.py` as a new program.
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
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from ilab_chat_service.settings import Settings, SettingsError, environment
from ilab_chat_service.settings import variables as variables_of_settings
from ilab_chat_service.settings.addresses import AddressUnavailable, split_address, with_port
from ilab_chat_service.signals import end_at_once, signals
from ilab_chat_service.tasks import in_background

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator

    from ilab_chat_service.telemetry.supervised import Supervised

log = logging.getLogger(__name__)

#: A worker writes this line to its standard output when it serves.
SERVING = b"serving\n"

#: Pause before a worker that exited is replaced. It doubles while replacements exit before they serve.
PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0

#: Seconds that a worker needs after its drain, at most, to store turns and to close the memory, with some to spare. One
#: that takes longer is killed.
CLOSE_SECONDS = 9.0

#: Exit codes of a worker that was told to stop: it drained, or the signal ended it before it served.
EXPECTED_CODES = (0, -signal.SIGTERM, -signal.SIGINT)


async def supervise(settings: Settings) -> int:
    """Serve with `settings.workers` workers until SIGTERM or SIGINT, then let them drain.

    A second signal ends all workers and this process at once.

    Returns:
        The exit code: 0, the code of a worker that could not start, or 1 if a worker failed while draining.

    Raises:
        AddressUnavailable: the address cannot be bound, for instance because another server uses it.
    """
    async with AsyncExitStack() as stack:
        address = stack.enter_context(reserved(settings.address))
        # One key for all workers, so that a user has the same hash in every log line.
        key = settings.log_key or secrets.token_hex()
        shared = dataclasses.replace(settings, address=address, log_key=key)
        workers = Workers(shared)
        stack.enter_context(signals(workers.stop, workers.skip_propagation, workers.kill))
        if settings.metrics_address:
            await stack.enter_async_context(exposed(workers))
        return await workers.run()


@asynccontextmanager
async def exposed(workers: Workers) -> AsyncIterator[None]:
    """Serve the metrics of *workers* while the block runs.

    Raises:
        AddressUnavailable: the address cannot be bound.
        SettingsError: the folder for the metrics of the workers cannot be made.
    """
    from ilab_chat_service.telemetry.http_pages import Pages, serving_pages  # noqa: PLC0415 - not needed if they are off
    from ilab_chat_service.telemetry.supervised import Supervised  # noqa: PLC0415 - the same
    from ilab_chat_service.telemetry.worker_files import worker_files  # noqa: PLC0415 - the same

    with ExitStack() as stack:
        try:
            files = stack.enter_context(worker_files())
        except OSError as error:
            raise SettingsError(
                "ILAB_CHAT_METRICS_ADDRESS: cannot store the metrics of several workers: neither /dev/shm nor TMPDIR "
                f"can be written: {error.strerror}"
            ) from None
        supervised = Supervised(files, is_stopping=workers.stop.is_set)
        pages = Pages(supervised.registry, supervised.is_ready, asyncio.get_running_loop())
        async with serving_pages(workers.settings.metrics_address, pages) as address:
            workers.settings = dataclasses.replace(workers.settings, metrics_address=address)
            workers.supervised = supervised
            yield


def variables(settings: Settings) -> dict[str, str]:
    """Return the environment of a worker, with exactly these settings."""
    names = set(variables_of_settings())
    others = {name: value for name, value in os.environ.items() if name not in names}
    return others | environment(settings)


@contextmanager
def reserved(address: str) -> Iterator[str]:
    """Bind *address* for this process and its workers, and yield it with its port.

    Workers share the port by SO_REUSEPORT, and so would a second server that was started by mistake. So the address is
    first bound without the option, which fails if another process has bound it. Setting the option afterwards admits
    the workers, but not a second supervisor. These sockets do not listen: connections go to the workers.

    Raises:
        AddressUnavailable: the address cannot be bound.
    """
    host, port = split_address(address)
    with ExitStack() as sockets:
        try:
            for family, kind, protocol, _, location in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                each = sockets.enter_context(socket.socket(family, kind, protocol))
                # Ignore lingering connections of an earlier server.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.bind((location[0], port, *location[2:]))
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                port = each.getsockname()[1]
        except OSError:
            raise AddressUnavailable(address) from None
        yield with_port(address, port)


class Workers:
    """The worker processes. Set `stop` to stop them; with `skip_propagation`, they drain without a propagation delay.

    Args:
        settings: settings of the workers, with a reserved address.
    """

    def __init__(self, settings: Settings) -> None:
        self.stop = asyncio.Event()
        self.skip_propagation = asyncio.Event()
        self.settings = settings
        self.supervised: Supervised | None = None
        """Their metrics. None: they are off."""
        self._running: set[Process] = set()
        self._code = 0

    async def run(self) -> int:
        """Run the workers until `stop`; return the exit code. Kill those that do not end in time.

        The first worker serves before the others start, so that it alone creates the memory's file and reports errors.
        """
        async with in_background(self._stop_all()), asyncio.TaskGroup() as tasks:
            first, *others = (asyncio.Event() for _ in range(self.settings.workers))
            tasks.create_task(self._keep(1, first))
            await first.wait()
            for number, served in enumerate(others, 2):
                tasks.create_task(self._keep(number, served))
            for served in others:
                await served.wait()
            if not self.stop.is_set():
                tls = "with" if self.settings.tls_cert_file else "without"
                log.info("serving on %s %s TLS, %d workers", self.settings.address, tls, self.settings.workers)
        if not self._code:
            log.info("stopped")
        return self._code

    def kill(self, number: signal.Signals) -> None:
        """Kill all workers and exit this process."""
        for process in self._running:
            with suppress(ProcessLookupError):
                process.kill()
        end_at_once(number)

    async def _stop_all(self) -> None:
        await self.stop.wait()
        if not self._code:
            log.info("draining for at most %g s; Ctrl-C again stops now", self.settings.drain_seconds)
        for process in self._running:
            self._stop(process)
        await asyncio.sleep(self.settings.propagation_seconds + self.settings.drain_seconds + CLOSE_SECONDS)
        for process in self._running:
            log.error("process %d has not stopped in time; killing it", process.pid)
            with suppress(ProcessLookupError):
                process.kill()

    def _stop(self, process: Process) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT if self.skip_propagation.is_set() else signal.SIGTERM)

    async def _keep(self, number: int, served: asyncio.Event) -> None:
        """Keep worker *number* running until `stop`. Set *served* when it first serves, or when it never will."""
        pause = PAUSE_SECONDS
        while not self.stop.is_set():
            process = await self._start(number)
            assert process.stdout  # noqa: S101 - it is a pipe
            async for line in process.stdout:
                if line == SERVING:
                    log.info("worker %d (process %d) is serving", number, process.pid)
                    served.set()
                    pause = PAUSE_SECONDS
            code = await process.wait()
            self._running.discard(process)
            if self.supervised:
                self.supervised.files.ended(number)
            if self.stop.is_set():
                self._code = self._code or int(code not in EXPECTED_CODES)
            elif not served.is_set():
                # The worker has logged the reason, unless it was killed.
                if code < 0:
                    log.error("worker %d (process %d) exited with %d before it served", number, process.pid, code)
                self._code = max(code, 1)
                # There are no clients yet that need time to react.
                self.skip_propagation.set()
                self.stop.set()
            else:
                log.warning(
                    "worker %d (process %d) exited with %d; restarting in %g s", number, process.pid, code, pause
                )
                if self.supervised:
                    self.supervised.restarts.inc()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
        served.set()

    async def _start(self, number: int) -> Process:
        """Start a worker. Its standard input is a pipe that closes whenever this process ends."""
        env = variables(self.settings)
        if self.supervised:
            self.supervised.files.add(number)
            env |= self.supervised.files.environment
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "ilab_chat_service.worker", str(number)),
            env=env,
            stdin=PIPE,
            stdout=PIPE,
        )
        self._running.add(process)
        if self.stop.is_set():
            self._stop(process)
        return process
