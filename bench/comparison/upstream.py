"""A fake model API that is never the bottleneck: a bare asyncio protocol that writes prepared bytes.

    python -m comparison.upstream PORT

POST /scenario (a JSON object with the fields of Scenario) sets how it answers from then on, and returns the maximum
number of concurrent answers since the previous scenario. POST /counts returns the numbers of requests since then.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from functools import lru_cache

MODEL = "bench-model"
#: A typical English token: a space and a word.
TOKEN = " word"
#: The first token is a number that makes every reply unique, because the memory stores equal texts once.
NUMBER_DIGITS = 10
#: Of OpenAI's text-embedding-3-small, mem0's default.
DIMENSIONS = 1536


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """How the model answers: number of tokens, delay, and gap between tokens.

    `together`: number of concurrent requests that must arrive before any of them is answered.
    """

    tokens: int = 40
    first_token_ms: float = 0.0
    gap_ms: float = 0.0
    together: int = 1

    @property
    def reply_characters(self) -> int:
        """Length of each reply."""
        return NUMBER_DIGITS + (self.tokens - 1) * len(TOKEN)

    def asked(self) -> bytes:
        """Return the body of POST /scenario."""
        return json.dumps(asdict(self)).encode()


def event(delta: dict[str, str], finish_reason: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """Return one server-sent event, with the fields of OpenAI's."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    data = {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion.chunk",
        "created": 1_741_569_952,
        "model": MODEL,
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [] if usage else [choice],
        "usage": usage,
    }
    return b"data: %s\n\n" % json.dumps(data, separators=(",", ":")).encode()


def http_chunk(data: bytes) -> bytes:
    """Return *data* as a chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST = http_chunk(event({"role": "assistant", "content": "N" * NUMBER_DIGITS}))
NEXT = http_chunk(event({"content": TOKEN}))


def usage(tokens: int) -> dict[str, int]:
    """Return the usage object."""
    return {"prompt_tokens": 100, "completion_tokens": tokens, "total_tokens": 100 + tokens}


@lru_cache
def last(tokens: int) -> bytes:
    """Return the end of a stream."""
    end = event({}, "stop") + event({}, usage=usage(tokens)) + b"data: [DONE]\n\n"
    return http_chunk(end) + b"0\r\n\r\n"


@lru_cache
def whole(tokens: int) -> bytes:
    """Return an answer without streaming."""
    message = {"role": "assistant", "content": "N" * NUMBER_DIGITS + TOKEN * (tokens - 1), "refusal": None}
    body = {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1_741_569_952,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage(tokens),
    }
    return http_response(json.dumps(body).encode())


def fact(number: int, tokens: int) -> bytes:
    """Return an answer to a request for JSON: one fact, in the format that mem0 asks for."""
    body = json.loads(whole(tokens).partition(b"\r\n\r\n")[2])
    text = f"The user plans to travel in summer and to book tickets for the museum, note {number}"
    body["choices"][0]["message"]["content"] = json.dumps({"memory": [{"id": "0", "text": text}]})
    return http_response(json.dumps(body).encode())


@lru_cache
def embeddings(count: int) -> bytes:
    """Return the embeddings of *count* texts. They are equal, so that every text is similar to every other."""
    vector = [DIMENSIONS**-0.5] * DIMENSIONS
    body = {
        "object": "list",
        "model": MODEL,
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)],
        "usage": {"prompt_tokens": 10, "total_tokens": 10},
    }
    return http_response(json.dumps(body).encode())


def http_response(body: bytes) -> bytes:
    """Return a response with a JSON body."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def numbered(prepared: bytes, number: int) -> bytes:
    """Return *prepared* with *number* as its first token."""
    return prepared.replace(b"N" * NUMBER_DIGITS, b"%0*d" % (NUMBER_DIGITS, number))


class Model:
    """State shared by the connections."""

    def __init__(self) -> None:
        self.scenario = Scenario()
        self.numbers = itertools.count()
        self.open = 0
        self.max_open = 0
        self.waiting: list[Connection] = []
        self.counts: Counter[str] = Counter()

    def set(self, body: bytes) -> bytes:
        """Set the scenario in *body*, and return the maximum number of concurrent answers."""
        self.scenario = Scenario(**json.loads(body))
        max_open, self.max_open = self.max_open, self.open
        self.counts.clear()
        return http_response(json.dumps(max_open).encode())

    def asked(self, connection: Connection) -> None:
        """Answer on *connection* and the waiting ones as soon as `together` of them wait."""
        self.open += 1
        self.max_open = max(self.max_open, self.open)
        self.waiting.append(connection)
        if len(self.waiting) >= self.scenario.together:
            for waiting in self.waiting:
                waiting.answer()
            self.waiting.clear()


class Connection(asyncio.Protocol):
    """One keep-alive connection. The client waits for each answer before its next request."""

    transport: asyncio.Transport

    def __init__(self, model: Model) -> None:
        self._model = model
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._answering = False
        self._streams = False
        self._wants_json = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Stop answering."""
        if self._timer:
            self._timer.cancel()
        self._finished()

    def data_received(self, data: bytes) -> None:
        """Answer if the request is complete."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = b""
        if head.startswith(b"POST /scenario"):
            self.transport.write(self._model.set(body))
            return
        if head.startswith(b"POST /counts"):
            self.transport.write(http_response(json.dumps(self._model.counts).encode()))
            return
        if head.startswith(b"POST /v1/embeddings"):
            self._model.counts["embeddings"] += 1
            self.transport.write(embeddings(len(json.loads(body)["input"])))
            return
        self._model.counts["answers"] += 1
        self._wants_json = b'"json_object"' in body
        self._streams = b'"stream":true' in body.replace(b" ", b"")
        self._answering = True
        self._model.asked(self)

    def answer(self) -> None:
        """Answer after the delay."""
        answer = self._stream if self._streams else self._whole
        self._timer = asyncio.get_running_loop().call_later(self._model.scenario.first_token_ms / 1000, answer)

    def _whole(self) -> None:
        tokens, number = self._model.scenario.tokens, next(self._model.numbers)
        self.transport.write(fact(number, tokens) if self._wants_json else numbered(whole(tokens), number))
        self._finished()

    def _stream(self) -> None:
        scenario = self._model.scenario
        self.transport.write(HEAD)
        self.transport.write(numbered(FIRST, next(self._model.numbers)))
        if scenario.gap_ms:
            self._paced(scenario, scenario.tokens - 1)
            return
        # One write per token, like a real API. How many a reader receives at once depends on its speed.
        for _ in range(scenario.tokens - 1):
            self.transport.write(NEXT)
        self.transport.write(last(scenario.tokens))
        self._finished()

    def _paced(self, scenario: Scenario, left: int) -> None:
        """Write *left* more tokens, one after each gap, then the end."""

        def write() -> None:
            self.transport.write(NEXT)
            self._paced(scenario, left - 1)

        if left:
            self._timer = asyncio.get_running_loop().call_later(scenario.gap_ms / 1000, write)
        else:
            self.transport.write(last(scenario.tokens))
            self._finished()

    def _finished(self) -> None:
        if self._answering:
            self._answering = False
            self._model.open -= 1


async def serve(port: int) -> None:
    """Answer on 127.0.0.1 until killed."""
    model = Model()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(model), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
