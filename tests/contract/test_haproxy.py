"""HAProxy in front of two servers, with the configuration of deploy/."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import upstream as fake
from callers import CALLS, USER, Callers
from client.terminal import Finished, run
from contract.process import ROOT
from ilab_chat import ChatClient, ChatError, InvalidArgument
from processes import ServerProcess, running_server
from upstream import Reply

CONFIGURATION = ROOT / "deploy/haproxy.cfg"


@contextmanager
def running_haproxy(first: str, second: str, configuration: Path = CONFIGURATION) -> Iterator[ServerProcess]:
    """Run HAProxy in front of two servers, on a free port."""
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "HAProxy is missing, which tests need: install Debian's package `haproxy`"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        variables = {
            "ILAB_CHAT_BIND": f"fd@{listening.fileno()}",
            "ILAB_CHAT_FIRST": first,
            "ILAB_CHAT_SECOND": second,
        }
        with subprocess.Popen(
            [program, "-db", "-f", configuration],
            env=os.environ | variables,
            pass_fds=[listening.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            haproxy = ServerProcess(process)
            haproxy.address = "{}:{}".format(*listening.getsockname())
            try:
                yield haproxy
            finally:
                process.kill()
                haproxy.wait()


@dataclass(frozen=True)
class Proxied:
    """HAProxy, two servers that ask for models of their own names, and the API of the models."""

    address: str
    first: ServerProcess
    upstream: fake.Upstream


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with ExitStack() as running, ThreadPoolExecutor() as threads:
        upstream = running.enter_context(fake.running())
        memory = tmp_path_factory.mktemp("proxied") / "memory.db"

        def start(name: str) -> ServerProcess:
            return running.enter_context(
                running_server(
                    ILAB_CHAT_PROPAGATION_SECONDS="3",
                    ILAB_CHAT_MAX_CALLS_PER_USER="64",
                    ILAB_MEMORY_DB_PATH=str(memory),
                    OPENAI_BASE_URL=upstream.base_url,
                    OPENAI_MODEL=name,
                )
            )

        first, second = threads.map(start, ("first", "second"))
        haproxy = running.enter_context(running_haproxy(first.address, second.address))
        yield Proxied(haproxy.address, first, upstream)


def test_what_is_said_passes_as_it_is(proxied: Proxied) -> None:
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


def test_heartbeats_keep_a_stream_that_it_would_take_for_idle(tmp_path: Path) -> None:
    impatient = tmp_path / "haproxy.cfg"
    impatient.write_text(CONFIGURATION.read_text().replace(" 610s", " 3s"))
    with (
        fake.running() as upstream,
        running_server(
            ILAB_CHAT_HEARTBEAT_SECONDS="0.3",
            ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
            OPENAI_BASE_URL=upstream.base_url,
        ) as server,
        running_haproxy(server.address, server.address, impatient) as haproxy,
        ChatClient(haproxy.address) as client,
    ):
        upstream.replies(Reply(hold_before=1))
        with client.stream_chat("bob", "hi") as stream:
            heartbeats = 0
            for event in stream:
                heartbeats += event.HasField("heartbeat")
                # Of 0.3 s each: longer than HAProxy waits.
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
        assert not any("SERVER_DRAINING" in line for line in proxied.first.log), "the check had told HAProxy before"
        assert await callers.burst() == {"second": 4 * CALLS}
        assert (await callers.aio.memory.stats(USER)).observations == callers.turns
    finally:
        await callers.close()
    assert await run("health", "--address", proxied.address) == Finished(0, "SERVING\n", "")
