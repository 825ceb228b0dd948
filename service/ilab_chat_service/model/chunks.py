"""Parse the chunks of a streamed chat completion, and whole completions.

https://platform.openai.com/docs/api-reference/chat-streaming. Compatible servers send values of any type, so every
value is checked and converted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from ilab_chat_service.values import FinishReason, Usage, token_count

#: Valid names of models: names, paths, tags and revisions, as APIs return them. Never a sentence.
MODEL_NAME = re.compile(r"[A-Za-z0-9@/][A-Za-z0-9._:/@+~-]{0,255}")

#: Valid ids of responses.
RESPONSE_ID = re.compile(r"[!-~]{1,256}")

JsonObject: TypeAlias = Mapping[str, Any]

#: Finish reasons by their names in APIs, in lower case with underscores: OpenAI, Anthropic, Gemini, Mistral, Cohere,
#: Hugging Face TGI, Zhipu.
FINISH_REASONS: Mapping[str, FinishReason] = {
    **dict.fromkeys(
        (
            *("stop", "eos", "eos_token", "end_turn", "end", "stop_sequence", "stop_token", "complete", "completed"),
            *("done", "normal"),
        ),
        FinishReason.STOP,
    ),
    **dict.fromkeys(
        (
            *("length", "max_tokens", "max_output_tokens", "max_new_tokens", "max_completion_tokens", "token_limit"),
            *("model_length", "context_length", "model_context_window_exceeded", "max_length", "error_limit"),
        ),
        FinishReason.LENGTH,
    ),
    **dict.fromkeys(
        (
            *("content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "spii"),
            *("language", "image_safety", "refusal", "sensitive", "moderation", "guardrail_intervened", "error_toxic"),
        ),
        FinishReason.CONTENT_FILTER,
    ),
}

#: Finish reasons that mean that the model failed, so its text is not an answer.
FAILED_REASONS = frozenset(
    """
    error network_error server_error internal_error failed failure timeout abort aborted cancelled canceled interrupted
    insufficient_system_resource
    """.split()
)

#: Prefixes of enum names that some servers send.
REASON_PREFIXES = ("finish_reason_", "finishreason.", "finish_reason.")


#: Types of content parts that are text or reasoning: OpenAI, Mistral, Databricks, OpenRouter.
TEXT_PARTS = frozenset({"text", "output_text", "summary_text"})
REASONING_PARTS = frozenset({"thinking", "reasoning", "reasoning.text", "reasoning.summary"})


class Delta(msgspec.Struct, gc=False):
    """The delta of a choice. The reasoning fields are alternative names for the same text."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    reasoning_text: Any = None
    reasoning_details: Any = None


class Choice(msgspec.Struct):
    """One of the answers. There is one unless more were requested. Without streaming, `message` replaces `delta`."""

    index: Any = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    error: Any = None
    usage: Any = None


class Chunk(msgspec.Struct):
    """One event's data, or a whole completion."""

    choices: list[Choice] | None = None
    id: Any = None
    model: Any = None
    usage: Any = None
    x_groq: Any = None


class ErrorData(Exception):
    """The API sent an error instead of a chunk. `body` is its JSON."""

    def __init__(self, body: object) -> None:
        super().__init__()
        self.body = body


class ProbedChunk(Chunk):
    """A chunk with the fields that distinguish an error from a chunk."""

    error: Any = None
    object: Any = None
    detail: Any = None
    message: Any = None
    errors: Any = None
    error_code: Any = None

    @property
    def is_error(self) -> bool:
        """Whether it is an error: it is marked as one, or has a message instead of choices."""
        if self.error or self.object == "error":
            return True
        return not self.choices and bool(self.detail or self.message or self.errors or self.error_code)


class TooManyParts(ValueError):
    """The data has more than MOST_PARTS strings, elements and objects."""


#: Maximum number of parts of a chunk. Decoding takes time and memory for each, and no other call runs while it does:
#: 200,000 empty objects take 80 milliseconds. A completion has about 30 parts, and a few more for each citation.
MOST_PARTS = 50_000

#: Maximum size of an error that is parsed.
ERROR_BYTES = 64 * 1024

#: Bytes of a chunk up to which its parts are not counted.
FEW_PARTS_BYTES = 64 * 1024

DECODER = msgspec.json.Decoder(ProbedChunk)


def chunk_of(data: bytes) -> Chunk | None:
    """Return *data* as a chunk. None: it is anything else, and is ignored.

    Raises:
        ErrorData: *data* is an error.
        TooManyParts: *data* has too many parts to be decoded.
    """
    if len(data) > FEW_PARTS_BYTES and parts_in(data) > MOST_PARTS:
        raise TooManyParts
    try:
        chunk = DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return lenient_chunk(data)
    # Nearly every chunk has choices.
    if (chunk.error or not chunk.choices) and chunk.is_error:
        raise ErrorData(error_body(data))
    return chunk


def error_body(data: bytes) -> object:
    """Return the JSON of an error, or the beginning of a long one as text."""
    return json.loads(data) if len(data) <= ERROR_BYTES else data[:ERROR_BYTES].decode(errors="replace")


def parts_in(data: bytes) -> int:
    """Return about how many parts JSON has, without decoding it: strings, and commas and brackets outside them."""
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    quotes = unescaped.count(b'"')
    if quotes > 2 * MOST_PARTS:
        return quotes // 2
    structure = b"".join(unescaped.split(b'"')[::2])
    return quotes // 2 + sum(structure.count(each) for each in (b",", b"[", b"{"))


def lenient_chunk(data: bytes) -> Chunk | None:
    """Return *data* that the strict decoder rejects as a chunk. See `chunk_of`.

    Strict JSON excludes unpaired surrogates, which some servers send in two chunks, and NaN. Fields of an unexpected
    type are ignored.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list):
        # Gemini sends errors in a list.
        value = next(iter(value), None)
    if not isinstance(value, dict):
        return None
    choices = value.get("choices")
    chunk = ProbedChunk(
        choices=[choice_of(each) for each in choices if isinstance(each, dict)] if isinstance(choices, list) else None,
        **{name: value.get(name) for name in ProbedChunk.__struct_fields__ if name != "choices"},
    )
    if chunk.is_error:
        raise ErrorData(value if len(data) <= ERROR_BYTES else error_body(data))
    return chunk


def choice_of(value: dict[str, Any]) -> Choice:
    """Return a choice."""
    return Choice(
        index=value.get("index"),
        delta=delta_of(value.get("delta")),
        message=delta_of(value.get("message")),
        finish_reason=value.get("finish_reason"),
        error=value.get("error"),
        usage=value.get("usage"),
    )


def delta_of(value: object) -> Delta | None:
    """Return the delta of a choice. None: it is not an object."""
    if not isinstance(value, dict):
        return None
    return Delta(**{name: value[name] for name in Delta.__struct_fields__ if name in value})


def is_plain(delta: Delta) -> bool:
    """Return whether a choice adds only text, like nearly every choice."""
    return isinstance(delta.content, str) and not (
        delta.refusal
        or delta.reasoning_content
        or delta.reasoning
        or delta.thinking
        or delta.reasoning_text
        or delta.reasoning_details
    )


def text_of(content: object) -> str:
    """Return the text of a message's content: a string, a text part, or a list of both."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(text_of, content))
    if isinstance(content, dict) and content.get("type", "text") in TEXT_PARTS:
        return text_of(content.get("text"))
    return ""


def reasoning_of(delta: Delta) -> str:
    """Return the reasoning that a choice adds, whatever its field is called."""
    for value in (delta.reasoning_content, delta.reasoning, delta.thinking, delta.reasoning_text):
        if text := text_of(value):
            return text
    for parts in (delta.reasoning_details, delta.content):
        if text := "".join(map(reasoning_part, parts if isinstance(parts, list) else ())):
            return text
    return ""


def reasoning_part(part: object) -> str:
    """Return the text of a reasoning part: of OpenRouter's details, or of a content. Empty: it is another part."""
    if not isinstance(part, dict) or part.get("type") not in REASONING_PARTS:
        return ""
    return next((text for name in ("thinking", "text", "summary") if (text := text_of(part.get(name)))), "")


def name_of(model: object) -> str:
    """Return a model's name. Empty: *model* does not look like one, and may be any text."""
    return model if isinstance(model, str) and MODEL_NAME.fullmatch(model) else ""


def response_id_of(value: object) -> str:
    """Return the id of a response. Empty: *value* does not look like one, and may be any text."""
    return value if isinstance(value, str) and RESPONSE_ID.fullmatch(value) else ""


def reason_name(reason: object) -> str:
    """Return a finish reason, normalized like the names in FINISH_REASONS and FAILED_REASONS."""
    if not isinstance(reason, str):
        return ""
    # Some APIs append details: content_filter: PROHIBITED_CONTENT.
    name = reason.partition(":")[0].strip().lower().replace("-", "_").replace(" ", "_")
    for prefix in REASON_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def usage_of(chunk: Chunk) -> Usage | None:
    """Return the usage of a chunk. None: there is no readable usage."""
    return counted(chunk.usage) or counted(object_of(chunk.x_groq).get("usage"))


def counted(value: object) -> Usage | None:
    """Return the counts of a usage object. None: neither input nor output tokens can be read."""
    counts = object_of(value)
    input_tokens = first_count(counts, "prompt_tokens", "input_tokens")
    output_tokens = first_count(counts, "completion_tokens", "output_tokens")
    if input_tokens is None and output_tokens is None:
        return None
    prompt = object_of(counts.get("prompt_tokens_details")) or object_of(counts.get("input_tokens_details"))
    completion = object_of(counts.get("completion_tokens_details")) or object_of(counts.get("output_tokens_details"))
    cached = first_count(prompt, "cached_tokens")
    if cached is None:
        # DeepSeek; Moonshot; Anthropic.
        cached = first_count(counts, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
    reasoning = first_count(completion, "reasoning_tokens")
    if reasoning is None:
        reasoning = first_count(counts, "reasoning_tokens")
    return Usage(
        input_tokens=input_tokens or 0,
        output_tokens=output_tokens or 0,
        cached_input_tokens=cached or 0,
        reasoning_tokens=reasoning or 0,
    )


def first_count(counts: JsonObject, *names: str) -> int | None:
    """Return the first readable count among *names*: an integer, a whole float, or a string of one."""
    return next((count for name in names if (count := whole_number(counts.get(name))) is not None), None)


def whole_number(value: object) -> int | None:
    """Return *value* as a number of tokens. None: it is not one, or is out of range."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float):
        if not (math.isfinite(value) and value.is_integer()):
            return None
        value = int(value)
    count = token_count(value)
    return count if count == value and value is not False else None


def object_of(value: object) -> JsonObject:
    """Return *value* if it is a JSON object, else an empty object."""
    return value if isinstance(value, dict) else {}
