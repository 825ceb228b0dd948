"""Asking the model for a consolidation, in the form that its API accepts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ilab_chat_service.consolidation.operations import ANSWER_CHARACTERS, InvalidAnswer
from ilab_chat_service.consolidation.prompt import RESPONSE_FORMAT, messages
from ilab_chat_service.failures import FieldRefused, ModelNotFound, ModelRejected
from ilab_chat_service.prompt_budget import tokens
from ilab_chat_service.values import Generation, JsonObjectFormat

if TYPE_CHECKING:
    from ilab_chat_service.consolidation.prompt import Material
    from ilab_chat_service.ports import Model
    from ilab_chat_service.values import ChatMessage, Usage

#: Longest answer, in tokens.
OUTPUT_TOKENS = 4000
#: Statuses with which APIs refuse a field.
BAD_REQUEST = frozenset({400, 404, 422})


@dataclass(slots=True)
class Asked:
    """The answer and the cost of an attempt, also of one that failed."""

    answer: str = ""
    calls: int = 0
    tokens_used: int = 0
    """Counted against the budget: estimated if the API did not tell."""
    input_tokens: int = 0
    output_tokens: int = 0


async def ask(model: Model, name: str, material: Material, asked: Asked) -> None:
    """Ask the model named *name* for a consolidation, and fill *asked*.

    If its API refuses the format, ask for any JSON object, then for text; if it refuses the temperature, without one.

    Raises:
        Failure: the model did not answer.
        InvalidAnswer: the answer is too long.
    """
    prompt = messages(material)
    wanted = Generation(model=name, temperature=0.0, max_output_tokens=OUTPUT_TOKENS, response_format=RESPONSE_FORMAT)
    for generation in (
        wanted,
        replace(wanted, response_format=JsonObjectFormat()),
        Generation(model=name, response_format=JsonObjectFormat()),
    ):
        try:
            await ask_once(model, generation, prompt, asked)
        except ModelNotFound:
            raise
        except FieldRefused:
            pass
        except ModelRejected as failure:
            if failure.cause.get("upstream.status_code") not in BAD_REQUEST:
                raise
        else:
            return
    await ask_once(model, Generation(model=name), prompt, asked)


async def ask_once(model: Model, generation: Generation, prompt: list[ChatMessage], asked: Asked) -> None:
    """Ask the model once."""
    reply: list[str] = []
    received: list[str] = []
    length = 0
    # Not repeated: the work is, later.
    until = asyncio.get_running_loop().time()
    async with model.choose(generation).answer(prompt, until) as answer:
        asked.calls += 1
        try:
            async for piece in answer:
                text = piece if isinstance(piece, str) else piece.text
                received.append(text)
                if text is piece:
                    reply.append(text)
                length += len(text)
                if length > ANSWER_CHARACTERS:
                    raise InvalidAnswer("the answer is too long")
        finally:
            asked.tokens_used += tokens_used(answer.usage, prompt, received)
            if answer.usage:
                asked.input_tokens += answer.usage.input_tokens
                asked.output_tokens += answer.usage.output_tokens
    asked.answer = "".join(reply)


def tokens_used(usage: Usage | None, prompt: list[ChatMessage], received: list[str]) -> int:
    """Return the tokens of a call, estimated if its API reports none. *received*: reasoning and reply."""
    if usage:
        return usage.input_tokens + usage.output_tokens
    return sum(tokens(message.content) for message in prompt) + tokens("".join(received))
