"""The bench of what the prompt contains: a short life, its judgement, and the consistency of the long ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCH = HERE.parent.parent / "bench"


def run(script: Path, *arguments: str | Path) -> str:
    """Return what a program of the bench prints."""
    paths = [str(BENCH), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [sys.executable, script, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_short_life_is_lived_and_judged() -> None:
    [figures] = json.loads(run(BENCH / "remember.py", "--json", "--life", HERE / "short_life.toml"))
    assert figures["turns"] == 20
    assert figures["asked"] == {"fact": 2, "opt-out": 1}
    # Text marked as private reaches no later prompt.
    assert figures["answered"]["opt-out"] == 1
    assert [miss["reason"] for miss in figures["misses"] if miss["question"].endswith("cabin?")] == [
        "missing: heron-12"
    ]
    assert figures["answered"]["fact"] == 1
    assert figures["junk_asked"] == 20
    assert figures["consolidations"] == 0
    assert figures["tokens"]["total"]["max"] > figures["tokens"]["instructions"]["mean"] > 0
    assert 0 < figures["shared_prefix"] < 1


def test_short_life_with_consolidation_answers_the_same() -> None:
    # The embedder, which loads for a second, has no part in it.
    options = ("--consolidation", "--embedder", "none", "--json", "--life", HERE / "short_life.toml")
    [figures] = json.loads(run(BENCH / "remember.py", *options))
    assert figures["answered"]["opt-out"] == 1
    assert figures["answered"]["fact"] == 1
    # 20 turns, of at least 8 and at most 16 at once.
    assert 2 <= figures["consolidations"] <= 3


def test_judgement_of_a_prompt() -> None:
    run(HERE / "judged.py")


def test_lives_are_consistent() -> None:
    run(BENCH / "remember.py", "--check")
