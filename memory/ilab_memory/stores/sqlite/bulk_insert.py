"""Bulk insert: a few statements for all saves of a batch instead of a few for each."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

from ilab_memory.core.models import SaveResult
from ilab_memory.core.store import Redacted
from ilab_memory.sessions import is_ahead, is_expired
from ilab_memory.stores.common.changes import identity
from ilab_memory.stores.sqlite import fact_saves, saves, statements, work_statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry
from ilab_memory.stores.sqlite.write_queue import Transaction
from ilab_memory.timestamps import to_text

_added = itemgetter(*statements.ADDED)


@dataclass(frozen=True, slots=True)
class Save:
    """One save, as an operation of the writer."""

    redacted: Redacted
    indexed: IndexEntry
    facts: Sequence[IndexEntry]
    """Of the facts."""
    now: datetime
    session_timeout: timedelta

    def __call__(self, transaction: Transaction) -> SaveResult:
        """Save it alone."""
        user, saved = saves.save(
            transaction, self.redacted, self.indexed, now=self.now, session_timeout=self.session_timeout
        )
        if not self.redacted.facts and saved.outcome != "updated":
            return saved
        of_save = fact_saves.Facts(self.redacted.user_id, self.redacted.facts, self.facts)
        return fact_saves.settle(transaction, user, saved, of_save, to_text(self.now))


class _Ready(NamedTuple):
    """A save that only adds a row: its session is there, and the row is not."""

    place: int
    user: saves.UserNow
    first_id: int
    last_number: int


def insert_all(transaction: Transaction, batch: Sequence[Save]) -> Sequence[SaveResult]:
    """Save all of *batch*: first those that only add a row, with one statement, then the others one by one."""
    added: dict[int, SaveResult] = {}
    rows = []
    queued = []
    numbers: dict[int, int] = {}
    for place, user, first_id, last_number in _different(_ready(transaction, batch), batch):
        save = batch[place]
        number = numbers[user.key] = numbers.get(user.key, last_number) + 1
        row = {
            **saves.row(user, save.redacted, save.indexed, to_text(save.now)),
            "id": first_id + number,
            "number": number,
        }
        rows.append(_added(row))
        if save.redacted.queue_work:
            queued.append((user.key, number, row["now"]))
        saves.index(transaction, user.key, user.index_key, number, save.indexed)
        added[place] = saves.result(row["id"], "created", user, save.redacted)
    transaction.executemany(statements.ADD_OBSERVATION, rows)
    if queued:
        transaction.executemany(work_statements.QUEUE, queued)
    return [added.get(place) or save(transaction) for place, save in enumerate(batch)]


def _ready(transaction: Transaction, batch: Sequence[Save]) -> list[_Ready]:
    """Return those of *batch* that only add a row."""
    asked = json.dumps(
        [(save.redacted.user_id, save.redacted.topic_key, save.redacted.conversation_id) for save in batch]
    )
    hashes = b"".join([bytes.fromhex(save.redacted.normalized_hash) for save in batch])
    (found,) = transaction.execute(statements.READY, (asked, hashes)).fetchone()
    ready = []
    for place, key, index_key, session, session_id, last_activity_at, *ids in json.loads(found):
        save = batch[place]
        is_current = not is_expired(last_activity_at, now=save.now, timeout=save.session_timeout)
        # Facts are saved after the observation, one by one.
        if is_current and not is_ahead(last_activity_at, now=save.now) and not save.redacted.facts:
            user = saves.UserNow(
                key,
                bytes.fromhex(index_key),
                session,
                session_id,
                save.redacted.conversation_id,
                is_new_session=False,
            )
            ready.append(_Ready(place, user, *ids))
    return ready


def _different(ready: Iterable[_Ready], batch: Sequence[Save]) -> Iterator[_Ready]:
    """Yield the first save of each key, and of each content in a session: a later one may change that row."""
    seen = set()
    for save in ready:
        same = identity(batch[save.place].redacted, save.user.session)
        if same not in seen:
            seen.add(same)
            yield save
