"""The first milliseconds of the server: signals, standard descriptors and limits."""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path

import pytest

from faults.stage import reserved_port
from ilab_chat_service.gc_pause import without_collections
from metrics import fetch, wait_for
from processes import environment, running_server
from upstream import Upstream

START = [sys.executable, "-m", "ilab_chat_service.start"]
GATEWAY = [sys.executable, "-m", "ilab_chat_gateway"]
COMMANDS = pytest.mark.parametrize("command", [START, GATEWAY], ids=["server", "gateway"])
#: Exit codes after SIGTERM: before the event loop handles it, and after a drain, if this test was too slow.
ENDED = (128 + signal.SIGTERM, 0)
SIGTERM_BIT = 1 << (signal.SIGTERM - 1)


def has_sigterm(pid: int, field: str) -> bool:
    """Whether SIGTERM is in a set of signals of /proc/PID/status, for instance SigCgt: those with a handler."""
    with suppress(FileNotFoundError):
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        return bool(int(status[field], 16) & SIGTERM_BIT)
    return False


def settings_of_both(tmp_path: Path) -> dict[str, str]:
    """Return variables with which the server and the gateway start."""
    settings = {
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "ILAB_CHAT_ADDRESS": "127.0.0.1:0",
        "ILAB_CHAT_GATEWAY_ADDRESS": "127.0.0.1:0",
    }
    return environment(settings) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}


def answers(url: str) -> bool:
    with suppress(OSError):
        return fetch(url)[0] == HTTPStatus.OK
    return False


def catches_sigterm(pid: int) -> bool:
    return has_sigterm(pid, "SigCgt")


@COMMANDS
def test_sigterm_that_arrives_before_python_starts_ends_a_command_that_was_started_with_it_blocked(
    command: list[str], tmp_path: Path
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        process = subprocess.Popen(command, env=settings_of_both(tmp_path))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with process:
        try:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) in ENDED
        finally:
            process.kill()


def isolating() -> list[str]:
    """Return the words of a command line that make the rest process 1 of a namespace; none if nobody may."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    for words in (unshare, [*unshare, "--user", "--map-root-user"]):
        if (
            shutil.which("unshare")
            and not subprocess.run([*words, "true"], capture_output=True, check=False).returncode
        ):
            return words
    return []


@COMMANDS
def test_process_1_of_a_container_gets_a_sigterm_while_its_interpreter_starts(
    command: list[str], tmp_path: Path
) -> None:
    isolate = isolating()
    if not isolate:
        pytest.skip("needs unshare, and root or user namespaces")
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text()
    [entry] = re.findall(r"^ENTRYPOINT (.*)$", dockerfile, re.MULTILINE)
    *blocking, name = json.loads(entry)
    assert name == "ilab-chat-server"
    with subprocess.Popen([*isolate, *blocking, *command], env=settings_of_both(tmp_path)) as process:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            wait_for(lambda: bool(children.read_text().split()))
            [first] = map(int, children.read_text().split())
            # unshare blocks signals too, until it runs the command.
            wait_for(lambda: b"unshare" not in Path(f"/proc/{first}/cmdline").read_bytes().split(b"\0"))
            wait_for(lambda: has_sigterm(first, "SigBlk") or catches_sigterm(first))
            os.kill(first, signal.SIGTERM)
            assert process.wait(60) in ENDED
        finally:
            process.kill()


def test_sigterm_ends_a_server_that_has_not_imported_its_parts_yet(tmp_path: Path) -> None:
    """Without a handler, process 1 of a container would not even get the signal."""
    settings = {"ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"), "PYTHONVERBOSE": "1"}
    with subprocess.Popen(
        START, env=environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            # Python names each module that it imports.
            for line in process.stderr:
                if line.startswith("import 'ilab_chat_service.settings.fields'"):
                    break
            assert catches_sigterm(process.pid)
            process.send_signal(signal.SIGTERM)
            imported = process.stderr.read()
            assert process.wait(60) == 128 + signal.SIGTERM
            assert "ilab_chat_service.server" not in imported
        finally:
            process.kill()
    assert not (tmp_path / "memory.db").exists()


def test_no_garbage_collection_looks_through_imported_modules() -> None:
    frozen = gc.get_freeze_count()
    with suppress(ImportError), without_collections():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen


def test_server_with_closed_standard_descriptors_starts_and_writes_into_no_file(
    tmp_path: Path, upstream: Upstream
) -> None:
    settings = {
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": upstream.base_url,
        "ILAB_CHAT_ADDRESS": "127.0.0.1:0",
    }
    with subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *START], env=environment(settings)
    ) as process:
        try:
            wait_for(lambda: catches_sigterm(process.pid) and (tmp_path / "memory.db-wal").exists())
            for descriptor in (0, 1, 2):
                assert str(Path(f"/proc/{process.pid}/fd/{descriptor}").readlink()) == "/dev/null"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_drain_ends_with_0_where_the_log_cannot_be_written(tmp_path: Path, upstream: Upstream, workers: str) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(reserved_port())
        settings = {
            "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
            "OPENAI_BASE_URL": upstream.base_url,
            "ILAB_CHAT_ADDRESS": "127.0.0.1:0",
            "ILAB_CHAT_WORKERS": workers,
            "ILAB_CHAT_METRICS_ADDRESS": f"127.0.0.1:{port}",
        }
        full = stack.enter_context(Path("/dev/full").open("w"))
        process = stack.enter_context(subprocess.Popen(START, env=environment(settings), stderr=full))
        stack.callback(process.kill)
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_gateway_serves_and_ends_with_0_where_standard_error_cannot_be_written(tmp_path: Path) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(reserved_port())
        settings = settings_of_both(tmp_path) | {"ILAB_CHAT_GATEWAY_ADDRESS": f"127.0.0.1:{port}"}
        full = stack.enter_context(Path("/dev/full").open("w"))
        process = stack.enter_context(subprocess.Popen(GATEWAY, env=settings, stderr=full))
        stack.callback(process.kill)
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/livez"), 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@COMMANDS
def test_invalid_setting_is_exit_code_2_where_standard_error_cannot_be_written(
    command: list[str], tmp_path: Path
) -> None:
    settings = settings_of_both(tmp_path) | {"ILAB_CHAT_ADDRESS": "x", "ILAB_CHAT_GATEWAY_ADDRESS": "x"}
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(command, env=settings, stderr=full, check=False, timeout=60).returncode == 2


def test_soft_limit_of_descriptors_is_raised_to_the_hard_one(tmp_path: Path, upstream: Upstream) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = min(soft, hard, 256)
    with running_server(
        ["/bin/sh", "-c", f'ulimit -S -n {lower} && exec "$@"', "sh", *START],
        ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
        OPENAI_BASE_URL=upstream.base_url,
    ) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3] == str(hard)
        assert server.stop() == 0
