"""Deletions of single observations, with what was derived from them, and of expired and old ones of all users.

Functions that take nothing but a `Transaction` run inside one operation of the writer. The index loses an observation
by its words: functions that delete get an `Analyze`, made before, so that texts are not analyzed in the writer.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from ilab_memory.core.store import Change
from ilab_memory.core.work import SUMMARY_KEY
from ilab_memory.recall.analysis import one_at_a_time
from ilab_memory.stores.common.changes import Stored
from ilab_memory.stores.sqlite import fact_statements, saves, statements, user_erasure, work_statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry
from ilab_memory.stores.sqlite.write_queue import Transaction
from ilab_memory.timestamps import to_text

#: Returns the index entry of a title and a content.
Analyze = Callable[[str, str], IndexEntry]
#: A user and the id of an observation.
Row = tuple[str, int]


class Observation(NamedTuple):
    """An observation as it is."""

    user: saves.UserNow
    """The user, and the session of the observation."""
    number: int
    topic_key: str | None
    pinned: bool
    expire_at: str | None
    parts: Stored


def stored(connection: Transaction | sqlite3.Connection, user_id: str, observation_id: int) -> Observation | None:
    """Return the user's observation of this id, or None."""
    found = connection.execute(statements.TO_CHANGE, (user_id, observation_id)).fetchone()
    return None if found is None else Observation._make((saves.UserNow(*found[:5]), *found[5:9], Stored(*found[9:])))


def going(connection: sqlite3.Connection, user_id: str, observation_id: int) -> list[Observation]:
    """Return the observation and what is derived from it alone, each as it is; nothing if there is no such one.

    For their analysis: not all that a deletion reaches over several steps.
    """
    found: dict[int, Observation] = {}
    waiting = [observation_id]
    while waiting:
        each = waiting.pop()
        old = None if each in found else stored(connection, user_id, each)
        if old is not None:
            found[each] = old
            waiting += [fact for fact, is_alone in derived(connection, old.user.key, each).items() if is_alone]
    return list(found.values())


def edited(affected: Sequence[Observation], change: Change) -> Iterable[Observation]:
    """Return the observations that *change* takes from the index or puts there, of the first of *affected*.

    The others are derived from it alone.
    """
    old = affected[0]
    new = old.parts.changed(change)
    if new == old.parts:
        return ()
    return (*(affected if new.content != old.parts.content else [old]), old._replace(parts=new))


def analysis(observations: Iterable[Observation]) -> Analyze:
    """Return an analysis that has analyzed and hashed *observations* already."""
    analyzed = cache(IndexEntry)
    for each in observations:
        with one_at_a_time(len(each.parts.content)):
            analyzed(each.parts.title, each.parts.content).tokens(each.user.key, each.user.index_key)
    return analyzed


def characters(observations: Iterable[Observation]) -> int:
    """Return the length of the contents of *observations*."""
    return sum(len(each.parts.content) for each in observations)


def delete(transaction: Transaction, user_id: str, observation_id: int, *, analyzed: Analyze) -> list[int]:
    """Delete the observation and what was derived from it alone; return the ids of what was deleted.

    Records that their bytes must leave the file.
    """
    deleted = _remove(transaction, user_id, [observation_id], analyzed)
    if deleted:
        user_erasure.add_erasure(transaction, user_id, None, is_in_index=True)
    return deleted


def derived(connection: Transaction | sqlite3.Connection, user: int, observation_id: int) -> Mapping[int, bool]:
    """Return what the observation is, or was, a source of, and whether nothing else is a source of that now."""
    found = connection.execute(fact_statements.DERIVED, (user, observation_id)).fetchall()
    return {fact: bool(is_alone) for fact, is_alone in found}


def unlink(
    transaction: Transaction, user_id: str, user: int, source: int, *, kept: Collection[int], analyzed: Analyze
) -> None:
    """Let the observation *source* be a source of nothing but *kept*; delete what was derived from it alone."""
    dropped = {fact: is_alone for fact, is_alone in derived(transaction, user, source).items() if fact not in kept}
    removed = _remove(transaction, user_id, [fact for fact, is_alone in dropped.items() if is_alone], analyzed)
    transaction.executemany(
        fact_statements.REMOVE_SOURCE, [(user, fact, source) for fact in dropped.keys() - set(removed)]
    )


def _remove(transaction: Transaction, user_id: str, ids: Iterable[int], analyzed: Analyze) -> list[int]:
    """Delete these observations and what was derived from them alone; return the ids of what was deleted."""
    waiting = list(ids)
    removed: list[int] = []
    for each in waiting:
        old = stored(transaction, user_id, each)
        if old is None:
            continue
        waiting += [fact for fact, is_alone in derived(transaction, old.user.key, each).items() if is_alone]
        _delete(transaction, each, old, analyzed)
        removed.append(each)
    return removed


def _delete(transaction: Transaction, observation_id: int, old: Observation, analyzed: Analyze) -> None:
    """Delete the observation, which is *old*; a trigger deletes its sources."""
    if (old.topic_key or "").startswith(SUMMARY_KEY):
        transaction.execute(work_statements.DROP_SUMMARY, (old.user.key, observation_id))
    deleted = transaction.execute(statements.DELETE_OBSERVATION, (observation_id,)).fetchone()
    transaction.execute(statements.COUNT_OUT, deleted)
    saves.unindex(transaction, old.user, old.number, analyzed(old.parts.title, old.parts.content))
    saves.drop_title(transaction, old.user.key, old.parts.title)


class Expiry(NamedTuple):
    """Which observations are erased, as parameters of the statements."""

    now: str
    older_than: str
    """By type, in JSON."""


def expiry(now: datetime, older_than: Mapping[str, datetime]) -> Expiry:
    """Return the arguments of `Store.expire` as parameters."""
    return Expiry(to_text(now), json.dumps({kind: to_text(moment) for kind, moment in older_than.items()}))


def expired(connection: sqlite3.Connection, wanted: Expiry, limit: int) -> list[Row]:
    """Return at most *limit* observations to erase, by user."""
    found: dict[Row, None] = dict.fromkeys(connection.execute(fact_statements.EXPIRED, (wanted.now, limit)))
    if len(found) < limit and wanted.older_than != "{}":
        found |= dict.fromkeys(connection.execute(fact_statements.OLD, (wanted.older_than, limit)))
    return sorted(list(found)[:limit])


def expired_page(connection: sqlite3.Connection, rows: Sequence[Row]) -> Sequence[Observation | None]:
    """Return the first of *rows* as they are, at most a page; None for one that is not there any more."""
    found: list[Observation | None] = []
    size = 0
    for row in rows[: user_erasure.PAGE]:
        old = stored(connection, *row)
        found.append(old)
        size += 0 if old is None else len(old.parts.content.encode())
        if size >= user_erasure.PAGE_BYTES:
            break
    return found


def erase_expired(transaction: Transaction, wanted: Expiry, rows: Iterable[Row], *, analyzed: Analyze) -> int:
    """Delete those of *rows* that still are to be erased, which are sorted; return how many.

    Records that their bytes must leave the file.
    """
    erased = 0
    for user_id, of_user in groupby(rows, key=itemgetter(0)):
        before = erased
        for _, observation_id in of_user:
            asked = (observation_id, user_id, *wanted)
            old = stored(transaction, user_id, observation_id)
            if old is not None and transaction.execute(fact_statements.IS_EXPIRED, asked).fetchone():
                # Facts that were derived from it stay.
                _delete(transaction, observation_id, old, analyzed)
                erased += 1
        if erased > before:
            user_erasure.add_erasure(transaction, user_id, None, is_in_index=True)
    return erased
