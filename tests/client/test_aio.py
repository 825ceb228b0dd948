"""Behaviour of the asyncio client only."""

import asyncio

import grpc
import pytest

from client.scripted import REPLY, ScriptedChatService, abort_raw, delta, silent
from ilab_chat import AsyncChatClient, AsyncChatStream, Cancelled, Interrupted


async def test_cancelling_the_task_cancels_the_call(service: ScriptedChatService, target: str) -> None:
    service.script = silent
    async with AsyncChatClient(target) as client:
        calling = asyncio.create_task(client.chat("alice", "hi"))
        await service.entered.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await service.left.wait()


async def test_cancelling_the_task_cancels_the_stream(service: ScriptedChatService, target: str) -> None:
    service.script = silent

    async def read(client: AsyncChatClient) -> None:
        async with client.stream_chat("alice", "hi") as stream:
            async for _ in stream:
                pass

    async with AsyncChatClient(target) as client:
        reading = asyncio.create_task(read(client))
        await service.entered.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await service.left.wait()


async def test_close_cancels_running_calls_and_not_their_tasks(service: ScriptedChatService, target: str) -> None:
    service.script = silent
    client = AsyncChatClient(target)
    calling = asyncio.create_task(client.chat("alice", "hi", request_id="r-1"))
    await service.entered.wait()
    await client.aclose()
    with pytest.raises(Cancelled) as caught:
        await calling
    assert not calling.cancelled()
    assert caught.value.request_id == "r-1"
    await service.left.wait()


async def test_reading_after_the_block_says_that_the_call_is_cancelled(
    service: ScriptedChatService, target: str
) -> None:
    service.script = silent
    async with AsyncChatClient(target) as client:
        async with client.stream_chat("alice", "hi") as stream:
            await anext(stream)
        with pytest.raises(Cancelled):
            await anext(stream)


async def test_text_may_be_left_and_taken_up_again(target: str) -> None:
    async with AsyncChatClient(target) as client, client.stream_chat("alice", "hi") as stream:
        async for text in stream.text:
            assert text == "Hello "
            break
        assert [text async for text in stream.text] == ["Alice"]
        assert stream.response.reply == REPLY


async def test_the_response_is_not_there_before_the_end(target: str) -> None:
    async with AsyncChatClient(target) as client, client.stream_chat("alice", "hi", request_id="r-1") as stream:
        assert stream.request_id == "r-1"
        assert_started(stream, None)
        with pytest.raises(RuntimeError, match="read the stream to its end"):
            _ = stream.response
        await anext(stream.text)
        assert_started(stream, "s-1")
        with pytest.raises(RuntimeError, match="read the stream to its end"):
            _ = stream.response


async def test_reading_on_after_a_failure_tells_the_same(service: ScriptedChatService, target: str) -> None:
    service.script = abort_raw(grpc.StatusCode.ABORTED, "gone", after=(delta("Hel"),))
    async with AsyncChatClient(target) as client, client.stream_chat("alice", "hi") as stream:
        assert await anext(stream.text) == "Hel"
        for _ in range(2):
            with pytest.raises(Interrupted, match="gone"):
                await anext(stream)


def assert_started(stream: AsyncChatStream, session_id: str | None) -> None:
    assert (stream.started and stream.started.session_id) == session_id


async def test_a_stream_is_entered_once_and_first(service: ScriptedChatService, target: str) -> None:
    async with AsyncChatClient(target) as client:
        stream = client.stream_chat("alice", "hi")
        with pytest.raises(RuntimeError, match="enter the stream first"):
            await anext(stream)
        assert not service.requests
        async with stream:
            pass
        with pytest.raises(RuntimeError, match="entered before"):
            async with stream:
                pass


async def test_a_given_channel_is_used_and_stays_open(target: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        async with AsyncChatClient(channel=channel) as client:
            assert (await client.chat("alice", "hi")).reply == REPLY
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        assert (await AsyncChatClient(channel=channel).chat("alice", "hi")).reply == REPLY


async def test_a_channel_excludes_target_and_credentials() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(ValueError, match="either a channel, or a target"):
            AsyncChatClient("127.0.0.1:1", channel=channel)
        with pytest.raises(ValueError, match="either a channel, or a target"):
            AsyncChatClient(channel=channel, credentials=grpc.ssl_channel_credentials())


async def test_a_closed_client_says_so(target: str) -> None:
    client = AsyncChatClient(target)
    await client.chat("alice", "hi")
    await client.aclose()
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await client.chat("alice", "hi")
    with pytest.raises(RuntimeError, match="closed"):
        async with client.stream_chat("alice", "hi"):
            pass


async def test_a_client_that_never_called_closes() -> None:
    await AsyncChatClient().aclose()


async def test_metadata_of_the_client_comes_before_the_calls_own(service: ScriptedChatService, target: str) -> None:
    async with AsyncChatClient(target, metadata=(("x-a", "client"), ("x-b", "client"))) as client:
        await client.chat("alice", "hi", metadata=(("x-b", "call"),))
    assert service.metadata["x-a"] == "client"
    assert service.metadata["x-b"] == "call"


async def test_a_client_may_be_made_where_no_loop_runs(target: str) -> None:
    client = await asyncio.to_thread(AsyncChatClient, target)
    async with client:
        assert (await client.chat("alice", "hi")).reply == REPLY
