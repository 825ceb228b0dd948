"""The commands and programs of docs/gateway.md and the README's curl line run as they are written."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from contract.pages import blocks, page, python
from contract.process import Served
from ilab_chat_gateway.completions import NEUTRAL, READ
from ilab_chat_gateway.problems import OWN_REASONS

ADDRESS = "127.0.0.1:8080"
COMMANDS = [
    pytest.param(command, id=f"{name}-{number}")
    for name in ("README.md", "docs/gateway.md")
    for number, command in enumerate(
        found for block in blocks(name, "sh") for found in re.findall(r"^curl (?:.*\\\n)*.*$", block, re.MULTILINE)
    )
]


def curl(command: str, web: str, directory: Path) -> str:
    shown_errors = command.replace("curl ", "curl -sS --fail-with-body ", 1).replace(ADDRESS, web)
    ended = subprocess.run(
        ["sh", "-c", shown_errors], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_curl_command_runs(web: str, tmp_path: Path, command: str) -> None:
    (tmp_path / "alice.jsonl").write_text("")
    printed = curl(command, web, tmp_path)
    assert printed or "export" in command
    if "chat:stream" not in command and "export" not in command:
        json.loads(printed)


def test_readme_shows_the_recipes_command_on_its_first_screen(web: str, tmp_path: Path) -> None:
    first_screen = "\n".join(page("README.md").splitlines()[:40])
    [command] = re.findall(r"^curl (?:.*\\\n)*.*$", first_screen, re.MULTILINE)
    assert json.loads(curl(command, web, tmp_path)).keys() == {"session_id", "reply"}


def test_python_example_runs(served: Served, web: str) -> None:
    [block] = blocks("docs/gateway.md", "python")
    assert python(served, block.replace(ADDRESS, web)) == "Hello there.\n"


def test_supported_parameters_are_documented() -> None:
    section = page("docs/gateway.md").partition("## OpenAI's API")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(?:stream_options\.)?(\w+)`", section))
    assert READ - {"stream_options"} <= named
    assert "`stream_options.include_usage`" in section
    assert set(NEUTRAL) & READ == set()


def test_own_reasons_are_documented() -> None:
    assert all(f"| `{reason}` | {status} |" in page("docs/gateway.md") for reason, (status, _) in OWN_REASONS.items())
