"""A web backend in front of the service.

POST /chat answers as JSON, POST /chat/stream as plain text while the model writes.

uvicorn --app-dir examples fastapi_app:app

Authenticate your users before you pass their id on: here the id is taken from the request as it is.
"""

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from ilab_chat import AsyncChatClient, AsyncChatStream, ChatError

#: HTTP status of each gRPC code that a caller can do something about; 502 for all others.
STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class Message(BaseModel):
    """One message of one user."""

    user_id: str
    message: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one client for the life of the app: it reuses its connection."""
    async with AsyncChatClient(os.environ.get("ILAB_CHAT_ADDRESS", "127.0.0.1:50051")) as client:
        app.state.client = client
        yield


def client_of(request: Request) -> AsyncChatClient:
    """Return the client of the app."""
    client: AsyncChatClient = request.app.state.client
    return client


Client = Annotated[AsyncChatClient, Depends(client_of)]
app = FastAPI(lifespan=lifespan)


@app.exception_handler(ChatError)
async def failed(_: Request, error: ChatError) -> JSONResponse:
    """Answer a failed call with its reason, and with Retry-After if the service said how long to wait."""
    headers = {"Retry-After": str(math.ceil(error.retry_after))} if error.retry_after else None
    body = {"reason": error.reason, "message": str(error)}
    return JSONResponse(body, STATUS.get(error.code.name, 502), headers=headers)


@app.post("/chat")
async def chat(body: Message, client: Client) -> dict[str, object]:
    """Answer when the whole reply is there."""
    response = await client.chat(body.user_id, body.message, timeout=60)
    return {"reply": response.reply, "remembered": [memory.snippet for memory in response.memories if memory.snippet]}


async def begun(body: Message, client: Client) -> AsyncIterator[AsyncChatStream]:
    """Yield an answer that has begun. A failure up to here becomes an HTTP status.

    FastAPI leaves this after the response, or when the browser disconnects: that cancels the call.
    """
    async with client.stream_chat(body.user_id, body.message) as answer:
        await answer.begin()
        yield answer


@app.post("/chat/stream")
async def stream(answer: Annotated[AsyncChatStream, Depends(begun)]) -> StreamingResponse:
    """Answer while the model writes."""
    return StreamingResponse(answer.text, media_type="text/plain")
