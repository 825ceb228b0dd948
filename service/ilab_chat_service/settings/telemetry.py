"""Settings of the log."""

from __future__ import annotations

from dataclasses import dataclass

from ilab_chat_service.settings.fields import SettingsError, setting


@dataclass(frozen=True, kw_only=True)
class TelemetrySettings:
    """Log level, format and key."""

    log_level: str = setting("ILAB_CHAT_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR.")
    log_format: str = setting(
        "ILAB_CHAT_LOG_FORMAT", "auto", "json, text, or auto: text on a terminal, otherwise json."
    )
    log_key: str = setting(
        "ILAB_CHAT_LOG_KEY",
        "",
        "Key of the hashes that replace user IDs and request IDs in the log. Empty: a random key per start.",
        secret=True,
    )

    def check_telemetry(self) -> None:
        """Raise SettingsError if the level or the format is unknown."""
        if self.log_level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise SettingsError("ILAB_CHAT_LOG_LEVEL: must be DEBUG, INFO, WARNING or ERROR")
        if self.log_format not in {"auto", "json", "text"}:
            raise SettingsError("ILAB_CHAT_LOG_FORMAT: must be auto, json or text")
