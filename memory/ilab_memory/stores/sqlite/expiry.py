"""Erasing what has expired or is old, of all users."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from ilab_memory.stores.sqlite import deletions, erasure, fact_statements
from ilab_memory.stores.sqlite.write_queue import Transaction
from ilab_memory.timestamps import to_text

#: Observations that are erased in one operation of the writer, which ends before that after the bytes of
#: `erasure.PAGE_BYTES`: other saves wait.
PAGE = 50
#: A user and the id of an observation.
Row = tuple[str, int]


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


def page(connection: sqlite3.Connection, rows: Sequence[Row]) -> Sequence[deletions.Observation | None]:
    """Return the first of *rows* as they are, at most a page; None for one that is not there any more."""
    found: list[deletions.Observation | None] = []
    size = 0
    for row in rows[:PAGE]:
        old = deletions.stored(connection, *row)
        found.append(old)
        size += 0 if old is None else len(old.parts.content.encode())
        if size >= erasure.PAGE_BYTES:
            break
    return found


def erase(transaction: Transaction, wanted: Expiry, rows: Iterable[Row], *, analyzed: deletions.Analyze) -> int:
    """Delete those of *rows* that still are to be erased, which are sorted; return how many.

    Records that their bytes must leave the file.
    """
    erased = 0
    for user_id, of_user in groupby(rows, key=itemgetter(0)):
        before = erased
        for _, observation_id in of_user:
            asked = (observation_id, user_id, *wanted)
            if transaction.execute(fact_statements.IS_EXPIRED, asked).fetchone():
                erased += deletions.remove(transaction, user_id, observation_id, analyzed=analyzed)
        if erased > before:
            erasure.add_erasure(transaction, user_id, None, is_in_index=True)
    return erased
