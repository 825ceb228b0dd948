"""The life of the server, in this process and as one of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.server import SWITCH_SECONDS, run, serving
from ilab_chat_service.settings import Settings
from ilab_memory import ILabMemory
from processes import SERVER, ServerProcess, environment, run_server, running_server
from rpcs import reason
from upstream import Reply, Upstream

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
HELLO = "Hi, my name is Alice and I love hiking."


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel


@pytest.mark.parametrize("service", ["", "ilab_chat.v1.ChatService"])
async def test_health_is_serving_for_the_process_and_the_service(channel: grpc.aio.Channel, service: str) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING


async def test_health_of_an_unknown_service_is_not_found(channel: grpc.aio.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_pitfall_14_reflection_lists_and_describes_under_both_names(
    channel: grpc.aio.Channel, version: str
) -> None:
    reflect = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="ilab_chat.v1.ChatService"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="google.rpc.BadRequest"),
    ]
    listed, *described = [response async for response in reflect(iter(requests))]
    names = {service.name for service in listed.list_services_response.service}
    assert {"ilab_chat.v1.ChatService", "grpc.health.v1.Health"} <= names
    assert all(response.file_descriptor_response.file_descriptor_proto for response in described)


def settings_of(tmp_path: Path, upstream: Upstream) -> dict[str, str]:
    return {"ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"), "OPENAI_BASE_URL": upstream.base_url}


def say(server: ServerProcess, message: str, user: str = "alice", **generation: int) -> chat_pb2.ChatResponse:
    options = chat_pb2.GenerationOptions(max_output_tokens=generation.get("max_output_tokens"))
    with grpc.insecure_channel(server.address) as channel:
        return chat_pb2_grpc.ChatServiceStub(channel).Chat(
            chat_pb2.ChatRequest(user_id=user, message=message, generation=options), timeout=90
        )


def test_answered_turns_survive_a_killed_server(tmp_path: Path, upstream: Upstream) -> None:
    with running_server(**settings_of(tmp_path, upstream)) as server:
        first = say(server, HELLO)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    with running_server(**settings_of(tmp_path, upstream)) as server:
        second = say(server, "What is my name?")
        assert first.observation_id in {memory.observation_id for memory in second.memories}
        assert second.session_id == first.session_id
        assert list(say(server, "What is my name?", "bob").memories) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pitfall_16_running_call_finishes_after_a_signal_and_the_exit_code_is_0(
    tmp_path: Path, upstream: Upstream, number: signal.Signals
) -> None:
    upstream.replies(Reply(hold_before=1))
    with (
        running_server([SERVER], **settings_of(tmp_path, upstream)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call = chat_pb2_grpc.ChatServiceStub(channel).Chat.future(chat_pb2.ChatRequest(user_id="alice", message=HELLO))
        assert upstream.wait_for(1).held.wait(10)
        server.process.send_signal(number)
        server.read_until("draining")
        with pytest.raises(grpc.RpcError) as caught:
            say(server, "too late")
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        upstream.release()
        assert call.result(timeout=30).observation_id
        assert server.wait() == 0


def test_second_signal_ends_the_server_at_once(tmp_path: Path, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    with running_server(**settings_of(tmp_path, upstream)) as server, grpc.insecure_channel(server.address) as channel:
        call = chat_pb2_grpc.ChatServiceStub(channel).Chat.future(chat_pb2.ChatRequest(user_id="alice", message=HELLO))
        assert upstream.wait_for(1).held.wait(10)
        server.process.send_signal(signal.SIGINT)
        server.read_until("draining")
        assert server.stop(signal.SIGINT) == 128 + signal.SIGINT
        assert isinstance(call.exception(timeout=10), grpc.RpcError)


def test_pitfall_02_call_longer_than_the_drain_is_aborted_and_its_partial_reply_stored(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.replies(Reply(hold_before=1))
    variables = settings_of(tmp_path, upstream) | {"ILAB_CHAT_DRAIN_SECONDS": "0"}
    with running_server(**variables) as server, grpc.insecure_channel(server.address) as channel:
        request = chat_pb2.StreamChatRequest(user_id="alice", message=HELLO)
        call: Any = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(request)
        assert [next(call).WhichOneof("event") for _ in range(2)] == ["started", "text_delta"]
        assert server.stop() == 0
        assert_draining(call)
    with ILabMemory.from_path(tmp_path / "memory.db") as memory:
        [stored] = memory.mem_list("alice", types=["discovery"])
        assert stored.content.endswith("Assistant: Hello [interrupted]")


def test_pitfall_02_call_ended_while_sending_metadata_is_aborted(tmp_path: Path, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    variables = settings_of(tmp_path, upstream) | {"ILAB_CHAT_DRAIN_SECONDS": "0"}
    with running_server(**variables) as server, grpc.insecure_channel(server.address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        call = stub.Chat.future(chat_pb2.ChatRequest(user_id="alice", message=HELLO))
        assert upstream.wait_for(1).held.wait(10)
        assert server.stop() == 0
        assert_draining(call)


def assert_draining(call: Any) -> None:
    assert call.code() is grpc.StatusCode.ABORTED
    assert b"SERVER_DRAINING" in dict(call.trailing_metadata())["grpc-status-details-bin"]


def test_address_in_use_is_one_line_and_exit_code_1(tmp_path: Path, upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run_server("--address", address, **settings_of(tmp_path, upstream))
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"ilab-chat-server: cannot listen on {address}")
    assert "Traceback" not in ended.stderr


def test_memory_that_cannot_be_opened_is_one_line_and_exit_code_1(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "memory.db").write_text("no database, but a text that is long enough to be looked at" * 20)
    ended = run_server("--address", "127.0.0.1:0", **settings_of(tmp_path, upstream))
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("ilab-chat-server: ")


def test_lost_memory_is_replaced_only_with_memory_create(tmp_path: Path, upstream: Upstream) -> None:
    settings = settings_of(tmp_path, upstream)
    with running_server(**settings) as server:
        assert server.stop() == 0
    path = Path(settings["ILAB_MEMORY_DB_PATH"])
    path.unlink()
    ended = run_server("--address", "127.0.0.1:0", **settings)
    assert ended.returncode == 1
    assert re.fullmatch(
        r"ilab-chat-server: ILAB_MEMORY_DB_PATH: .*missing or empty.*-locks.*ILAB_MEMORY_CREATE=true.*\n", ended.stderr
    )
    assert not path.exists()
    with running_server(**settings, ILAB_MEMORY_CREATE="true") as server:
        assert server.stop() == 0
    assert path.exists()


@pytest.mark.parametrize("earlier_starts", [0, 1])
def test_memory_that_cannot_be_written_is_one_line_and_exit_code_1(
    tmp_path: Path, upstream: Upstream, earlier_starts: int
) -> None:
    variables = settings_of(tmp_path, upstream) | {"ILAB_CHAT_ADDRESS": "127.0.0.1:0"}
    for _ in range(earlier_starts):
        with running_server(**variables) as server:
            assert server.stop() == 0
    # Limit files to 4 KiB to simulate a full disk. Python ignores the signal SIGXFSZ.
    ended = subprocess.run(
        ["sh", "-c", 'ulimit -f 8; exec "$0"', SERVER],
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"ilab-chat-server: ILAB_MEMORY_DB_PATH: {variables['ILAB_MEMORY_DB_PATH']}: could not ")


def test_invalid_setting_is_one_line_and_exit_code_2() -> None:
    ended = run_server("--drain-seconds", "soon")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "ilab-chat-server: ILAB_CHAT_DRAIN_SECONDS: must be a number\n"


def test_help_lists_every_setting() -> None:
    text = run_server("--help").stdout
    for setting in dataclasses.fields(Settings):
        assert setting.metadata["env"] in text


def test_missing_model_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "xllamacpp.py").write_text("raise ImportError\n")
    ended = run_server("--address", "127.0.0.1:0", "--memory-db-path", str(tmp_path / "m.db"), PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    assert ended.stderr.startswith("ilab-chat-server: no model: set OPENAI_API_KEY")
    assert len(ended.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the embedded model, which takes seconds to load."""
    folder = tmp_path_factory.mktemp("embedded")
    with running_server(ILAB_MEMORY_DB_PATH=str(folder / "memory.db")) as server:
        yield server
        assert server.stop() == 0


def test_embedded_model_answers_and_remembers(embedded: ServerProcess) -> None:
    assert any("SmolLM2-135M-Instruct, embedded" in line for line in embedded.log)
    first = say(embedded, HELLO, max_output_tokens=4)
    assert first.model == "SmolLM2-135M-Instruct"
    assert first.reply
    assert first.usage.output_tokens > 0
    second = say(embedded, "What is my name and what do I love?", max_output_tokens=4)
    assert [memory.snippet for memory in second.memories] == ["my name is Alice", "I love hiking.", ""]
    # The second prompt contains the first turn and the facts in it.
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    assert list(say(embedded, "What is my name?", "bob", max_output_tokens=4).memories) == []


def test_embedded_model_supports_response_formats_and_has_one_name(embedded: ServerProcess) -> None:
    ask = chat_pb2.ChatRequest(user_id="carol", message="Name a city in JSON.")
    ask.generation.response_format.json_schema.schema.update(
        {"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"]}
    )
    ask.generation.response_format.json_schema.name = "city"
    with grpc.insecure_channel(embedded.address) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        ask.generation.model = "SmolLM2-135M-Instruct"
        assert json.loads(stub.Chat(ask, timeout=90).reply) == {"city": "Rome"}
        ask.generation.model = "gpt-4o"
        with pytest.raises(grpc.RpcError) as caught:
            stub.Chat(ask, timeout=90)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason(error) == "MODEL_NOT_FOUND"


def test_content_of_users_is_not_logged(tmp_path: Path, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=["the reply"]), Reply(status=500, body=b"the failure"), Reply(cut_before=1))
    variables = {"ILAB_CHAT_LOG_LEVEL": "DEBUG", "OPENAI_LOG": "debug", "ILAB_CHAT_MODEL_RETRIES": "0"}
    with running_server(**settings_of(tmp_path, upstream), **variables) as server:
        say(server, "the message", "the user")
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                say(server, "the message", "the user")
        server.stop()
    assert server.log
    said = "".join(server.log)
    for text in ("the message", "the reply", "the user", "the failure"):
        assert text not in said


async def test_health_watches_report_the_drain(settings: Settings) -> None:
    stack = AsyncExitStack()
    address = await stack.enter_async_context(serving(settings))
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        leaving = asyncio.create_task(stack.aclose())
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
        await leaving


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("grpc.__version__ = '1.86.0'", "grpcio 1.86.0 is not 1.85.x"),
        ("del cygrpc._ServicerContext", "has other internals than 1.85"),
        (
            "cygrpc.AioServer = type('Renamed', (cygrpc.AioServer,), {'_request_call': lambda self, more: 0})",
            "has other internals than 1.85",
        ),
    ],
)
def test_unknown_grpcio_version_falls_back_to_the_public_server(change: str, reason: str) -> None:
    serve = f"""
import asyncio, logging
import grpc.aio
from grpc._cython import cygrpc
{change}
logging.basicConfig(format="%(levelname)s %(message)s")
from ilab_chat_service.rpc.grpc_server import registered_methods_server

async def main():
    return type(registered_methods_server((), ())).__module__

print(asyncio.run(main()))
"""
    ended = subprocess.run([sys.executable, "-c", serve], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "grpc.aio._server\n", ended.stderr
    [line] = ended.stderr.splitlines()
    assert line.startswith("WARNING using grpc.aio's own server: ")
    assert reason in line


async def test_threads_release_the_gil_soon(settings: Settings) -> None:
    before = sys.getswitchinterval()
    running = asyncio.create_task(run(settings))
    try:
        await asyncio.sleep(0)
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        sys.setswitchinterval(before)
