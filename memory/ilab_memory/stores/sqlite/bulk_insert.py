"""A save with its facts, and bulk insert: a few statements for all saves of a batch instead of a few for each."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from ilab_memory.core.models import SaveResult
from ilab_memory.core.store import Redacted
from ilab_memory.sessions import is_ahead, is_expired
from ilab_memory.stores.sqlite import deletions, fact_statements, saves, statements, work_statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry
from ilab_memory.stores.sqlite.write_queue import Transaction
from ilab_memory.timestamps import to_text


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
        return self._with_facts(transaction, user, saved)

    def _with_facts(self, transaction: Transaction, user: saves.UserNow, saved: SaveResult) -> SaveResult:
        """Save the facts of the observation that was *saved*, see `Store.save`; return its result with theirs."""
        derived = {} if saved.outcome == "created" else deletions.derived(transaction, user.key, saved.id)
        results = []
        for fact, entry in zip(self.redacted.facts, self.facts, strict=True):
            if saved.outcome == "deduped" and (known := _id(transaction, user, fact)) in derived:
                results.append(saves.result(known, "deduped", user, fact))
                continue
            row = saves.row(user, fact, entry, to_text(self.now))
            fact_id, outcome = saves.save_keyed(transaction, user, fact, row, entry)
            transaction.execute(fact_statements.ADD_SOURCE, (user.key, fact_id, saved.id))
            results.append(saves.result(fact_id, outcome, user, fact))
        if saved.outcome == "updated":
            kept = {result.id for result in results}
            deletions.unlink(transaction, self.redacted.user_id, user.key, saved.id, kept=kept, analyzed=IndexEntry)
        return saved.model_copy(update={"facts": tuple(results)}) if results else saved


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
        observation_id, now = first_id + number, to_text(save.now)
        row = saves.row(user, save.redacted, save.indexed, now)
        rows.append((*saves.written(row), observation_id, number))
        if save.redacted.queue_work:
            queued.append((user.key, number, now))
        saves.index(transaction, user, number, save.indexed)
        added[place] = saves.result(observation_id, "created", user, save.redacted)
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
            user = saves.UserNow(key, bytes.fromhex(index_key), session, session_id, save.redacted.conversation_id)
            ready.append(_Ready(place, user, *ids))
    return ready


def _different(ready: Iterable[_Ready], batch: Sequence[Save]) -> Iterator[_Ready]:
    """Yield the first save of each key, and of each content in a session: a later one may change that row."""
    seen = set()
    for save in ready:
        redacted = batch[save.place].redacted
        of_key = (redacted.user_id, redacted.topic_key)
        same = (save.user.session, redacted.normalized_hash) if redacted.topic_key is None else of_key
        if same not in seen:
            seen.add(same)
            yield save


def _id(transaction: Transaction, user: saves.UserNow, fact: Redacted) -> int:
    """Return the id of the stored fact of this topic key, or 0."""
    found = transaction.execute(statements.BY_KEY, (user.key, fact.topic_key)).fetchone()
    return 0 if found is None else int(found[0])
