"""Fixtures for pytest.

In conftest.py:

    pytest_plugins = ["ilab_chat.testing.fixtures"]
"""

from collections.abc import Iterator

import pytest

from ilab_chat.sync import ChatClient
from ilab_chat.testing import ScriptedServer


@pytest.fixture
def chat_server() -> Iterator[ScriptedServer]:
    """Serve in this process, on a free port. Each test has a server of its own."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def chat_client(chat_server: ScriptedServer) -> Iterator[ChatClient]:
    """Connect to `chat_server`. For asyncio, make `AsyncChatClient(chat_server.address)` in the test."""
    # Without retries, a test of UNAVAILABLE takes no time and needs one failure.
    with ChatClient(chat_server.address, max_retries=0) as client:
        yield client
