"""The configuration in effect, logged at the start: every part of it, or a short block for people."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ilab_chat_service.rate_limits import rate_limits
from ilab_chat_service.versions import version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ilab_chat_service.settings import Settings

#: The address to which OpenTelemetry sends spans by default.
DEFAULT_ENDPOINT = "http://localhost:4318"

DURABILITY = {
    "full": "full: an answered turn survives power loss",
    "normal": "normal: an answered turn survives a crash of the process, but not power loss",
}

#: Width of the names in the block.
COLUMN = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedServer:
    """A server that has started."""

    settings: Settings
    address: str
    """Where it listens."""
    memory: str
    """Location of the memory, without secrets."""
    models: Sequence[str]
    """The models that callers may request, each with the host of its API. The default comes first."""
    metrics: str = ""
    """The address that serves metrics. Empty: they are off."""
    traces: bool = False
    """Whether spans are recorded."""
    embedder: str | None = None
    """Id of the embedder that is loaded in the background. None: memory is searched by words."""


def startup_summary(started: StartedServer) -> Iterator[str]:
    """Yield one line for each part of the configuration."""
    settings = started.settings
    yield f"version: {version(settings.build)}"
    yield f"address: {started.address}"
    yield f"TLS: {tls(settings)}"
    yield f"auth: {settings.auth or 'none, on loopback'}"
    for model in started.models:
        yield f"model: {model}"
    yield f"memory: {started.memory}"
    yield f"embedder: {embedder_text(settings, started.embedder)}"
    yield f"durability: {DURABILITY[settings.durability]}"
    yield f"consolidation: {consolidation(settings)}"
    yield f"workers: {settings.workers}"
    yield f"metrics: {metrics_url(started) or 'off: ILAB_CHAT_METRICS_ADDRESS is not set'}"
    yield f"traces: {traces_text(settings, is_on=started.traces)}"
    yield (
        f"limits: {settings.max_calls} running calls, {settings.max_queued_calls} queued calls, "
        f"{settings.max_calls_per_user} calls per user{'; per worker' if settings.workers > 1 else ''}"
    )
    yield f"rate limits: {', '.join(f'{each.scope} {each}' for each in rate_limits(settings)) or 'none'}"


def metrics_url(started: StartedServer) -> str:
    """Return where metrics are. Empty: they are off."""
    return f"http://{started.metrics}/metrics" if started.metrics else ""


def traces_text(settings: Settings, *, is_on: bool) -> str:
    """Return where spans are sent. Show only the host of a URL: its path and user may be secret."""
    if not is_on:
        return "off: OTEL_EXPORTER_OTLP_ENDPOINT is not set" if not settings.traces else "off"
    return f"OTLP at {urlsplit(settings.traces_url or DEFAULT_ENDPOINT).netloc.rpartition('@')[2]}"


def startup_block(started: StartedServer) -> Iterator[str]:
    """Yield the start lines for a terminal: the settings that matter first, in columns."""
    settings = started.settings
    yield f"ilab-chat-server {version(settings.build)}"
    for name, value in (
        ("address", f"{started.address}, {access(settings)}"),
        *(("model", model) for model in started.models),
        ("memory", started.memory + ("" if settings.durability == "full" else f", durability: {settings.durability}")),
        ("search", "by words and by meaning" if started.embedder else f"by words: {no_embedder(settings)}"),
        (
            "facts",
            consolidation(settings) if settings.consolidates else f"by phrases: {no_consolidation(settings)}",
        ),
        ("metrics", metrics_url(started)),
        ("traces", traces_text(settings, is_on=True) if started.traces else ""),
    ):
        if value:
            yield f"  {name:<{COLUMN}}{value}"


def access(settings: Settings) -> str:
    """Return how callers connect."""
    encryption = "TLS" if settings.tls_cert_file else "no TLS"
    return f"{encryption}, {f'authentication: {settings.auth}' if settings.auth else 'no authentication'}"


def next_command(settings: Settings, address: str) -> str:
    """Return a command to try next. Empty: the command would need files of the user."""
    if settings.tls_cert_file or settings.auth not in {"", "none"}:
        return ""
    return f'{client_command()} chat --address {address} --user alice "My dog is called Pip. Please say hello to him."'


def client_command() -> str:
    """Return the command that starts the client: its name or, if the shell does not find that, its path."""
    installed = Path(sys.executable).with_name("ilab-chat")
    if shutil.which("ilab-chat") or not installed.exists():
        return "ilab-chat"
    return os.path.relpath(installed) if installed.is_relative_to(Path.cwd()) else str(installed)


def embedder_text(settings: Settings, embedder: str | None) -> str:
    """Return how memory is searched, and why."""
    if embedder:
        return f"{embedder}, loaded in the background; until then memory is searched by words"
    return f"none: {no_embedder(settings)}; memory is searched by words"


def no_embedder(settings: Settings) -> str:
    """Return why memory is not searched by meaning."""
    return "ILAB_MEMORY_EMBEDDER=none" if settings.embedder == "none" else "the extra `semantic` is not installed"


def consolidation(settings: Settings) -> str:
    """Return whether turns are consolidated, and when or why not."""
    if not settings.consolidates:
        return f"off: {no_consolidation(settings)}"
    return (
        f"on: {settings.consolidation_model or 'the default model'}, after {settings.consolidation_turns} turns "
        f"or {settings.consolidation_idle_minutes:g} min"
    )


def no_consolidation(settings: Settings) -> str:
    """Return why turns are not consolidated."""
    if settings.consolidation == "off":
        return "ILAB_CHAT_CONSOLIDATION=off"
    return "the embedded model does not consolidate, unless ILAB_CHAT_CONSOLIDATION=on"


def tls(settings: Settings) -> str:
    """Return the TLS configuration of the listener."""
    if not settings.tls_cert_file:
        return "none"
    return f"{settings.tls_cert_file}, {'with' if settings.tls_client_ca_file else 'without'} client certificates"
