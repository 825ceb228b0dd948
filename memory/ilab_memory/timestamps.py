"""Times as text of fixed width, so that text order is time order."""

from datetime import UTC, datetime


def to_text(moment: datetime) -> str:
    """Return *moment*, a timezone-aware time, as ISO 8601 in UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
