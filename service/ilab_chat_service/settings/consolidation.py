"""Settings of consolidation."""

from __future__ import annotations

from dataclasses import dataclass

from ilab_chat_service.settings.fields import SettingsError, setting

MODES = ("auto", "on", "off")


@dataclass(frozen=True, kw_only=True)
class ConsolidationSettings:
    """When turns become facts and summaries in the background, and what that may cost."""

    consolidation: str = setting(
        "ILAB_CHAT_CONSOLIDATION",
        "auto",
        "Turn conversations into facts and summaries in the background: on, off, or auto (on unless the embedded model "
        "answers).",
    )
    consolidation_model: str = setting(
        "ILAB_CHAT_CONSOLIDATION_MODEL", "", "Model that consolidates. Empty: the default model."
    )
    consolidation_turns: int = setting(
        "ILAB_CHAT_CONSOLIDATION_TURNS", 8, "Number of new turns of a user that start a consolidation.", least=1
    )
    consolidation_idle_minutes: float = setting(
        "ILAB_CHAT_CONSOLIDATION_IDLE_MINUTES",
        10.0,
        "Minutes without a new turn of a user after which even a few turns are consolidated.",
        least=0,
    )
    consolidation_daily_tokens: int = setting(
        "ILAB_CHAT_CONSOLIDATION_DAILY_TOKENS",
        50_000,
        "Token budget of consolidation per user and day (UTC). 0: no limit.",
        least=0,
    )
    consolidation_total_daily_tokens: int = setting(
        "ILAB_CHAT_CONSOLIDATION_TOTAL_DAILY_TOKENS",
        1_000_000,
        "Token budget of consolidation for all users per day (UTC). 0: no limit.",
        least=0,
    )
    consolidation_lease_seconds: float = setting(
        "ILAB_CHAT_CONSOLIDATION_LEASE_SECONDS",
        30.0,
        "Lease of a consolidation job, in seconds: if a server dies, another one takes the job over after this time.",
        least=1,
    )

    def check_consolidation(self) -> None:
        """Raise SettingsError if the mode is unknown."""
        if self.consolidation not in MODES:
            raise SettingsError("ILAB_CHAT_CONSOLIDATION: must be auto, on or off")
