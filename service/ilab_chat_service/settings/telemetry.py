"""Settings of the log and the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from ilab_chat_service.settings.addresses import split_address
from ilab_chat_service.settings.fields import SettingsError, setting


@dataclass(frozen=True, kw_only=True)
class TelemetrySettings:
    """Logs, metrics, and the build."""

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
    metrics_address: str = setting(
        "ILAB_CHAT_METRICS_ADDRESS",
        "",
        "Address of an HTTP port for Prometheus (/metrics) and probes (/livez, /readyz), HOST:PORT. Port 0: any free "
        "port. Empty: none.",
    )
    build: str = setting(
        "ILAB_CHAT_BUILD", "", "Identifier of the build, for instance a commit, shown by --version and in the log."
    )

    def check_telemetry(self) -> None:
        """Raise SettingsError if the level, the format or the address is invalid."""
        if self.log_level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise SettingsError("ILAB_CHAT_LOG_LEVEL: must be DEBUG, INFO, WARNING or ERROR")
        if self.log_format not in {"auto", "json", "text"}:
            raise SettingsError("ILAB_CHAT_LOG_FORMAT: must be auto, json or text")
        try:
            split_address(self.metrics_address or "127.0.0.1:0")
        except ValueError as error:
            raise SettingsError(f"ILAB_CHAT_METRICS_ADDRESS: {error}") from None
