"""Envoy and HAProxy in front of two servers, with the configurations of deploy/."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import upstream as fake
from callers import CALLS, USER, Callers
from client.terminal import Finished, run
from contract.process import BIN, ROOT
from faults.stage import reserved_port
from ilab_chat import ChatClient, ChatError, InvalidArgument
from processes import ServerProcess, running_server
from upstream import Reply

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")

#: No wheel of HAProxy exists, so its example is tested only where it is installed.
BALANCERS = [
    "envoy",
    pytest.param("haproxy", marks=pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed")),
]


@contextmanager
def running_balancer(name: str, folder: Path, first: str, second: str, idle: str = "610s") -> Iterator[str]:
    """Run a balancer in front of two servers; return its address. It ends streams that are silent for *idle*."""
    start = {"envoy": running_envoy, "haproxy": running_haproxy}[name]
    with start(folder, first, second, idle) as address:
        yield address


@contextmanager
def running_envoy(folder: Path, first: str, second: str, idle: str) -> Iterator[str]:
    with reserved_port() as port:
        replaced = {
            "port_value: 50051": f"port_value: {port}",
            "port_value: 50061": f"port_value: {port_of(first)}",
            "port_value: 50062": f"port_value: {port_of(second)}",
            " 610s": f" {idle}",
        }
        configuration = edited(ROOT / "deploy/envoy.yaml", folder, replaced)
        command: list[str | Path] = [BIN / "envoy", "-c", configuration, "--concurrency", "1", "--disable-hot-restart"]
        with running(command, os.environ) as envoy:
            # Its listeners are open only then; the main loop starts before the servers are known to be healthy.
            envoy.read_until("all dependencies initialized. starting workers")
            yield f"127.0.0.1:{port}"


@contextmanager
def running_haproxy(folder: Path, first: str, second: str, idle: str) -> Iterator[str]:
    assert HAPROXY
    configuration = edited(ROOT / "deploy/haproxy.cfg", folder, {" 610s": f" {idle}"})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor = listening.fileno()
        variables = {
            "ILAB_CHAT_BIND": f"fd@{descriptor}",
            "ILAB_CHAT_FIRST": first,
            "ILAB_CHAT_SECOND": second,
        }
        with running([HAPROXY, "-db", "-f", configuration], os.environ | variables, descriptor):
            yield "{}:{}".format(*listening.getsockname())


@contextmanager
def running(command: list[str | Path], env: Mapping[str, str], *descriptors: int) -> Iterator[ServerProcess]:
    with subprocess.Popen(
        command, env=env, pass_fds=descriptors, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        balancer = ServerProcess(process, process.stderr)
        try:
            yield balancer
        finally:
            process.kill()
            balancer.wait()


def edited(example: Path, folder: Path, replaced: Mapping[str, str]) -> Path:
    """Return a copy of an example with these texts replaced, each of which it must contain."""
    text = example.read_text()
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    copy = folder / example.name
    copy.write_text(text)
    return copy


def port_of(address: str) -> str:
    return address.rpartition(":")[2]


@dataclass(frozen=True)
class Proxied:
    """A balancer, two servers that ask for models of their own names, and the API of the models."""

    address: str
    first: ServerProcess
    upstream: fake.Upstream


@pytest.fixture(scope="module", params=BALANCERS)
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with ExitStack() as running, ThreadPoolExecutor() as threads:
        upstream = running.enter_context(fake.running())
        folder = tmp_path_factory.mktemp("proxied")

        def start(name: str) -> ServerProcess:
            return running.enter_context(
                running_server(
                    ILAB_CHAT_PROPAGATION_SECONDS="3",
                    ILAB_CHAT_MAX_CALLS_PER_USER="64",
                    ILAB_MEMORY_DB_PATH=str(folder / "memory.db"),
                    OPENAI_BASE_URL=upstream.base_url,
                    OPENAI_MODEL=name,
                )
            )

        first, second = threads.map(start, ("first", "second"))
        balancer = running_balancer(request.param, folder, first.address, second.address)
        yield Proxied(running.enter_context(balancer), first, upstream)


def test_balancer_passes_errors_streams_and_metadata_unchanged(proxied: Proxied) -> None:
    with ChatClient(proxied.address) as client:
        with pytest.raises(InvalidArgument) as refused:
            client.chat("", "hi")
        assert refused.value.reason == "INVALID_FIELD"
        assert [violation.field for violation in refused.value.field_violations] == ["user_id"]
        assert "x-correlation-id" in dict(refused.value.trailing_metadata)

        proxied.upstream.replies(Reply(hold_before=1))
        with client.stream_chat("bob", "hi") as stream:
            assert next(stream.text) == "Hello"
            proxied.upstream.release()
            assert "".join(stream.text) == " there."

        proxied.upstream.replies(Reply(cut_before=1))
        with pytest.raises(ChatError) as broken, client.stream_chat("bob", "hi") as stream:
            assert list(stream.text) == ["Hello"]
        assert (broken.value.code.name, broken.value.reason) == ("ABORTED", "MODEL_INTERRUPTED")


@pytest.mark.parametrize("balancer", BALANCERS)
def test_heartbeats_keep_a_stream_open_that_it_would_end_as_idle(balancer: str, tmp_path: Path) -> None:
    with (
        fake.running() as upstream,
        running_server(
            ILAB_CHAT_HEARTBEAT_SECONDS="0.3",
            ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
            OPENAI_BASE_URL=upstream.base_url,
        ) as server,
        running_balancer(balancer, tmp_path, server.address, server.address, idle="3s") as address,
        ChatClient(address) as client,
    ):
        upstream.replies(Reply(hold_before=1))
        with client.stream_chat("bob", "hi") as stream:
            heartbeats = 0
            for event in stream:
                heartbeats += event.HasField("heartbeat")
                # Of 0.3 s each: longer than the balancer waits.
                if heartbeats == 14:
                    upstream.release()
        assert stream.response.reply == "Hello there."


async def test_a_server_behind_it_is_drained_and_no_call_fails(proxied: Proxied) -> None:
    callers = Callers(proxied.address, proxied.upstream)
    try:
        await callers.burst_until("first", "second")
        assert await callers.burst() == {"first": 2 * CALLS, "second": 2 * CALLS}
        await callers.burst_while(asyncio.create_task(asyncio.to_thread(proxied.first.stop)))
        assert proxied.first.process.returncode == 0
        assert not any("SERVER_DRAINING" in line for line in proxied.first.log), "a health check must notice first"
        assert await callers.burst() == {"second": 4 * CALLS}
        assert (await callers.aio.memory.stats(USER)).observations == callers.turns
    finally:
        await callers.close()
    assert await run("health", "--address", proxied.address) == Finished(0, "SERVING\n", "")
