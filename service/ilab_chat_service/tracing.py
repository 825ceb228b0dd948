"""Opens the traces: whether they are on, and where they go. The packages of the extra `otel` are imported only then."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ilab_chat_service.settings import SettingsError
from ilab_chat_service.versions import INSTALLED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import TracerProvider

    from ilab_chat_service.settings import Settings
    from ilab_chat_service.telemetry.spans import Traces

log = logging.getLogger(__name__)

#: Time for exporting the last spans when the server stops.
CLOSE_SECONDS = 3.0

#: Read by the SDK or, as here, by us. All others are read by the SDK alone.
DISABLED = "OTEL_SDK_DISABLED"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"

MISSING = "traces need the extra otel: in the repository, pip install . ./memory './service[otel]'"


@asynccontextmanager
async def open_traces(settings: Settings) -> AsyncIterator[Traces | None]:
    """Record and export spans while the block runs. None: traces are off.

    Raises:
        SettingsError: a variable is invalid, or traces were asked for by name and the extra is not installed.
    """
    if not settings.traces or os.environ.get(DISABLED, "").lower() == "true":
        yield None
        return
    # In a thread, because it imports.
    try:
        provider, traces = await asyncio.to_thread(start, settings)
    except ModuleNotFoundError:
        # A platform may set the endpoint for every container.
        if settings.traces_exporter:
            raise SettingsError(f"OTEL_TRACES_EXPORTER: {MISSING}") from None
        log.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but %s", MISSING)
        yield None
        return
    try:
        yield traces
    finally:
        # Not a thread of the loop, which waits for those without a limit.
        closing = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_SECONDS)
        if closing.is_alive():
            log.warning("the last spans were not exported within %g s", CLOSE_SECONDS)


def start(settings: Settings) -> tuple[TracerProvider, Traces]:
    """Return the recorder of spans and its exporter.

    Raises:
        ModuleNotFoundError: the extra is not installed.
        SettingsError: a variable is invalid.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - optional: extra `otel`
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - the same
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same

    from ilab_chat_service.telemetry.spans import Traces  # noqa: PLC0415 - the same

    check_protocol()
    given = {
        "service.name": "ilab-chat",
        "service.version": INSTALLED["ilab-chat-service"],
        "service.instance.id": str(uuid.uuid4()),
    }
    try:
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last, so they win.
        resource = Resource.create(given).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.traces_url or None)))
    except (ValueError, OSError) as error:
        raise SettingsError(f"OTEL_*: a variable of OpenTelemetry is invalid ({type(error).__name__})") from None
    return provider, Traces(provider)


def check_protocol() -> None:
    """Raise SettingsError if the chosen protocol is not the one that the extra supports."""
    for name in PROTOCOLS:
        if chosen := os.environ.get(name, ""):
            if chosen != PROTOCOL:
                raise SettingsError(f"{name}: must be {PROTOCOL}. To turn traces off, set OTEL_TRACES_EXPORTER to none")
            return
