from collections.abc import Iterator

import pytest
from hypothesis import settings

from fuzz.target import Target, running_target

settings.register_profile("soak", max_examples=2000)


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_target(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


@pytest.fixture(autouse=True)
def last_batch_is_checked(target: Target) -> Iterator[None]:
    yield
    target.check_now()
