"""What the README says is run, or compared with where it comes from."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contract.process import BIN, ROOT, Served
from ilab_chat import ChatClient
from ilab_chat_service.rpc.errors import TABLE
from ilab_chat_service.settings import Settings

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run(command: list[str | Path], served: Served, script: str = "") -> str:
    """Run *command* from the root, with the README's address replaced by that of the server under test."""
    arguments = [str(argument).replace("127.0.0.1:50051", served.address) for argument in command]
    ended = subprocess.run(
        arguments,
        input=script.replace("127.0.0.1:50051", served.address),
        env=os.environ | {"NODE_PATH": str(ROOT / "tests/contract/node/node_modules")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("block", blocks("python"))
def test_each_python_example_runs(served: Served, block: str) -> None:
    assert "Hello there." in run([sys.executable, "-W", "error", "-"], served, block)


@pytest.mark.parametrize(
    "line", [line for block in blocks("sh") for line in block.splitlines() if line.startswith("grpcurl ")]
)
def test_each_grpcurl_example_runs(served: Served, line: str) -> None:
    command = line.replace("127.0.0.1:50051", served.address).replace("grpcurl", str(BIN / "grpcurl"), 1)
    assert "Hello there." in run(["sh", "-c", command], served)


@pytest.mark.timeout(300)  # it may be the first to install the packages
@pytest.mark.parametrize("block", blocks("js"))
def test_each_node_example_runs(node: str, served: Served, block: str) -> None:
    assert run([node, "-"], served, block) == "Hello there.\n"


def test_the_commands_line_examples_run(served: Served) -> None:
    [command] = re.findall(r"^\$ \.venv/run/bin/ilab-chat (chat --user alice \".*\")$", README, re.MULTILINE)
    assert "Hello there." in run(["sh", "-c", f"{BIN}/ilab-chat {command} --address {served.address}"], served)


def test_the_memory_commands_run(served: Served, tmp_path: Path) -> None:
    with ChatClient(served.address) as client:
        saved = client.memory.save("alice", "I love hiking.", type="profile", title="Hobby").id
        kept = client.memory.stats("alice").observations
    lines = re.findall(r"^\$ \.venv/run/bin/ilab-chat (memory .*)$", README, re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["search", "timeline", "stats", "export", "forget"]
    said = [
        run(["sh", "-c", f"cd {tmp_path} && {BIN}/ilab-chat {line} --address {served.address}"], served)
        for line in (each.replace("alice 1", f"alice {saved}") for each in lines)
    ]
    found, seen, counted, exported, erased = (json.loads(each) if each else {} for each in said)
    assert saved in [int(each["id"]) for each in found["observations"]]
    assert saved in [int(each["id"]) for each in seen["observations"]]
    assert int(counted["observations"]) == int(erased["observations"]) == kept
    assert exported == {}
    assert "I love hiking." in (tmp_path / "alice.jsonl").read_text()


def test_each_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", "\n".join(blocks("sh")))) <= targets


def test_the_table_of_errors_is_that_of_the_service() -> None:
    for row in TABLE.values():
        assert row.reason in README
        assert row.code.name in README


def settings_table() -> str:
    """The README's table of settings."""
    rows = [
        f"| `{field.metadata['env']}` | {f'`{default}`' if (default := shown(field.default)) else ''} "
        f"| {field.metadata['why']} |"
        for field in dataclasses.fields(Settings)
    ]
    return "\n".join(["| variable | default | what it is |", "|---|---|---|", *rows])


def shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_table_of_settings_is_that_of_the_service() -> None:
    [written] = re.findall(r"<!-- settings -->\n(.*)\n<!-- /settings -->", README, re.DOTALL)
    assert written == settings_table(), f"put this into the README:\n{settings_table()}"


def test_files_that_are_named_exist() -> None:
    section = README.partition("## What happens to a message")[2]
    for name in re.findall(r"`([a-z_/]+\.py)`", section):
        assert (ROOT / "service/ilab_chat_service" / name).is_file(), name
