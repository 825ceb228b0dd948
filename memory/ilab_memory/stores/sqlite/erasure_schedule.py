"""Erasing users of one store: which calls share a rewrite of the file, and how often it is rewritten.

A rewrite is a pass over all pages that overwrites unused bytes in place, see `byte_erasure`.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from ilab_memory.core.errors import StorageError
from ilab_memory.limits import LARGEST_ID
from ilab_memory.stores.sqlite import deletions, user_erasure
from ilab_memory.stores.sqlite.byte_erasure import Rewriter, check_open
from ilab_memory.stores.sqlite.connections import Database, Readers, SharedReader, storage_errors
from ilab_memory.stores.sqlite.group_commit import Writer
from ilab_memory.stores.sqlite.write_queue import BATCH_CHARACTERS, Transaction

T = TypeVar("T")
#: A rewrite begins at the earliest this many times its `cost` after the last one: at most a fifth of the time is spent
#: on rewriting, however often users are forgotten. Of all processes that use the file.
REST = 4.0
#: How much more a second counts in which saves wait: they wait for at most a 41st of the time. With a 21st, 95 % of the
#: saves would only just not wait.
HELD_WEIGHT = 10.0
#: The first that do not count: a transaction with long texts may take as long.
HELD_SECONDS = 0.1
_FORGETTING = "forget the user"
_DELETING = "delete the observation"
_EXPIRING = "erase what has expired"


class Forgetting:
    """Erases users, from any thread. Calls share their work: one run finishes every erasure recorded when it begins."""

    def __init__(self, database: Database, writer: Writer, readers: Readers | SharedReader) -> None:
        self._database = database
        self._writer = writer
        self._readers = readers
        self._closed = threading.Event()
        self._rewriter = Rewriter(database, writer, self._closed)
        # Guards what follows, and tells of its changes.
        self._changed = threading.Condition()
        self._led = False
        # Runs are counted: the last that has begun, has ended, and has succeeded.
        self._begun = self._ended = self._succeeded = 0
        self._failure: BaseException | None = None
        self._earliest = 0.0
        """Before this moment of the monotonic clock this process begins no rewrite."""

    def forget(self, user_id: str) -> int:
        """Erase the user; return how many observations that were. See `Store.forget`."""
        if not self._read(_FORGETTING, partial(user_erasure.is_known, user_id=user_id)):
            return 0
        observations = self._writer.run(_FORGETTING, partial(user_erasure.mark_deleted, user_id=user_id))
        self._finish()
        return observations

    def delete(self, user_id: str, observation_ids: Sequence[int]) -> list[int]:
        """Erase observations and what was derived from each alone. See `Store.delete`."""
        deleted: list[int] = []
        for each in observation_ids:
            deleted += self._delete(user_id, each)
        if not deleted and not self._read(_DELETING, partial(user_erasure.is_pending, user_id=user_id)):
            return []
        # Also if they are gone: an earlier call may have failed to finish.
        self._finish()
        return deleted

    def _delete(self, user_id: str, observation_id: int) -> list[int]:
        """Delete one observation; its bytes stay in the file."""
        if observation_id > LARGEST_ID:
            return []
        old = self._read(_DELETING, partial(deletions.going, user_id=user_id, observation_id=observation_id))
        if not old:
            return []
        # In this thread, to keep work off the writer.
        analyzed = deletions.analysis(old)
        delete = partial(deletions.delete, user_id=user_id, observation_id=observation_id, analyzed=analyzed)
        return self._writer.run(_DELETING, delete, characters=deletions.characters(old))

    def expire(self, wanted: deletions.Expiry, limit: int) -> int:
        """Erase what has expired or is old; return how many observations that were. See `Store.expire`."""
        waiting = self._read(_EXPIRING, partial(deletions.expired, wanted=wanted, limit=limit))
        erased = 0
        while waiting:
            page = self._read(_EXPIRING, partial(deletions.expired_page, rows=waiting))
            rows, waiting = waiting[: len(page)], waiting[len(page) :]
            # In this thread, to keep work off the writer.
            present = [old for old in page if old is not None]
            analyzed = deletions.analysis(present)
            erase = partial(deletions.erase_expired, wanted=wanted, rows=rows, analyzed=analyzed)
            erased += self._writer.run(_EXPIRING, erase, characters=deletions.characters(present))
        if erased:
            self._finish()
        return erased

    def finish(self) -> int:
        """Finish every erasure; return how many are pending. See `Store.finish_forgetting`."""
        pending = self.pending()
        if pending:
            self._finish()
            pending = self.pending()
        return pending

    def pending(self) -> int:
        """Return how many erasures are not finished."""
        return self._read(_FORGETTING, user_erasure.count)

    def close(self) -> None:
        """Interrupt a rewrite, and every call that waits for one. Their unfinished erasures stay recorded."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()

    def _finish(self) -> None:
        """Return when a run that began after this call has succeeded."""
        with self._changed:
            wanted = self._begun + 1
            while self._ended < wanted:
                check_open(self._closed)
                if self._led:
                    self._changed.wait()
                    continue
                self._led = True
                try:
                    self._lead()
                finally:
                    self._led = False
                    self._changed.notify_all()
            if self._succeeded < wanted:
                check_open(self._closed)
                raise self._failed()

    def _lead(self) -> None:
        """Run once, when that may begin. Called and left with the lock held, which is free while this works."""
        try:
            self._changed.release()
            try:
                earliest = time.monotonic() + self._remaining_rest()
            finally:
                self._changed.acquire()
            while (seconds := earliest - time.monotonic()) > 0:
                check_open(self._closed)
                self._changed.wait(seconds)
            # This run serves all callers so far.
            self._begun += 1
            self._changed.release()
            try:
                self._run()
            finally:
                self._changed.acquire()
        except BaseException as error:
            self._failure = error
            # Even if it could not begin: waiting callers must not try one after the other.
            self._begun = self._ended = max(self._begun, self._ended + 1)
            raise
        self._ended = self._succeeded = self._begun

    def _failed(self) -> BaseException:
        failure = self._failure
        if isinstance(failure, StorageError):
            # Another one for each caller: raising it adds to its traceback.
            error = StorageError(str(failure))
            error.__cause__ = failure
            return error
        return StorageError(f"could not {_FORGETTING}: {type(failure).__name__}")

    def _remaining_rest(self) -> float:
        """Return in how many seconds a rewrite may begin; 0 if none is needed."""
        if self._database.is_memory:
            return 0.0
        with self._readers.connection(_FORGETTING) as connection:
            if not user_erasure.count(connection):
                return 0.0
            ended_at, counted = connection.execute(user_erasure.LAST_REWRITE).fetchone() or (0.0, 0.0)
        # The system's clock may have been set: wait no longer than a whole rest.
        rest = min(REST * counted, ended_at + REST * counted - time.time())
        return max(0.0, rest, self._earliest - time.monotonic())

    def _run(self) -> None:
        for user in self._read(_FORGETTING, user_erasure.tombstones):
            while self._writer.run(_FORGETTING, partial(user_erasure.erase_vectors, user=user)):
                check_open(self._closed)
            while rows := self._read(_FORGETTING, partial(user_erasure.next_rows, user=user)):
                check_open(self._closed)
                erase = partial(user_erasure.erase_rows, user=user, rows=rows)
                # Alone: a page of rows takes about as long as a transaction may. The record of the erasure is synced.
                self._writer.run(_FORGETTING, erase, characters=BATCH_CHARACTERS, synced=False)
            while self._writer.run(_FORGETTING, partial(user_erasure.erase_sessions, user=user), synced=False):
                check_open(self._closed)
            self._writer.run(_FORGETTING, partial(user_erasure.erase_user, user=user))
        if self._database.is_memory:
            self._writer.run(_FORGETTING, lambda transaction: transaction.execute(user_erasure.END_ERASED))
            return
        with storage_errors(_FORGETTING, self._database.path), self._rewriter.alone():
            self._rewriter.merge_index()
            erasures = self._read(_FORGETTING, user_erasure.erased)
            # Otherwise another process has done it.
            if erasures:
                # First, because SQLite moves all of the log into the file again after a crash.
                self._rewriter.empty_log()
                counted = self._rewrite()
                self._rewriter.empty_log()
                self._writer.run(_FORGETTING, partial(_end, erasures=erasures, counted=counted))

    def _rewrite(self) -> float:
        """Rewrite the file; return the cost."""
        began, held = time.monotonic(), self._rewriter.held_seconds
        try:
            self._rewriter.rewrite()
        finally:
            counted = cost(time.monotonic() - began, self._rewriter.held_seconds - held)
            # A failed one counts too.
            self._earliest = time.monotonic() + REST * counted
        return counted

    def _read(self, doing: str, ask: Callable[[sqlite3.Connection], T]) -> T:
        with self._readers.connection(doing) as connection:
            return ask(connection)


def cost(seconds: float, held_seconds: float) -> float:
    """Return what a rewrite of *seconds* counts as, in seconds. Saves waited for it for *held_seconds*."""
    return max(seconds, HELD_WEIGHT * (held_seconds - HELD_SECONDS))


def _end(transaction: Transaction, erasures: list[int], counted: float) -> None:
    user_erasure.end_erasures(transaction, erasures)
    transaction.execute(user_erasure.CLEAR_LAST_REWRITE)
    transaction.execute(user_erasure.SET_LAST_REWRITE, (time.time(), counted))
