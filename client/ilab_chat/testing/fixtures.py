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
    """Serve in this process, on a free port. Each test has a server of its own.

    A test whose program made a call without a scripted answer fails, even if the program has caught the error.
    """
    with ScriptedServer() as server:
        yield server
    if server.unscripted:
        pytest.fail(f"calls without a scripted answer: {', '.join(call.method for call in server.unscripted)}")


@pytest.fixture
def chat_client(chat_server: ScriptedServer) -> Iterator[ChatClient]:
    """Connect to `chat_server`. For asyncio, make `AsyncChatClient(chat_server.address)` in the test."""
    # Without retries, a test of UNAVAILABLE takes no time and needs one failure.
    with ChatClient(chat_server.address, max_retries=0) as client:
        yield client
