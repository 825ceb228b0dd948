from collections.abc import AsyncIterator

import pytest

from client.scripted import AsyncCaller, Caller, ScriptedChatService, SyncCaller, serving


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
