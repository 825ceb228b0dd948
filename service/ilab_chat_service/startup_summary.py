"""What was decided when the server started, in words for its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ilab_chat_service.settings import Settings

DURABILITY = {
    "full": "full: an answered turn survives loss of power",
    "normal": "normal: an answered turn survives the end of the process, not loss of power",
}


def startup_summary(settings: Settings, *, address: str, memory: str, models: Iterable[str]) -> Iterator[str]:
    """Yield a line for each decision.

    Args:
        settings: what was asked for.
        address: where the server listens.
        memory: where the memory is, without a secret.
        models: the models that callers may ask for, each with the host that is called; the default first.
    """
    yield f"address: {address}"
    yield f"TLS: {tls(settings)}"
    yield f"auth: {settings.auth or 'none, on loopback'}"
    for model in models:
        yield f"model: {model}"
    yield f"memory: {memory}"
    yield f"durability: {DURABILITY[settings.durability]}"
    yield f"workers: {settings.workers}"
    yield (
        f"limits: {settings.max_calls} calls run and {settings.max_queued_calls} wait, "
        f"{settings.max_calls_per_user} of one user{', in each worker' if settings.workers > 1 else ''}"
    )


def tls(settings: Settings) -> str:
    """Return what the listener does about TLS."""
    if not settings.tls_cert_file:
        return "none"
    return f"{settings.tls_cert_file}, {'with' if settings.tls_client_ca_file else 'without'} client certificates"
