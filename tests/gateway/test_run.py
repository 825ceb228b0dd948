"""`make run` and the command of the gateway, as processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from faults.stage import reserved_port
from processes import ServerProcess, environment, running_server
from upstream import Upstream

ROOT = Path(__file__).parents[2]
GATEWAY = [sys.executable, "-m", "ilab_chat_gateway"]
FREE = {"ILAB_CHAT_GATEWAY_ADDRESS": "127.0.0.1:0"}


@pytest.fixture
def free_address() -> Iterator[str]:
    with reserved_port() as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def process(*command: str, **settings: str) -> Iterator[ServerProcess]:
    variables = environment(settings) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr
        running = ServerProcess(started, started.stderr)
        try:
            yield running
        finally:
            started.terminate()
            running.wait()


def post(url: str) -> dict[str, str]:
    body = json.dumps({"user_id": "alice", "message": "Hi"}).encode()
    request = urllib.request.Request(f"{url}/chat", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, str] = json.load(response)
        return answer


def settings_of(upstream: Upstream, tmp_path: Path, address: str) -> dict[str, str]:
    return {
        "ILAB_CHAT_ADDRESS": address,
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_MODEL": "test-model",
    }


@pytest.mark.parametrize(
    ("address", "number"),
    [("unix:{folder}/s", signal.SIGINT), ("127.0.0.1:0", signal.SIGTERM), ("{free}", signal.SIGINT)],
)
def test_one_signal_ends_server_and_gateway_at_any_address(
    upstream: Upstream, tmp_path: Path, free_address: str, address: str, number: signal.Signals
) -> None:
    settings = settings_of(upstream, tmp_path, address.format(folder=tmp_path, free=free_address))
    with process(sys.executable, "tools/run.py", **settings, **FREE) as both:
        url = both.read_until(r"open (http://\S+)/playground$")[1]
        assert post(url)["reply"] == "Hello there."
        assert both.stop(number) == 0
        assert any(line.strip().endswith("stopped") or '"stopped"' in line for line in both.log)
    for ended in (url, free_address):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(ended.rpartition(":")[2])))


def test_gateway_ends_when_the_server_cannot_start(tmp_path: Path, free_address: str) -> None:
    settings = {"ILAB_CHAT_ADDRESS": free_address, "ILAB_MEMORY_DB_PATH": str(tmp_path)}
    with process(sys.executable, "tools/run.py", **settings, **FREE) as both:
        assert both.wait() == 2 or both.wait() == 1


def test_command_serves_and_drains(upstream: Upstream, tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(
            running_server(
                ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
                OPENAI_BASE_URL=upstream.base_url,
                OPENAI_MODEL="test-model",
            )
        )
        gateway = stack.enter_context(process(*GATEWAY, "--target", server.address, "--address", "127.0.0.1:0"))
        url = gateway.read_until(r"on (http://\S+)")[1]
        assert post(url)["reply"] == "Hello there."
        assert gateway.stop() == 0
        assert not any("alice" in line for line in gateway.log)


def test_invalid_setting_is_one_line_and_exit_code_2() -> None:
    ended = subprocess.run(
        [*GATEWAY, "--address", "nowhere"],
        env=environment({}) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("ilab-chat-gateway: ILAB_CHAT_GATEWAY_ADDRESS: ")


def test_address_in_use_is_one_line_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run(
            [*GATEWAY, "--address", address],
            env=environment({}) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"ilab-chat-gateway: cannot listen on {address}: Address already in use; ")
    assert "ILAB_CHAT_GATEWAY_ADDRESS" in ended.stderr


def test_version_names_the_build_and_what_the_gateway_runs_on() -> None:
    variables = {**os.environ, "ILAB_CHAT_BUILD": "1a2b3c4"}
    said = subprocess.run([*GATEWAY, "--version"], env=variables, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"ilab-chat-gateway \S+ \(build 1a2b3c4, Python 3\S+, grpcio 1\S+, starlette .+\)\n", said)
