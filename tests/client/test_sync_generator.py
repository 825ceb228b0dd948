"""The sync client is what tools/sync_client.py makes of the asyncio client."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "client" / "ilab_chat"
MODULES = ("aio.py", "aio_memory.py", "sync.py", "sync_memory.py")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in MODULES:
        shutil.copy(CLIENT / name, tmp_path)
    # Ruff looks for its settings next to the file that it formats.
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def generate(client: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/sync_client.py", "--client", str(client), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_committed_sync_client_is_up_to_date() -> None:
    run = generate(CLIENT, "--check")
    assert run.returncode == 0, run.stderr


def test_change_of_the_asyncio_client_is_drift_until_it_is_generated(copy: Path) -> None:
    replace(copy / "aio.py", "this stream was entered before", "this stream was already entered")
    drift = generate(copy, "--check")
    assert drift.returncode == 1
    assert "sync.py is not what aio.py says: run make generate" in drift.stderr
    assert generate(copy).returncode == 0
    assert "this stream was already entered" in (copy / "sync.py").read_text()
    assert generate(copy, "--check").returncode == 0


def test_edited_sync_client_is_drift(copy: Path) -> None:
    replace(copy / "sync_memory.py", "self._begun = True", "self._begun = False")
    assert generate(copy, "--check").returncode == 1


def test_asyncio_name_without_a_sync_spelling_is_refused(copy: Path) -> None:
    replace(copy / "aio.py", "import grpc\n", "import asyncio\n\nimport grpc\n")
    run = generate(copy)
    assert run.returncode == 1
    assert "asyncio is left: ['asyncio']" in run.stderr


def test_reworded_sentence_needs_a_new_counterpart(copy: Path) -> None:
    replace(copy / "aio.py", "Cancelling the task cancels", "Cancelling its task cancels")
    run = generate(copy)
    assert run.returncode == 1
    assert "no asyncio module contains: Cancelling the task cancels" in run.stderr
