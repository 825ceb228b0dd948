"""Run the blocking calls of ilab_memory on threads, off the event loop."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ilab_chat_service.failures import RETRY_AFTER_SECONDS, MemoryUnavailable, StoreNotOpened
from ilab_chat_service.fair_slots import FairSlots
from ilab_chat_service.limits import (
    ERASURE_THREADS,
    IMPORT_THREADS,
    LONG_TEXT_BYTES,
    READ_THREADS,
    THREADS_PER_USER,
    WORK_THREADS,
    WRITE_THREADS,
)
from ilab_chat_service.memory.bulkhead import Bulkhead
from ilab_chat_service.storage_cause import storage_cause
from ilab_chat_service.store_damage import HINT, Damage
from ilab_chat_service.telemetry.call_record import seconds_to_deadline
from ilab_memory import Config, EmbedderUnavailable, ILabMemory
from ilab_memory.time_limit import time_limit, visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from datetime import timedelta

    from ilab_chat_service.ports import Clock
    from ilab_chat_service.settings.memory import MemorySettings
    from ilab_memory import Embedder
    from ilab_memory.core.models import ImportResult, Observation, Session

T = TypeVar("T")

#: Maximum number of items of an export that are read in one visit to a thread, and the characters of text after which a
#: visit ends early: one page waits in memory for the caller to read it.
EXPORT_PAGE = 100
EXPORT_CHARACTERS = 1024 * 1024

#: Files up to this size are checked before the server serves, which takes some tenths of a second. Larger files are
#: checked while it serves.
CHECKED_AT_START_BYTES = 64 * 1024 * 1024


@asynccontextmanager
async def open_memory(
    settings: MemorySettings,
    damage: Damage | None = None,
    clock: Clock | None = None,
    embedder: Embedder | None = None,
) -> AsyncIterator[MemoryExecutor]:
    """Open the memory that *settings* names. Leaving closes it. Calls that find it damaged report that to *damage*.

    *clock* dates stored rows. None: the system's clock. *embedder* finds memories by meaning.

    Raises:
        StoreNotOpened: the memory cannot be opened, or is damaged.
        SettingsError: the URL is not that of a PostgreSQL database.
    """
    config = Config(
        session_timeout_hours=settings.session_timeout_hours,
        durability="normal" if settings.durability == "normal" else "full",
        create=settings.memory_create,
    )
    if embedder:
        config = config.model_copy(update={"embedder": embedder})
    if clock:
        config = config.model_copy(update={"clock": clock})
    opened = open_database if settings.memory_url else open_file
    memory, place = await asyncio.to_thread(opened, settings, config)
    library = MemoryExecutor(memory, place, damage or Damage())
    try:
        library.is_checked = bool(settings.memory_url) or await asyncio.to_thread(is_small_file, settings)
        if library.is_checked and (found := await library.check()):
            raise StoreNotOpened(f"ILAB_MEMORY_DB_PATH: {place}: the file is damaged: {found[0]}; {HINT}")
        yield library
    finally:
        await library.close()
        await library.wait_closed()


def open_file(settings: MemorySettings, config: Config) -> tuple[ILabMemory, str]:
    """Return the memory in a SQLite file, and its path."""
    path = settings.memory_db_path
    try:
        return ILabMemory.from_path(path, config), path
    except RuntimeError as error:
        # The library's name of the setting.
        text = str(error).replace("`create`", "ILAB_MEMORY_CREATE=true")
        raise StoreNotOpened(f"ILAB_MEMORY_DB_PATH: {path}: {text}") from error


def is_small_file(settings: MemorySettings) -> bool:
    """Whether the memory is a file that is checked before the server serves."""
    path = Path(settings.memory_db_path).expanduser()
    return path.is_file() and path.stat().st_size <= CHECKED_AT_START_BYTES


def open_database(settings: MemorySettings, config: Config) -> tuple[ILabMemory, str]:
    """Return the memory in a PostgreSQL database, and its location without user and password."""
    try:
        from ilab_chat_service.settings.database_url import shown  # noqa: PLC0415 - optional: extra `postgres`

        place = shown(settings.memory_url)
        return ILabMemory.from_url(settings.memory_url, config), place
    except ModuleNotFoundError as error:
        raise StoreNotOpened(
            f"ILAB_MEMORY_URL: {error.name} is not installed: PostgreSQL needs the extra postgres:"
            " in the repository, pip install . ./memory './service[postgres]'"
        ) from error
    except RuntimeError as error:
        # The driver reports one line per host.
        raise StoreNotOpened(f"ILAB_MEMORY_URL: {place}: {'; '.join(str(error).splitlines())}") from error


class MemoryExecutor:
    """An open ILabMemory whose calls run on threads.

    Each kind of call has separate threads: reads, writes, scans of all text, erasures (with checks, expiry and sizes),
    imports, steps of consolidation, and steps of embedding.

    `place`: its file or database, without secrets.

    Each method that calls the library raises MemoryUnavailable if the library's storage fails, with the reason as its
    cause. Other errors are as the library raises them.
    """

    def __init__(self, memory: ILabMemory, place: str, damage: Damage) -> None:
        self.place = place
        self._memory = memory
        self._damage = damage
        self._reads = Bulkhead("memory-read", threads=READ_THREADS, per_user=THREADS_PER_USER)
        self._writes = Bulkhead("memory-write", threads=WRITE_THREADS, per_user=THREADS_PER_USER)
        self._scans = Bulkhead("memory-scan", threads=1, per_user=1)
        self._scanning = FairSlots(sys.maxsize, per_user=1)
        self._erasures = ThreadPoolExecutor(ERASURE_THREADS, thread_name_prefix="memory-erasure")
        self._imports = ThreadPoolExecutor(IMPORT_THREADS, thread_name_prefix="memory-import")
        self._work = ThreadPoolExecutor(WORK_THREADS, thread_name_prefix="memory-work")
        self._embedding = ThreadPoolExecutor(1, thread_name_prefix="memory-embedding")
        self.is_checked = False
        """Whether it was checked when it was opened."""
        self.on_saved: Callable[[str], None] = lambda _: None
        """Called with the user_id after each call that may have saved observations."""
        self.embedded = 0
        """Observations that were embedded since the start."""

    async def read(self, user_id: str, call: Callable[[ILabMemory], T], *, size: int = 0) -> T:
        """Return what *call* returns, given the library, on a thread for reads: it must not write.

        *size*: bytes of text that it works on, about.

        Raises:
            MemoryUnavailable: also if the storage did not answer before the running call's deadline.
        """
        seconds = seconds_to_deadline()
        with self._storage_errors():
            return await self._reads.run(
                user_id, lambda: limited(call, self._memory, seconds), is_long=size > LONG_TEXT_BYTES
            )

    async def write(
        self,
        user_id: str,
        call: Callable[[ILabMemory], T],
        *,
        has_deadline: bool = True,
        saves: bool = False,
        size: int = 0,
    ) -> T:
        """Return what *call* returns, given the library, on a thread for calls that may write.

        *saves*: it saves observations. *size*: bytes of text that it works on, about.

        With *has_deadline* false, what it reads may take longer than the running call: its result is worth having.
        Else it raises what `read` raises.
        """
        seconds = seconds_to_deadline() if has_deadline else None
        with self._storage_errors():
            result = await self._writes.run(
                user_id, lambda: limited(call, self._memory, seconds), is_long=size > LONG_TEXT_BYTES
            )
        if saves:
            self.on_saved(user_id)
        return result

    async def scan(self, user_id: str, step: Callable[[ILabMemory], bool]) -> None:
        """Call *step*, which reads some observations and scans all their text, until it returns True.

        On one thread for all users: steps are Python code, for which other threads wait. Raises what `read` raises.
        """
        with self._storage_errors():
            # One call of a user at a time, so that the steps of users take turns, however many calls each of them has.
            await self._scanning.acquire(user_id)
            try:
                is_done = False
                while not is_done:
                    next_step = partial(limited, step, self._memory, seconds_to_deadline())
                    is_done = await self._scans.run(user_id, next_step)
            finally:
                self._scanning.release(user_id)

    async def close(self) -> None:
        """Fail waiting calls and close the memory: its running calls end soon or fail. Idempotent.

        Erasures that wait or rewrite the file are interrupted, and finish after the next start.
        """
        self._reads.refuse()
        self._writes.refuse()
        self._scans.refuse()
        await asyncio.to_thread(self._memory.close)

    async def wait_closed(self) -> None:
        """Wait for the threads to end."""
        await self._reads.close()
        await self._writes.close()
        await self._scans.close()
        for threads in (self._erasures, self._imports, self._work, self._embedding):
            await asyncio.to_thread(threads.shutdown)

    async def forget(self, user_id: str) -> int:
        """Erase everything of the user and return the number of erased observations."""
        return await self._on(self._erasures, lambda memory: memory.mem_forget(user_id))

    async def delete(self, user_id: str, observation_ids: Sequence[int]) -> list[int]:
        """Erase observations of the user and facts derived from each alone. Return the erased ids."""
        return await self._on(self._erasures, lambda memory: memory.mem_forget_observations(user_id, observation_ids))

    async def import_items(
        self, user_id: str, items: Callable[[ILabMemory], Iterable[Session | Observation]]
    ) -> ImportResult:
        """Import the items that *items* returns for the user, and return the numbers of added ones.

        They are iterated on a thread for imports, which they may block.

        Raises:
            ValueError: as the library raises it for an invalid item.
        """
        try:
            return await self._on(self._imports, lambda memory: memory.mem_import(user_id, items(memory)))
        finally:
            self.on_saved(user_id)

    @property
    def pools(self) -> Mapping[str, FairSlots]:
        """The threads that calls of users share, by their kind."""
        return {"read": self._reads.slots, "write": self._writes.slots}

    async def size(self) -> int:
        """Return the size of the memory in bytes, 0 if the library does not report it."""
        return await self._on(self._erasures, lambda memory: memory.mem_size())

    async def work(self, call: Callable[[ILabMemory], T]) -> T:
        """Run *call*, a step of consolidation, on a thread for these steps and return its result."""
        return await self._on(self._work, call)

    async def embed(self, call: Callable[[ILabMemory], T]) -> T:
        """Run *call*, a step of embedding, on the thread for these steps and return its result.

        Raises:
            EmbedderUnavailable: as the library raises it.
        """
        return await self._on(self._embedding, call)

    async def unembedded(self) -> int:
        """Return the approximate number of observations that are not embedded yet; 0 without an embedder."""
        return await self.work(lambda memory: memory.mem_unembedded())

    async def pending_erasures(self) -> int:
        """Return the number of pending erasures."""
        return await self._on(self._erasures, lambda memory: memory.mem_pending_erasures())

    async def expire(self, retention: Mapping[str, timedelta], limit: int) -> int:
        """Erase up to *limit* observations that have expired or are older than *retention*, and return their number.

        If it raises MemoryUnavailable, some are not erased.
        """
        return await self._on(
            self._erasures, lambda memory: memory.mem_expire(retention=retention or None, limit=limit)
        )

    async def finish_forgetting(self) -> int:
        """Finish erasures that calls of `forget` could not finish. Return the number of pending ones."""
        return await self._on(self._erasures, lambda memory: memory.mem_finish_forgetting())

    async def probe(self, room: int) -> None:
        """Commit a test write of *room* bytes that leaves no data."""
        # Not on a thread for calls: all of them may be blocked.
        with self._storage_errors():
            await asyncio.to_thread(self._memory.mem_probe, room=room)

    async def check(self) -> list[str]:
        """Return descriptions of damage in the memory's file."""
        return await self._on(self._erasures, lambda memory: memory.mem_check())

    async def export(self, user_id: str) -> AsyncIterator[Session | Observation]:
        """Yield the sessions and then the observations of the user, reading one page at a time."""
        items = await self.read(user_id, lambda memory: memory.mem_export(user_id))
        while page := await self.read(user_id, lambda _: export_page(items)):
            for item in page:
                yield item

    async def _on(self, threads: Executor, call: Callable[[ILabMemory], T]) -> T:
        with self._storage_errors():
            return await asyncio.get_running_loop().run_in_executor(threads, call, self._memory)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Convert errors of a failed or closed storage to MemoryUnavailable."""
        try:
            yield
        except EmbedderUnavailable:
            raise
        except RuntimeError as error:
            cause = storage_cause(error.__cause__, str(error))
            self._damage.failed(cause)
            raise MemoryUnavailable(
                "memory is not available", retry_after_seconds=RETRY_AFTER_SECONDS, cause=cause
            ) from error


def limited(call: Callable[[ILabMemory], T], memory: ILabMemory, seconds: float | None) -> T:
    """Run *call* with a time limit for its reads, which share a connection."""
    with time_limit(seconds), visit():
        return call(memory)


def export_page(items: Iterator[Session | Observation]) -> list[Session | Observation]:
    """Return the next EXPORT_PAGE *items*, or fewer once they have EXPORT_CHARACTERS of text."""
    page: list[Session | Observation] = []
    characters = 0
    for item in islice(items, EXPORT_PAGE):
        page.append(item)
        characters += len(getattr(item, "content", None) or "") + len(getattr(item, "summary", None) or "")
        if characters >= EXPORT_CHARACTERS:
            break
    return page
