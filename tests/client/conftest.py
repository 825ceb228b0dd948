from collections.abc import AsyncIterator

import pytest

from client.scripted import AsyncCaller, Caller, ScriptedChatService, SyncCaller, serving
from client.scripted_memory import AsyncMemoryCaller, MemoryCaller, ScriptedMemoryService, SyncMemoryCaller


@pytest.fixture
def service() -> ScriptedChatService:
    return ScriptedChatService()


@pytest.fixture
async def target(service: ScriptedChatService) -> AsyncIterator[str]:
    async with serving(service) as address:
        yield address


@pytest.fixture(params=[AsyncCaller, SyncCaller], ids=["aio", "sync"])
def caller(request: pytest.FixtureRequest) -> Caller:
    made: Caller = request.param()
    return made


@pytest.fixture
def memory() -> ScriptedMemoryService:
    return ScriptedMemoryService()


@pytest.fixture
async def memory_target(memory: ScriptedMemoryService) -> AsyncIterator[str]:
    async with serving(None, memory) as address:
        yield address


@pytest.fixture(params=[AsyncMemoryCaller, SyncMemoryCaller], ids=["aio", "sync"])
def memory_caller(request: pytest.FixtureRequest) -> MemoryCaller:
    made: MemoryCaller = request.param()
    return made
