"""Deletions of single observations, with what was derived from them. Each runs inside one operation of the writer."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ilab_memory.core.work import SUMMARY_KEY
from ilab_memory.stores.common.changes import Stored
from ilab_memory.stores.sqlite import erasure, fact_statements, saving, statements, work_statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry
from ilab_memory.stores.sqlite.transaction import Transaction


class Observation(NamedTuple):
    """An observation as it is."""

    user: int
    index_key: bytes
    session_id: str
    number: int
    topic_key: str | None
    pinned: bool
    expire_at: str | None
    parts: Stored

    def unindex(self, transaction: Transaction) -> None:
        """Take it out of the index."""
        entry = IndexEntry(self.parts.title, self.parts.content)
        saving.unindex(transaction, self.user, self.index_key, self.number, entry)


def stored(transaction: Transaction, user_id: str, observation_id: int) -> Observation | None:
    """Return the user's observation of this id, or None."""
    found = transaction.execute(statements.TO_CHANGE, (user_id, observation_id)).fetchone()
    return None if found is None else Observation._make((*found[:7], Stored._make(found[7:])))


def delete(transaction: Transaction, user_id: str, observation_id: int) -> list[int]:
    """Delete the observation and what was derived from it alone; return the ids of what was deleted.

    Records that their bytes must leave the file.
    """
    deleted = _remove(transaction, user_id, [observation_id])
    if deleted:
        erasure.add(transaction, user_id, None)
    return deleted


def remove(transaction: Transaction, user_id: str, observation_id: int) -> bool:
    """Delete the observation, and nothing that was derived from it; return whether there was one."""
    old = stored(transaction, user_id, observation_id)
    if old is not None:
        _delete(transaction, observation_id, old)
    return old is not None


def derived(transaction: Transaction, user: int, observation_id: int) -> Mapping[int, bool]:
    """Return what the observation is, or was, a source of, and whether nothing else is a source of that now."""
    found = transaction.execute(fact_statements.DERIVED, (user, observation_id)).fetchall()
    return {fact: bool(is_alone) for fact, is_alone in found}


def unlink(transaction: Transaction, user_id: str, user: int, source: int, *, kept: Collection[int]) -> None:
    """Let the observation *source* be a source of nothing but *kept*; delete what was derived from it alone."""
    dropped = {fact: is_alone for fact, is_alone in derived(transaction, user, source).items() if fact not in kept}
    removed = _remove(transaction, user_id, [fact for fact, is_alone in dropped.items() if is_alone])
    transaction.executemany(
        fact_statements.REMOVE_SOURCE, [(user, fact, source) for fact in dropped.keys() - set(removed)]
    )


def _remove(transaction: Transaction, user_id: str, ids: Iterable[int]) -> list[int]:
    """Delete these observations and what was derived from them alone; return the ids of what was deleted."""
    waiting = list(ids)
    removed: list[int] = []
    for each in waiting:
        old = stored(transaction, user_id, each)
        if old is None:
            continue
        waiting += [fact for fact, is_alone in derived(transaction, old.user, each).items() if is_alone]
        _delete(transaction, each, old)
        removed.append(each)
    return removed


def _delete(transaction: Transaction, observation_id: int, old: Observation) -> None:
    """Delete the observation, which is *old*; a trigger deletes its sources."""
    if (old.topic_key or "").startswith(SUMMARY_KEY):
        transaction.execute(work_statements.DROP_SUMMARY, (old.user, observation_id))
    deleted = transaction.execute(statements.DELETE_OBSERVATION, (observation_id,)).fetchone()
    transaction.execute(statements.COUNT_OUT, deleted)
    old.unindex(transaction)
    saving.drop_title(transaction, old.user, old.parts.title)
