"""One row of the table: the behaviour of an API, and the expected result for a caller of the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import grpc

from upstream import Reply, Request, chunk

Payload: TypeAlias = Mapping[str, Any] | Sequence[Any] | str | bytes
Behaviour: TypeAlias = Reply | Sequence[Reply] | Callable[[Request], Reply]

#: Settings of the server that all rows share: an outage is retried once.
RETRIES = 1
OUTAGE_REQUESTS = 1 + RETRIES

HELLO = "Hi, my name is Alice and I love hiking."


@dataclass(frozen=True, slots=True, kw_only=True)
class Fails:
    """The call fails. `field`: acceptable fields of BadRequest. `wait`: RetryInfo, or its bounds."""

    code: grpc.StatusCode
    reason: str
    field: tuple[str, ...] = ()
    wait: float | tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The call succeeds. `events`: kinds of streamed events without repetition, by default derived from the rest."""

    reply: str = "Hello there."
    finish: str = "STOP"
    reasoning: str = ""
    usage: tuple[int, int, int, int] | Literal["any"] | None = "any"
    """Input, cached, output and reasoning tokens. None: unset."""
    events: Sequence[str] | Literal["any"] = ()

    @property
    def kinds(self) -> Sequence[str] | Literal["any"]:
        reasoning = ["reasoning_delta"] if self.reasoning else []
        text = ["text_delta"] if self.reply else []
        return self.events or ["started", *reasoning, *text, "completed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A behaviour of an API and the expected result."""

    name: str
    upstream: Behaviour
    expect: Fails | Answers
    generation: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ. The case then has its own server."""
    requests: int = 1
    """Number of requests to the API."""
    servers_model: bool = False
    """Whether the call names no model."""
    again: int | None = None
    """Number of requests for a second, equal call. None: there is no second call."""


OK = Answers()
ANY_WAIT = (0.001, 3600.0)
TOO_LONG = Fails(code=grpc.StatusCode.INVALID_ARGUMENT, reason="CONTEXT_TOO_LONG")
FILTERED = Fails(code=grpc.StatusCode.FAILED_PRECONDITION, reason="CONTENT_FILTERED")
QUOTA = Fails(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="MODEL_QUOTA_EXHAUSTED")
REJECTED = Fails(code=grpc.StatusCode.INTERNAL, reason="MODEL_REJECTED")
INTERRUPTED = Fails(code=grpc.StatusCode.ABORTED, reason="MODEL_INTERRUPTED")
NO_MODEL = Fails(code=grpc.StatusCode.INVALID_ARGUMENT, reason="MODEL_NOT_FOUND", field=("generation.model",))


def limited(wait: float | tuple[float, float] = ANY_WAIT) -> Fails:
    """The API limits the rate."""
    return Fails(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="MODEL_RATE_LIMITED", wait=wait)


def unavailable(wait: float | tuple[float, float] = ANY_WAIT) -> Fails:
    """The API is down."""
    return Fails(code=grpc.StatusCode.UNAVAILABLE, reason="MODEL_UNAVAILABLE", wait=wait)


def unsupported(*fields: str) -> Fails:
    """The model rejects an option of the caller, one of these fields."""
    return Fails(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="MODEL_OPTION_UNSUPPORTED",
        field=tuple(f"generation.{each}" for each in fields),
    )


def data_of(payload: Payload) -> bytes:
    """Return a payload as bytes: a string unchanged, anything else as JSON."""
    if isinstance(payload, bytes):
        return payload
    return payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()


def refusal(status: int, payload: Payload = b"", **headers: str) -> Reply:
    """Return an answer with an HTTP status. Underscores in header names become hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(payload, str):
        named.setdefault("content-type", "text/html" if payload.startswith("<") else "text/plain")
    return Reply(status=status, body=data_of(payload), headers=named)


def openai(
    message: str, code: str | int | None = None, kind: str | None = "invalid_request_error", param: str | None = None
) -> dict[str, Any]:
    """Return an error in the shape of OpenAI."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def vllm(message: str, code: int = 400, kind: str = "BadRequestError") -> dict[str, Any]:
    """Return an error in the shape of older vLLM and of SGLang."""
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def anthropic(kind: str, message: str) -> dict[str, Any]:
    """Return an error in the shape of Anthropic."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def gemini(code: int, message: str, status: str = "INVALID_ARGUMENT", *details: Any) -> list[dict[str, Any]]:
    """Return an error in the shape of Gemini, in a list of one."""
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def plain(message: str, code: int | str = 400) -> dict[str, Any]:
    """Return an error with only a message and a code, like OpenRouter and Zhipu."""
    return {"error": {"message": message, "code": code}}


def wrapped(inner: Payload, code: int = 400) -> dict[str, Any]:
    """Return an error of a provider inside one of OpenRouter."""
    raw = data_of(inner).decode()
    metadata = {"raw": raw, "provider_name": "Other"}
    return {"error": {"message": "Provider returned error", "code": code, "metadata": metadata}, "user_id": "user_1"}


def litellm(message: str, code: str = "400") -> dict[str, Any]:
    """Return an error in the shape of a LiteLLM proxy."""
    return {"error": {"message": message, "type": None, "param": None, "code": code}}


def cloudflare(code: int, message: str) -> dict[str, Any]:
    """Return an error in the shape of Cloudflare Workers AI."""
    return {"errors": [{"message": f"AiError: {message}", "code": code}], "success": False, "result": {}}


def delta(**fields: Any) -> str:
    """Return a chunk with these fields in its delta."""
    return chunk([{"index": 0, "delta": fields, "finish_reason": None}])


def text(content: str) -> str:
    """Return a chunk with text."""
    return delta(content=content)


def end(reason: str | None = "stop", **more: Any) -> str:
    """Return the chunk that ends an answer."""
    return chunk([{"index": 0, "delta": {}, "finish_reason": reason}], **more)


HELLO_THERE = (text("Hello"), text(" there."))


def stream(*events: str, done: bool = True) -> Reply:
    """Return a stream of events with this data."""
    return Reply(events=events, done=done)


def sse(*events: str) -> bytes:
    """Return the bytes of events, without `[DONE]`."""
    return "".join(f"data: {each}\n\n" for each in events).encode()


DONE = b"data: [DONE]\n\n"


def body(*parts: bytes, **more: Any) -> Reply:
    """Return a body of exactly these parts."""
    return Reply(parts=parts, **more)


def completion(message: Mapping[str, Any], reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    """Return an answer without streaming."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    base = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "upstream-model", "choices": [choice]}
    return {**base, **more}


def whole(payload: Payload, kind: str = "application/json") -> Reply:
    """Return a body with status 200 that is not a stream."""
    return Reply(body=data_of(payload), headers={"content-type": kind})


def while_it(has: Callable[[dict[str, Any]], bool], refused: Reply) -> Callable[[Request], Reply]:
    """Return a behaviour: answer with *refused* while the request's body *has* something, and normally otherwise."""
    return lambda request: refused if has(request.body) else Reply()


def events_of(cases: Iterable[tuple[str, Payload]], expect: Fails, requests: int = 1) -> list[Case]:
    """Return cases of errors that come as the first event of a stream with status 200."""
    return [
        Case(
            name=f"{name}, as an event",
            upstream=stream(data_of(payload).decode()),
            expect=expect,
            requests=requests,
        )
        for name, payload in cases
    ]


def both_ways(name: str, status: int, payload: Payload, expect: Fails, **more: Any) -> list[Case]:
    """Return two cases: an error as a response, and the same as the first event of a stream."""
    case = Case(name=name, upstream=refusal(status, payload), expect=expect, **more)
    event = stream(data_of(payload).decode())
    return [case, replace(case, name=f"{name}, as an event", upstream=event)]
