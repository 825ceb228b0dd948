"""`WorkStore`: the part of a storage backend that knows which turns are to be consolidated."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ilab_memory.core.store import Redacted
from ilab_memory.core.work import Work, WorkStats, WorkTurns


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Which work is due."""

    now: datetime
    turns: int
    """Number of queued saves from which on work is due at once."""
    idle_since: datetime
    """If the last save of the user was not after it, work is due with fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """An observation that was derived from others, redacted."""

    redacted: Redacted
    source_ids: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """A fact that does not hold any more."""

    topic_key: str
    source_id: int
    """The turn that says so. A fact that was changed after it stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The results of work, to be stored."""

    facts: Sequence[Derived]
    retired: Sequence[Retired]
    summaries: Sequence[Derived]
    consumed: int
    """Number of queued saves that are done with."""
    tokens_used: int
    now: datetime


class WorkStore(ABC):
    """The methods of a `Store` that supports consolidation.

    Whatever takes a `Work` does nothing, and returns False, if its lease is not the one of the row any more: another
    worker has claimed it after it expired, or the user was forgotten.
    """

    @abstractmethod
    def claim_work(self, lease: str, lease_until: datetime, due: Due) -> Work | None:
        """Claim the user whose work has been due for the longest time. None: no work is due.

        Due is work that nobody else has a lease to, that is not dead, whose `not_before` has passed, and that has
        enough queued saves, or any if a session has ended since or the user has been idle.
        """

    @abstractmethod
    def renew_work(self, work: Work, lease_until: datetime) -> bool:
        """Let the lease end at *lease_until*."""

    @abstractmethod
    def work_turns(
        self, work: Work, *, key_prefixes: Sequence[str], limit: int, most_bytes: int, now: datetime
    ) -> WorkTurns:
        """Return the user's observations after the cursor whose topic key starts with one of *key_prefixes*.

        At most *limit*, with at most *most_bytes* of content together, but at least one. Leaves out summaries and
        expired observations.
        """

    @abstractmethod
    def work_summaries(self, user_id: str, topic_keys: Sequence[str]) -> Mapping[str, str]:
        """Return the contents of the user's observations of these topic keys, by key."""

    @abstractmethod
    def finish_work(self, work: Work, turns: WorkTurns, finished: Finished) -> bool:
        """Store *finished*, move the cursor behind *turns* and end the lease, all or nothing.

        False, with nothing stored, also if one of *turns* was changed or deleted since it was read. A derived
        observation belongs to the session of the last of its sources and has its time; it does not replace one that was
        changed later, or a pinned one. A retired fact expires. A summary also becomes that of its completed session,
        unless a caller wrote one.
        """

    @abstractmethod
    def fail_work(
        self, work: Work, *, not_before: datetime, is_dead: bool, counts: bool, tokens_used: int, now: datetime
    ) -> bool:
        """End the lease. The work is due again at *not_before*; if *is_dead*, when the user is active after it.

        Unless it *counts*, the attempt is not counted.
        """

    @abstractmethod
    def work_stats(self, now: datetime) -> WorkStats:
        """Return the figures of all users."""
