"""ImportUser: the items of a stream, handed to the library on a thread, which reads them one by one.

Memory holds three pages of items at most: the one that is collected, the one that is handed over, and the library's.
While an import waits for a slot, memory holds its first message only.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from operator import itemgetter
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ilab_chat_service import message_statements
from ilab_chat_service.limits import IMPORT_PAGE_BYTES, IMPORT_PAGE_ITEMS
from ilab_chat_service.memory.persist import new_facts
from ilab_chat_service.memory.turn_codec import TYPE, decoded_turn
from ilab_chat_service.rpc.admission import busy
from ilab_chat_service.rpc.errors import EMPTY_MESSAGE, DeadlineExceeded, InvalidFields, WrongRequestCount
from ilab_chat_service.rpc.memory_converters import imported_observation, imported_session
from ilab_chat_service.rpc.memory_validation import is_reserved, library_violation
from ilab_memory.core.models import Observation, Session
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from ilab_chat.v1.memory_pb2 import ImportUserRequest
    from ilab_chat_service.rpc.admission import Admission
    from ilab_memory import ILabMemory

    Page: TypeAlias = list[ImportUserRequest]

T = TypeVar("T")
M = TypeVar("M")

#: Longest that the next message of a caller may take, in seconds.
MESSAGE_SECONDS = 30.0
#: Seconds that an import waits for the next page of its caller before it yields its slot to one that waits for a slot.
IDLE_SECONDS = 1.0
#: Maximum number of sessions of an import. Their ids stay in memory to its end.
MOST_SESSIONS = 100_000

#: Ids of these facts within the import: greater than any that a server gives.
FIRST_STATED_ID = 2**62
#: Maximum number of facts of an import that turns state. They stay in memory to its end.
MOST_FACTS = 1000

#: How the topic_key of an imported turn begins. Under its own key it would be read back as the assistant's words.
IMPORTED_KEY = "imported/"


class ImportEnded(Exception):
    """The caller has left, or its stream cannot be read any more. Ends the library's call; no caller sees it."""


class Import:
    """An import while it runs. `user_id` is whose memory it adds to.

    The messages arrive on the event loop; the library asks for items on its thread, which waits for them.
    """

    def __init__(self, first: ImportUserRequest, requests: AsyncIterator[ImportUserRequest]) -> None:
        self.first = first
        self.user_id = first.user_id
        self._requests = requests
        self._loop = asyncio.get_running_loop()
        self._pages: SimpleQueue[Page | BaseException | None] = SimpleQueue()
        self._wanted = asyncio.Semaphore(1)
        self._admitted = asyncio.Event()
        self._ended_idle: asyncio.Future[None] = self._loop.create_future()
        self.waits_since: float | None = None
        """Since when the library waits for the caller, by the monotonic clock. None: it does not."""
        #: The item that the library has asked for last, as the caller counts them, and which of the two it is.
        self._index = -1
        self._kind = ""

    @classmethod
    async def begun(cls, requests: AsyncIterator[ImportUserRequest]) -> Import:
        """Return the import that the first message begins. Its user_id is not checked yet.

        Raises:
            WrongRequestCount: there is no message.
        """
        first = await following(requests)
        if first is None:
            raise WrongRequestCount("the method takes messages, and the call has none")
        return cls(first, requests)

    async def run(self, add: Callable[[], Awaitable[T]]) -> T:
        """Return what *add* returns, whose thread iterates `items`, while the messages come in.

        Raises:
            InvalidFields: a message has no item, or an item is invalid; names its position.
            DeadlineExceeded: the next message did not come in time.
            ServerBusy: it was idle, and another took its slot.
        """
        adding = asyncio.ensure_future(self._added(add))
        reading = asyncio.ensure_future(self._read())
        try:
            ends: list[asyncio.Future[Any]] = [adding, reading, self._ended_idle]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._ended_idle.done() and not adding.done():
                raise busy("idle", "the import waited for its caller, and another one waited for its slot; repeat it")
            if not adding.done():
                # Raises what went wrong with the stream.
                reading.result()
            return await adding
        finally:
            # No effect on what has ended. The thread, which cannot be cancelled, ends with this exception.
            self._pages.put(ImportEnded())
            for task in (adding, reading):
                task.cancel()
            await asyncio.wait([adding, reading])

    def end_idle(self) -> None:
        """End the import, which is idle, for another that waits for its slot."""
        if not self._ended_idle.done():
            self._ended_idle.set_result(None)

    def items(self, memory: ILabMemory) -> Iterator[Session | Observation]:
        """Yield the items as the library takes them, on its thread.

        Raises:
            InvalidFields: one of them is invalid.
            ImportEnded: there will be no more, although the stream has not ended.
        """
        self._loop.call_soon_threadsafe(self._admitted.set)
        sessions: set[str] = set()
        stated: dict[str, Observation] = {}
        while (page := self._next_page()) is not None:
            if isinstance(page, BaseException):
                raise page
            self._loop.call_soon_threadsafe(self._wanted.release)
            for request in page:
                self._index += 1
                self._kind = request.WhichOneof("item") or ""
                item = self._item(request, sessions)
                if isinstance(item, Session):
                    yield item
                elif not is_stored(memory, self.user_id, request):
                    yield with_statements(item, stated)
        # Last, since of two facts with the same key the one that comes first is kept: an export has facts of its own.
        yield from stated.values()

    def _next_page(self) -> Page | BaseException | None:
        self.waits_since = time.monotonic()
        page = self._pages.get()
        self.waits_since = None
        return page

    def _item(self, request: ImportUserRequest, sessions: set[str]) -> Session | Observation:
        """Return the item of a message. *sessions*: the ids of those that came before it."""
        if request.user_id not in {"", self.user_id}:
            raise self._invalid("user_id", "must equal the user_id of the first message, or be empty")
        if self._kind == "session":
            if len(sessions) >= MOST_SESSIONS:
                raise self._invalid("session", f"exceeds the maximum of {MOST_SESSIONS:,} sessions per import")
            session = self._converted(imported_session, request.session)
            sessions.add(session.id)
            return session
        if self._kind != "observation":
            why = "" if request.ByteSize() else f": {EMPTY_MESSAGE}"
            raise self._invalid("item", f"must be a session or an observation{why}")
        observation = self._converted(imported_observation, request.observation)
        if observation.session_id not in sessions:
            raise self._invalid("observation.session_id", "must be the id of a session that comes before it")
        if observation.topic_key is not None and is_reserved(observation.topic_key):
            return observation.model_copy(update={"topic_key": imported_key(strip_private(observation.topic_key))})
        return observation

    def _converted(self, convert: Callable[[M], T], message: M) -> T:
        try:
            return convert(message)
        except InvalidFields as error:
            [(field, description)] = error.violations
            raise self._invalid(f"{self._kind}.{field}", description) from None

    async def _added(self, add: Callable[[], Awaitable[T]]) -> T:
        try:
            return await add()
        except ValueError as error:
            # Of the item that it has asked for last.
            name, description = library_violation(error)
            name = "id" if (self._kind, name) == ("session", "session_id") else name
            raise self._invalid(f"{self._kind}.{name}", description) from error

    async def _read(self) -> None:
        """Hand the messages over, a page at a time, as fast as the library takes them.

        While the import waits for a slot, its messages stay with the caller, by flow control.
        """
        await self._admitted.wait()
        page: Page = [self.first] if self.first.WhichOneof("item") else []
        size = self.first.ByteSize()
        while (message := await following(self._requests)) is not None:
            page.append(message)
            size += message.ByteSize()
            if len(page) >= IMPORT_PAGE_ITEMS or size >= IMPORT_PAGE_BYTES:
                await self._hand_over(page)
                page, size = [], 0
        await self._hand_over(page)
        self._pages.put(None)

    async def _hand_over(self, page: Page) -> None:
        await self._wanted.acquire()
        self._pages.put(page)

    def _invalid(self, field: str, description: str) -> InvalidFields:
        return InvalidFields([(f"items[{self._index}].{field}", description)])


class OpenImports:
    """The imports of all callers. One that waits for its caller yields its slot to one that waits for a slot."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        #: With the caller of each.
        self._running: dict[Import, str] = {}

    async def run(self, caller: str, importing: Import, add: Callable[[], Awaitable[T]]) -> T:
        """Return what *add* returns, in a slot of *caller*, see `Import.run`.

        Raises:
            ServerBusy: there is no slot, or the import was idle and another took its slot.
        """
        making_room = asyncio.create_task(self._make_room(caller))

        async def added() -> T:
            making_room.cancel()
            self._running[importing] = caller
            try:
                return await add()
            finally:
                self._running.pop(importing, None)

        try:
            return await importing.run(
                lambda: self._admission.run(
                    importing.user_id, added, size=importing.first.ByteSize(), share=f"caller {caller}"
                )
            )
        finally:
            making_room.cancel()

    async def _make_room(self, caller: str) -> None:
        """Until cancelled, end the import that has been idle longest, once it is idle for IDLE_SECONDS.

        While slots are free, end only imports of *caller*, who may have no further one.
        """
        # Not at once: there may be a slot for it.
        seconds = IDLE_SECONDS / 4
        while True:
            await asyncio.sleep(seconds)
            is_full = self._admission.running == self._admission.limit
            idle = [
                (each.waits_since, each)
                for each, of in self._running.items()
                if each.waits_since is not None and (is_full or of == caller)
            ]
            since, longest = min(idle, key=itemgetter(0), default=(math.inf, None))
            seconds = min(IDLE_SECONDS, since + IDLE_SECONDS - time.monotonic())
            if longest is not None and seconds <= 0:
                longest.end_idle()
                self._running.pop(longest, None)
                seconds = IDLE_SECONDS


async def following(requests: AsyncIterator[ImportUserRequest]) -> ImportUserRequest | None:
    """Return the next message of a caller, None after the last.

    Raises:
        DeadlineExceeded: it did not come in time.
    """
    try:
        async with asyncio.timeout(MESSAGE_SECONDS):
            return await anext(requests, None)
    except TimeoutError:
        raise DeadlineExceeded(f"the next message did not come within {MESSAGE_SECONDS:g} s") from None


def with_statements(item: Observation, stated: dict[str, Observation]) -> Observation:
    """Return an imported turn with what its user said about themselves. Add the facts that it states to *stated*.

    Of the facts with the same key, *stated* has the newest. They have the times of their turns.
    """
    pair = decoded_turn(item.content) if item.type == TYPE else None
    if pair is None:
        return item
    reading = message_statements.read(strip_private(pair[0]))
    if reading.opt_out:
        return item
    for fact in new_facts(reading):
        known = stated.get(fact.topic_key)
        if (known is None and len(stated) < MOST_FACTS) or (known is not None and known.updated_at <= item.updated_at):
            stated[fact.topic_key] = Observation.model_construct(
                session_id=item.session_id,
                user_id=item.user_id,
                type=fact.type,
                title=fact.title,
                content=fact.content,
                topic_key=fact.topic_key,
                revision_count=1,
                created_at=item.updated_at,
                updated_at=item.updated_at,
                id=FIRST_STATED_ID + len(stated) if known is None else known.id,
                pinned=fact.pinned,
                source_ids=[] if item.id is None else [item.id],
            )
    return item.model_copy(update={"about": "\n".join(reading.pool) or None})


def is_stored(memory: ILabMemory, user_id: str, request: ImportUserRequest) -> bool:
    """Return whether *request* has a turn that the user still has, under its own topic_key, which an import changes."""
    key = request.observation.topic_key
    if not is_reserved(key) or request.observation.id < 1:
        return False
    stored = memory.mem_get_observation(user_id, request.observation.id)
    return stored is not None and stored.topic_key == strip_private(key)


def imported_key(topic_key: str) -> str:
    """Return the topic_key under which a turn is imported: the same each time, so that it is added once."""
    return IMPORTED_KEY + hashlib.sha256(topic_key.encode()).hexdigest()
