"""mem0 as the memory of a FastAPI service: search before the model is asked, add after its answer.

Run by uvicorn as `peers.mem0:app`, in an environment with bench/peers/mem0.txt. Settings are mem0's defaults, with its
local Qdrant in a folder: https://docs.mem0.ai/open-source/python-quickstart
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from mem0 import AsyncMemory
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the memory and the client for as long as the service runs."""
    folder = os.environ["ILAB_MEMORY_DB_PATH"]
    app.state.mem = AsyncMemory.from_config(
        {
            "vector_store": {"provider": "qdrant", "config": {"path": f"{folder}.qdrant", "on_disk": True}},
            "history_db_path": f"{folder}.history",
        }
    )
    app.state.openai = AsyncOpenAI()
    yield


app = FastAPI(lifespan=lifespan)


class ChatRequest(BaseModel):
    """One message of one user."""

    user_id: str = Field(..., min_length=1)
    message: str = Field(..., min_length=1)


class ChatResponse(BaseModel):
    """The reply."""

    reply: str


@app.post("/chat")
async def chat(req: ChatRequest) -> ChatResponse:
    """Answer, and add the turn to the memory. mem0 asks the model what to remember of it."""
    found = await app.state.mem.search(req.message, filters={"user_id": req.user_id}, top_k=10)
    lines = "\n".join(f"- {each['memory']}" for each in found["results"])
    client: AsyncOpenAI = app.state.openai
    asked = {"role": "user", "content": req.message}
    completion = await client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": f"You are a helpful assistant.\nUser memories:\n{lines}"},
            {"role": "user", "content": req.message},
        ],
    )
    reply = completion.choices[0].message.content or ""
    await app.state.mem.add([asked, {"role": "assistant", "content": reply}], user_id=req.user_id)
    return ChatResponse(reply=reply)
