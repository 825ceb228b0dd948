"""Chat over HTTP: the recipe's route, JSON, and server-sent events."""

import asyncio
import http.client
import json
import socket
from typing import Any

import pytest

from contract.recipe.chat_app import ChatRequest, ChatResponse
from http_gateway import Client, events, gateway
from ilab_chat import AsyncChatClient
from ilab_chat.v1.chat_pb2 import Heartbeat, StreamChatResponse
from ilab_chat_gateway.endpoints import server_sent_event
from upstream import Reply, Upstream

HELLO = {"user_id": "alice", "message": "Hi, my name is Alice and I love hiking."}


async def test_recipe_request_gets_the_recipe_response(web: Client) -> None:
    answer = await web.post("/chat", ChatRequest(**HELLO).model_dump())
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {"session_id", "reply"}
    assert ChatResponse(**answer.json).reply == "Hello there."


async def test_recipe_remembers(web: Client, upstream: Upstream) -> None:
    first = await web.post("/chat", HELLO)
    second = await web.post("/chat", {"user_id": "alice", "message": "What do I love?"})
    assert first.json["session_id"] == second.json["session_id"]
    assert "I love hiking" in upstream.requests[-1].system


@pytest.mark.parametrize("body", [{"user_id": "alice"}, {"user_id": "", "message": "hi"}, {"message": "hi"}, [], "x"])
async def test_recipe_refuses_what_its_model_refuses_with_422(web: Client, body: object) -> None:
    answer = await web.post("/chat", body)
    assert (answer.status, answer.json["reason"]) == (422, "INVALID_FIELD")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["field_violations"]


async def test_repeat_with_the_same_idempotency_key_stores_one_turn(web: Client, address: str) -> None:
    for path in ("/chat", "/chat", "/v1/chat"):
        answer = await web.post(path, HELLO, idempotency_key="key-1")
        assert answer.status == 200
    assert answer.json["replayed"] is True
    assert answer.json["request_id"] == "key-1"
    async with AsyncChatClient(address) as client:
        turns = [each async for each in client.memory.list_observations("alice", types=["discovery"])]
    assert len(turns) == 1


async def test_reused_idempotency_key_with_another_body_is_422(web: Client) -> None:
    await web.post("/chat", HELLO, idempotency_key="key-1")
    answer = await web.post("/chat", HELLO | {"message": "other"}, idempotency_key="key-1")
    assert (answer.status, answer.json["reason"]) == (422, "REQUEST_ID_REUSED")


async def test_v1_chat_speaks_the_json_of_the_contract(web: Client, upstream: Upstream) -> None:
    body = HELLO | {"generation": {"temperature": 0.5, "max_output_tokens": 30}, "conversation_id": "c"}
    answer = await web.post("/v1/chat", body)
    assert answer.json["reply"] == "Hello there."
    assert answer.json["replayed"] is False
    assert answer.json["finish_reason"] == "FINISH_REASON_STOP"
    assert answer.json["usage"]["input_tokens"] == 20
    assert [each["content"] for each in answer.json["remembered"]]
    assert upstream.requests[0].body["temperature"] == 0.5


async def test_stream_has_the_events_of_the_contract(web: Client, upstream: Upstream) -> None:
    upstream.says("He", "llo\nthere\u2028")
    answer = await web.post("/v1/chat:stream", HELLO, idempotency_key="key-2")
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = events(answer.body)
    first, *deltas, last = (kind for kind, _, _ in seen)
    # The server may join pieces that arrive together.
    assert (first, set(deltas), last) == ("started", {"text_delta"}, "completed")
    assert {id_ for _, id_, _ in seen} == {"key-2"}
    assert "".join(data["text"] for kind, _, data in seen if kind == "text_delta") == seen[-1][2]["reply"]
    assert seen[-1][2]["reply"] == "Hello\nthere\u2028"


async def test_last_event_id_resumes_with_the_stored_answer(web: Client, upstream: Upstream) -> None:
    first = events((await web.post("/v1/chat:stream", HELLO)).body)
    again = events((await web.post("/v1/chat:stream", HELLO, last_event_id=first[0][1])).body)
    assert again[-1][2]["replayed"] is True
    assert again[-1][2]["observation_id"] == first[-1][2]["observation_id"]
    assert len(upstream.requests) == 1


class Events:
    """A stream of server-sent events that is read line by line, on a thread."""

    def __init__(self, address: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=30)
        sent = {
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self._connection.request("POST", "/v1/chat:stream", json.dumps(HELLO), sent)
        self._response = self._connection.getresponse()
        self.body = b""

    async def until(self, text: bytes) -> None:
        """Read until *text* has come."""
        while text not in self.body:
            line = await asyncio.to_thread(self._response.readline)
            assert line, self.body
            self.body += line

    async def rest(self) -> list[tuple[str, str, Any]]:
        """Read to the end, and return all events."""
        self.body += await asyncio.to_thread(self._response.read)
        self.close()
        return events(self.body)

    def close(self) -> None:
        """Leave. The socket is open as long as the response is."""
        self._response.close()
        self._connection.close()


async def test_last_event_id_joins_a_running_answer(web: Client, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("one ", "two ", "three"), hold_before=2))
    broken = await asyncio.to_thread(Events, web.address, idempotency_key="key-3")
    await broken.until(b'two "')
    joined = [await asyncio.to_thread(Events, web.address, last_event_id="key-3") for _ in range(3)]
    for stream in joined:
        await stream.until(b'two "')
    # The first connection ends, and the answer goes on for the callers that joined it.
    broken.close()
    joined.pop().close()
    upstream.release()
    for stream in joined:
        (first, *_), *deltas, (last, _, whole) = seen = await stream.rest()
        assert (first, last, whole["reply"], whole["replayed"]) == ("started", "completed", "one two three", True)
        assert "".join(data["text"] for _, _, data in deltas) == whole["reply"]
        assert {id_ for _, id_, _ in seen} == {"key-3"}
    assert len(upstream.requests) == 1
    assert (await web.post("/v1/chat:stream", {**HELLO, "message": "other"}, last_event_id="key-3")).status == 422


def test_heartbeats_are_comments() -> None:
    assert server_sent_event(StreamChatResponse(heartbeat=Heartbeat()), "id") == ": heartbeat\n\n"


async def test_failure_before_the_first_event_is_an_http_status(web: Client, upstream: Upstream) -> None:
    upstream.replies(Reply(status=429, headers={"retry-after": "7"}))
    answer = await web.post("/v1/chat:stream", HELLO)
    assert (answer.status, answer.json["reason"]) == (429, "MODEL_RATE_LIMITED")
    assert answer.headers["retry-after"] == "7"


async def test_failure_after_the_first_event_is_the_last_event(web: Client, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("a", "b", "c"), cut_before=2))
    kind, _, data = events((await web.post("/v1/chat:stream", HELLO)).body)[-1]
    assert (kind, data["reason"], data["status"]) == ("problem", "MODEL_INTERRUPTED", 502)


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat:stream", "/chat"])
async def test_client_that_leaves_stops_the_model(web: Client, upstream: Upstream, path: str) -> None:
    upstream.replies(Reply(hold_before=1))
    connection = http.client.HTTPConnection(web.address, timeout=30)
    await asyncio.to_thread(connection.request, "POST", path, json.dumps(HELLO), {"content-type": "application/json"})
    request = await asyncio.to_thread(upstream.wait_for, 1)
    assert await asyncio.to_thread(request.held.wait, 10)
    assert isinstance(connection.sock, socket.socket)
    connection.close()
    assert await asyncio.to_thread(request.gone.wait, 10)


async def test_unknown_field_is_named(web: Client) -> None:
    answer = await web.post("/v1/chat", HELLO | {"generation": {"temp": 1}})
    assert answer.status == 400
    assert answer.json["field_violations"] == [
        {"field": "generation.temp", "description": "is not a field of the request"}
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"user_id": "alice", "message": 17}',
        b'{"user_id": "alice", "message": "\\ud800 SECRET"}',
        b'{"user_id": "alice", "generation": {"temperature": "SECRET"}}',
        b'{"user_id": "alice", "memory_mode": "SECRET"}',
        b'{"user_id": "alice", "message": "a", "message": "SECRET"}',
        b"SECRET",
        b"[]",
        b"",
        b"null",
        b"\xff",
        b"[" * 10_000,
    ],
)
async def test_body_that_does_not_parse_is_400_and_never_quoted(web: Client, body: bytes) -> None:
    answer = await web.post("/v1/chat", body)
    assert answer.status == 400
    assert answer.json["reason"] in {"INVALID_FIELD", "INVALID_REQUEST"}
    assert b"SECRET" not in answer.body


async def test_field_violations_of_the_server_are_passed_on(web: Client) -> None:
    answer = await web.post("/v1/chat", {"user_id": " ", "message": ""})
    assert (answer.status, answer.json["reason"], answer.json["code"]) == (400, "INVALID_FIELD", "INVALID_ARGUMENT")
    assert [each["field"] for each in answer.json["field_violations"]] == ["user_id", "message"]


async def test_server_that_does_not_answer_is_503_without_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        target = f"127.0.0.1:{closed.getsockname()[1]}"
    async with gateway(target) as web:
        answer = await web.post("/chat", HELLO)
        assert (answer.status, answer.json["reason"]) == (503, "SERVER_UNREACHABLE")
        assert target.encode() not in answer.body
        assert (await web.get("/readyz")).status == 503
        assert (await web.get("/livez")).status == 200
