"""The work of consolidation: which users have turns to consolidate, who works on them, and what it comes to.

Each user has one row of work. A save queues its observation there in its own transaction. A worker claims the row with
a lease, reads the turns after the cursor, and stores what it found in them, together with the new cursor, in one
transaction that only the holder of the lease can commit. So every turn has its effect once, and in order.
"""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from ilab_memory.core.models import Observation

#: How the topic key of the summary of a session begins; the id of the session follows.
SUMMARY_KEY = "chat:summary/"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Work(_Frozen):
    """A user whose turns are to be consolidated, claimed by one worker."""

    user_id: str
    lease: str
    """Proves the claim. Nobody else has the same."""
    cursor: int
    """Sequence number of the last observation that was consolidated."""
    pending: int
    """Number of saves queued since, at the time of the claim."""
    attempts: int
    """Number of claims since work on the user last finished, this one included."""
    tokens_used: int
    """Tokens that the user's consolidation used today, in UTC."""


class WorkTurns(_Frozen):
    """Observations to consolidate, in the order of their last change."""

    observations: list[Observation]
    cursor: int
    """Sequence number of the last of them; of the work itself if `observations` is empty."""
    has_more: bool
    """Whether more of them follow."""


class NewSummary(_Frozen):
    """A summary of a session so far. It replaces the earlier one."""

    session_id: str
    content: str


class WorkStats(_Frozen):
    """Work of all users."""

    pending: int
    """Users with turns to consolidate."""
    dead: int
    """Users whose work was given up."""
    oldest_pending: datetime | None = None
    """When the turn that has waited longest was queued, without the users whose work was given up."""
    tokens_used: int
    """Tokens used today, in UTC, without those of users who were forgotten since."""


def day(now: datetime) -> str:
    """Return the day that the budget of *now* belongs to."""
    return now.date().isoformat()


def later(now: datetime, distance: timedelta) -> datetime:
    """Return the time *distance* after *now*, or the last one there is."""
    try:
        return now + distance
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)
