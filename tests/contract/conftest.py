import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.process import Served, service

NODE = Path(__file__).with_name("node")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with service(tmp_path_factory.mktemp("served")) as running:
        yield running


def tool(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not installed"
    return found


@pytest.fixture(scope="session")
def node() -> str:
    """Install what package.json names, and return the path of Node."""
    options = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
    subprocess.run([tool("npm"), "install", *options], cwd=NODE, check=True, capture_output=True)
    return tool("node")
