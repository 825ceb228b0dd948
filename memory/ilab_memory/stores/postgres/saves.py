"""Saves with their facts, and what is removed with an observation. Each function runs inside one transaction.

A save is one round trip that locks and reads, and one that writes and commits; see `user_sessions.py` for what needs
one more, as does an observation that was a source of facts.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from ilab_memory.core.models import SaveResult
from ilab_memory.core.store import Redacted
from ilab_memory.stores.common.changes import Keyed
from ilab_memory.stores.common.users import LENGTHS
from ilab_memory.stores.postgres import fact_statements, statements, work_statements
from ilab_memory.stores.postgres.blind_index import IndexEntry
from ilab_memory.stores.postgres.connections import Query, Row, Transaction
from ilab_memory.stores.postgres.user_sessions import SessionNow, User, complete, count_in, drop_title, enter, locked
from ilab_memory.stores.postgres.vectors import removal
from ilab_memory.timestamps import to_text


class Old(NamedTuple):
    """A stored observation that is deleted or changed."""

    id: int
    title: str
    lengths: Mapping[str, int]


def old_row(row: Row) -> Old:
    """Return the observation of a row of its id, title and LENGTHS."""
    observation_id, title, *lengths = row
    return Old(observation_id, title, dict(zip(LENGTHS, lengths, strict=True)))


class Writing:
    """Rows that a transaction writes, and what they change in the row of the user."""

    def __init__(self, user_id: str, user: User) -> None:
        self.queries: list[Query] = []
        self._user_id = user_id
        self._user = user
        self._number = user.last_number
        self._session = user.last_session
        self._added = Counter[str]()
        self._titles: list[str] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Write the new observation *row*."""
        self._number = row["number"]
        self._added.update({name: row[name] for name in LENGTHS}, observations=1)
        self.queries.append((statements.NEW_OBSERVATION, row))

    def change(self, row: Mapping[str, Any], old: Old, *, old_hash: bytes) -> None:
        """Let the observation *old* be *row*."""
        self._number = row["number"]
        self._added.update({name: row[name] for name in LENGTHS})
        self._added.subtract(old.lengths)
        self.queries += [*removal(self._user_id, [old.id]), (statements.CHANGE_OBSERVATION, row)]
        if row["normalized_hash"] != old_hash:
            self.queries.append((fact_statements.MAKE_EARLIER, {"user_id": self._user_id, "id": old.id}))
        if row["title"] != old.title:
            self._titles.append(old.title)

    def remove(self, observations: Sequence[Old]) -> None:
        """Delete *observations* and their sources."""
        if not observations:
            return
        asked: dict[str, Any] = {"user_id": self._user_id, "ids": [observation.id for observation in observations]}
        self.queries += [
            *removal(self._user_id, asked["ids"]),
            (work_statements.DROP_SUMMARIES, asked),
            (statements.DELETE_OBSERVATIONS, asked),
            (fact_statements.DELETE_SOURCES, asked),
        ]
        self._added["observations"] -= len(observations)
        for observation in observations:
            self._added.subtract(observation.lengths)
            self._titles.append(observation.title)

    def commit(self, transaction: Transaction, *before: Query) -> None:
        """Write all, after the queries *before*, and commit."""
        counting: tuple[Query, ...] = ()
        if self.queries or self._session > self._user.last_session:
            last = {"last_number": self._number, "last_session": self._session}
            counting = (count_in(self._user_id, self._user, **last, **self._added),)
        if not self._titles:
            transaction.commit(*before, *self.queries, *counting)
            return
        transaction.ask(*before, *self.queries, *counting)
        for title in dict.fromkeys(self._titles):
            drop_title(transaction, self._user_id, title)
        transaction.commit()


class Saving(Writing):
    """The rows that one save writes."""

    _session_now: SessionNow
    _now: str

    def enter(self, session: SessionNow, now: str) -> None:
        """Write what follows in *session*, at the time *now*."""
        self._session = max(self._session, session.number)
        self._session_now = session
        self._now = now

    def save(self, redacted: Redacted, indexed: IndexEntry, found: Row | None) -> SaveResult:
        """Write *redacted*; *found*: the row of its key, or the equal one without a key."""
        if found is not None and (redacted.topic_key is None or _keyed(found).equals(redacted)):
            return self._result(int(found[0]), "deduped", redacted)
        number = self._number + 1
        row = _columns(redacted, self._now) | indexed.lengths
        row |= {
            "id": self._user.first_id + number if found is None else int(found[0]),
            "session": self._session_now.number,
            "number": number,
            "terms": indexed.vector(self._user.index_key),
            "content": redacted.content,
        }
        if found is None:
            self.add(row)
            return self._result(row["id"], "created", redacted)
        old = _keyed(found)
        self.change(row, old_row((found[0], old.title, *found[1:5])), old_hash=old.normalized_hash)
        return self._result(row["id"], "updated", redacted)

    def save_facts(
        self,
        facts: Iterable[tuple[Redacted, IndexEntry]],
        saved: SaveResult,
        *,
        rows: Mapping[str | None, Row],
        derived: Collection[int],
    ) -> list[SaveResult]:
        """Write the *facts* of the observation that was *saved*.

        *rows*: those of their topic keys; *derived*: the facts that the observation is, or was, a source of.
        """
        results = []
        for fact, entry in facts:
            found = rows.get(fact.topic_key)
            if saved.outcome == "deduped" and found is not None and int(found[0]) in derived:
                results.append(self._result(int(found[0]), "deduped", fact))
                continue
            results.append(self.save(fact, entry, found))
            link = {"user_id": self._user_id, "fact": results[-1].id, "source": saved.id}
            self.queries.append((fact_statements.ADD_SOURCE, link))
        return results

    def _result(
        self, observation_id: int, outcome: Literal["created", "updated", "deduped"], redacted: Redacted
    ) -> SaveResult:
        return SaveResult(
            id=observation_id, outcome=outcome, session_id=self._session_now.id, topic_key=redacted.topic_key
        )


def save(
    transaction: Transaction,
    redacted: Redacted,
    indexed: Sequence[IndexEntry],
    session_id: str,
    *,
    now: datetime,
    session_timeout: timedelta,
) -> SaveResult:
    """Store *redacted* as `Store.save` promises. *indexed*: its index entry, then those of its facts."""
    user_id = redacted.user_id
    moment = to_text(now)
    asked = _columns(redacted, moment)
    same = statements.SAME_UNKEYED if redacted.topic_key is None else statements.BY_KEY
    keys = {"user_id": user_id, "topic_keys": [fact.topic_key for fact in redacted.facts]}
    of_facts = ((statements.FACTS_BY_KEY, keys),) if redacted.facts else ()
    user, (active, found, *stored) = locked(
        transaction, user_id, (statements.SESSION_NOW, asked), (same, asked), *of_facts
    )
    session = enter(transaction, asked, user, active, session_id, now=now, session_timeout=session_timeout)
    if redacted.topic_key is None and session.is_new:
        found = []  # of the session before
    writing = Saving(user_id, user)
    writing.enter(session, moment)
    saved = writing.save(redacted, indexed[0], found[0] if found else None)
    if redacted.queue_work and saved.outcome != "deduped":
        writing.queries.append((work_statements.QUEUE, asked | {"number": user.last_number + 1}))
    # Only of a row that was there, and only if there is something to be derived: one more round trip.
    was_source = bool(found) and (bool(redacted.facts) or (saved.outcome == "updated" and found[0][-1]))
    derived = _derived(transaction, user_id, saved.id) if was_source else set()
    facts = zip(redacted.facts, indexed[1:], strict=True)
    results = writing.save_facts(
        facts, saved, rows={row[0]: row[1:] for rows in stored for row in rows}, derived=derived
    )
    if saved.outcome == "updated" and derived:
        kept = [fact.id for fact in results]
        writing.remove(alone(transaction, user_id, saved.id, kept=kept))
        writing.queries.append((fact_statements.REMOVE_SOURCE, {"user_id": user_id, "source": saved.id, "kept": kept}))
    writing.commit(
        transaction, *(session.opening or ((statements.TOUCH_SESSION, asked | {"session": session.number}),))
    )
    return saved.model_copy(update={"facts": tuple(results)}) if results else saved


def end_session(
    transaction: Transaction,
    user_id: str,
    *,
    conversation_id: str,
    summary: str,
    now: datetime,
    last: tuple[Redacted, IndexEntry] | None = None,
) -> Row | None:
    """Complete the active session; return its id, start and end, or None if no session is active.

    Store the observation *last*, which comes with its index entry, in it.
    """
    asked: dict[str, Any] = {"user_id": user_id, "conversation_id": conversation_id}
    users, active = transaction.ask((statements.LOCK_USER, asked), (statements.SESSION_NOW, asked))
    if not active:
        return None
    session = SessionNow._make((*active[0], conversation_id, ()))
    writing = Saving(user_id, User._make(users[0]))
    if last is not None:
        (same,) = transaction.ask((statements.SAME_UNKEYED, _columns(last[0], to_text(now))))
        writing.enter(session, to_text(now))
        writing.save(*last, same[0] if same else None)
    ended_at = max(to_text(now), session.last_activity_at)
    completing = complete(user_id, session.number, ended_at, summary, is_auto_generated=False)
    writing.commit(transaction, completing, (work_statements.SESSION_ENDED, asked))
    return session.id, session.started_at, ended_at


def alone(transaction: Transaction, user_id: str, source: int, *, kept: Collection[int] = ()) -> list[Old]:
    """Return what was derived from the observation *source* alone, also in several steps, but for *kept*."""
    query = (fact_statements.REACHED, {"user_id": user_id, "source": source, "kept": list(kept)})
    (rows,) = transaction.ask(query)
    derived: dict[int, list[int]] = {}
    left: dict[int, int] = {}
    for fact, sources, *_ in rows:
        left[fact] = len(sources)
        for each in sources:
            derived.setdefault(each, []).append(fact)
    gone = [source]
    for each in gone:
        for fact in derived.get(each, ()):
            left[fact] -= 1
            if not left[fact]:
                gone.append(fact)
    known = {fact: old_row((fact, *title_and_lengths)) for fact, _, *title_and_lengths in rows}
    return [known[fact] for fact in gone[1:]]


def _derived(transaction: Transaction, user_id: str, source: int) -> set[int]:
    """Return what the observation *source* is, or was, a source of."""
    (rows,) = transaction.ask((fact_statements.DERIVED, {"user_id": user_id, "source": source}))
    return {int(fact) for (fact,) in rows}


def _columns(redacted: Redacted, now: str) -> dict[str, Any]:
    """Return what a row of *redacted* has, but for its content and its place."""
    return {
        "user_id": redacted.user_id,
        "conversation_id": redacted.conversation_id,
        "type": redacted.type,
        "title": redacted.title,
        "topic_key": redacted.topic_key,
        "normalized_hash": bytes.fromhex(redacted.normalized_hash),
        "pinned": redacted.pinned,
        "expire_at": redacted.expire_at,
        "about": redacted.about,
        "revision_count": 1,
        "created_at": now,
        "updated_at": now,
        "now": now,
    }


def _keyed(row: Row) -> Keyed:
    kind, title, normalized_hash, pinned, expire_at, about = row[5:11]
    return Keyed(kind, title, bytes(normalized_hash), pinned, expire_at, about)
