"""Settings of admission: how many calls run and wait."""

from __future__ import annotations

from dataclasses import dataclass

from ilab_chat_service.settings.fields import setting


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """How many chat calls run and wait, in each process."""

    max_calls: int = setting(
        "ILAB_CHAT_MAX_CALLS", 256, "Maximum number of chat calls that run at once, per process.", least=1
    )
    max_queued_calls: int = setting(
        "ILAB_CHAT_MAX_QUEUED_CALLS", 128, "Maximum number of chat calls that wait for a slot.", least=0
    )
    max_calls_per_user: int = setting(
        "ILAB_CHAT_MAX_CALLS_PER_USER", 16, "Maximum number of chat calls of one user that run or wait.", least=1
    )
    queue_seconds: float = setting(
        "ILAB_CHAT_QUEUE_SECONDS",
        5.0,
        "Maximum wait for a slot before a call fails with SERVER_BUSY, in seconds.",
        least=0,
    )
