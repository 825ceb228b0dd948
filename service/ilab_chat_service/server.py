"""Assemble the server and run it: open, serve, drain, close."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service import message_statements
from ilab_chat_service.auth.setup import open_authenticator
from ilab_chat_service.consolidation_setup import open_consolidator
from ilab_chat_service.embedding_setup import embedding, open_embedder
from ilab_chat_service.idempotency.chat_answer_codec import TurnCall
from ilab_chat_service.idempotency.sqlite import open_sqlite_store
from ilab_chat_service.memory.adapter import MemoryAdapter
from ilab_chat_service.memory.availability import check_integrity, watch_memory
from ilab_chat_service.memory.erasure_retry import retry_erasures
from ilab_chat_service.memory.executor import open_memory
from ilab_chat_service.memory.expiry import expire_observations
from ilab_chat_service.model.model_choice import open_model
from ilab_chat_service.rate_limits import RateLimits, rate_limits
from ilab_chat_service.rpc import health
from ilab_chat_service.rpc.admission import Admission
from ilab_chat_service.rpc.chat import ChatService
from ilab_chat_service.rpc.connection_limit import most_connections, watch_connections
from ilab_chat_service.rpc.deadlines import Deadlines
from ilab_chat_service.rpc.error_table import REASONS
from ilab_chat_service.rpc.grpc_server import add_reflection, bind, connection_options, registered_methods_server
from ilab_chat_service.rpc.interceptors.auth import AuthInterceptor
from ilab_chat_service.rpc.interceptors.drain import RunningCalls
from ilab_chat_service.rpc.interceptors.layers import LayeredMethods
from ilab_chat_service.rpc.interceptors.log import CallLog
from ilab_chat_service.rpc.interceptors.status import mapped
from ilab_chat_service.rpc.memory import MemoryService
from ilab_chat_service.rpc.strangers import Strangers
from ilab_chat_service.rpc.transport import hang_up
from ilab_chat_service.sampling import Sampler, open_metrics, sampling
from ilab_chat_service.settings.addresses import socket_path, split_address
from ilab_chat_service.signals import signals
from ilab_chat_service.startup_summary import StartedServer, next_command, startup_block, startup_summary
from ilab_chat_service.store_damage import Damage
from ilab_chat_service.tasks import in_background
from ilab_chat_service.telemetry.logs import PLAIN, is_for_people
from ilab_chat_service.text_threads import TextThreads
from ilab_chat_service.tracing import open_traces
from ilab_chat_service.turn import TurnRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    import grpc
    import grpc.aio

    from ilab_chat_service.auth.certificates import Certificates
    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.ports import Clock, ResponseStore
    from ilab_chat_service.settings import Settings

log = logging.getLogger(__name__)
plain = logging.getLogger(PLAIN)

CHAT = "ilab_chat.v1.ChatService"
OUR_SERVICES = (CHAT, "ilab_chat.v1.MemoryService")

#: Our methods, by their names in the call record.
METHODS = [
    f"{service.full_name}/{method.name}"
    for file in (chat_pb2.DESCRIPTOR, memory_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
]

#: Names that health checks may ask for: the process, and each service.
HEALTH_NAMES = ("", *OUR_SERVICES)

#: Time for which a thread may hold the GIL while the event loop waits for it. A turn waits for the GIL dozens of times,
#: so Python's default of 5 ms slows all calls down by hundreds of milliseconds while a long text is indexed or
#: redacted.
SWITCH_SECONDS = 0.0005

#: Time for gRPC's own stop after our calls and health watches have ended. Reflection calls may still be open.
STOP_SECONDS = 0.5

#: Time for storing the last turns after gRPC has stopped.
STORE_SECONDS = 3.0


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends the process at once."""
    sys.setswitchinterval(SWITCH_SECONDS)
    stop, skip_propagation = asyncio.Event(), asyncio.Event()
    with signals(stop, skip_propagation):
        async with serving(settings, skip_propagation) as address:
            if is_for_people(settings.log_format):
                command = next_command(settings, address)
                plain.info("Ready. Ctrl-C stops.%s", " In another terminal:" if command else "")
                if command:
                    plain.info(command)
            else:
                log.info("serving on %s %s TLS", address, "with" if settings.tls_cert_file else "without")
            await stop.wait()
    plain.info("stopped")


async def run_worker(settings: Settings, number: int) -> None:
    """Serve as one of several workers. A line on standard output tells the supervisor that this worker serves.

    A second signal is ignored: it may be the first one again, sent to all processes and forwarded by the supervisor.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    stop, skip_propagation = asyncio.Event(), asyncio.Event()
    with signals(stop, skip_propagation, again=lambda _: None):
        async with serving(settings, skip_propagation, worker=number):
            print("serving", flush=True)  # noqa: T201 - the supervisor waits for this line
            await stop.wait()


def now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


@asynccontextmanager
async def serving(
    settings: Settings,
    skip_propagation: asyncio.Event | None = None,
    *,
    worker: int = 0,
    clock: Clock = now,
) -> AsyncIterator[str]:
    """Open everything, serve, log the start-up summary, and yield the address.

    *worker* is the number of this process if it is one of several: the first one logs the summary. *clock* dates what
    is stored and what a prompt says.

    The end of the block undoes this in reverse order: drain, close connections, stop gRPC, wait for turns that are
    being stored, close the model, close the memory. Setting *skip_propagation* ends the wait for health-checking
    clients.

    Raises:
        AddressUnavailable: an address cannot be bound.
        EmbeddedModelMissing: no model is configured, and the embedded model is not installed.
        StoreNotOpened: the memory cannot be opened.
        SettingsError: a setting is invalid, or a file or URL that it names.
    """
    async with AsyncExitStack() as stack:
        # Otherwise the first message in each language would block the event loop.
        loading = asyncio.create_task(asyncio.to_thread(message_statements.load))
        stack.push_async_callback(asyncio.wait, [loading])
        checks = health.HealthService(HEALTH_NAMES)
        is_ready = partial(checks.is_serving, CHAT)
        metrics, metrics_address = await stack.enter_async_context(
            open_metrics(settings, METHODS, REASONS, is_ready, worker=worker)
        )
        traces = await stack.enter_async_context(open_traces(settings))
        certificates = await asyncio.to_thread(tls, settings)
        callers = await stack.enter_async_context(open_authenticator(settings))
        damage, texts = Damage(), await stack.enter_async_context(TextThreads.open())
        embedder = await stack.enter_async_context(open_embedder(settings))
        library = await stack.enter_async_context(open_memory(settings, damage, clock, embedder))
        await stack.enter_async_context(embedding(library, embedder))
        responses = await stack.enter_async_context(open_idempotency_store(settings, clock, damage))
        memory = MemoryAdapter(library, responses, search_limit=settings.search_limit, queue_work=settings.consolidates)
        await stack.enter_async_context(in_background(retry_erasures(library)))
        await stack.enter_async_context(in_background(expire_observations(library, settings.retention_by_type)))
        await stack.enter_async_context(watching(settings, library, damage, checks))
        model = await stack.enter_async_context(open_model(settings))
        turns = TurnRunner(
            memory=memory,
            model=model,
            responses=responses,
            repeatable=TurnCall,
            clock=clock,
            instruction=settings.instruction,
            quotes=texts.quotes,
            redact=texts.redacted,
            compose_on_thread=texts.composed,
            memory_tokens=settings.memory_tokens,
            limits=RateLimits(rate_limits(settings), clock),
            escape_message=settings.escape_message,
        )
        calls, logs = RunningCalls(), CallLog(settings.log_key, metrics, traces)
        models = {"chat": model}
        consolidator = None
        if settings.consolidates:
            asked = partial(metrics.model_used, purpose="consolidation") if metrics else None
            consolidator, models["consolidation"] = await stack.enter_async_context(
                open_consolidator(settings, library, model, clock, hashed=logs.keyed_hash, asked=asked, traces=traces)
            )
        strangers = stack.enter_context(Strangers())
        auth = AuthInterceptor(callers, strangers)
        server = registered_methods_server(
            (LayeredMethods(logs.logged, mapped, calls.tracked, auth.authenticated), auth),
            [*connection_options(settings).items()],
            strangers,
        )
        chats, memories = admission(settings), MemoryService(library, responses)
        chat = ChatService(turns, deadlines(settings), chats, heartbeat_seconds=settings.heartbeat_seconds)
        await stack.enter_async_context(in_background(chat.streams.watch()))
        damage.on_found(checks.failed)
        add_services(server, chat, memories, checks)
        stack.push_async_callback(finish_writes, turns, library)
        if metrics:
            sampler = Sampler(
                metrics=metrics,
                admissions={"chat": chats, **memories.admissions},
                library=library,
                models=models,
                consolidator=consolidator,
                strangers=strangers,
                is_ready=is_ready,
                certificate_expiry=certificates.expiry if certificates else None,
            )
            await stack.enter_async_context(sampling(sampler))
        await loading
        address = await listen(server, settings, certificates, strangers)
        stack.push_async_callback(server.stop, STOP_SECONDS)
        stack.push_async_callback(asyncio.to_thread, hang_up, socket_path(address) or strangers.port)
        stack.push_async_callback(drain, settings, skip_propagation or asyncio.Event(), checks, calls, strangers)
        if consolidator:
            # When the drain begins.
            stack.callback(consolidator.stop)
        checks.serving(is_serving=True)
        if worker <= 1:
            announce(
                StartedServer(
                    settings=settings,
                    address=address,
                    memory=library.place,
                    models=model.names,
                    metrics=metrics_address,
                    traces=traces is not None,
                    embedder=embedder.id if embedder else None,
                ),
            )
        yield address


@asynccontextmanager
async def watching(
    settings: Settings, library: MemoryExecutor, damage: Damage, checks: health.HealthService
) -> AsyncIterator[None]:
    """While the block runs, set the health of our services in *checks* from the state of a memory in a file.

    Log when connections are refused.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(in_background(watch_connections(most_connections(settings))))
        if not library.is_checked:
            await stack.enter_async_context(in_background(check_integrity(library, damage)))
        if not settings.memory_url:
            await stack.enter_async_context(in_background(watch_memory(library, damage.failures, checks.available)))
        yield


async def listen(
    server: grpc.aio.Server, settings: Settings, certificates: Certificates | None, strangers: Strangers
) -> str:
    """Start *server* and return its address.

    Raises:
        AddressUnavailable: the address cannot be bound.
    """
    address = await bind(server, settings.address, certificates.credentials if certificates else None)
    strangers.port = 0 if socket_path(address) else split_address(address)[1]
    await server.start()
    return address


def add_services(
    server: grpc.aio.Server, chat: ChatService, memories: MemoryService, checks: health.HealthService
) -> None:
    """Add every service that *server* offers."""
    chat_pb2_grpc.add_ChatServiceServicer_to_server(chat, server)
    memory_pb2_grpc.add_MemoryServiceServicer_to_server(memories, server)
    checks.add_to(server)
    add_reflection(server, (*OUR_SERVICES, health.NAME))


def announce(started: StartedServer) -> None:
    """Log the configuration, and a warning for each setting without effect."""
    settings = started.settings
    for line in (startup_block if is_for_people(settings.log_format) else startup_summary)(started):
        plain.info(line)
    if settings.embedded and settings.openai_model:
        log.warning("OPENAI_MODEL is ignored: neither OPENAI_API_KEY nor OPENAI_BASE_URL is set")


def tls(settings: Settings) -> Certificates | None:
    """Return the certificates of the listener. None: plaintext.

    Raises:
        SettingsError: a file cannot be read or is invalid.
    """
    if not settings.tls_cert_file:
        return None
    from ilab_chat_service.auth.certificates import server_certificates  # noqa: PLC0415 - slow to import

    return server_certificates(settings)


def open_idempotency_store(
    settings: Settings, clock: Clock = now, damage: Damage | None = None
) -> AbstractAsyncContextManager[ResponseStore]:
    """Return a context manager that opens the idempotency store, next to the memory."""
    if not settings.memory_url:
        return open_sqlite_store(settings.memory_db_path, clock, damage)
    from ilab_chat_service.idempotency import postgres  # noqa: PLC0415 - optional: extra `postgres`

    return postgres.open_postgres_store(settings.memory_url, clock)


def deadlines(settings: Settings) -> Deadlines:
    """Return the time limits of the chat methods."""
    return Deadlines(
        default=settings.default_deadline_seconds,
        maximum=settings.max_deadline_seconds,
        reserve=settings.persist_reserve_seconds,
    )


def admission(settings: Settings) -> Admission:
    """Return the admission control of the chat methods."""
    return Admission(
        running=settings.max_calls,
        queued=settings.max_queued_calls,
        per_user=settings.max_calls_per_user,
        wait_seconds=settings.queue_seconds,
    )


async def drain(
    settings: Settings,
    skip_propagation: asyncio.Event,
    checks: health.HealthService,
    calls: RunningCalls,
    strangers: Strangers,
) -> None:
    """End all calls. Calls that can finish in time do not fail, and neither do those of clients that check health."""
    plain.info(
        "draining: %s %s running, at most %g s; Ctrl-C again stops now",
        calls.running or "no",
        "call" if calls.running == 1 else "calls",
        settings.drain_seconds,
    )
    checks.serving(is_serving=False)
    with suppress(TimeoutError):
        # Clients keep sending calls until they see the new health status, and these are answered.
        await asyncio.wait_for(skip_propagation.wait(), settings.propagation_seconds)
    await calls.drain(settings.drain_seconds)
    await checks.end()
    await calls.end()
    strangers.drop()


async def finish_writes(turns: TurnRunner, library: MemoryExecutor) -> None:
    """Wait until running turns are stored. Fail turns that hang on a lock, a disk or a standby."""
    try:
        async with asyncio.timeout(STORE_SECONDS):
            await turns.finish_writes()
    except TimeoutError:
        log.warning("not all turns were stored within %g s; closing the memory", STORE_SECONDS)
        await library.close()
        await turns.finish_writes()
