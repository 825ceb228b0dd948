"""bench/gateway_streams.py runs: a short form of it, without judging the figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench/gateway_streams.py"


def test_short_run_prints_both_figures() -> None:
    arguments = ["--streams", "5", "--seconds", "2.5", "--leaves", "1"]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    cpu, leaving = map(json.loads, done.stdout.splitlines())
    assert (cpu["streams"], leaving["leaves"]) == (5, 1)
    assert cpu["events_per_second"] > 0
    assert leaving["stopped_after_ms"] > 0
