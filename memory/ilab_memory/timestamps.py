"""Moments to text and back. The text has a fixed width, so that comparing text compares moments."""

from datetime import UTC, datetime


def to_text(moment: datetime) -> str:
    """Return *moment*, which is timezone-aware, as ISO 8601 in UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
