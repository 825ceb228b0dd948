"""gRPC-Web through Envoy's example, with a client of browsers over the wire."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.process import BIN, ROOT, Served
from contract.test_balancers import edited, port_of, running
from faults.stage import reserved_port
from upstream import Reply

PAGE = "http://localhost:3000"


@pytest.fixture(scope="module")
def envoy(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of Envoy in front of the server."""
    folder = tmp_path_factory.mktemp("envoy")
    with reserved_port() as port:
        replaced = {
            "port_value: 8081": f"port_value: {port}",
            "port_value: 50051": f"port_value: {port_of(served.address)}",
        }
        configuration = edited(ROOT / "deploy/envoy-grpc-web.yaml", folder, replaced)
        command: list[str | Path] = [BIN / "envoy", "-c", configuration, "--concurrency", "1", "--disable-hot-restart"]
        with running(command, os.environ) as started:
            started.read_until("all dependencies initialized. starting workers")
            yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contract, for clients that generate no code."""
    path = tmp_path_factory.mktemp("descriptors") / "contract.binpb"
    files = ["ilab_chat/v1/chat.proto", "google/rpc/error_details.proto"]
    includes = [f"-I{ROOT / 'protos'}"]
    command: list[str | Path] = [BIN / "protoc", *includes, "--include_imports", f"--descriptor_set_out={path}"]
    subprocess.run([*command, *files], check=True, timeout=60)
    return path


def stream(node: str, envoy: str, descriptors: Path, message: str, count: int = 1000) -> list[dict[str, Any]]:
    """Return what the client printed of the first events."""
    script = Path(__file__).with_name("node") / "web.mjs"
    request = json.dumps({"userId": "web", "message": message})
    command: list[str | Path] = [node, script, f"http://{envoy}", descriptors, str(count), request]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def preflight(envoy: str, origin: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(envoy, timeout=30)
    try:
        asked = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,x-grpc-web,authorization",
        }
        connection.request("OPTIONS", "/ilab_chat.v1.ChatService/StreamChat", headers=asked)
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


@pytest.mark.timeout(300)  # it may be the first to install the packages
def test_browser_client_streams_an_answer(node: str, envoy: str, descriptors: Path) -> None:
    events = stream(node, envoy, descriptors, "I love hiking.")
    assert "started" in events[0]
    assert "".join(event["textDelta"]["text"] for event in events if "textDelta" in event) == "Hello there."
    assert events[-1]["completed"]["reply"] == "Hello there."


def test_events_arrive_while_the_model_writes_and_leaving_stops_it(
    node: str, served: Served, envoy: str, descriptors: Path
) -> None:
    asked = len(served.upstream.requests)
    served.upstream.replies(Reply(hold_before=1))
    started, delta = stream(node, envoy, descriptors, "Hold on.", count=2)
    assert ("started" in started, "textDelta" in delta) == (True, True)
    assert served.upstream.requests[asked].gone.wait(10)


def test_failure_has_its_reason(node: str, envoy: str, descriptors: Path) -> None:
    [failure] = stream(node, envoy, descriptors, " ")
    assert (failure["code"], failure["reasons"]) == ("InvalidArgument", ["INVALID_FIELD"])
    assert failure["trailers"]["x-correlation-id"]


def test_only_named_pages_may_call(envoy: str) -> None:
    allowed = preflight(envoy, PAGE)
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert {"authorization", "x-grpc-web"} <= set(allowed.headers["access-control-allow-headers"].split(","))
    assert "access-control-allow-origin" not in preflight(envoy, "http://elsewhere.example").headers
