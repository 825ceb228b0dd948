"""Behaviour of the sync client only. Each test runs in a thread: the server needs the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from client.scripted import REPLY, ScriptedChatService, abort_raw, delta, silent
from ilab_chat import Cancelled, ChatClient, ChatStream, Interrupted


async def test_close_cancels_running_calls(service: ScriptedChatService, target: str) -> None:
    service.script = silent
    client = ChatClient(target)
    calling = asyncio.ensure_future(asyncio.to_thread(client.chat, "alice", "hi", request_id="r-1"))
    await service.entered.wait()
    client.close()
    with pytest.raises(Cancelled) as caught:
        await calling
    assert caught.value.request_id == "r-1"
    await service.left.wait()


async def test_reading_after_the_block_says_that_the_call_is_cancelled(
    service: ScriptedChatService, target: str
) -> None:
    service.script = silent

    def leave_and_read(client: ChatClient) -> None:
        with client.stream_chat("alice", "hi") as stream:
            next(stream)
        with pytest.raises(Cancelled):
            next(stream)

    with ChatClient(target) as client:
        await asyncio.to_thread(leave_and_read, client)


async def test_text_may_be_left_and_taken_up_again(target: str) -> None:
    def read() -> None:
        with ChatClient(target) as client, client.stream_chat("alice", "hi") as stream:
            for text in stream.text:
                assert text == "Hello "
                break
            assert list(stream.text) == ["Alice"]
            assert stream.response.reply == REPLY

    await asyncio.to_thread(read)


async def test_the_response_is_not_there_before_the_end(target: str) -> None:
    def read() -> None:
        with ChatClient(target) as client, client.stream_chat("alice", "hi", request_id="r-1") as stream:
            assert stream.request_id == "r-1"
            assert_started(stream, None)
            with pytest.raises(RuntimeError, match="read the stream to its end"):
                _ = stream.response
            next(stream.text)
            assert_started(stream, "s-1")
            with pytest.raises(RuntimeError, match="read the stream to its end"):
                _ = stream.response

    await asyncio.to_thread(read)


async def test_reading_on_after_a_failure_tells_the_same(service: ScriptedChatService, target: str) -> None:
    service.script = abort_raw(grpc.StatusCode.ABORTED, "gone", after=(delta("Hel"),))

    def read() -> None:
        with ChatClient(target) as client, client.stream_chat("alice", "hi") as stream:
            assert next(stream.text) == "Hel"
            for _ in range(2):
                with pytest.raises(Interrupted, match="gone"):
                    next(stream)

    await asyncio.to_thread(read)


def assert_started(stream: ChatStream, session_id: str | None) -> None:
    assert (stream.started and stream.started.session_id) == session_id


async def test_a_stream_is_entered_once_and_first(service: ScriptedChatService, target: str) -> None:
    with ChatClient(target) as client:
        stream = client.stream_chat("alice", "hi")
        with pytest.raises(RuntimeError, match="enter the stream first"):
            next(stream)
        assert not service.requests
        with stream:
            pass
        with pytest.raises(RuntimeError, match="entered before"), stream:
            pass


async def test_a_given_channel_is_used_and_stays_open(target: str) -> None:
    def call() -> None:
        with grpc.insecure_channel(target) as channel:
            for _ in range(2):
                with ChatClient(channel=channel) as client:
                    assert client.chat("alice", "hi").reply == REPLY

    await asyncio.to_thread(call)


def test_a_channel_excludes_target_and_credentials() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(ValueError, match="either a channel, or a target"):
            ChatClient("127.0.0.1:1", channel=channel)
        with pytest.raises(ValueError, match="either a channel, or a target"):
            ChatClient(channel=channel, credentials=grpc.ssl_channel_credentials())


def test_a_closed_client_says_so() -> None:
    client = ChatClient()
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.chat("alice", "hi")
    with pytest.raises(RuntimeError, match="closed"), client.stream_chat("alice", "hi"):
        pass


async def test_metadata_of_the_client_comes_before_the_calls_own(service: ScriptedChatService, target: str) -> None:
    def call() -> None:
        with ChatClient(target, metadata=(("x-a", "client"), ("x-b", "client"))) as client:
            client.chat("alice", "hi", metadata=(("x-b", "call"),))

    await asyncio.to_thread(call)
    assert service.metadata["x-a"] == "client"
    assert service.metadata["x-b"] == "call"


async def test_threads_share_a_client(service: ScriptedChatService, target: str) -> None:
    def call() -> list[str]:
        with ChatClient(target) as client, ThreadPoolExecutor(8) as pool:
            return [answer.reply for answer in pool.map(lambda n: client.chat(f"user-{n}", "hi"), range(16))]

    assert await asyncio.to_thread(call) == [REPLY] * 16
    assert len({request.request_id for request in service.requests}) == 16
