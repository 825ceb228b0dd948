"""Moments to text and back. The text has a fixed width, so that comparing text compares moments."""

from datetime import UTC, datetime


def to_text(moment: datetime) -> str:
    """Return *moment* as ISO 8601 in UTC with microseconds.

    Raises:
        ValueError: *moment* has no timezone.
    """
    if moment.tzinfo is None:
        raise ValueError("clock must return a timezone-aware datetime")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
