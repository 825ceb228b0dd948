"""Facts and their sources: writes inside an operation of the writer."""

from collections.abc import Sequence
from typing import NamedTuple

from ilab_memory.core.models import SaveResult
from ilab_memory.core.store import Redacted, Source
from ilab_memory.stores.sqlite import deletions, fact_statements, saves, statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry
from ilab_memory.stores.sqlite.write_queue import Transaction


class Facts(NamedTuple):
    """The facts of a save, with their index entries."""

    user_id: str
    redacted: Sequence[Redacted]
    indexed: Sequence[IndexEntry]


def settle(transaction: Transaction, user: saves.UserNow, saved: SaveResult, facts: Facts, now: str) -> SaveResult:
    """Save the *facts* of the observation that was *saved*, see `Store.save`; return its result with theirs."""
    derived = {} if saved.outcome == "created" else deletions.derived(transaction, user.key, saved.id)
    results = []
    for fact, entry in zip(facts.redacted, facts.indexed, strict=True):
        if saved.outcome == "deduped" and (known := _id(transaction, user, fact)) in derived:
            results.append(saves.result(known, "deduped", user, fact))
            continue
        fact_id, outcome = saves.save_keyed(transaction, user, fact, saves.row(user, fact, entry, now), entry)
        transaction.execute(fact_statements.ADD_SOURCE, (user.key, fact_id, saved.id))
        results.append(saves.result(fact_id, outcome, user, fact))
    if saved.outcome == "updated":
        kept = {result.id for result in results}
        deletions.unlink(transaction, facts.user_id, user.key, saved.id, kept=kept, analyzed=IndexEntry)
    return saved.model_copy(update={"facts": tuple(results)}) if results else saved


def add_sources(transaction: Transaction, user_id: str, sources: Sequence[Source]) -> None:
    """See `Store.add_sources`."""
    transaction.executemany(
        fact_statements.IMPORT_SOURCE,
        [(user_id, fact, source, is_earlier) for fact, source, is_earlier in sources],
    )


def _id(transaction: Transaction, user: saves.UserNow, fact: Redacted) -> int:
    """Return the id of the stored fact of this topic key, or 0."""
    found = transaction.execute(statements.BY_KEY, (user.key, fact.topic_key)).fetchone()
    return 0 if found is None else int(found[0])
