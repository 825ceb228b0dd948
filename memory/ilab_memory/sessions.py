"""When a session expires, and its automatic summary. Pure."""

from datetime import datetime, timedelta

#: The automatic summary of a session without its titles.
SUMMARY_WITHOUT_TITLES = "Closed after inactivity."
#: Time that the clocks of two machines may differ.
MOST_SKEW = timedelta(minutes=5)
_TITLE_LIMIT = 80
_TITLE_CUT = 77


def is_expired(last_activity_at: str, *, now: datetime, timeout: timedelta) -> bool:
    """Return whether a session whose last activity was at *last_activity_at* has expired."""
    return now - datetime.fromisoformat(last_activity_at) >= timeout


def is_ahead(last_activity_at: str, *, now: datetime) -> bool:
    """Return whether *last_activity_at* is from a clock that was ahead and has been set back.

    Such a session would not expire before that time has come.
    """
    return datetime.fromisoformat(last_activity_at) - now > MOST_SKEW


def auto_close_summary(observations: int, last_titles: list[str]) -> str:
    """Return the summary of an expired session. *last_titles*: the titles of its last three observations, in order."""
    if not observations:
        return f"{SUMMARY_WITHOUT_TITLES} No observations."
    noun = "observation" if observations == 1 else "observations"
    return f"{SUMMARY_WITHOUT_TITLES} {observations} {noun}; last: {'; '.join(last_titles)}"


def summary_title(summary: str) -> str:
    """Return *summary*, or its first 77 characters and "..." if it has over 80 (documented contract)."""
    return summary if len(summary) <= _TITLE_LIMIT else summary[:_TITLE_CUT] + "..."
