from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page

from http_gateway import Client, gateway
from playground import chromium


@pytest.fixture
async def web(address: str) -> AsyncIterator[Client]:
    """A running gateway in front of a running server."""
    async with gateway(address) as client:
        yield client


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture(scope="session")
async def tab(browser: Browser) -> AsyncIterator[Page]:
    """A tab for one test after the other, by `playground.visiting`: a new one is a new process."""
    opened = await browser.new_page()
    yield opened
    await opened.close()


@pytest.fixture
async def playground(address: str) -> AsyncIterator[Client]:
    """A running gateway that serves the playground."""
    async with gateway(address, playground=True) as client:
        yield client
