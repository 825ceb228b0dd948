"""The metrics port: what a scrape shows of calls, models, memory and processes, and what it never shows."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import metrics
from certificates import Authority
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError, read
from ilab_chat_service.telemetry.metrics import PREFIX
from metrics import Scrape
from processes import ServerProcess, run_server, running_server
from upstream import Reply, Upstream

CHAT, STREAM = "ilab_chat.v1.ChatService/Chat", "ilab_chat.v1.ChatService/StreamChat"
SAVE = "ilab_chat.v1.MemoryService/SaveObservation"
CONNECTIONS = 16
DOCUMENTED = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


@dataclass(frozen=True)
class Observed:
    """A server in this process, with its metrics."""

    chat: Any
    memory: Any
    url: str

    async def scrape(self) -> Scrape:
        return await asyncio.to_thread(Scrape, self.url)

    async def until(self, holds: Any) -> Scrape:
        return await asyncio.to_thread(metrics.until, self.url, holds)

    async def fetch(self, page: str) -> tuple[int, str]:
        return await asyncio.to_thread(metrics.fetch, self.url.replace("/metrics", page))


@pytest.fixture
async def observed(
    settings: Settings, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> AsyncIterator[Observed]:
    caplog.set_level(logging.INFO)
    changed = replace(settings, metrics_address="127.0.0.1:0", **getattr(request, "param", {}))
    async with serving(changed) as address, grpc.aio.insecure_channel(address) as channel:
        url = metrics.url_in(caplog.messages)
        yield Observed(chat_pb2_grpc.ChatServiceStub(channel), memory_pb2_grpc.MemoryServiceStub(channel), url)


def ask(message: str = "Hi", **fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(**{"user_id": "alice", "message": message} | fields)


def stream(**fields: Any) -> chat_pb2.StreamChatRequest:
    return chat_pb2.StreamChatRequest(**{"user_id": "alice", "message": "Hi"} | fields)


async def test_answered_call_is_counted_with_its_phases(observed: Observed) -> None:
    await observed.chat.Chat(ask("My name is Alice", request_id="r-1"))
    await observed.chat.Chat(ask("What is my name?"))
    await observed.chat.Chat(ask("My name is Alice", request_id="r-1"))
    scrape = await observed.scrape()
    assert scrape.value("ilab_chat_rpc_duration_seconds_count", method=CHAT, code="OK") == 3
    assert scrape.value("ilab_chat_rpc_in_flight", method=CHAT) == 0
    assert scrape.value("ilab_chat_idempotent_replays_total", method=CHAT) == 1
    assert scrape.value("ilab_chat_admission_wait_seconds_count", method=CHAT) == 3
    used = {"model": "test-model", "purpose": "chat"}
    assert scrape.value("ilab_chat_model_requests_total", outcome="OK", **used) == 2
    assert scrape.value("ilab_chat_model_duration_seconds_count", **used) == 2
    assert scrape.value("ilab_chat_model_time_to_first_token_seconds_count", model="test-model") == 2
    assert scrape.value("ilab_chat_model_tokens_total", type="input", **used) == 40
    assert scrape.value("ilab_chat_model_tokens_total", type="output", **used) == 10
    assert scrape.value("ilab_chat_memory_hydrate_seconds_count") == 2
    assert scrape.value("ilab_chat_memory_persist_seconds_count") == 2
    assert scrape.value("ilab_chat_memory_hits_total", source="turn") == 1
    assert scrape.value("ilab_chat_rpc_errors_total") == 0


@pytest.mark.parametrize("observed", [{"max_calls_per_user": 1, "model_retries": 1}], indirect=True)
async def test_failed_calls_are_counted_by_reason_and_limit(observed: Observed, upstream: Upstream) -> None:
    upstream.replies(Reply(status=503, headers={"retry-after": "0.01"}), Reply(status=400), Reply(hold_before=1))
    for request in (ask(), ask(user_id="")):
        with pytest.raises(grpc.aio.AioRpcError):
            await observed.chat.Chat(request)
    running = observed.chat.StreamChat(stream())
    await running.read()
    with pytest.raises(grpc.aio.AioRpcError):
        await observed.chat.Chat(ask())
    scrape = await observed.scrape()
    errors = partial(scrape.value, "ilab_chat_rpc_errors_total", method=CHAT)
    assert errors(reason="INVALID_FIELD") == errors(reason="SERVER_BUSY") == 1
    assert scrape.value("ilab_chat_admission_refused_total", method=CHAT, limit="user") == 1
    requests = partial(scrape.value, "ilab_chat_model_requests_total", purpose="chat")
    assert (requests(outcome="HTTP_503"), requests(outcome="HTTP_400")) == (1, 1)
    running.cancel()


async def test_running_stream_is_in_flight_and_a_cancelled_one_is_not(observed: Observed, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    call = observed.chat.StreamChat(stream())
    await call.read()
    scrape = await observed.until(lambda scrape: scrape.value("ilab_chat_admission_running", kind="chat"))
    assert scrape.value("ilab_chat_rpc_in_flight", method=STREAM) == 1
    call.cancel()
    scrape = await observed.until(lambda scrape: not scrape.value("ilab_chat_admission_running", kind="chat"))
    assert scrape.value("ilab_chat_rpc_in_flight", method=STREAM) == 0
    assert scrape.value("ilab_chat_rpc_duration_seconds_count", method=STREAM, code="CANCELLED") == 1
    assert scrape.value("ilab_chat_rpc_errors_total", method=STREAM, reason="CANCELLED") == 1
    assert scrape.value("ilab_chat_model_time_to_first_token_seconds_count") == 1
    assert scrape.value("ilab_chat_model_tokens_total") == 0


async def test_open_breaker_is_shown(observed: Observed, upstream: Upstream) -> None:
    upstream.replies(*[Reply(status=503)] * 5)
    assert (await observed.scrape()).value("ilab_chat_model_breaker_open", model="test-model", purpose="chat") == 0
    for number in range(5):
        with pytest.raises(grpc.aio.AioRpcError):
            await observed.chat.Chat(ask(user_id=f"user-{number}"))
    await observed.until(lambda scrape: scrape.value("ilab_chat_model_breaker_open", model="test-model") == 1)


@pytest.mark.parametrize("observed", [{"consolidation": "on", "consolidation_turns": 1}], indirect=True)
async def test_consolidation_is_shown_with_its_tokens(observed: Observed, upstream: Upstream) -> None:
    upstream.replies(Reply(), Reply(pieces=('{"operations": [], "summaries": []}',)))
    await observed.chat.Chat(ask())
    scrape = await observed.until(lambda scrape: scrape.value("ilab_chat_consolidation_events_total", event="calls"))
    used = {"model": "test-model", "purpose": "consolidation"}
    assert scrape.value("ilab_chat_model_requests_total", **used) == 1
    assert scrape.value("ilab_chat_model_tokens_total", **used) == 25
    assert scrape.value("ilab_chat_model_duration_seconds_count", **used) == 1


@pytest.mark.parametrize("observed", [{"consolidation": "on"}], indirect=True)
async def test_counters_with_known_labels_begin_at_zero(observed: Observed) -> None:
    """An alert by increase() misses the first event of a series that begins with it."""
    series = (await observed.scrape()).series
    used = (("model", "test-model"), ("purpose", "chat"))
    for name, labels in (
        ("rpc_errors_total", (("method", SAVE), ("reason", "INTERNAL"))),
        ("rpc_errors_total", (("method", CHAT), ("reason", "MODEL_UNAVAILABLE"))),
        ("rpc_errors_total", (("method", STREAM), ("reason", "CANCELLED"))),
        ("admission_refused_total", (("limit", "queue"), ("method", CHAT))),
        ("rate_limited_total", (("limit", "user_turns_per_day"), ("method", STREAM))),
        ("idempotent_replays_total", (("method", SAVE),)),
        ("model_requests_total", (used[0], ("outcome", "HTTP_503"), used[1])),
        ("model_tokens_total", (*used, ("type", "input"))),
        ("consolidation_events_total", (("event", "dead"),)),
    ):
        assert series[f"ilab_chat_{name}", labels] == 0
    assert ("ilab_chat_rpc_errors_total", (("method", SAVE), ("reason", "MODEL_UNAVAILABLE"))) not in series


async def test_replayed_write_of_the_memory_is_counted(observed: Observed) -> None:
    save = memory_pb2.SaveObservationRequest(
        user_id="alice", content="c", title="t", type="discovery", request_id="r-1"
    )
    for _ in range(2):
        await observed.memory.SaveObservation(save)
    scrape = await observed.scrape()
    assert scrape.value("ilab_chat_rpc_duration_seconds_count", method=SAVE, code="OK") == 2
    assert scrape.value("ilab_chat_idempotent_replays_total", method=SAVE) == 1


async def test_sizes_limits_and_versions_are_known_from_the_start(observed: Observed, settings: Settings) -> None:
    scrape = await observed.until(lambda scrape: scrape.value("ilab_chat_ready"))
    assert scrape.value("ilab_chat_store_size_bytes") >= await asyncio.to_thread(
        os.path.getsize, settings.memory_db_path
    )
    assert scrape.value("ilab_chat_store_pool_size", pool="read") == 8
    assert scrape.value("ilab_chat_admission_limit", kind="chat") == settings.max_calls
    assert scrape.value("ilab_chat_erasures_pending") == 0
    assert 0 < scrape.value("ilab_chat_process_open_fds") < scrape.value("ilab_chat_process_max_fds")
    assert scrape.value("ilab_chat_process_cpu_seconds_total") > 0
    assert scrape.value("ilab_chat_process_resident_memory_bytes") > 1e6
    [build] = scrape.labels("ilab_chat_build_info")
    assert build["grpcio"] == grpc.__version__
    # There is no certificate: 0 would look like one that has expired.
    assert not scrape.labels("ilab_chat_tls_certificate_not_after_timestamp_seconds")


async def test_expiry_of_the_certificate_is_shown(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    certificate, key = Authority().server().write(tmp_path, "server")
    changed = replace(settings, metrics_address="127.0.0.1:0", tls_cert_file=certificate, tls_key_file=key)
    async with serving(changed):
        scrape = await asyncio.to_thread(Scrape, metrics.url_in(caplog.messages))
    assert scrape.value("ilab_chat_tls_certificate_not_after_timestamp_seconds") > 1e9


async def test_callers_create_no_series_and_no_text_is_shown(observed: Observed, upstream: Upstream) -> None:
    async def talk(number: int) -> None:
        fields: dict[str, Any] = {"user_id": f"SECRET-user-{number}", "request_id": f"SECRET-request-{number}"}
        message = f"My name is SECRET-{number}"
        await observed.chat.Chat(ask(message, generation={"model": f"SECRET-model-{number}"}, **fields))
        with pytest.raises(grpc.aio.AioRpcError):
            await observed.chat.Chat(ask(message, generation={"temperature": 99}, **fields))
        call = observed.chat.StreamChat(stream(message=message, conversation_id=f"SECRET-{number}", user_id="SECRET"))
        assert [event async for event in call]
        with pytest.raises(grpc.aio.AioRpcError):
            await observed.memory.GetObservation(
                memory_pb2.GetObservationRequest(user_id=f"SECRET-{number}", observation_id=number + 1)
            )

    upstream.otherwise = lambda _: Reply(pieces=("SECRET reply",))
    await talk(0)
    # In the second round a search finds turns of the first.
    await talk(1)
    before = set((await observed.scrape()).series)
    for number in range(2, 22):
        await talk(number)
    scrape = await observed.scrape()
    assert set(scrape.series) == before
    assert scrape.value("ilab_chat_model_requests_total", model="other") == 22
    assert "SECRET" not in scrape.text
    assert len(before) < 1000


async def test_every_series_is_documented_with_its_labels(observed: Observed) -> None:
    await observed.chat.Chat(ask())
    for name, labels in (await observed.scrape()).series:
        family = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        [row] = [line for line in DOCUMENTED.splitlines() if line.startswith(f"| `{family}` |")]
        assert all(f"`{label}`" in row for label, _ in labels if label != "le")
        assert name.startswith(PREFIX)


async def test_formats_pages_and_probes(observed: Observed) -> None:
    assert await observed.fetch("/livez") == (200, "ok\n")
    assert await observed.fetch("/readyz") == (200, "ok\n")
    assert (await observed.fetch("/"))[0] == 404
    _, text = await asyncio.to_thread(metrics.fetch, observed.url, accept="application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_probes_follow_the_drain(tmp_path: Path, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    with running_server(**variables(tmp_path, upstream, workers=1)) as server:
        base = metrics.url_of(server).removesuffix("/metrics")
        assert metrics.fetch(f"{base}/readyz") == (200, "ok\n")
        with grpc.insecure_channel(server.address) as channel:
            call = chat_pb2_grpc.ChatServiceStub(channel).Chat.future(ask())
            assert upstream.wait_for(1).held.wait(10)
            server.process.send_signal(signal.SIGTERM)
            server.read_until("draining")
            metrics.wait_for(lambda: metrics.fetch(f"{base}/readyz") == (503, "service unavailable\n"))
            assert metrics.fetch(f"{base}/livez") == (200, "ok\n")
            upstream.release()
            assert call.result(timeout=30).reply
        assert server.wait() == 0


async def test_connections_beyond_the_limit_are_closed_and_silent_ones_do_no_harm(observed: Observed) -> None:
    host, port = observed.url.split("/")[2].split(":")

    def crowd() -> bytes:
        with ExitStack() as stack:
            silent = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(17)]
            silent[-1].settimeout(10)
            return silent[-1].recv(1)

    assert await asyncio.to_thread(crowd) == b""
    await observed.scrape()


def test_metrics_are_off_by_default(tmp_path: Path, upstream: Upstream) -> None:
    with running_server(ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"), OPENAI_BASE_URL=upstream.base_url) as server:
        assert "metrics: off" in "".join(server.log)
        assert server.stop() == 0


@pytest.mark.parametrize("address", ["9464", "::1:9464", "host:port"])
def test_invalid_address_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="ILAB_CHAT_METRICS_ADDRESS: must be HOST:PORT"):
        read({"ILAB_CHAT_METRICS_ADDRESS": address})


@pytest.mark.parametrize("workers", [1, 2])
def test_address_in_use_ends_the_start(tmp_path: Path, upstream: Upstream, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run_server(
            "--address",
            "127.0.0.1:0",
            **variables(tmp_path, upstream, workers) | {"ILAB_CHAT_METRICS_ADDRESS": address},
        )
    assert ended.returncode == 1
    assert f"cannot listen on {address}" in ended.stderr


# Several workers


def variables(tmp_path: Path, upstream: Upstream, workers: int = 2) -> dict[str, str]:
    return {
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": upstream.base_url,
        "ILAB_CHAT_WORKERS": str(workers),
        "ILAB_CHAT_METRICS_ADDRESS": "127.0.0.1:0",
    }


@pytest.fixture
def workers(tmp_path: Path, upstream: Upstream) -> Iterator[ServerProcess]:
    with running_server(**variables(tmp_path, upstream)) as server:
        yield server


def talk_on_all_connections(server: ServerProcess) -> None:
    """Send calls on enough connections for both workers to get some."""
    for number in range(CONNECTIONS):
        options = [("grpc.use_local_subchannel_pool", 1), ("number", number)]
        with grpc.insecure_channel(server.address, options) as channel:
            chat_pb2_grpc.ChatServiceStub(channel).Chat(ask(user_id=f"user-{number}"), timeout=60)


def folders() -> set[Path]:
    return set(Path("/dev/shm").glob("ilab-chat-metrics-*"))


def test_one_page_shows_the_sum_of_all_workers(workers: ServerProcess) -> None:
    url = metrics.url_of(workers)
    talk_on_all_connections(workers)
    answered = partial(Scrape.value, name="ilab_chat_rpc_duration_seconds_count", method=CHAT, code="OK")
    scrape = metrics.until(url, lambda scrape: scrape.value("ilab_chat_ready") and answered(scrape) == CONNECTIONS)
    assert scrape.value("ilab_chat_model_tokens_total", type="output") == 5 * CONNECTIONS
    assert scrape.value("ilab_chat_admission_limit", kind="chat") == 512
    assert len(scrape.labels("ilab_chat_build_info")) == len(scrape.labels("ilab_chat_store_size_bytes")) == 1
    assert scrape.value("ilab_chat_store_size_bytes") > 0
    assert scrape.families["ilab_chat_rpc_duration_seconds"].type == "histogram"
    assert not [labels for _, labels in scrape.series if "pid" in dict(labels)]
    assert metrics.fetch(url.replace("metrics", "readyz")) == (200, "ok\n")
    assert metrics.fetch(url.replace("metrics", "livez")) == (200, "ok\n")


def test_counters_survive_a_killed_worker_and_its_gauges_do_not(workers: ServerProcess, upstream: Upstream) -> None:
    url = metrics.url_of(workers)
    talk_on_all_connections(workers)
    upstream.replies(*[Reply(hold_before=1)] * CONNECTIONS)
    in_flight = partial(Scrape.value, name="ilab_chat_rpc_in_flight")
    with ExitStack() as channels:
        calls = []
        for number in range(CONNECTIONS):
            options = [("grpc.use_local_subchannel_pool", 1), ("number", number)]
            channel = channels.enter_context(grpc.insecure_channel(workers.address, options))
            # Referenced, because a call that nobody refers to is cancelled.
            calls.append(chat_pb2_grpc.ChatServiceStub(channel).Chat.future(ask(user_id=f"user-{number}")))
        metrics.until(url, lambda scrape: in_flight(scrape) == CONNECTIONS)
        _, second = workers.workers()
        os.kill(second, signal.SIGKILL)
        workers.read_until(r"worker 2 \(process \d+\) is serving")
        scrape = metrics.until(url, lambda scrape: scrape.value("ilab_chat_admission_limit", kind="chat") == 512)
        assert 0 < in_flight(scrape) < CONNECTIONS
    assert scrape.value("ilab_chat_worker_restarts_total") == 1
    assert scrape.value("ilab_chat_rpc_duration_seconds_count", method=CHAT, code="OK") == CONNECTIONS


def test_files_of_the_workers_are_allocated_and_removed(tmp_path: Path, upstream: Upstream) -> None:
    others = folders()
    with running_server(**variables(tmp_path, upstream)) as server:
        [folder] = folders() - others
        # A page of a mapped file that cannot be allocated ends the process with SIGBUS.
        files = [file.stat() for file in folder.iterdir()]
        assert len(files) == 12
        assert all(file.st_blocks * 512 >= file.st_size > 0 for file in files)
        talk_on_all_connections(server)
        assert {file.stat().st_size for file in folder.iterdir()} == {file.st_size for file in files}
        assert server.stop() == 0
        assert not folder.exists()


def test_scrapes_do_not_wait_for_the_event_loop(observed: Observed) -> None:
    """The page is made on a thread; only /livez asks the event loop."""
    assert threading.current_thread() is threading.main_thread()
    # The fixture's event loop is not running while this synchronous test runs.
    scrape = Scrape(observed.url)
    assert scrape.value("ilab_chat_admission_limit", kind="chat")
    assert metrics.fetch(observed.url.replace("metrics", "readyz"))[0] == 200
    assert metrics.fetch(observed.url.replace("metrics", "livez"))[0] == 503
