"""A bad network between two ends: a forwarder of streams that delays, withholds, drips, cuts and refuses.

Bytes are withheld, never dropped or changed: that is what a network does to TCP, which sends them again.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from faults.kept import InDatabase
from faults.load import DEADLINE_SECONDS, Ledger, load
from faults.stage import Stage

#: How late a delayed piece is, and each byte of one that drips, in seconds.
DELAY_SECONDS = 0.2
DRIP_SECONDS = 0.002
PIECE = 65_536

#: Times that a fault strikes before it ends, in the short run: pieces, connections or cuts.
STRIKES = 8
#: Calls that are answered between two faults.
BETWEEN = 10


class Fault(enum.Enum):
    """The faults of the network."""

    NONE = enum.auto()
    DELAY = enum.auto()
    BLACKHOLE = enum.auto()
    """Nothing arrives, in either direction."""
    ONE_WAY = enum.auto()
    """Requests arrive, and answers do not."""
    DRIP = enum.auto()
    """A byte at a time."""
    RESET = enum.auto()
    """Each connection is reset at its next piece."""
    HALF_CLOSE = enum.auto()
    """The answering side of each connection is closed at its next piece, the asking side stays open."""
    REFUSE = enum.auto()
    """Open connections go on, new ones are reset at once."""


FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE)

Ends: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect: TypeAlias = Callable[[], Awaitable[Ends]]


class Forwarder:
    """Passes connections on. `strike` begins a fault, and `heal` ends it."""

    def __init__(self, connect: Connect) -> None:
        self.port = 0
        self.strikes = 0
        """How often the present fault has struck."""
        self._connect = connect
        self._fault = Fault.NONE
        self._healed = asyncio.Event()
        self._struck = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    async def strike(self, fault: Fault) -> None:
        """Begin *fault*. Connections that are to be refused again are cut first, so that there are new ones."""
        self._fault, self.strikes = fault, 0
        self._healed.clear()
        if fault is Fault.REFUSE:
            self.cut()

    async def heal(self) -> None:
        """End the fault; what was withheld arrives now."""
        self._fault = Fault.NONE
        self._healed.set()

    async def has_struck(self, times: int, seconds: float) -> None:
        """Wait until the fault has struck *times*, or for *seconds*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._struck:
                await self._struck.wait_for(lambda: self.strikes >= times)

    def cut(self) -> None:
        """Reset every connection."""
        for writer in tuple(self._writers):
            reset(writer)

    async def end(self) -> None:
        """Close every connection, also those whose other end is still being connected to."""
        self.cut()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        # Also when it ends before it begins.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault is Fault.REFUSE:
            await self._note()
            reset(writer)
            return
        try:
            other_reader, other_writer = await self._connect()
        except OSError:
            reset(writer)
            return
        ends = {writer, other_writer}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, other_writer, writer, answering=False))
                both.create_task(self._pump(other_reader, writer, other_writer, answering=True))
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter, *, answering: bool
    ) -> None:
        try:
            while piece := await reader.read(PIECE):
                if not await self._pass(piece, writer, back, answering=answering):
                    return
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            # A reset of one side reaches the other, as it would without a forwarder: a killed server's sessions must
            # not stay open in PostgreSQL, where they would hold their locks forever.
            reset(writer)
            reset(back)

    async def _pass(
        self, piece: bytes, writer: asyncio.StreamWriter, back: asyncio.StreamWriter, *, answering: bool
    ) -> bool:
        """Pass *piece* on, as the present fault lets it; return whether the connection goes on."""
        fault = self._fault
        if fault is not Fault.NONE:
            await self._note()
        if fault is Fault.RESET:
            reset(writer)
            reset(back)
            return False
        if fault is Fault.HALF_CLOSE and answering:
            writer.write_eof()
            return False
        if fault is Fault.DELAY:
            await asyncio.sleep(DELAY_SECONDS)
        elif fault is Fault.BLACKHOLE or (fault is Fault.ONE_WAY and answering):
            await self._healed.wait()
        elif fault is Fault.DRIP:
            for place in range(len(piece)):
                if self._fault is not Fault.DRIP:
                    piece = piece[place:]
                    break
                writer.write(piece[place : place + 1])
                await writer.drain()
                await asyncio.sleep(DRIP_SECONDS)
            else:
                return True
        writer.write(piece)
        await writer.drain()
        return True

    async def _note(self) -> None:
        async with self._struck:
            self.strikes += 1
            self._struck.notify_all()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset, as far as its kind has one."""
    end: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def forwarding(connect: Connect) -> AsyncIterator[Forwarder]:
    """Forward a loopback port, `Forwarder.port`, to what *connect* connects to; leaving cuts every connection."""
    forwarder = Forwarder(connect)
    server = await asyncio.start_server(forwarder.serve, "127.0.0.1", 0)
    forwarder.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield forwarder
        finally:
            await forwarder.heal()
            server.close()
            await forwarder.end()


class Link(enum.Enum):
    """Between whom the network is bad."""

    CLIENT = "client and server"
    DATABASE = "server and PostgreSQL"
    MODEL = "server and model"


def tcp(address: str) -> Connect:
    """Return what connects to a port."""
    host, _, port = address.partition(":")
    return lambda: asyncio.open_connection(host, int(port))


def unix(path: Path) -> Connect:
    """Return what connects to a socket in the file system."""
    return lambda: asyncio.open_unix_connection(path)


async def badly_connected(stage: Stage, link: Link, strikes: int = STRIKES, seconds: float = 2.0) -> Ledger:
    """Let each fault strike the *link* so often, or for *seconds*, and heal before the next."""
    [address] = stage.addresses
    kept = stage.kept
    connect = tcp(address if link is Link.CLIENT else f"127.0.0.1:{stage.upstream_port}")
    if isinstance(kept, InDatabase) and link is Link.DATABASE:
        connect = unix(kept.socket)
    async with forwarding(connect) as forwarder:
        place = f"127.0.0.1:{forwarder.port}"
        settings: dict[str, str] = {}
        if link is Link.MODEL:
            settings = {"OPENAI_BASE_URL": f"http://{place}/v1", "ILAB_CHAT_MODEL_TIMEOUT_SECONDS": "2"}
        elif isinstance(kept, InDatabase) and link is Link.DATABASE:
            settings = {"ILAB_MEMORY_URL": kept.through(forwarder.port)}
        target = place if link is Link.CLIENT else address
        async with stage.serving(**settings), load(target, stage.moments, stage.seed) as ledger:
            await ledger.more(BETWEEN)
            for fault in FAULTS:
                before = ledger.answered
                await forwarder.strike(fault)
                await forwarder.has_struck(strikes, seconds)
                ledger.figures[f"{fault.name.lower()}: strikes"] = forwarder.strikes
                await forwarder.heal()
                await ledger.more(BETWEEN, seconds=6 * DEADLINE_SECONDS)
                assert ledger.answered > before
    return ledger
