"""The OpenAI-compatible API: chat completions and models, for clients that know nothing else."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from grpc import StatusCode
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ilab_chat.errors import ChatError
from ilab_chat.v1.chat_pb2 import ChatRequest
from ilab_chat_gateway import completions, problems
from ilab_chat_gateway.endpoints import JSON, backend_of, stream_chat
from ilab_chat_gateway.problems import ClientGone, invalid_field
from ilab_chat_gateway.requests import check_content_type, metadata, request_id, unless_gone
from ilab_chat_gateway.routes import CHAT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from ilab_chat.aio import AsyncChatStream
    from ilab_chat.v1.chat_pb2 import ChatResponse, StreamChatResponse
    from ilab_chat_gateway.completions import Completion

USER_HEADER: Final = "x-user-id"
CONVERSATION_HEADER: Final = "x-conversation-id"
IGNORED_HEADER: Final = "x-ignored-messages"
RETRY_HEADER: Final = "x-should-retry"


#: Codes of failures that a repeat can help and that cost nothing: the openai package repeats any 429 and 5xx otherwise.
RETRIED: Final = {StatusCode.UNAVAILABLE.name, StatusCode.RESOURCE_EXHAUSTED.name}


async def chat_completions(request: Request) -> Response:
    """Answer a chat completion request."""
    try:
        check_content_type(request, JSON)
        completion = completions.read(
            await request.body(),
            user=header(request, USER_HEADER),
            conversation=header(request, CONVERSATION_HEADER),
        )
        completion.request.request_id = request_id(request)
        if completion.stream:
            events = partial(chunks, with_usage=completion.include_usage)
            response = await stream_chat(request, completion.request, events)
        else:
            response = await whole(request, completion)
    except (ClientGone, ClientDisconnect):
        raise
    except Exception as error:  # noqa: BLE001 - a defect too is answered in OpenAI's shape, and logged under its id
        return failure(problems.of_exception(error))
    if completion.ignored_messages:
        response.headers[IGNORED_HEADER] = str(completion.ignored_messages)
    return response


def header(request: Request, name: str) -> str:
    """Return a header, which clients send as UTF-8. Empty: the request does not have it.

    Raises:
        Problem: it is not UTF-8.
    """
    try:
        return request.headers.get(name, "").encode("latin-1").decode()
    except UnicodeDecodeError:
        raise invalid_field(name, "must be UTF-8") from None


async def whole(request: Request, completion: Completion) -> Response:
    """Answer with the whole completion."""
    message = ChatRequest.FromString(completion.request.SerializeToString())
    call = backend_of(request).ask(CHAT, message, metadata(request))
    response = cast("ChatResponse", await unless_gone(request.receive, call))
    return Response(json.dumps(completions.completion(response), ensure_ascii=False), media_type=JSON)


async def chunks(first: StreamChatResponse, answer: AsyncChatStream, *, with_usage: bool) -> AsyncIterator[str]:
    """Yield the chunks of an answer, those of *first* included, and `[DONE]`. A failure becomes the last chunk."""
    created = int(time.time())
    started = first.started
    for chunk in completions.chunks(first, started, created, with_usage=with_usage):
        yield data(chunk)
    try:
        async for event in answer:
            if event.HasField("heartbeat"):
                yield ": heartbeat\n\n"
            for chunk in completions.chunks(event, started, created, with_usage=with_usage):
                yield data(chunk)
    except ChatError as error:
        yield data(envelope(problems.of_chat_error(error)))
        return
    yield "data: [DONE]\n\n"


def data(message: dict[str, Any]) -> str:
    """Return *message* as a server-sent event."""
    return f"data: {json.dumps(message, ensure_ascii=False)}\n\n"


def failure(details: dict[str, Any]) -> Response:
    """Return a problem as OpenAI's API would answer it."""
    retried = "true" if details.get("code") in RETRIED and details["reason"] != "MODEL_QUOTA_EXHAUSTED" else "false"
    response = problems.response(details, {RETRY_HEADER: retried})
    return Response(
        json.dumps(envelope(details), ensure_ascii=False),
        response.status_code,
        {name: value for name, value in response.headers.items() if name not in {"content-length", "content-type"}},
        JSON,
    )


def envelope(details: dict[str, Any]) -> dict[str, Any]:
    """Return a problem in OpenAI's error object."""
    field = next((each["field"] for each in details.get("field_violations", [])), None)
    if field is not None:
        field = completions.PARAMETERS.get(field, field.removeprefix("generation."))
    kind = "invalid_request_error" if details["status"] < 500 else "server_error"  # noqa: PLR2004 - HTTP
    return {
        "error": {
            "message": details["detail"],
            "type": kind,
            "param": field,
            "code": details["reason"],
        }
    }


async def list_models(_: Request) -> Response:
    """List the server's default model."""
    return Response(json.dumps({"object": "list", "data": [completions.MODEL]}), media_type=JSON)


async def get_model(request: Request) -> Response:
    """Return one model of the list."""
    if request.path_params["model"] == completions.MODEL["id"]:
        return Response(json.dumps(completions.MODEL), media_type=JSON)
    return failure(problems.problem(404, "MODEL_NOT_FOUND", "the model is not listed", code="NOT_FOUND"))
