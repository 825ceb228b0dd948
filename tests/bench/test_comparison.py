"""The bench against its own servers: what it would measure is answered, and answered right."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCH = HERE.parent.parent / "bench"


def test_every_server_answers_as_the_bench_expects_and_the_quick_bench_measures_the_ratios_of_the_baseline(
    tmp_path: Path,
) -> None:
    # On the same servers, whose starts take seconds.
    run("answers.py", tmp_path)


def test_loss_of_more_than_15_percent_fails_the_quick_bench() -> None:
    run("ratios.py")


def run(program: str, *arguments: str | Path) -> None:
    """Run a program of this folder alone: the names of the bench's modules are those of folders of these tests."""
    environ = {**os.environ, "PYTHONPATH": str(BENCH)}
    subprocess.run([sys.executable, HERE / program, *arguments], env=environ, check=True)
