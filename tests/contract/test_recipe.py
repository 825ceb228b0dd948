"""The published recipe's program, unchanged but for its indentation, runs on our ilab_memory."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ilab_memory import ILabMemory
from processes import environment
from upstream import Upstream

HELLO = "Hi, my name is Alice and I love hiking."


@pytest.fixture
def url(tmp_path: Path, upstream: Upstream) -> Iterator[str]:
    """The recipe's service on a free port."""
    command = [sys.executable, "-m", "uvicorn", "chat_app:app", "--port", "0", "--app-dir"]
    variables = {
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_API_KEY": "any",
        "OPENAI_BASE_URL": upstream.base_url,
    }
    with subprocess.Popen(
        [*command, Path(__file__).parent / "recipe"], env=environment(variables), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        lines = iter(process.stderr)
        yield next(found[1] for line in lines if (found := re.search(r"running on (http://\S+)", line)))
        process.terminate()
        list(lines)


def post(url: str, user_id: str, message: str) -> Any:
    data = json.dumps({"user_id": user_id, "message": message}).encode()
    request = urllib.request.Request(f"{url}/chat", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def test_the_recipe_runs_unchanged(url: str, upstream: Upstream, tmp_path: Path) -> None:
    first = post(url, "alice", HELLO)
    second = post(url, "alice", "What is my name?")
    assert first["reply"] == second["reply"] == "Hello there."
    assert first["session_id"] == second["session_id"]
    assert upstream.requests[0].system.endswith("past memory:\n(none yet)")
    assert upstream.requests[1].system.endswith(f"past memory:\n- (discovery) Turn: {HELLO}")
    post(url, "bob", "What is my name?")
    assert upstream.requests[2].system.endswith("past memory:\n(none yet)")
    with ILabMemory.from_path(tmp_path / "memory.db") as memory:
        assert memory.mem_stats("alice")["observations"] == 2
