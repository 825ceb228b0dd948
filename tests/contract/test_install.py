"""`pip install .` in a fresh environment: the client, and nothing that the client does not need."""

import json
import os
import re
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest

from contract.process import ROOT, Served

pytestmark = pytest.mark.timeout(600)  # each environment is made from nothing

CLIENT = {"ilab-chat", "grpcio", "protobuf", "googleapis-common-protos"}
OF_GRPCIO = {"typing-extensions"}
OF_VENV = {"pip", "setuptools"}

CALL = """
import asyncio, sys
from ilab_chat import AsyncChatClient, ChatClient

async def stream(target):
    async with AsyncChatClient(target) as client, client.stream_chat("install-aio", "hi") as stream:
        return "".join([text async for text in stream.text]) == stream.response.reply and stream.response.reply

with ChatClient(sys.argv[1]) as client:
    print(client.chat("install-sync", "hi").reply)
    print(len(client.memory.search("install-sync", "hi")) > 0, client.memory.stats("install-sync").sessions)
print(asyncio.run(stream(sys.argv[1])))
"""

BAD_CALL = """
import sys
from ilab_chat import ChatClient, InvalidArgument

try:
    ChatClient(sys.argv[1]).chat("", "hi")
except InvalidArgument as error:
    print(error.reason, *(violation.field for violation in error.field_violations))
"""


# A conversation starts only in a terminal.
IN_TERMINAL = """
import os, pty, sys
print(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


class Environment:
    """A virtual environment of its own, without anything of the one that runs the tests."""

    def __init__(self, path: Path, *requirements: str) -> None:
        venv.create(path, with_pip=True)
        self._bin = path / "bin"
        # Elsewhere than the repository, whose folders could be imported instead of what was installed.
        self._directory = path
        self.run("pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT), *requirements)

    def run(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [self._bin / command, *arguments],
            cwd=self._directory,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
        )

    def versions(self) -> dict[str, str]:
        """Return every installed distribution, with its normal name."""
        listed = json.loads(self.run("pip", "list", "--format=json", "--disable-pip-version-check").stdout)
        return {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in listed}


def floors() -> dict[str, str]:
    """Return the lowest version of each dependency that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        found[1]: found[2]
        for requirement in project["dependencies"]
        if (found := re.match(r"([\w-]+)>=([\w.]+)", requirement))
    }


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("newest"))


@pytest.fixture(scope="module")
def lowest(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("lowest"), *(f"{name}=={version}" for name, version in floors().items()))


def test_only_the_client_is_installed(newest: Environment) -> None:
    installed = set(newest.versions()) - OF_VENV - OF_GRPCIO
    assert installed == CLIENT
    assert installed == set(floors()) | {"ilab-chat"}


def test_the_lowest_versions_are_installed(lowest: Environment) -> None:
    versions = lowest.versions()
    assert {name: versions[name] for name in floors()} == floors()
    assert set(floors()) == CLIENT - {"ilab-chat"}


@pytest.mark.parametrize("environment", ["newest", "lowest"])
def test_pitfall_18_both_clients_call_the_service(
    environment: str, served: Served, request: pytest.FixtureRequest
) -> None:
    made: Environment = request.getfixturevalue(environment)
    assert (
        made.run("python", "-W", "error", "-c", CALL, served.address).stdout == "Hello there.\nTrue 1\nHello there.\n"
    )
    assert made.run("python", "-W", "error", "-c", BAD_CALL, served.address).stdout == "INVALID_FIELD user_id\n"


@pytest.mark.parametrize("environment", ["newest", "lowest"])
def test_a_message_needs_no_extra(environment: str, served: Served, request: pytest.FixtureRequest) -> None:
    made: Environment = request.getfixturevalue(environment)
    chat = ("chat", "--address", served.address, "--user", "install-cli")
    assert made.run("ilab-chat", *chat, "hi").stdout == "Hello there.\n"
    assert json.loads(made.run("ilab-chat", *chat, "--json", "hi").stdout)["reply"] == "Hello there."


def test_what_needs_the_extra_says_so(newest: Environment, served: Served) -> None:
    health = newest.run("ilab-chat", "health", "--address", served.address, check=False)
    assert (health.returncode, health.stdout) == (1, "")
    assert health.stderr.endswith(": pip install 'ilab-chat[cli]'\n")
    copy = newest.run("ilab-chat", "memory", "copy", "--to", "postgresql://127.0.0.1/x", check=False)
    assert (copy.returncode, copy.stdout) == (1, "")
    assert copy.stderr == "ilab-chat: copy needs the memory library: pip install 'ilab-chat[postgres]'\n"
    newest.run("ilab-chat", "chat", "--address", served.address, "--user", "install-cli", "hi")
    search = ("memory", "search", "--address", served.address, "--user", "install-cli", "hi")
    assert newest.run("ilab-chat", *search).returncode == 0
    table = newest.run("python", "-c", IN_TERMINAL, "bin/ilab-chat", *search, check=False)
    assert table.stdout == "ilab-chat: a table needs the extra packages: pip install 'ilab-chat[cli]'\n1\n"
    talk = newest.run("python", "-c", IN_TERMINAL, "bin/ilab-chat", "chat", "--user", "alice", check=False)
    assert talk.stdout == "ilab-chat: a conversation needs the extra packages: pip install 'ilab-chat[cli]'\n1\n"
