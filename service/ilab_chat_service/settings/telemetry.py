"""Settings of the log, the metrics and the traces."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ilab_chat_service.settings.addresses import split_address
from ilab_chat_service.settings.fields import SettingsError, setting

URL = re.compile(r"https?://[^/\s]+\S*")


@dataclass(frozen=True, kw_only=True)
class TelemetrySettings:
    """Logs, metrics, traces, and the build."""

    log_level: str = setting("ILAB_CHAT_LOG_LEVEL", "INFO", "Log level: DEBUG, INFO, WARNING or ERROR.")
    log_format: str = setting(
        "ILAB_CHAT_LOG_FORMAT", "auto", "Log format: json, text, or auto (text on a terminal, otherwise json)."
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
        "port. Empty: off.",
    )
    traces_exporter: str = setting(
        "OTEL_TRACES_EXPORTER",
        "",
        "Trace exporter: otlp or none. Empty: otlp if an endpoint is set, otherwise none. otlp needs the extra otel.",
    )
    otlp_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "URL of an OpenTelemetry collector for OTLP over HTTP, such as http://localhost:4318.",
    )
    otlp_traces_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "",
        "URL for traces only, with its path, such as http://localhost:4318/v1/traces.",
    )
    build: str = setting(
        "ILAB_CHAT_BUILD", "", "Identifier of the build, for instance a commit, shown by --version and in the log."
    )

    @property
    def traces(self) -> bool:
        """Whether traces are asked for."""
        if self.traces_exporter:
            return self.traces_exporter != "none"
        return bool(self.otlp_endpoint or self.otlp_traces_endpoint)

    @property
    def traces_url(self) -> str:
        """Where traces are sent. Empty: to the default of OpenTelemetry."""
        if self.otlp_traces_endpoint:
            return self.otlp_traces_endpoint
        return f"{self.otlp_endpoint.rstrip('/')}/v1/traces" if self.otlp_endpoint else ""

    def check_telemetry(self) -> None:
        """Raise SettingsError if the level, the format, an address, an exporter or an endpoint is invalid."""
        if self.log_level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise SettingsError("ILAB_CHAT_LOG_LEVEL: must be DEBUG, INFO, WARNING or ERROR")
        if self.log_format not in {"auto", "json", "text"}:
            raise SettingsError("ILAB_CHAT_LOG_FORMAT: must be auto, json or text")
        try:
            split_address(self.metrics_address or "127.0.0.1:0")
        except ValueError as error:
            raise SettingsError(f"ILAB_CHAT_METRICS_ADDRESS: {error}") from None
        if self.traces_exporter not in {"", "otlp", "none"}:
            raise SettingsError("OTEL_TRACES_EXPORTER: must be otlp or none")
        for env, url in (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.otlp_endpoint),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", self.otlp_traces_endpoint),
        ):
            if self.traces and url and not URL.fullmatch(url):
                raise SettingsError(f"{env}: must be a URL that begins with http:// or https://")
