"""Helpers that the tests of the library share."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ilab_memory import ILabMemory

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **distance: float) -> None:
        self.now += timedelta(**distance)


def say(mem: ILabMemory, *messages: str, reply: str = "Okay.", user_id: str = "alice", **more: Any) -> list[int]:
    """Save turns as the service does, and return their ids."""
    return [
        mem.mem_save(
            user_id,
            f"User: {message}\nAssistant: {reply}",
            type="discovery",
            title=f"Turn: {message[:60]}",
            **more,
        ).id
        for message in messages
    ]


def recalled(mem: ILabMemory, message: str, *, user_id: str = "alice", **options: Any) -> list[str]:
    """Return the passages of what enters the prompt for a message."""
    return [hit.passage for hit in mem.mem_recall(user_id, message, **options)]


def text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
