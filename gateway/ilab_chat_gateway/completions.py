"""OpenAI's chat completions in the contract's messages, and back. Does no I/O.

Anything that the contract cannot do is refused with the name of the parameter; nothing is dropped silently.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from ilab_chat.v1.chat_pb2 import FinishReason, StreamChatRequest
from ilab_chat_gateway.messages import refused
from ilab_chat_gateway.problems import invalid_field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ilab_chat.v1.chat_pb2 import ChatResponse, ChatStarted, StreamChatResponse, Usage

#: The name that stands for the server's default model.
DEFAULT_MODEL: Final = "ilab-chat"

#: The server's default model, the only one that can be listed: the contract does not list the others.
MODEL: Final = {"id": DEFAULT_MODEL, "object": "model", "created": 0, "owned_by": "ilab-chat"}

#: Parameters with the same meaning in GenerationOptions, by their names there.
GENERATION: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "seed": "seed",
}
#: JSON types of parameters. protobuf's own reader also accepts numbers in strings.
KINDS: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "user": ((str,), "must be text"),
    "model": ((str,), "must be text"),
    "reasoning_effort": ((str,), "must be text"),
    "stop": ((str, list), "must be text or a list of texts"),
    "stream": ((bool,), "must be true or false"),
    "temperature": ((int, float), "must be a number"),
    "top_p": ((int, float), "must be a number"),
    "max_completion_tokens": ((int,), "must be an integer"),
    "max_tokens": ((int,), "must be an integer"),
    "seed": ((int,), "must be an integer"),
}

#: All parameters that are read.
READ: Final = {*KINDS, "messages", "stream_options", "response_format"}

#: Size of the contract's largest number.
NUMBER_BITS: Final = 64

#: Parameters by the names of the contract's fields, for errors.
PARAMETERS: Final = {"user_id": "user", "message": "messages", "instructions": "messages"} | {
    "generation.max_output_tokens": "max_completion_tokens",
    "generation.stop_sequences": "stop",
}

#: Values of other parameters that ask for nothing. Clients send them as defaults.
NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
}

FINISH: Final[dict[int, str]] = {
    FinishReason.FINISH_REASON_LENGTH: "length",
    FinishReason.FINISH_REASON_CONTENT_FILTER: "content_filter",
}


@dataclass(frozen=True, slots=True)
class Completion:
    """A request, as the contract has it."""

    request: StreamChatRequest
    stream: bool
    include_usage: bool
    ignored_messages: int
    """Earlier messages of user and assistant. The server has its own history of the conversation."""


def read(body: bytes, *, user: str, conversation: str) -> Completion:
    """Return the request in *body*.

    Args:
        body: JSON of a chat completion request.
        user: user id of a header, or empty.
        conversation: conversation id of a header, or empty.

    Raises:
        Problem: it is not such a request, or asks for something that the contract cannot do.
    """
    parameters = parsed(body)
    refuse_others(parameters)
    messages = parameters.get("messages")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages) or not messages:
        raise invalid_field("messages", "must be a list of messages")
    instructions, message, ignored = split(messages)
    options = parameters.get("stream_options") or {}
    if (
        not isinstance(options, dict)
        or options.keys() - {"include_usage", "include_obfuscation"}
        or not all(isinstance(value, bool) for value in options.values())
    ):
        raise invalid_field("stream_options", "supports include_usage only, true or false")
    fields = {
        "user_id": user_of(parameters, user),
        "message": message,
        "instructions": instructions,
        "conversation_id": conversation,
        "generation": generation(parameters),
    }
    try:
        request = json_format.ParseDict(fields, StreamChatRequest())
    except (json_format.ParseError, ValueError, TypeError, AttributeError, OverflowError) as error:
        fault = str(error)
    else:
        return Completion(request, bool(parameters.get("stream")), bool(options.get("include_usage")), ignored)
    raise refused(fault)


def parsed(body: bytes) -> dict[str, Any]:
    """Return the parameters in *body*, without those that are null.

    Raises:
        Problem: it is not a JSON object.
    """
    try:
        parameters = json.loads(body.decode(), object_pairs_hook=members)
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise invalid_field("body", "must be a JSON object")
    return {name: value for name, value in parameters.items() if value is not None}


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object.

    Raises:
        ValueError: a name is repeated, or has half of a surrogate pair, which no answer can quote.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is repeated")
    for name in found:
        name.encode()
    return found


def refuse_others(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of another type, or that change the answer in a way that the contract does not have.

    Raises:
        Problem: there is one.
    """
    for name, value in parameters.items():
        if name not in READ and value not in NEUTRAL.get(name, ()):
            raise invalid_field(name[:64], "is not supported by this server")
        kinds, description = KINDS.get(name, ((type(value),), ""))
        # A bool is an int in Python only.
        if type(value) not in kinds:
            raise invalid_field(name, description)
        if isinstance(value, int) and value.bit_length() > NUMBER_BITS:
            raise invalid_field(name, "is out of range")
    if "max_tokens" in parameters and "max_completion_tokens" in parameters:
        raise invalid_field("max_tokens", "must not be set together with max_completion_tokens")


def user_of(parameters: Mapping[str, Any], header: str) -> str:
    """Return the user id of the parameter or the header.

    Raises:
        Problem: both are missing, or they differ.
    """
    user: str = parameters.get("user", "")
    if not (user or header):
        raise invalid_field("user", "is required: set `user`, or the header X-User-Id, to the id of your user")
    if user and header and user != header:
        raise invalid_field("user", "differs from the header X-User-Id")
    return user or header


def split(messages: list[dict[str, Any]]) -> tuple[str, str, int]:
    """Return the instructions, the user's message, and the number of other messages.

    Raises:
        Problem: the last message is not the user's, or a message is of a kind that the contract does not have.
    """
    instructions = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = message.get("role")
        if not isinstance(role, str) or role not in {"system", "developer", "user", "assistant"}:
            raise invalid_field(f"{where}.role", "must be system, developer, user or assistant")
        if message.get("tool_calls") or message.get("function_call") or message.get("audio"):
            raise invalid_field(where, "tool calls and audio are not supported by this server")
        if role in {"system", "developer"} or index == len(messages) - 1:
            # The others are not used.
            refuse_more(where, message)
        if role in {"system", "developer"}:
            instructions.append(text_of(where, message.get("content")))
    last = messages[-1]
    if last["role"] != "user":
        raise invalid_field("messages", "must end with a message of role user")
    ignored = len(messages) - len(instructions) - 1
    return "\n\n".join(instructions), text_of(f"messages[{len(messages) - 1}]", last.get("content")), ignored


def refuse_more(where: str, message: Mapping[str, Any]) -> None:
    """Refuse members of a message that would not reach the model, such as `name`.

    Raises:
        Problem: there is one.
    """
    for name, value in message.items():
        if name not in {"role", "content"} and value is not None:
            raise invalid_field(f"{where}.{name[:64]}", "is not supported by this server")


def text_of(where: str, content: object) -> str:
    """Return the text of a message.

    Raises:
        Problem: it has other parts than text.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        texts = [part.get("text") for part in content]
        if all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    raise invalid_field(f"{where}.content", "must be text; images, audio and files are not supported by this server")


def generation(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return GenerationOptions as JSON.

    Raises:
        Problem: the response format is unknown.
    """
    options = {field: parameters[name] for name, field in GENERATION.items() if name in parameters}
    if (model := parameters.get("model", DEFAULT_MODEL)) != DEFAULT_MODEL:
        options["model"] = model
    if "stop" in parameters:
        stop = parameters["stop"]
        options["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if "reasoning_effort" in parameters:
        options["reasoning_effort"] = f"REASONING_EFFORT_{str(parameters['reasoning_effort']).upper()}"
    if "response_format" in parameters:
        options["response_format"] = response_format(parameters["response_format"])
    return options


def response_format(given: object) -> dict[str, Any]:
    """Return ResponseFormat as JSON.

    Raises:
        Problem: it is of a kind that the contract does not have.
    """
    match given:
        case {"type": "text" | "json_object" as kind, **more} if not more:
            return {kind: {}}
        case {"type": "json_schema", "json_schema": dict(schema), **more} if not more:
            if schema.keys() - {"name", "schema", "strict"}:
                raise invalid_field("response_format.json_schema", "supports name, schema and strict only")
            return {"json_schema": {name: value for name, value in schema.items() if value is not None}}
    raise invalid_field("response_format", "must be of type text, json_object or json_schema")


def completion(response: ChatResponse) -> dict[str, Any]:
    """Return a finished answer as a chat completion."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": response.reply, "refusal": None},
        "logprobs": None,
        "finish_reason": FINISH.get(response.finish_reason, "stop"),
    }
    body = head("chat.completion", response.request_id, response.model, response.create_time.seconds)
    return {**body, "choices": [choice], "usage": usage(response.usage), "ilab_chat": ours(response)}


def chunks(
    event: StreamChatResponse, started: ChatStarted, created: int, *, with_usage: bool
) -> Iterator[dict[str, Any]]:
    """Yield what an event of a stream becomes: chunks of a chat completion."""
    body = head("chat.completion.chunk", started.request_id, started.model, created)

    def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**body, "choices": [choice], **more}

    match event.WhichOneof("event"):
        case "started":
            yield chunk({"role": "assistant", "content": ""})
        case "reasoning_delta":
            yield chunk({"reasoning_content": event.reasoning_delta.text})
        case "text_delta":
            yield chunk({"content": event.text_delta.text})
        case "completed":
            done = event.completed
            yield chunk({}, FINISH.get(done.finish_reason, "stop"), ilab_chat=ours(done))
            if with_usage:
                yield {**body, "choices": [], "usage": usage(done.usage)}


def head(kind: str, request_id: str, model: str, created: int) -> dict[str, Any]:
    """Return the members that completions and chunks have in common."""
    return {"id": f"chatcmpl-{request_id}", "object": kind, "created": created, "model": model}


def usage(counts: Usage) -> dict[str, Any]:
    """Return token counts in OpenAI's names."""
    return {
        "prompt_tokens": counts.input_tokens,
        "completion_tokens": counts.output_tokens,
        "total_tokens": counts.input_tokens + counts.output_tokens,
        "prompt_tokens_details": {"cached_tokens": counts.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
    }


def ours(response: ChatResponse) -> dict[str, Any]:
    """Return the fields of the answer that OpenAI's schema does not have."""
    return {
        "session_id": response.session_id,
        "conversation_id": response.conversation_id,
        "request_id": response.request_id,
        "observation_id": str(response.observation_id),
        "replayed": response.replayed,
    }
