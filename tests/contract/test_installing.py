"""What `make` shows on a terminal while it installs packages."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

TOOL = str(Path(__file__).parents[2] / "tools/installing.py")


def on_terminal(*command: str, until: bytes = b"") -> tuple[int, str]:
    """Run *command*; close its standard input as soon as *until* is on the terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, TOOL, "Installing it", *command], stdin=subprocess.PIPE, stderr=theirs
    ) as process:
        assert process.stdin
        os.close(theirs)
        shown = bytearray()
        # Linux ends the terminal with EIO when its last user has gone.
        with suppress(OSError):
            while piece := os.read(ours, 4096):
                shown += piece
                if until in shown:
                    process.stdin.close()
        code = process.wait(60)
    os.close(ours)
    return code, shown.decode()


def test_line_on_a_terminal_names_the_step() -> None:
    script = "print('Collecting grpcio>=1.72', flush=True); open(0).read()"
    code, shown = on_terminal(sys.executable, "-c", script, until=b"Collecting")
    assert code == 0
    assert ": Collecting grpcio>=1.72" in shown
    assert shown.endswith("s\r\n")
    assert "Installing it: done in" in shown


def test_failure_shows_the_output() -> None:
    code, shown = on_terminal(sys.executable, "-c", "print('no such package'); raise SystemExit(3)")
    assert code == 3
    assert "no such package" in shown


@pytest.mark.parametrize("code", [0, 1])
def test_without_a_terminal_only_a_failure_is_shown(code: int) -> None:
    script = f"print('said'); raise SystemExit({code})"
    ended = subprocess.run(
        [sys.executable, TOOL, "Installing it", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (code, "said\n" if code else "")
