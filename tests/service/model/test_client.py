from __future__ import annotations

import asyncio
import gzip
import json
import math
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from batch import cases
from certificates import Authority
from ilab_chat_service.failures import (
    ContextTooLong,
    Failure,
    ModelInterrupted,
    ModelRateLimited,
    ModelRejected,
    ModelUnavailable,
)
from ilab_chat_service.limits import REPLY_BYTES
from ilab_chat_service.model import completion_stream
from ilab_chat_service.model.api_errors import ResponseTooLong
from ilab_chat_service.model.breaker import FAILURES_TO_OPEN
from ilab_chat_service.model.chunks import ERROR_BYTES, MOST_PARTS
from ilab_chat_service.model.completion_stream import SLICE_BYTES, CompletionStream
from ilab_chat_service.model.http_transport import HEADER_BYTES, MAX_INTERIM, Body, Parsing
from ilab_chat_service.model.model_choice import ModelClient, client_of, open_model
from ilab_chat_service.model.pacing import LoopShare, Pace
from ilab_chat_service.model.profiles import MAX_UNLISTED_MODELS
from ilab_chat_service.model.profiles_file import token_limit_of
from ilab_chat_service.model.server_sent_events import EVENT_BYTES, EventTooLong
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError
from ilab_chat_service.values import ChatMessage, FinishReason, Generation, Usage
from upstream import Reply, Upstream, chunk, running

MESSAGES = (ChatMessage("system", "s"), ChatMessage("user", "u"), ChatMessage("assistant", "a"))


@pytest.fixture
async def model(settings: Settings) -> AsyncIterator[ModelClient]:
    async with open_model(settings) as model:
        yield model


DEFAULTS = Generation()


async def text_of(model: ModelClient, generation: Generation = DEFAULTS) -> str:
    async with model.choose(generation).answer(MESSAGES, math.inf) as answer:
        return "".join([text async for text in answer if isinstance(text, str)])


async def test_answer_arrives_in_pieces_with_its_metadata(model: ModelClient, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
        assert answer.model == "upstream-model"
        texts = []
        async for text in answer:
            texts.append(text)
            upstream.release()
        assert texts == ["Hello", " there."]
        assert answer.finish_reason is FinishReason.STOP
        assert answer.usage == Usage(input_tokens=20, cached_input_tokens=8, output_tokens=5, reasoning_tokens=2)


async def test_request_contains_only_the_given_options(model: ModelClient, upstream: Upstream) -> None:
    await text_of(model)
    assert upstream.requests[0].path == "/v1/chat/completions"
    sent = {name.lower(): value for name, value in upstream.requests[0].headers.items()}
    assert sent["content-type"] == "application/json"
    assert not any("idempotency" in name or "stainless" in name for name in sent)
    assert upstream.requests[0].body == {
        "model": "test-model",
        "messages": [{"role": each.role, "content": each.content} for each in MESSAGES],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    await text_of(
        model, Generation(model="other", temperature=0.0, top_p=0.5, max_output_tokens=9, stop_sequences=("x",), seed=0)
    )
    given = {"model": "other", "temperature": 0.0, "top_p": 0.5, "max_tokens": 9, "stop": ["x"], "seed": 0}
    assert upstream.requests[1].body.items() >= given.items()


@pytest.mark.parametrize(
    ("url", "old"),
    [
        ("https://api.openai.com/v1", False),
        ("https://eu.api.openai.com/v1", False),
        ("https://x.openai.azure.com/openai/v1", False),
        ("http://127.0.0.1:8080/v1", True),
        ("https://llm.example.com/v1", True),
    ],
)
def test_name_of_the_token_limit_depends_on_the_api(url: str, *, old: bool) -> None:
    assert token_limit_of(url) == ("max_tokens" if old else "max_completion_tokens")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("tool_calls", FinishReason.OTHER),
    ],
)
async def test_each_finish_reason(model: ModelClient, upstream: Upstream, given: str, reason: FinishReason) -> None:
    upstream.replies(Reply(finish_reason=given))
    async with model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
        assert [text async for text in answer]
        assert answer.finish_reason is reason


async def test_answer_without_text_or_usage(model: ModelClient, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=(), usage=None))
    async with model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
        assert [text async for text in answer] == []
        assert answer.usage is None


async def test_character_split_over_two_chunks_is_joined(model: ModelClient, upstream: Upstream) -> None:
    upstream.says("a\ud83d", "\ude00b", "\ud83d")
    assert await text_of(model) == "a\U0001f600b\ufffd"


def error_body(code: str | int, kind: str = "invalid_request_error") -> bytes:
    return json.dumps({"error": {"message": "SECRET PROMPT", "type": kind, "code": code}}).encode()


@pytest.mark.parametrize(
    ("reply", "failure", "retry_after"),
    [
        (Reply(status=429, headers={"retry-after": "7"}), ModelRateLimited, 7.0),
        (Reply(status=429), ModelRateLimited, 1.0),
        (Reply(status=429, headers={"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}), ModelRateLimited, 0.1),
        (Reply(status=429, headers={"retry-after": "inf"}), ModelRateLimited, 1.0),
        (Reply(status=429, headers={"retry-after": "1e300"}), ModelRateLimited, 3600.0),
        (Reply(status=429, headers={"retry-after": "-5"}), ModelRateLimited, 0.1),
        (Reply(status=429, headers={"retry-after": "0"}), ModelRateLimited, 0.1),
        (Reply(status=408), ModelUnavailable, 1.0),
        (Reply(status=409), ModelUnavailable, 1.0),
        (Reply(status=400, body=b'{"error": {"code": ["x"], "type": {"a": 1}}}'), ModelRejected, None),
        (Reply(events=["[" * 100_000]), ModelUnavailable, 1.0),
        (Reply(status=500), ModelUnavailable, 1.0),
        (Reply(status=503), ModelUnavailable, 1.0),
        (Reply(status=400, body=error_body("bad")), ModelRejected, None),
        (Reply(status=401), ModelRejected, None),
        (Reply(status=403), ModelRejected, None),
        (Reply(status=404), ModelRejected, None),
        (Reply(status=400, body=error_body("context_length_exceeded")), ContextTooLong, None),
        (Reply(status=400, body=error_body(400, "exceed_context_size_error")), ContextTooLong, None),
        (Reply(body=b"<html>not an API</html>"), ModelUnavailable, 1.0),
        (Reply(events=["{not json"]), ModelUnavailable, 1.0),
        (Reply(events=["[1, 2]"]), ModelUnavailable, 1.0),
        (Reply(events=['{"error": {"message": "SECRET PROMPT"}}']), ModelRejected, None),
        (Reply(events=[]), ModelUnavailable, 1.0),
        (Reply(cut_before=0), ModelUnavailable, 1.0),
        (Reply(events=[chunk([{"index": 0, "delta": {"content": ""}}])]), ModelUnavailable, 1.0),
    ],
)
async def test_failures_before_the_first_token(
    model: ModelClient, upstream: Upstream, reply: Reply, failure: type[Failure], retry_after: float | None
) -> None:
    upstream.replies(reply)
    with pytest.raises(failure) as caught:
        await text_of(model)
    assert type(caught.value) is failure
    assert caught.value.retry_after_seconds == retry_after
    assert "SECRET" not in str(caught.value)


WORD = chunk([{"index": 0, "delta": {"content": "word"}}])


@pytest.mark.parametrize(
    "reply",
    [
        Reply(cut_before=1),
        Reply(body=f"data: {WORD}\n\n".encode()),
        Reply(events=[WORD, '{"error": {"message": "SECRET PROMPT"}}']),
    ],
)
async def test_failures_after_the_first_token(model: ModelClient, upstream: Upstream, reply: Reply) -> None:
    upstream.replies(reply)
    with pytest.raises(ModelInterrupted) as caught:
        await text_of(model)
    assert "SECRET" not in str(caught.value)


@cases(
    "model_name",
    [7, True, 1.5, ["x"], {"a": 1}, None, "\ud800", "m" * 1_500_000, "You said: hi", "a\nb", "na\u00efve", ""],
)
@cases("count", [2**31, -1, "many", 1.5, None, [1], True])
async def test_metadata_of_the_api_may_have_any_type(
    model: ModelClient, upstream: Upstream, model_name: object, count: object
) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": count}}
    choice = {"index": 0, "delta": {"content": "word"}, "finish_reason": "stop"}
    events = [json.dumps({"model": model_name, "choices": [choice]}), json.dumps({"choices": [], "usage": usage})]
    upstream.replies(Reply(events=events))
    async with model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
        assert [text async for text in answer] == ["word"]
        assert answer.usage == Usage(input_tokens=0, output_tokens=5)
        assert answer.model == answer.requested_model


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-4o-mini-2024-07-18", "meta-llama/Llama-3.3-70B-Instruct", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        *("@cf/meta/llama-3-8b", "/models/llama.gguf", "ft:gpt-4o:acme::9x", "accounts/f/models/qwen2p5", "a" * 256),
    ],
)
async def test_model_name_of_the_api_is_passed_on(model: ModelClient, upstream: Upstream, name: str) -> None:
    choice = {"index": 0, "delta": {"content": "word"}, "finish_reason": "stop"}
    upstream.replies(Reply(events=[json.dumps({"model": name, "choices": [choice]})]))
    async with model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
        assert [text async for text in answer] == ["word"]
        assert answer.model == name != answer.requested_model


def events_of(*data: str) -> bytes:
    return "".join(f"data: {each}\n\n" for each in data).encode()


END = chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])


@pytest.mark.parametrize("odd", ["", "{not json", "7", "null", "[1]", '{"choices": 7}', '{"choices": [7]}', "ping"])
async def test_unknown_frame_is_ignored(model: ModelClient, upstream: Upstream, odd: str) -> None:
    upstream.replies(Reply(events=[odd, WORD, odd, WORD, odd, END]))
    assert await text_of(model) == "wordword"


async def test_pieces_received_together_are_joined(model: ModelClient, upstream: Upstream) -> None:
    upstream.replies(Reply(body=events_of(WORD, WORD, END, "[DONE]")))
    async with model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
        assert [text async for text in answer] == ["wordword"]


async def test_failure_received_with_text_follows_the_text(model: ModelClient, upstream: Upstream) -> None:
    upstream.replies(Reply(body=events_of(WORD, '{"error": {"code": 500}}', WORD, END)))
    async with model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
        texts = aiter(answer)
        assert await anext(texts) == "word"
        with pytest.raises(ModelInterrupted):
            await anext(texts)


async def test_data_after_the_end_is_ignored(model: ModelClient, upstream: Upstream) -> None:
    upstream.replies(Reply(body=events_of(WORD, END, "[DONE]", "{not json")))
    assert await text_of(model) == "word"


async def test_compressed_answer(model: ModelClient, upstream: Upstream) -> None:
    body = gzip.compress(events_of(WORD, END, "[DONE]"))
    upstream.replies(Reply(body=body, headers={"content-encoding": "gzip"}))
    assert await text_of(model) == "word"


@pytest.mark.parametrize("greeting", [b"", b"220 smtp.example.com\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000])
async def test_server_that_does_not_speak_http(settings: Settings, greeting: bytes) -> None:
    def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, open_model(replace(settings, openai_base_url=f"http://{host}:{port}/v1")) as model:
        with pytest.raises(ModelUnavailable):
            await text_of(model)


@pytest.mark.parametrize(
    "data",
    [
        '{"choices": [%s{}]}' % ("{}," * MOST_PARTS),
        '{"choices": [{"delta": {"content": [%s"a"]}}]}' % ('"a",' * MOST_PARTS),
    ],
    ids=["choices", "parts of a content"],
)
@pytest.mark.parametrize("streams", [False, True], ids=["document", "event"])
async def test_chunk_of_very_many_parts_is_not_decoded(
    model: ModelClient,
    upstream: Upstream,
    data: str,
    streams: bool,  # noqa: FBT001
) -> None:
    upstream.replies(Reply(events=[data]) if streams else Reply(body=data.encode()))
    with pytest.raises(ModelUnavailable) as caught:
        await text_of(model)
    assert caught.value.cause["upstream.error"] == "an event with more than 50,000 parts"


@pytest.mark.parametrize("text", ['{"a": [1, 2, "b\\\\"]}, ', '\\"', '"', "{[,", "\ud83d"])
async def test_text_of_a_large_chunk_may_look_like_json(model: ModelClient, upstream: Upstream, text: str) -> None:
    said = text * (300_000 // len(text))
    upstream.replies(Reply(events=[chunk([{"index": 0, "delta": {"content": said}}])]))
    assert await text_of(model) == said.replace("\ud83d", "\ufffd")


INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"


async def test_endless_interim_responses_are_an_outage(model: ModelClient, upstream: Upstream) -> None:
    upstream.replies(Reply(raw=repeat(INTERIM)))
    async with asyncio.timeout(60):
        with pytest.raises(ModelUnavailable) as caught:
            await text_of(model)
    assert caught.value.cause["upstream.error"] == "more than 16 interim responses (1xx)"
    assert await asyncio.to_thread(upstream.left.wait, 60)


async def test_answer_may_follow_interim_responses(model: ModelClient, upstream: Upstream) -> None:
    body = events_of(WORD, END, "[DONE]")
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    upstream.replies(*(Reply(raw=[INTERIM * MAX_INTERIM, answer]) for _ in range(2)))
    assert [await text_of(model) for _ in range(2)] == ["word"] * 2


async def test_sequential_answers_share_a_connection(model: ModelClient, upstream: Upstream) -> None:
    await text_of(model)
    [connection] = upstream.connections
    for _ in range(3):
        await text_of(model)
    assert upstream.connections == {connection}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(model: ModelClient, upstream: Upstream, status: int) -> None:
    with running() as elsewhere:
        target = f"{elsewhere.base_url}/chat/completions"
        upstream.replies(Reply(status=status, headers={"location": target}))
        with pytest.raises(ModelRejected, match=str(status)):
            await text_of(model)
        assert not elsewhere.requests
        assert not elsewhere.connections


@pytest.mark.parametrize("change", ["version", "hook"])
async def test_unknown_openai_version_falls_back_to_the_public_client(
    settings: Settings,
    upstream: Upstream,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if change == "version":
        monkeypatch.setattr(openai, "__version__", "3.58.0")
    else:
        monkeypatch.setattr(openai, "DefaultAioHttpClient", httpx2.BaseTransport)
    async with open_model(settings) as model:
        [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert warning.startswith("using the openai package's own HTTP client: openai 3.5")
        assert await text_of(model) == "Hello there."
        body = gzip.compress(events_of(WORD, END, "[DONE]"))
        upstream.replies(Reply(body=body, headers={"content-encoding": "gzip"}), Reply(status=400), Reply(status=302))
        assert await text_of(model) == "word"
        for status in ("400", "302"):
            with pytest.raises(ModelRejected, match=status):
                await text_of(model)


async def test_cookies_are_not_stored(settings: Settings, upstream: Upstream) -> None:
    # By name, because aiohttp accepts no cookies from an IP address.
    url = upstream.base_url.replace("127.0.0.1", "localhost")
    cookie = {"set-cookie": "sess=alice; path=/"}
    upstream.replies(Reply(body=events_of(WORD, END, "[DONE]"), headers=cookie), Reply(status=400, headers=cookie))
    async with open_model(replace(settings, openai_base_url=url)) as model:
        await text_of(model)
        with pytest.raises(ModelRejected):
            await text_of(model)
        await text_of(model)
    assert len(upstream.requests) == 3
    assert not any(name.lower() == "cookie" for request in upstream.requests for name in request.headers)


@pytest.mark.parametrize("letter", ["y", "\U0001f600"])
async def test_endless_reply_is_truncated(model: ModelClient, upstream: Upstream, letter: str) -> None:
    upstream.replies(Reply(pieces=repeat(f"x{letter * 9_999}")))
    async with asyncio.timeout(60), model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
        reply = "".join([text async for text in answer if isinstance(text, str)])
        assert answer.finish_reason is FinishReason.LENGTH
    assert REPLY_BYTES - 4 < len(reply.encode()) <= REPLY_BYTES
    assert reply.startswith(f"x{letter * 9_999}x")
    # The connection is closed, so that the model stops writing.
    assert await asyncio.to_thread(upstream.left.wait, 60)


@pytest.mark.parametrize(("before", "failure"), [([], ModelUnavailable), ([WORD], ModelInterrupted)])
async def test_endless_event_is_a_failure(
    model: ModelClient, upstream: Upstream, before: list[str], failure: type[Failure]
) -> None:
    upstream.replies(Reply(events=[*before, "x" * (EVENT_BYTES + 1_000_000)]))
    with pytest.raises(failure) as caught:
        await text_of(model)
    assert isinstance(caught.value.__cause__, EventTooLong)


@pytest.mark.parametrize(("before", "failure"), [([], ModelUnavailable), ([WORD], ModelInterrupted)])
async def test_endless_comments_are_a_failure(
    model: ModelClient, upstream: Upstream, before: list[str], failure: type[Failure]
) -> None:
    upstream.replies(Reply(parts=chain((f"data: {data}\n\n".encode() for data in before), repeat(b": x\n\n" * 9999))))
    async with asyncio.timeout(60):
        with pytest.raises(failure) as caught:
            await text_of(model)
    assert caught.value.cause["upstream.error"] == "more than 256 KiB of comments or blank lines between two events"
    assert await asyncio.to_thread(upstream.left.wait, 60)


@pytest.mark.slow
async def test_endless_reasoning_is_a_failure(
    model: ModelClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion_stream, "RESPONSE_BYTES", 10_000_000)
    thought = chunk([{"index": 0, "delta": {"reasoning": "x" * 100_000}}])
    upstream.replies(Reply(events=[thought] * 90), Reply(events=repeat(thought)))
    async with asyncio.timeout(60):
        assert await text_of(model) == ""
        with pytest.raises(ModelInterrupted) as caught:
            await text_of(model)
        assert isinstance(caught.value.__cause__, ResponseTooLong)


@pytest.mark.parametrize("ends", [True, False])
async def test_very_long_response_headers_are_an_outage(model: ModelClient, upstream: Upstream, ends: bool) -> None:  # noqa: FBT001
    fields = b"".join(b"x%d: %s\r\n" % (number, b"y" * (HEADER_BYTES // 50)) for number in range(100))
    endless = chain([b"HTTP/1.1 200 OK\r\n"], repeat(fields[: HEADER_BYTES // 2]))
    upstream.replies(Reply(raw=[b"HTTP/1.1 200 OK\r\n", fields, b"\r\n"] if ends else endless))
    with pytest.raises(ModelUnavailable) as caught:
        await text_of(model)
    assert caught.value.cause["upstream.error"] == "more than 64 KiB of response headers"


async def test_long_response_headers_are_accepted(model: ModelClient, upstream: Upstream) -> None:
    headers = {f"x-{number}": "y" * 600 for number in range(100)}
    upstream.replies(*[Reply(body=events_of(WORD, END, "[DONE]"), headers=headers)] * 3)
    assert [await text_of(model) for _ in range(3)] == ["word"] * 3
    assert len(upstream.connections) == 1


async def test_only_the_beginning_of_a_long_error_is_parsed(model: ModelClient, upstream: Upstream) -> None:
    error = {"error": {"message": f"maximum context length {'x' * ERROR_BYTES}", "code": "rate_limit_exceeded"}}
    upstream.replies(Reply(events=[json.dumps(error)]))
    with pytest.raises(ContextTooLong):
        await text_of(model)


class CountedShare(LoopShare):
    """Sums up what streams use beyond their allowance."""

    used = 0.0

    def use(self, seconds: float, now: float) -> float:
        self.used += seconds
        return super().use(seconds, now)


async def stream_of(bodies: list[bytes], share: LoopShare) -> list[str]:
    """Return the pieces of a response whose *bodies* are received without waiting."""
    received = iter([*bodies, b""])

    async def receive() -> bytes:
        return next(received)

    async def close() -> None:
        pass

    stream = CompletionStream(Body(receive, close, Parsing()), "m", {}, Pace(share, asyncio.get_running_loop().time()))
    await stream.begin()
    return [piece async for piece in stream if isinstance(piece, str)]


async def test_response_that_never_pauses_is_decoded_in_slices_that_pass_control() -> None:
    events = events_of(WORD) * 20_000
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    share = CountedShare()
    pieces = await stream_of([events, events_of(END, "[DONE]")], share)
    counting.cancel()
    assert "".join(pieces) == "word" * 20_000
    assert max(map(len, pieces)) <= len("word") * SLICE_BYTES / len(events_of(WORD))
    # The stream waits for the CPU time that decoding takes beyond its allowance.
    assert share.used > 0
    assert turns > 1


async def test_parsing_of_http_counts_as_used() -> None:
    class SlowlyParsed(Parsing):
        """As if each read had taken a tenth of a second to parse."""

        @property
        def seconds(self) -> float:
            return 0.1

        @seconds.setter
        def seconds(self, value: float) -> None:
            pass

    share = CountedShare()
    received = iter([events_of(WORD), events_of(END, "[DONE]"), b""])

    async def receive() -> bytes:
        return next(received)

    async def close() -> None:
        pass

    stream = CompletionStream(Body(receive, close, SlowlyParsed()), "m", {}, Pace(share, 0.0))
    await stream.begin()
    assert share.used > 0.08


async def test_unreachable_server_is_a_failure(settings: Settings, upstream: Upstream) -> None:
    upstream.server_close()
    async with open_model(settings) as model:
        with pytest.raises(ModelUnavailable):
            await text_of(model)


@pytest.mark.slow
async def test_silence_times_out(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=0), Reply(hold_before=1))
    async with open_model(replace(settings, model_timeout_seconds=1.0)) as model:
        with pytest.raises(ModelUnavailable):
            await text_of(model)
        with pytest.raises(ModelInterrupted):
            await text_of(model)


@pytest.mark.parametrize("failing", [Reply(status=500), Reply(status=408), Reply(cut_before=0), Reply(events=[])])
async def test_failure_before_the_first_token_is_retried(
    settings: Settings, upstream: Upstream, failing: Reply
) -> None:
    upstream.replies(replace(failing, headers={"retry-after": "0.01"}))
    async with open_model(replace(settings, model_retries=1)) as model:
        async with model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
            assert "".join([text async for text in answer if isinstance(text, str)]) == "Hello there."
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("final", [Reply(status=400), Reply(status=401), Reply(status=429), Reply(cut_before=1)])
async def test_other_failures_are_not_retried(settings: Settings, upstream: Upstream, final: Reply) -> None:
    upstream.replies(final)
    async with open_model(replace(settings, model_retries=5)) as model:
        with pytest.raises((ModelRejected, ModelRateLimited, ModelInterrupted)):
            await text_of(model)
    assert len(upstream.requests) == 1


async def test_retry_after_beyond_the_deadline_is_passed_to_the_caller(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(status=503, headers={"retry-after": "2"}))
    async with open_model(replace(settings, model_retries=5)) as model:
        with pytest.raises(ModelUnavailable) as caught:
            async with model.choose(Generation()).answer(MESSAGES, asyncio.get_running_loop().time() + 1):
                pass
    assert caught.value.retry_after_seconds == 2
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("status", "failure"), [(429, ModelRateLimited), (503, ModelUnavailable)])
async def test_long_retry_after_is_passed_to_the_caller(
    settings: Settings, upstream: Upstream, status: int, failure: type[Failure]
) -> None:
    upstream.replies(Reply(status=status, headers={"retry-after": "100"}))
    async with asyncio.timeout(60), open_model(replace(settings, model_retries=5)) as model:
        with pytest.raises(failure) as caught:
            await text_of(model)
    assert caught.value.retry_after_seconds == 100
    assert len(upstream.requests) == 1


async def test_open_breaker_sends_no_requests(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(*[Reply(status=503)] * FAILURES_TO_OPEN)
    async with open_model(replace(settings, model_retries=0)) as model:
        for _ in range(FAILURES_TO_OPEN + 3):
            with pytest.raises(ModelUnavailable):
                await text_of(model)
    assert len(upstream.requests) == FAILURES_TO_OPEN


async def test_failing_model_does_not_affect_others(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(*[Reply(status=503)] * FAILURES_TO_OPEN)
    async with open_model(replace(settings, model_retries=0)) as model:
        for _ in range(FAILURES_TO_OPEN + 1):
            with pytest.raises(ModelUnavailable):
                await text_of(model, Generation(model="broken"))
        assert await text_of(model) == "Hello there."
    assert len(upstream.requests) == FAILURES_TO_OPEN + 1


async def test_cancelling_closes_the_request(model: ModelClient, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with model.choose(Generation()).answer(MESSAGES, math.inf) as answer:
        assert await anext(aiter(answer)) == "Hello"
    request = upstream.requests[0]
    assert await asyncio.to_thread(request.gone.wait, 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_PROXY", "nonsense://user:hunter2@x"), ("SSL_CERT_FILE", "/proc/none"), ("SSL_CERT_FILE", __file__)],
)
async def test_invalid_proxy_or_certificates_in_the_environment_are_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}, ") as told:
        async with serving(settings):
            pass
    assert "hunter2" not in str(told.value)


async def test_authorities_are_read_once(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(Authority().certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    read = []

    def counted(*arguments: Any, **options: Any) -> None:
        read.append(options)
        load(*arguments, **options)

    load = ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    for _ in range(2):
        await client_of(settings).close()
    assert len(read) == 1


async def test_state_of_recently_used_models_is_stored(model: ModelClient) -> None:
    def upstream_of(name: str) -> object:
        return model._of(name)

    first, second = upstream_of("first"), upstream_of("second")
    for number in range(MAX_UNLISTED_MODELS - 1):
        assert upstream_of("first") is first
        upstream_of(f"other {number}")
    assert upstream_of("first") is first
    assert upstream_of("second") is not second


async def test_error_after_the_end_is_ignored(model: ModelClient, upstream: Upstream) -> None:
    upstream.replies(Reply(events=[WORD, END, '{"error": {"code": 500}}', WORD]))
    assert await text_of(model) == "word"


async def test_comments_after_the_end_do_not_delay_the_answer(model: ModelClient, upstream: Upstream) -> None:
    def events() -> Iterator[str]:
        yield WORD
        yield END
        while not upstream.left.is_set():
            yield "ping"

    upstream.replies(Reply(events=events()))
    assert await text_of(model) == "word"
    assert await asyncio.to_thread(upstream.left.wait, 10)
