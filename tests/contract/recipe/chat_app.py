from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import AsyncIterator

from fastapi import FastAPI
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

from ilab_memory import ILabMemory

DB_PATH = os.environ.get("ILAB_MEMORY_DB_PATH", "./memory.db")
MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.mem = ILabMemory.from_path(DB_PATH)
    app.state.openai = AsyncOpenAI()  # reads OPENAI_API_KEY from env
    try:
        yield
    finally:
        app.state.mem.close()


app = FastAPI(lifespan=lifespan, title="iLAB Memory Chat")


class ChatRequest(BaseModel):
    user_id: str = Field(..., min_length=1)
    message: str = Field(..., min_length=1)


class ChatResponse(BaseModel):
    session_id: str
    reply: str


@app.post("/chat", response_model=ChatResponse)
async def chat(req: ChatRequest) -> ChatResponse:
    mem: ILabMemory = app.state.mem
    client: AsyncOpenAI = app.state.openai

    # 1. Hydrate per-user memory
    session = mem.mem_session_start(user_id=req.user_id)
    history_lines = [f"- ({m.type}) {m.title}" for m in session.memories]

    # 2. Compose system prompt with prior context
    system_prompt = (
        "You are a helpful assistant. Use prior context only if relevant.\n"
        f"User profile / past memory:\n{chr(10).join(history_lines) or '(none yet)'}"
    )

    # 3. Call the LLM
    completion = await client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": req.message},
        ],
    )
    reply = completion.choices[0].message.content or ""

    # 4. Persist the turn (one observation per turn — full timeline)
    mem.mem_save(
        user_id=req.user_id,
        type="discovery",
        title=f"Turn: {req.message[:60]}",
        content=f"User: {req.message}\nAssistant: {reply}",
    )
    return ChatResponse(session_id=session.session_id, reply=reply)


# Run with: fastapi dev chat_app.py
