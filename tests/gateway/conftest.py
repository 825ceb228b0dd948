from collections.abc import AsyncIterator

import pytest

from http_gateway import Client, gateway


@pytest.fixture
async def web(address: str) -> AsyncIterator[Client]:
    """A running gateway in front of a running server."""
    async with gateway(address) as client:
        yield client
