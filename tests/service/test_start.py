"""The first milliseconds of the server: signals, standard descriptors and limits."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from metrics import wait_for
from processes import environment, running_server
from upstream import Upstream

START = [sys.executable, "-m", "ilab_chat_service.start"]
SIGTERM_BIT = 1 << (signal.SIGTERM - 1)


def catches_sigterm(pid: int) -> bool:
    with suppress(FileNotFoundError):
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        return bool(int(status["SigCgt"], 16) & SIGTERM_BIT)
    return False


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
