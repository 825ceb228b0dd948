"""The bench against its own servers: what it would measure is answered, and answered right."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCH = HERE.parent.parent / "bench"


def test_every_server_of_the_bench_answers_as_the_bench_expects(tmp_path: Path) -> None:
    # In a process of its own: the names of the bench's programs are those of folders of these tests.
    subprocess.run(
        [sys.executable, HERE / "answers.py", tmp_path], env={**os.environ, "PYTHONPATH": str(BENCH)}, check=True
    )
