"""POST /chat as the recipe has it: the same request, the same response, the same status for an invalid request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fastapi import Request  # noqa: TC002 - FastAPI reads the annotations
from pydantic import BaseModel, Field

from ilab_chat.v1.chat_pb2 import ChatRequest as ChatMessage
from ilab_chat_gateway.endpoints import backend_of
from ilab_chat_gateway.requests import metadata, request_id, unless_gone
from ilab_chat_gateway.routes import CHAT

if TYPE_CHECKING:
    from ilab_chat.v1 import chat_pb2


class ChatRequest(BaseModel):
    """A message of a user."""

    user_id: str = Field(..., min_length=1)
    message: str = Field(..., min_length=1)


class ChatResponse(BaseModel):
    """The answer."""

    session_id: str
    reply: str


async def chat(body: ChatRequest, request: Request) -> Any:
    """Answer one message, and remember it."""
    message = ChatMessage(user_id=body.user_id, message=body.message, request_id=request_id(request))
    call = backend_of(request).ask(CHAT, message, metadata(request))
    response = cast("chat_pb2.ChatResponse", await unless_gone(request.receive, call))
    return ChatResponse(session_id=response.session_id, reply=response.reply)
