"""Several workers act as one server for clients and operators."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from processes import WORKER, ServerProcess, run_server, running_server
from upstream import Reply, Upstream, running

#: Enough connections for both workers to get some: all go to one worker once in 32,768 runs.
CONNECTIONS = 16
ESTABLISHED = "01"


def variables(tmp_path: Path, upstream: Upstream, workers: int = 2) -> dict[str, str]:
    return {
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": upstream.base_url,
        "ILAB_CHAT_WORKERS": str(workers),
    }


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that the tests leave as it is: its start takes seconds."""
    with running() as upstream, running_server(**variables(tmp_path_factory.mktemp("workers"), upstream)) as server:
        yield server
        assert server.stop() == 0


@contextmanager
def stubs(server: ServerProcess, count: int = CONNECTIONS) -> Iterator[list[Any]]:
    """Yield stubs, each with its own connection."""
    with ExitStack() as channels:
        options = [("grpc.use_local_subchannel_pool", 1)]
        yield [
            chat_pb2_grpc.ChatServiceStub(
                channels.enter_context(grpc.insecure_channel(server.address, [*options, ("number", number)]))
            )
            for number in range(count)
        ]


def say(stub: Any, message: str = "Hi", request_id: str = "") -> chat_pb2.ChatResponse:
    request = chat_pb2.ChatRequest(user_id="alice", message=message, request_id=request_id)
    response: chat_pb2.ChatResponse = stub.Chat(request, timeout=60)
    return response


def connections(pid: int, address: str) -> int:
    """Return the number of connections to *address* that the process has."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for line in chain(*tables)]
    ours = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] == ESTABLISHED}
    return sum(str(link.readlink()) in ours for link in Path(f"/proc/{pid}/fd").iterdir())


def wait_for_the_end(pid: int) -> None:
    """Wait until a process that is not our child is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30)[0], f"process {pid} is still running"
    finally:
        os.close(descriptor)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_two_workers_share_a_port_and_the_memory(tmp_path: Path, upstream: Upstream) -> None:
    with running_server(**variables(tmp_path, upstream)) as server:
        with stubs(server) as callers:
            answers = [say(each, f"Hi {number}") for number, each in enumerate(callers)]
            assert all(connections(pid, server.address) for pid in server.workers())
            again = [say(each, "Hi again", request_id="one") for each in callers]
        assert len({answer.observation_id for answer in answers}) == CONNECTIONS
        for before, after in pairwise(answers):
            assert before.observation_id in {memory.observation_id for memory in after.memories}
        assert [answer.replayed for answer in again] == [False] + [True] * (CONNECTIONS - 1)
        with grpc.insecure_channel(server.address) as channel:
            memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
            assert memory.GetStats(memory_pb2.GetStatsRequest(user_id="alice")).observations == CONNECTIONS + 1
        assert server.stop() == 0
        calls = [line for line in map(json.loads, server.log) if line["message"] == "call"]
        # Without ILAB_CHAT_LOG_KEY, all workers share a random key.
        assert len({line["user.hash"] for line in calls}) == 1
        assert sum(line["message"] == "workers: 2" for line in map(json.loads, server.log)) == 1


def test_pitfall_13_workers_are_new_programs_started_by_a_process_without_grpc(two_workers: ServerProcess) -> None:
    pids = two_workers.workers()
    assert len(pids) == 2
    mapped = [Path(f"/proc/{pid}/maps").read_text() for pid in (two_workers.process.pid, *pids)]
    assert ["cygrpc" in text for text in mapped] == [False, True, True]
    for pid in pids:
        assert b"ilab_chat_service.worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def test_pitfall_12_second_server_on_the_port_fails(
    two_workers: ServerProcess, tmp_path: Path, upstream: Upstream
) -> None:
    with running_server(**variables(tmp_path, upstream, workers=1)) as one_worker:
        for first in (one_worker, two_workers):
            for second in (1, 2):
                ended = run_server("--address", first.address, **variables(tmp_path, upstream, second))
                assert ended.returncode == 1
                [line] = ended.stderr.splitlines()
                assert line.startswith(f"ilab-chat-server: cannot listen on {first.address}: ")
        assert one_worker.stop() == 0


def test_address_of_another_machine_is_one_line_and_exit_code_1(tmp_path: Path, upstream: Upstream) -> None:
    plaintext = {"ILAB_CHAT_ALLOW_PLAINTEXT": "true", "ILAB_CHAT_AUTH": "none"}
    ended = run_server("--address", "192.0.2.1:1", **variables(tmp_path, upstream), **plaintext)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("ilab-chat-server: cannot listen on 192.0.2.1:1: ")


def test_calls_of_all_workers_finish_after_sigterm(tmp_path: Path, upstream: Upstream) -> None:
    upstream.replies(*[Reply(hold_before=1)] * CONNECTIONS)
    with running_server(**variables(tmp_path, upstream)) as server, stubs(server) as callers:
        request = chat_pb2.ChatRequest(user_id="alice", message="Hi", memory_mode=chat_pb2.MEMORY_MODE_OFF)
        calls = [each.Chat.future(request) for each in callers]
        assert upstream.wait_for(CONNECTIONS).held.wait(10)
        server.process.send_signal(signal.SIGTERM)
        server.read_until("draining")
        upstream.release()
        assert [call.result(timeout=30).reply for call in calls] == ["Hello there."] * CONNECTIONS
        assert server.wait() == 0


def test_worker_that_hangs_is_killed_after_the_drain(tmp_path: Path, upstream: Upstream) -> None:
    # Workers get less time than usual to close, so that the test is short.
    script = "from ilab_chat_service import cli, supervisor; supervisor.CLOSE_SECONDS = 1; raise SystemExit(cli.main())"
    settings = variables(tmp_path, upstream) | {"ILAB_CHAT_DRAIN_SECONDS": "0"}
    with running_server([sys.executable, "-c", script], **settings) as server:
        first, second = server.workers()
        os.kill(second, signal.SIGSTOP)
        assert server.stop() == 1
        assert f"process {second} has not stopped in time; killing it" in "".join(server.log)
        for pid in (first, second):
            wait_for_the_end(pid)


def test_second_signal_ends_all_workers_at_once(tmp_path: Path, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    with running_server(**variables(tmp_path, upstream)) as server, stubs(server, 1) as [caller]:
        call = caller.Chat.future(chat_pb2.ChatRequest(user_id="alice", message="Hi"))
        assert upstream.wait_for(1).held.wait(10)
        server.process.send_signal(signal.SIGTERM)
        server.read_until("draining")
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert isinstance(call.exception(timeout=10), grpc.RpcError)
        for pid in server.workers():
            wait_for_the_end(pid)


def test_signal_sent_to_all_processes_counts_as_the_first_one(tmp_path: Path, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    with running_server(**variables(tmp_path, upstream)) as server, stubs(server, 1) as [caller]:
        call = caller.Chat.future(chat_pb2.ChatRequest(user_id="alice", message="Hi"))
        assert upstream.wait_for(1).held.wait(10)
        for pid in (*server.workers(), server.process.pid):
            os.kill(pid, signal.SIGTERM)
        server.read_until("draining")
        upstream.release()
        assert call.result(timeout=30).observation_id
        assert server.wait() == 0


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path, upstream: Upstream) -> None:
    with running_server(**variables(tmp_path, upstream)) as server, ExitStack() as orphans:
        for pid in server.workers():
            orphans.callback(kill, pid)
        server.process.kill()
        for pid in server.workers():
            wait_for_the_end(pid)
        host, _, port = server.address.rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))


def test_worker_that_died_is_replaced(tmp_path: Path, upstream: Upstream) -> None:
    with running_server(**variables(tmp_path, upstream)) as server:
        first, second = server.workers()
        os.kill(second, signal.SIGKILL)
        server.read_until(rf"worker 2 \(process {second}\) exited with -9; restarting in 1 s")
        server.read_until(WORKER)
        assert server.workers()[0] == first
        assert server.workers()[1] != second
        with stubs(server) as callers:
            for each in callers:
                say(each)
            assert all(connections(pid, server.address) for pid in server.workers())
        assert server.stop() == 0


def test_stopped_worker_closes_only_its_own_connections(tmp_path: Path, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    with running_server(**variables(tmp_path, upstream)) as server, stubs(server, 1) as [caller]:
        call = caller.StreamChat(chat_pb2.StreamChatRequest(user_id="alice", message="Hi"))
        assert next(call).WhichOneof("event") == "started"
        [other] = [pid for pid in server.workers() if not connections(pid, server.address)]
        os.kill(other, signal.SIGTERM)
        server.read_until(rf"process {other}\) exited with 0")
        upstream.release()
        assert [event.WhichOneof("event") for event in call][-1] == "completed"
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("broken", "code", "said"),
    [
        ({"ILAB_MEMORY_DB_PATH": "/dev/null/memory.db"}, 1, "ILAB_MEMORY_DB_PATH"),
        ({"ILAB_CHAT_TLS_CERT_FILE": "/none", "ILAB_CHAT_TLS_KEY_FILE": "/none"}, 2, "ILAB_CHAT_TLS_CERT_FILE"),
        ({"ILAB_CHAT_DRAIN_SECONDS": "soon"}, 2, "ILAB_CHAT_DRAIN_SECONDS"),
    ],
)
def test_error_at_the_start_of_workers_is_printed_once(
    tmp_path: Path, upstream: Upstream, broken: dict[str, str], code: int, said: str
) -> None:
    ended = run_server("--address", "127.0.0.1:0", **(variables(tmp_path, upstream) | broken))
    assert ended.returncode == code
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"ilab-chat-server: {said}")
