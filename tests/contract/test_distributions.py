"""`make dist` refuses distributions that lack a licence, a link or a classifier, or that are of another version."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from contract.process import ROOT

sys.path.insert(0, str(ROOT))

from tools.distributions import NAMES, PYTHONS, problems

METADATA = """Metadata-Version: 2.4
Version: 1.0
Author-Email: a@example.org
Description-Content-Type: text/markdown
License-Expression: Apache-2.0
License-File: LICENSE
Project-URL: Homepage, https://example.org
Requires-Python: >=3.11
"""
COMPLETE = METADATA + "".join(f"Classifier: {each}\n" for each in PYTHONS)


def wheel(folder: Path, name: str, metadata: str = COMPLETE, *, licence: str = "LICENSE") -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}-1.0.dist-info/METADATA", metadata)
        file.writestr(f"{name}-1.0.dist-info/licenses/{licence}", "")


def sdist(folder: Path, name: str) -> None:
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as file:
        for member, text in (("PKG-INFO", COMPLETE), ("LICENSE", "")):
            info = tarfile.TarInfo(f"{name}-1.0/{member}")
            info.size = len(text)
            file.addfile(info, io.BytesIO(text.encode()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        wheel(tmp_path, name)
        sdist(tmp_path, name)
    return tmp_path


def test_complete_distributions_pass(folder: Path) -> None:
    assert list(problems(folder, "1.0")) == list(problems(folder, "")) == []


def test_missing_distribution_and_other_version_are_found(folder: Path) -> None:
    (folder / "ilab_memory-1.0.tar.gz").unlink()
    [missing, version] = problems(folder, "1.1")
    assert "not one wheel and one sdist of each" in missing
    assert version == f"{folder}: the versions are 1.0, not 1.1"


def test_missing_licence_link_and_classifier_are_found(folder: Path) -> None:
    wheel(folder, "ilab_chat", licence="COPYING")
    wheel(folder, "ilab_memory", METADATA.replace("Project-URL", "X-URL"))
    found = list(problems(folder, ""))
    assert "ilab_chat-1.0-py3-none-any.whl: LICENSE is missing" in found
    assert "ilab_memory-1.0-py3-none-any.whl: no Project-URL" in found
    assert f"ilab_memory-1.0-py3-none-any.whl: no {PYTHONS[0]}" in found


def test_release_workflow_publishes_what_ci_checks() -> None:
    workflow = (ROOT / ".github/workflows/release.yml").read_text()
    assert workflow.index("bash .ci/run") < workflow.index("tools/distributions.py dist") < workflow.index("publish:")
    assert "make dist" in (ROOT / ".ci/run").read_text()
    used = [line.split("uses:")[1].split("#")[0].strip() for line in workflow.splitlines() if "uses:" in line]
    assert used
    assert all(len(action.rpartition("@")[2]) == 40 for action in used), "actions are pinned by commit"
