"""An import that the server refuses while it is sent. The server is a process of its own: the fault needs two."""

import asyncio
from pathlib import Path

import pytest

from ilab_chat import AsyncChatClient, InvalidArgument
from ilab_chat.v1.memory_pb2 import Observation
from processes import running_server
from upstream import Upstream

pytestmark = pytest.mark.process

#: Without the workaround in `ilab_chat._connection`, one of three has no reason.
ATTEMPTS = 30


def test_refused_import_has_the_reason_of_the_server(upstream: Upstream, tmp_path: Path) -> None:
    memory = str(tmp_path / "memory.db")
    with running_server(OPENAI_BASE_URL=upstream.base_url, ILAB_MEMORY_DB_PATH=memory) as server:
        asyncio.run(refused_imports(server.address))


async def refused_imports(address: str) -> None:
    items = [Observation(content=4000 * "x")] * 6000
    async with AsyncChatClient(address) as client:
        for _ in range(ATTEMPTS):
            with pytest.raises(InvalidArgument) as refused:
                await client.memory.import_items("alice", items)
            assert refused.value.reason == "INVALID_FIELD"
