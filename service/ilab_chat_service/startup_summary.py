"""The configuration in effect, logged at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ilab_chat_service.build import version
from ilab_chat_service.rate_limits import rate_limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ilab_chat_service.settings import Settings

#: Where OpenTelemetry sends spans unless it is told otherwise.
DEFAULT_ENDPOINT = "http://localhost:4318"

DURABILITY = {
    "full": "full: an answered turn survives power loss",
    "normal": "normal: an answered turn survives a crash of the process, but not power loss",
}


def startup_summary(
    settings: Settings,
    *,
    address: str,
    memory: str,
    models: Iterable[str],
    metrics: str = "",
    traces: bool = False,
    embedder: str | None = None,
) -> Iterator[str]:
    """Yield one line for each part of the configuration.

    Args:
        settings: the server's settings.
        address: the address that the server listens on.
        memory: location of the memory, without secrets.
        metrics: the address that serves metrics. Empty: they are off.
        traces: whether spans are recorded.
        embedder: id of the embedder that is loaded in the background. None: memory is searched by words.
        models: the models that callers may request, each with the host of its API. The default comes first.
    """
    yield f"version: {version(settings.build)}"
    yield f"address: {address}"
    yield f"TLS: {tls(settings)}"
    yield f"auth: {settings.auth or 'none, on loopback'}"
    for model in models:
        yield f"model: {model}"
    yield f"memory: {memory}"
    yield f"embedder: {embedder_text(settings, embedder)}"
    yield f"durability: {DURABILITY[settings.durability]}"
    yield f"consolidation: {consolidation(settings)}"
    yield f"workers: {settings.workers}"
    yield f"metrics: {f'http://{metrics}/metrics' if metrics else 'off: ILAB_CHAT_METRICS_ADDRESS is not set'}"
    yield f"traces: {traces_text(settings, is_on=traces)}"
    yield (
        f"limits: {settings.max_calls} running calls, {settings.max_queued_calls} queued calls, "
        f"{settings.max_calls_per_user} calls per user{'; per worker' if settings.workers > 1 else ''}"
    )
    yield f"rate limits: {', '.join(f'{each.scope} {each}' for each in rate_limits(settings)) or 'none'}"


def traces_text(settings: Settings, *, is_on: bool) -> str:
    """Return where spans go. Of a URL only the host: path and user may be secret."""
    if not is_on:
        return "off: OTEL_EXPORTER_OTLP_ENDPOINT is not set" if not settings.traces else "off"
    return f"OTLP at {urlsplit(settings.traces_url or DEFAULT_ENDPOINT).netloc.rpartition('@')[2]}"


def embedder_text(settings: Settings, embedder: str | None) -> str:
    """Return how memory is searched, and why."""
    if embedder:
        return f"{embedder}, loaded in the background; until then memory is searched by words"
    if settings.embedder == "none":
        return "none: ILAB_MEMORY_EMBEDDER=none; memory is searched by words"
    return "none: the extra `semantic` is not installed; memory is searched by words"


def consolidation(settings: Settings) -> str:
    """Return whether turns are consolidated, and when or why not."""
    if not settings.consolidates:
        if settings.consolidation == "off":
            return "off: ILAB_CHAT_CONSOLIDATION=off"
        return "off: the embedded model answers; ILAB_CHAT_CONSOLIDATION=on lets it consolidate too"
    return (
        f"on: {settings.consolidation_model or 'the default model'}, after {settings.consolidation_turns} turns "
        f"or {settings.consolidation_idle_minutes:g} min"
    )


def tls(settings: Settings) -> str:
    """Return the TLS configuration of the listener."""
    if not settings.tls_cert_file:
        return "none"
    return f"{settings.tls_cert_file}, {'with' if settings.tls_client_ca_file else 'without'} client certificates"
