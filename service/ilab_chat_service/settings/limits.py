"""Settings of admission: how many calls run and wait, and how many turns and tokens a user or caller may use."""

from __future__ import annotations

from dataclasses import dataclass

from ilab_chat_service.settings.fields import setting

#: Largest rate limit.
MOST_COUNTED = 1e12


def rate_limit(env: str, counted: str) -> int:
    """Declare a setting that limits the *counted* turns or tokens."""
    return setting(env, 0, f"{counted}, in each process. 0: no limit.", least=0, most=MOST_COUNTED)


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """How many chat calls run and wait, and what a user or a caller may use, in each process."""

    max_calls: int = setting(
        "ILAB_CHAT_MAX_CALLS", 256, "Maximum number of chat calls that run at once, per process.", least=1
    )
    max_queued_calls: int = setting(
        "ILAB_CHAT_MAX_QUEUED_CALLS", 128, "Maximum number of chat calls that wait for a slot, per process.", least=0
    )
    max_calls_per_user: int = setting(
        "ILAB_CHAT_MAX_CALLS_PER_USER",
        16,
        "Maximum number of chat calls of one user that run or wait, per process.",
        least=1,
    )
    queue_seconds: float = setting(
        "ILAB_CHAT_QUEUE_SECONDS",
        5.0,
        "Seconds that a call waits for a slot before it fails with SERVER_BUSY.",
        least=0,
    )
    user_turns_per_minute: int = rate_limit("ILAB_CHAT_USER_TURNS_PER_MINUTE", "Chat turns of a user per minute")
    user_turns_per_day: int = rate_limit("ILAB_CHAT_USER_TURNS_PER_DAY", "Chat turns of a user per day (UTC)")
    user_tokens_per_minute: int = rate_limit("ILAB_CHAT_USER_TOKENS_PER_MINUTE", "Model tokens of a user per minute")
    user_tokens_per_day: int = rate_limit("ILAB_CHAT_USER_TOKENS_PER_DAY", "Model tokens of a user per day (UTC)")
    caller_turns_per_minute: int = rate_limit(
        "ILAB_CHAT_CALLER_TURNS_PER_MINUTE", "Chat turns of an authenticated caller per minute"
    )
    caller_turns_per_day: int = rate_limit(
        "ILAB_CHAT_CALLER_TURNS_PER_DAY", "Chat turns of an authenticated caller per day (UTC)"
    )
    caller_tokens_per_minute: int = rate_limit(
        "ILAB_CHAT_CALLER_TOKENS_PER_MINUTE", "Model tokens of an authenticated caller per minute"
    )
    caller_tokens_per_day: int = rate_limit(
        "ILAB_CHAT_CALLER_TOKENS_PER_DAY", "Model tokens of an authenticated caller per day (UTC)"
    )
