"""A scriptable OpenAI-compatible HTTP server: the only fake in these tests, and a real server on a real socket."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "upstream-model"
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 5,
    "total_tokens": 25,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How one request is answered."""

    pieces: Iterable[str] = ("Hello", " there.")
    finish_reason: str | None = "stop"
    usage: Mapping[str, Any] | None = field(default_factory=lambda: USAGE)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Instead of an answer: sent as it is."""
    events: Iterable[str] | None = None
    """Instead of an answer: the data of each server-sent event."""
    hold_before: int | None = None
    """Wait before the piece with this index until `Upstream.release` is called or the client is gone."""
    cut_before: int | None = None
    """Cut the connection before the piece with this index."""
    done: bool = True
    """End a stream of events with `[DONE]`."""
    parts: Iterable[bytes] | None = None
    """Instead of an answer: a chunked body, one chunk per part, with `status` and `headers`."""
    raw: Iterable[bytes] | None = None
    """Instead of an answer: the bytes on the socket, status line and headers included; then the connection closes."""
    final_chunk: bool = True
    """End a chunked body as HTTP requires. False: close the connection instead."""
    stays_open: bool = False
    """Leave the body unfinished and the connection open until the client closes it."""


@dataclass(slots=True)
class Request:
    """One request as it came in."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    held: threading.Event = field(default_factory=threading.Event)
    """Set when the answer has come to `hold_before`."""
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when the client closed the connection while the answer was held."""

    @property
    def messages(self) -> list[dict[str, str]]:
        messages: list[dict[str, str]] = self.body["messages"]
        return messages

    @property
    def system(self) -> str:
        return self.messages[0]["content"]

    @property
    def said(self) -> list[str]:
        """The texts of conversation and message, without the block before the message."""
        *conversation, last = (message["content"] for message in self.messages[1:])
        return [*conversation, without_context(last)]


def without_context(text: str) -> str:
    """Return the message that a prompt ends with, without the block before it."""
    return text.partition("</context>\n\n")[2] if text.startswith("<context>\n") else text


class Upstream(ThreadingHTTPServer):
    """Answers POST /v1/chat/completions by script; without one, with what *otherwise* makes of the request."""

    daemon_threads = True

    def __init__(self, otherwise: Callable[[Request], Reply], port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.requests: list[Request] = []
        self.script: deque[Reply] = deque()
        self.otherwise = otherwise
        self.connections: set[socket.socket] = set()
        self.released = threading.Event()
        #: Set when a client has closed its connection while it was sent an answer.
        self.left = threading.Event()
        self.arrived = threading.Condition()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def replies(self, *replies: Reply) -> None:
        """Answer the next requests with these, in order."""
        self.script.extend(replies)

    def says(self, *pieces: str) -> None:
        """Answer the next request with these pieces."""
        self.replies(Reply(pieces=pieces))

    def release(self) -> None:
        """Let every held answer go on, now and later."""
        self.released.set()

    def wait_for(self, count: int, seconds: float = 10) -> Request:
        """Return the request number *count*, counted from 1, as soon as it has come in."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, seconds), "no such request came"
            return self.requests[count - 1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening and cut what is open."""
        super().server_close()
        for connection in tuple(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a client has left: that is part of the script."""
        del request, client_address
        self.left.set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else a piece waits until the one before is acknowledged, which takes 40 ms when nothing is sent back.
    disable_nagle_algorithm = True
    server: Upstream

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        request = Request(self.path, dict(self.headers.items()), body)
        with self.server.arrived:
            reply = self.server.script.popleft() if self.server.script else self.server.otherwise(request)
            self.server.requests.append(request)
            self.server.arrived.notify_all()
        if reply.raw is not None:
            self.send_raw(reply.raw)
        elif reply.parts is not None:
            self.send_parts(request, reply, reply.parts)
        elif reply.body is not None or reply.status != 200:
            self.send_whole(reply.status, reply.headers, reply.body or b"{}")
        elif not body.get("stream"):
            self.send_whole(200, reply.headers, json.dumps(completion(reply)).encode())
        else:
            self.stream(request, reply)

    def send_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, request: Request, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = chunk_events(reply) if reply.events is None else reply.events
        for index, data in enumerate(events):
            if index == reply.hold_before:
                request.held.set()
                if not self.client_stays():
                    request.gone.set()
                    self.close_connection = True
                    return
            if index == reply.cut_before:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_chunk(f"data: {data}\n\n".encode())
        if reply.done:
            self.send_chunk(b"data: [DONE]\n\n")
        self.end_body(request, reply)

    def send_raw(self, raw: Iterable[bytes]) -> None:
        for piece in raw:
            self.wfile.write(piece)
        self.close_connection = True

    def send_parts(self, request: Request, reply: Reply, parts: Iterable[bytes]) -> None:
        self.send_response(reply.status)
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for part in parts:
            self.send_chunk(part)
        self.end_body(request, reply)

    def end_body(self, request: Request, reply: Reply) -> None:
        """End a chunked body as the script says."""
        if reply.stays_open and not self.client_stays():
            request.gone.set()
        if reply.stays_open or not reply.final_chunk:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def client_stays(self) -> bool:
        """Wait until the script goes on (True) or the client closes the connection (False)."""
        while not self.server.released.wait(0.01):
            readable, _, _ = select.select([self.connection], [], [], 0)
            try:
                if readable and not self.connection.recv(1, socket.MSG_PEEK):
                    return False
            except ConnectionResetError:  # It has not read all that was sent.
                return False
        return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay quiet."""


def chunk_events(reply: Reply) -> Iterator[str]:
    """Yield the answer's chunks: one a piece (so that their indexes agree), then the end, then the usage."""
    for piece in reply.pieces:
        yield chunk([{"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}])
    if reply.finish_reason:
        yield chunk([{"index": 0, "delta": {}, "finish_reason": reply.finish_reason}])
    if reply.usage:
        yield chunk([], usage=reply.usage)


def chunk(choices: list[dict[str, Any]], **more: Any) -> str:
    """Return one chunk of a streamed completion."""
    return json.dumps(
        {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices, **more}
    )


def completion(reply: Reply) -> dict[str, Any]:
    """Return the answer to a request that does not stream."""
    message = {"role": "assistant", "content": "".join(reply.pieces)}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
        "usage": reply.usage,
    }


@contextmanager
def running(
    otherwise: Callable[[Request], Reply] = lambda _: Reply(),
    port: int = 0,
) -> Iterator[Upstream]:
    """Serve on a loopback port, a free one unless it is given; leaving cuts every connection."""
    with Upstream(otherwise, port) as upstream:
        thread = threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield upstream
        finally:
            upstream.release()
            upstream.shutdown()
            thread.join()
