"""The published recipe as a FastAPI service: POST /chat as published, and POST /stream, a streaming variant.

Run by uvicorn as `comparison.recipe:app`. As in the recipe, blocking calls run on the event loop.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

from ilab_memory import ILabMemory

MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the memory and the client for as long as the service runs."""
    app.state.mem = ILabMemory.from_path(os.environ["ILAB_MEMORY_DB_PATH"])
    app.state.openai = AsyncOpenAI()
    try:
        yield
    finally:
        app.state.mem.close()


app = FastAPI(lifespan=lifespan)


class ChatRequest(BaseModel):
    """One message of one user."""

    user_id: str = Field(..., min_length=1)
    message: str = Field(..., min_length=1)


class ChatResponse(BaseModel):
    """The reply."""

    session_id: str
    reply: str


def hydrate(req: ChatRequest) -> tuple[str, list[ChatCompletionMessageParam]]:
    """Return the session id and the messages for the model."""
    session = app.state.mem.mem_session_start(user_id=req.user_id)
    lines = "\n".join(f"- ({memory.type}) {memory.title}" for memory in session.memories) or "(none yet)"
    system = f"You are a helpful assistant. Use prior context only if relevant.\nUser profile / past memory:\n{lines}"
    return session.session_id, [{"role": "system", "content": system}, {"role": "user", "content": req.message}]


def persist(req: ChatRequest, reply: str) -> None:
    """Store the turn."""
    app.state.mem.mem_save(
        user_id=req.user_id,
        type="discovery",
        title=f"Turn: {req.message[:60]}",
        content=f"User: {req.message}\nAssistant: {reply}",
    )


@app.post("/chat")
async def chat(req: ChatRequest) -> ChatResponse:
    """Store the turn, then answer."""
    session_id, messages = hydrate(req)
    client: AsyncOpenAI = app.state.openai
    completion = await client.chat.completions.create(model=MODEL, messages=messages)
    reply = completion.choices[0].message.content or ""
    persist(req, reply)
    return ChatResponse(session_id=session_id, reply=reply)


@app.post("/stream")
async def stream(req: ChatRequest) -> StreamingResponse:
    """Send each piece as a server-sent event."""
    return StreamingResponse(events(req), media_type="text/event-stream")


async def events(req: ChatRequest) -> AsyncIterator[str]:
    """Yield the events of an answer. The last one follows the storage of the turn."""
    session_id, messages = hydrate(req)
    client: AsyncOpenAI = app.state.openai
    pieces = []
    async for chunk in await client.chat.completions.create(model=MODEL, messages=messages, stream=True):
        if chunk.choices and (text := chunk.choices[0].delta.content):
            pieces.append(text)
            yield f"data: {json.dumps({'text': text})}\n\n"
    persist(req, "".join(pieces))
    yield f"data: {json.dumps({'session_id': session_id})}\n\ndata: [DONE]\n\n"
