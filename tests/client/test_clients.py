"""The clients apart from their calls: defaults, version, representations."""

import asyncio
import tomllib
from pathlib import Path

import pytest
from grpc import StatusCode

import ilab_chat
from client.scripted import ScriptedChatService, abort_raw, completed, events, started
from ilab_chat import AsyncChatClient, ChatClient, ChatError, Unavailable

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", [ChatClient, AsyncChatClient])
async def test_another_client_with_other_defaults_shares_the_connection(
    kind: type[ChatClient | AsyncChatClient], service: ScriptedChatService, target: str
) -> None:
    client = kind(target, timeout=50, metadata=(("x-a", "1"),), token="t")
    other = client.with_options(timeout=20, metadata=(("x-b", "2"),), token=None)

    async def chat(each: ChatClient | AsyncChatClient) -> None:
        if isinstance(each, AsyncChatClient):
            await each.chat("alice", "hi")
        else:
            await asyncio.to_thread(each.chat, "alice", "hi")

    await chat(other)
    assert service.time_remaining is not None
    assert 10 < service.time_remaining < 30
    assert service.metadata["x-b"] == "2"
    assert not service.metadata.keys() & {"x-a", "authorization"}
    await chat(client)
    assert 30 < service.time_remaining < 60
    assert (service.metadata["x-a"], service.metadata["authorization"]) == ("1", "Bearer t")
    await chat(other.with_options())
    assert service.metadata["x-b"] == "2"

    if isinstance(other, AsyncChatClient):
        await other.aclose()
    else:
        other.close()
    with pytest.raises(RuntimeError, match="closed"):
        await chat(client)


def test_another_client_does_not_send_a_token_in_plaintext_either() -> None:
    with ChatClient("chat.example.com:443") as client, pytest.raises(ValueError, match="plaintext"):
        client.with_options(token="t")


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "client/ilab_chat/_version.py"
    assert ilab_chat.__version__.count(".") == 2


def test_representations_name_the_call_and_no_text_of_the_user() -> None:
    with ChatClient("127.0.0.1:1") as client:
        assert repr(client) == "<ChatClient 127.0.0.1:1>"
        stream = client.stream_chat("alice", "a secret", request_id="r-1")
        assert repr(stream) == "<ChatStream r-1, not begun>"
    assert repr(client) == "<ChatClient 127.0.0.1:1, closed>"
    error = Unavailable("gone", reason="SERVER_DRAINING", request_id="r", trailing_metadata=[("x-correlation-id", "c")])
    assert repr(error) == "Unavailable(UNAVAILABLE, reason='SERVER_DRAINING', request_id='r', correlation_id='c')"


async def test_errors_and_answers_have_the_correlation_id(service: ScriptedChatService, target: str) -> None:
    service.script = events(started(correlation_id="c-1"), completed("", correlation_id="c-1"))
    async with AsyncChatClient(target) as client:
        assert (await client.chat("alice", "hi")).correlation_id == "c-1"
        service.script = abort_raw(StatusCode.INTERNAL, "no", (("x-correlation-id", "c-2"),))
        with pytest.raises(ChatError) as caught:
            await client.chat("alice", "hi")
        assert caught.value.correlation_id == "c-2"
