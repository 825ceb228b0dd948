"""The methods of ILabMemory for consolidation: in the background, turns become facts and summaries."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ilab_memory import checks, intake
from ilab_memory.administration import Administration
from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.models import NewFact
from ilab_memory.core.work import SUMMARY_KEY, NewSummary, Work, WorkStats, WorkTurns, later
from ilab_memory.core.work_store import Derived, Due, Finished, Retired, WorkStore
from ilab_memory.limits import MAX_CONTENT_BYTES

_OWNER_CHARACTERS = 64


class WorkQueue(Administration):
    """Consolidation of turns, for workers of any number of processes.

    `mem_save(..., queue_work=True)` queues a turn. A worker claims a user whose work is due, reads the turns, and
    finishes. Only the claim's holder can finish, once, and finishing stores everything in one transaction: after a
    crash, the work is claimed again when the lease has expired. One user's turns are consolidated in order.
    """

    def mem_work_claim(
        self, *, owner: str, lease: timedelta, turns: int = 8, idle: timedelta = timedelta(minutes=10)
    ) -> Work | None:
        """Claim the user whose turns have waited longest, for the time of *lease*. None: no work is due.

        Work is due when *turns* are queued, when a session of the user was ended, or *idle* after the user's last turn.

        Args:
            owner: Names the worker, for operators.
            lease: After this time others may claim the work, see `mem_work_renew`.
            turns: Number of turns that are enough.
            idle: Time after which fewer are enough.
        """
        checks.check_text("owner", owner, _OWNER_CHARACTERS)
        checks.check_limit(turns)
        now = self._now()
        due = Due(now=now, turns=turns, idle_since=later(now, -idle))
        return self._work.claim_work(f"{owner}/{secrets.token_hex(16)}", later(now, lease), due)

    def mem_work_renew(self, work: Work, *, lease: timedelta) -> bool:
        """Extend the lease of *work*, from now on; False if it is lost: stop working on it."""
        return self._work.renew_work(work, later(self._now(), lease))

    def mem_work_turns(
        self, work: Work, *, key_prefixes: Sequence[str], limit: int = 16, max_bytes: int = MAX_CONTENT_BYTES
    ) -> WorkTurns:
        """Return the turns of *work*, oldest first: at most *limit*, of at most *max_bytes* together, but at least one.

        Turns are the observations after the cursor whose topic key starts with one of *key_prefixes*.
        """
        checks.check_types("key_prefixes", key_prefixes)
        checks.check_limit(limit)
        checks.check_max_bytes(max_bytes)
        return self._work.work_turns(
            work, key_prefixes=key_prefixes, limit=limit, most_bytes=max_bytes, now=self._now()
        )

    def mem_work_summaries(self, work: Work, session_ids: Iterable[str]) -> Mapping[str, str]:
        """Return the summaries of these sessions that consolidation wrote so far, by session id."""
        keys = {SUMMARY_KEY + session_id: session_id for session_id in session_ids}
        found = self._work.work_summaries(work.user_id, list(keys))
        return {keys[key]: content for key, content in found.items()}

    def mem_work_finish(
        self,
        work: Work,
        turns: WorkTurns,
        *,
        set: Sequence[tuple[NewFact, Sequence[int]]] = (),  # noqa: A002 - the operation's name
        retire: Sequence[tuple[str, int]] = (),
        summaries: Sequence[NewSummary] = (),
        tokens_used: int = 0,
    ) -> bool:
        """Store what was found in *turns*, in one transaction, and end the lease.

        False, with nothing stored, if the lease is lost, the user was forgotten, or a turn was changed or deleted
        since it was read: release the work, so that it is done again.

        Facts and summaries get the time of the turn that they come from. A fact that was changed after that turn, or
        that is pinned, stays as it is.

        Args:
            work: The claimed work.
            turns: What `mem_work_turns` returned.
            set: Facts to add or to replace, each with the ids of the turns that say so.
            retire: Topic keys of facts that do not hold any more, each with the id of the turn that says so. They
                expire.
            summaries: Summaries of sessions of the turns so far. Each replaces the earlier one, and the automatic one
                of a completed session.
            tokens_used: Tokens that the consolidation cost.

        Raises:
            ValueError: a fact or a summary is invalid, or names a turn or session that *turns* does not contain.
        """
        known = {turn.id: turn.session_id for turn in turns.observations}
        if any(source not in known for _, sources in set for source in sources) or not all(ids for _, ids in set):
            raise ValueError("set must name turns of this work as sources")
        if any(source not in known for _, source in retire):
            raise ValueError("retire must name turns of this work as sources")
        if not {summary.session_id for summary in summaries} <= {*known.values()}:
            raise ValueError("summaries must be of sessions of these turns")
        facts = intake.new_facts([fact for fact, _ in set], work.user_id, types=FACT_TYPES)
        finished = Finished(
            facts=[Derived(redacted=fact, source_ids=sources) for fact, (_, sources) in zip(facts, set, strict=True)],
            retired=[Retired(topic_key=key, source_id=source) for key, source in retire],
            summaries=[_summary(work.user_id, summary, turns) for summary in summaries],
            # All, or those that were read; at least one is left for the rest.
            consumed=min(len(turns.observations), work.pending - 1) if turns.has_more else work.pending,
            tokens_used=tokens_used,
            now=self._now(),
        )
        return self._work.finish_work(work, turns, finished)

    def mem_work_fail(
        self,
        work: Work,
        *,
        not_before: datetime,
        is_dead: bool = False,
        counts: bool = True,
        tokens_used: int = 0,
    ) -> bool:
        """End the lease without a result; False if it was lost already.

        Args:
            work: The claimed work.
            not_before: When it may be claimed again.
            is_dead: Give up until the user is active after *not_before*.
            counts: Whether the attempt adds to `Work.attempts`.
            tokens_used: Tokens that it cost.
        """
        checks.check_expire_time("not_before", not_before)
        return self._work.fail_work(
            work, not_before=not_before, is_dead=is_dead, counts=counts, tokens_used=tokens_used, now=self._now()
        )

    def mem_work_release(self, work: Work) -> bool:
        """End the lease as if the work had not been claimed; False if it was lost already."""
        now = self._now()
        return self._work.fail_work(work, not_before=now, is_dead=False, counts=False, tokens_used=0, now=now)

    def mem_work_stats(self) -> WorkStats:
        """Return how many users have work pending or dead, and the tokens that all used today. Reads all users."""
        return self._work.work_stats(self._now())

    @property
    def _work(self) -> WorkStore:
        if not isinstance(self._store, WorkStore):
            raise TypeError("the store does not support consolidation")
        return self._store


def _summary(user_id: str, summary: NewSummary, turns: WorkTurns) -> Derived:
    """Return *summary*, redacted. Its sources are the turns of its session."""
    checks.check_content("summaries", summary.content)
    key = SUMMARY_KEY + summary.session_id
    turn_ids = [turn.id for turn in turns.observations if turn.session_id == summary.session_id]
    return Derived(
        redacted=intake.summary(user_id, summary.content, name="summaries", topic_key=key),
        source_ids=[turn_id for turn_id in turn_ids if turn_id is not None],
    )
