"""The programs of examples/ run against a real server. Those with generated stubs: tests/e2e/polyglot."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.pages import run
from contract.process import ROOT, Served
from ilab_chat.testing import ScriptedServer
from processes import environment

EXAMPLES = ROOT / "examples"
LOVED = "I love hiking"
#: Suffixes of programs, other than the scripts that build them.
PROGRAMS = {".cc", ".go", ".java", ".js", ".py", ".rb", ".sh"}


def example(served: Served, *command: str | Path) -> str:
    return run(list(command), served, variables={"ILAB_CHAT_ADDRESS": served.address})


@pytest.mark.parametrize("name", ["chat_sync.py", "chat_async.py"])
def test_python_example_remembers(served: Served, name: str) -> None:
    printed = example(served, sys.executable, "-W", "error", EXAMPLES / name).splitlines()
    assert printed[:2] == ["Hello there.", "Hello there."]
    assert any(line.startswith("remembered: ") and LOVED in line for line in printed[2:])


@pytest.mark.timeout(300)  # it may be the first to install the packages
def test_node_example_remembers(node: str, served: Served) -> None:
    printed = example(served, node, EXAMPLES / "chat.js").splitlines()
    assert printed[:2] == ["Hello there.", "Hello there."]
    assert any(line.startswith("remembered: ") and LOVED in line for line in printed[2:])


def test_grpcurl_example_remembers(served: Served) -> None:
    printed = example(served, "sh", EXAMPLES / "chat.sh")
    first, second = (json.loads(each) for each in re.findall(r"^\{.*?^\}", printed, re.MULTILINE | re.DOTALL))
    assert "memories" not in first
    assert any(LOVED in memory.get("snippet", "") for memory in second["memories"])


def test_curl_example_remembers(served: Served, web: str) -> None:
    printed = run(["sh", EXAMPLES / "chat_http.sh"], served, variables={"ILAB_CHAT_URL": f"http://{web}"})
    first, second = (json.loads(line) for line in printed.splitlines())
    assert first.keys() == {"session_id", "reply"}
    assert any(LOVED in memory["snippet"] for memory in second["memories"])


def test_fastapi_example_remembers_and_streams(served: Served) -> None:
    with fastapi_example(served.address) as url:
        post(f"{url}/chat", user_id="example-web", message="My name is Alice and I love hiking.")
        answer = json.loads(post(f"{url}/chat", user_id="example-web", message="What do I love?"))
        assert answer["reply"] == "Hello there."
        assert any(LOVED in text for text in answer["remembered"])
        assert post(f"{url}/chat/stream", user_id="example-web", message="And again?") == b"Hello there."


@pytest.mark.parametrize("path", ["chat", "chat/stream"])
def test_fastapi_example_answers_bad_input_with_its_reason(served: Served, path: str) -> None:
    with fastapi_example(served.address) as url, pytest.raises(urllib.error.HTTPError) as refused:
        post(f"{url}/{path}", user_id="example-web", message=" ")
    assert refused.value.code == 400
    assert json.load(refused.value)["reason"] == "INVALID_FIELD"


@contextmanager
def node_service(node: str, address: str) -> Iterator[str]:
    """The service of the page, saved by a stranger next to the folder `protos`."""
    variables = {"ILAB_CHAT_ADDRESS": address, "NODE_PATH": str(ROOT / "tests/contract/node/node_modules"), "PORT": "0"}
    command = [node, str(EXAMPLES / "service.js")]
    with subprocess.Popen(
        command, env={**os.environ, **variables}, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            # The program `node` of the wheel starts the real one.
            os.killpg(process.pid, signal.SIGKILL)


def test_node_service_streams_and_answers_errors_with_their_details(node: str, served: Served) -> None:
    with node_service(node, served.address) as url:
        assert post(f"{url}/chat", user_id="example-service", message="Hi!") == b"Hello there."
        for body in (b"", b"null", b"{"):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(f"{url}/chat", body, timeout=60)
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(f"{url}/chat", user_id="example-service", message="")
    assert refused.value.code == 400
    body = json.load(refused.value)
    assert (body["reason"], [each["field"] for each in body["fields"]]) == ("INVALID_FIELD", ["message"])
    assert len(body["correlationId"]) == 32


def test_node_service_passes_on_the_time_to_wait(node: str) -> None:
    with ScriptedServer() as server, node_service(node, server.address) as url:
        for seconds, header in ((1.5, "2"), (2, "2"), (0.5, "1")):
            server.fail("SERVER_BUSY", retry_after=seconds, message="wait")
            with pytest.raises(urllib.error.HTTPError) as busy:
                post(f"{url}/chat", user_id="a", message="Hi!")
            assert (busy.value.code, busy.value.headers["retry-after"]) == (429, header)
            assert json.load(busy.value)["reason"] == "SERVER_BUSY"
        server.fail(after="Hello ")
        with pytest.raises(http.client.IncompleteRead):
            post(f"{url}/chat", user_id="a", message="Hi!")


def test_page_has_the_node_service_whole() -> None:
    text = (ROOT / "docs/clients/node.md").read_text()
    assert f"```javascript\n{(EXAMPLES / 'service.js').read_text()}```\n" in text


def test_each_example_is_listed_and_each_listed_one_is_there() -> None:
    listed = set(re.findall(r"\]\(([\w/]+\.\w+)\)", (EXAMPLES / "README.md").read_text()))
    files = (path for path in EXAMPLES.rglob("*") if path.suffix in PROGRAMS and path.name != "build.sh")
    assert listed == {str(path.relative_to(EXAMPLES)) for path in files}


@contextmanager
def fastapi_example(target: str) -> Iterator[str]:
    """Serve the web backend on a free port; yield its URL."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "uvicorn",
        "fastapi_app:app",
        "--port",
        "0",
        "--app-dir",
        EXAMPLES,
    ]
    variables = environment({"ILAB_CHAT_ADDRESS": target}) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        lines = iter(process.stderr)
        try:
            yield next(found[1] for line in lines if (found := re.search(r"running on (http://\S+)", line)))
        finally:
            process.terminate()
            list(lines)


def post(url: str, **body: Any) -> bytes:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        content: bytes = response.read()
        return content
