"""Answers in all their forms: why they end, what they count, reasoning, parts, odd frames, odd endings, odd HTTP."""

# ruff: noqa: E501 - a row is a line

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from typing import Any

from service.model.apis.case import (
    DONE,
    HELLO_THERE,
    INTERRUPTED,
    OK,
    OUTAGE_REQUESTS,
    Answers,
    Case,
    Payload,
    body,
    completion,
    delta,
    end,
    limited,
    plain,
    sse,
    stream,
    text,
    unavailable,
    whole,
)
from upstream import USAGE, Reply, chunk

FINISHED: list[tuple[str, str, str]] = [
    ("OpenAI", "stop", "STOP"),
    ("OpenAI", "length", "LENGTH"),
    ("OpenAI", "content_filter", "CONTENT_FILTER"),
    ("TGI and watsonx", "eos_token", "STOP"),
    ("Batcher", "eos", "STOP"),
    ("Bedrock gateway", "end_turn", "STOP"),
    ("TGI and Anthropic", "stop_sequence", "STOP"),
    ("Gemini", "STOP", "STOP"),
    ("Cohere", "COMPLETE", "STOP"),
    ("Anthropic", "max_tokens", "LENGTH"),
    ("Gemini", "MAX_TOKENS", "LENGTH"),
    ("Mistral", "model_length", "LENGTH"),
    ("Anthropic", "model_context_window_exceeded", "LENGTH"),
    ("Gemini", "SAFETY", "CONTENT_FILTER"),
    ("Gemini", "PROHIBITED_CONTENT", "CONTENT_FILTER"),
    ("Gemini", "RECITATION", "CONTENT_FILTER"),
    ("Gemini", "BLOCKLIST", "CONTENT_FILTER"),
    ("Gemini", "SPII", "CONTENT_FILTER"),
    ("Gemini", "content_filter: PROHIBITED_CONTENT", "CONTENT_FILTER"),
    ("Zhipu", "sensitive", "CONTENT_FILTER"),
    ("Anthropic", "refusal", "CONTENT_FILTER"),
    ("Bedrock", "guardrail_intervened", "CONTENT_FILTER"),
    ("Bedrock", "content_filtered", "CONTENT_FILTER"),
    ("Gemini", "MALFORMED_FUNCTION_CALL", "OTHER"),
    ("Vercel", "unknown", "OTHER"),
    ("nobody yet", "banana", "OTHER"),
    ("Baidu", "normal", "STOP"),
    ("Cohere", "ERROR_TOXIC", "CONTENT_FILTER"),
    ("Cohere", "ERROR_LIMIT", "LENGTH"),
    ("Vercel", "content-filter", "CONTENT_FILTER"),
    ("Replicate", "max_length", "LENGTH"),
]

#: Not an end: gateways send these in every chunk.
NOT_FINISHED = ("", "null", None)

FAILED: list[tuple[str, str]] = [
    ("OpenRouter", "error"),
    ("Zhipu", "network_error"),
    ("DeepSeek", "insufficient_system_resource"),
    ("Cohere", "ERROR"),
    ("vLLM", "abort"),
    ("a gateway", "server_error"),
    ("a gateway", "internal_error"),
]

TOOL_CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def reasons() -> list[Case]:
    """Why the model stopped, failed generations and refusals."""
    hello = HELLO_THERE
    filtered = Answers(reply="", finish="CONTENT_FILTER")
    refused = Answers(reply="I can't help with that.", finish="CONTENT_FILTER")
    choice_error = {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "x"}}
    choice_limit = {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "x"}}
    return [
        *(
            Case(name=f"{vendor}: {reason}", upstream=stream(*hello, end(reason)), expect=Answers(finish=finish))
            for vendor, reason, finish in FINISHED
        ),
        *(
            Case(
                name=f"a gateway: {reason!r} in every chunk",
                upstream=stream(
                    *(
                        chunk([{"index": 0, "delta": {"content": each}, "finish_reason": reason}])
                        for each in ("Hello", " there.")
                    ),
                    end(),
                ),
                expect=OK,
            )
            for reason in NOT_FINISHED
        ),
        *(
            Case(name=f"{vendor}: {reason} after text", upstream=stream(*hello, end(reason)), expect=INTERRUPTED)
            for vendor, reason in FAILED
        ),
        *(
            Case(
                name=f"{vendor}: {reason} before text",
                upstream=stream(end(reason)),
                expect=unavailable(),
                requests=OUTAGE_REQUESTS,
            )
            for vendor, reason in FAILED
        ),
        Case(
            name="Zhipu: network_error after reasoning",
            upstream=stream(delta(reasoning_content="Ponder it."), end("network_error")),
            expect=INTERRUPTED,
        ),
        Case(
            name="OpenRouter: error with code 502 on the choice, before text",
            upstream=stream(chunk([choice_error])),
            expect=unavailable(),
            requests=OUTAGE_REQUESTS,
        ),
        Case(
            name="OpenRouter: error with code 429 on the choice, before text",
            upstream=stream(chunk([choice_limit])),
            expect=limited(),
        ),
        Case(
            name="Zhipu: network_error in an answer that is not streamed",
            upstream=whole(completion({"content": "Hel"}, "network_error")),
            expect=unavailable(),
            requests=OUTAGE_REQUESTS,
        ),
        Case(name="Azure: filtered before text", upstream=stream(end("content_filter")), expect=filtered),
        Case(
            name="OpenAI: refusal",
            upstream=stream(
                delta(role="assistant", content="", refusal=None),
                delta(refusal="I can't help "),
                delta(refusal="with that."),
                end(),
            ),
            expect=refused,
        ),
        Case(
            name="OpenAI: refusal in an answer that is not streamed",
            upstream=whole(completion({"content": None, "refusal": "I can't help with that."})),
            expect=refused,
        ),
        Case(
            name="LiteLLM: empty refusal in every chunk",
            upstream=stream(delta(content="Hello", refusal=""), delta(content=" there.", refusal=None), end()),
            expect=OK,
        ),
        Case(
            name="OpenAI: tool calls",
            upstream=stream(delta(role="assistant", content=None, tool_calls=[TOOL_CALL]), end("tool_calls")),
            expect=Answers(reply="", finish="OTHER"),
        ),
        Case(
            name="OpenAI: function_call",
            upstream=stream(delta(function_call={"name": "f", "arguments": "{}"}), end("function_call")),
            expect=Answers(reply="", finish="OTHER"),
        ),
        Case(
            name="OpenAI: text, then tool calls",
            upstream=stream(*hello, delta(tool_calls=[TOOL_CALL]), end("tool_calls")),
            expect=Answers(finish="OTHER"),
        ),
        Case(name="any: stop and no text", upstream=stream(end()), expect=Answers(reply="")),
        Case(
            name="LM Studio: a role and no text",
            upstream=stream(delta(role="assistant", content=""), end()),
            expect=Answers(reply=""),
        ),
    ]


COUNTED = (20, 8, 5, 2)
SOME = (20, 0, 5, 0)
FLOATS = {
    "prompt_tokens": 20.0,
    "completion_tokens": 5.0,
    "prompt_tokens_details": {"cached_tokens": 8.0},
    "completion_tokens_details": {"reasoning_tokens": 2.0},
}
STRINGS = {
    "prompt_tokens": "20",
    "completion_tokens": "5",
    "prompt_tokens_details": {"cached_tokens": "8"},
    "completion_tokens_details": {"reasoning_tokens": "2"},
}
BARE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def with_usage(usage: Any) -> Reply:
    return stream(*HELLO_THERE, end(), chunk([], usage=usage))


def counted(tokens: tuple[int, int, int, int] | None) -> Answers:
    return Answers(usage=tokens)


def usage() -> list[Case]:
    """Token counts in odd forms and places."""
    null_details = {**BARE, "prompt_tokens_details": None, "completion_tokens_details": None}
    groq = {"id": "req_1", "usage": {"queue_time": 0.07, "prompt_time": 0.006, **BARE, "total_time": 0.028}}
    growing = [
        chunk([{"index": 0, "delta": {"content": each}}], usage={"prompt_tokens": 20, "completion_tokens": number})
        for number, each in enumerate(("Hello", " there."), 3)
    ]
    partial = chunk(
        [{"index": 0, "delta": {"content": "Hello there."}}], usage={"prompt_tokens_details": {"cached_tokens": 0}}
    )
    no_completion = chunk(
        [{"index": 0, "delta": {"content": "Hello there."}}], usage={"prompt_tokens": 20, "total_tokens": 20}
    )
    in_choice = chunk([{"index": 0, "delta": {}, "finish_reason": "stop", "usage": BARE}])
    moonshot = chunk([{"index": 0, "delta": {}, "finish_reason": "stop", "usage": {**BARE, "cached_tokens": 8}}])
    deepseek = {**BARE, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 12}
    cases: list[tuple[str, Reply, tuple[int, int, int, int] | None]] = [
        ("OpenAI: a chunk without choices", with_usage(USAGE), COUNTED),
        ("a gateway in Lua: floats", with_usage(FLOATS), COUNTED),
        ("a gateway: numeric strings", with_usage(STRINGS), COUNTED),
        ("DeepSeek: prompt_cache_hit_tokens", with_usage(deepseek), (20, 8, 5, 0)),
        ("Moonshot: on the choice", stream(*HELLO_THERE, in_choice), SOME),
        ("Moonshot: cached_tokens", stream(*HELLO_THERE, moonshot), (20, 8, 5, 0)),
        ("Groq: x_groq", stream(*HELLO_THERE, end(x_groq=groq)), SOME),
        ("xAI: with the finish_reason", stream(*HELLO_THERE, end(usage=USAGE)), COUNTED),
        ("Perplexity: in every chunk", stream(*growing, end(usage=BARE)), SOME),
        ("OpenAI: null until the end", stream(*(chunk([{"index": 0, "delta": {"content": each}}], usage=None) for each in ("Hello", " there.")), end(usage=None), chunk([], usage=USAGE)), COUNTED),
        ("MiMo: null with the finish_reason", stream(*HELLO_THERE, end(usage=None), chunk([], usage=BARE)), SOME),
        ("MiMo: empty with the finish_reason", stream(*HELLO_THERE, end(usage={}), chunk([], usage=BARE)), SOME),
        ("SGLang: details only, then all", stream(partial, end(), chunk([], usage=BARE)), SOME),
        ("LiteLLM: without completion_tokens, then all", stream(no_completion, end(), chunk([], usage=BARE)), SOME),
        ("Ollama: details are null", with_usage(null_details), SOME),
        ("Bedrock gateway: names of Anthropic", with_usage({"input_tokens": 20, "output_tokens": 5}), SOME),
        ("llama.cpp: timings only", stream(*HELLO_THERE, end(timings={"prompt_n": 20, "predicted_n": 5})), None),
        ("a gateway: floats as text", with_usage({"prompt_tokens": "20.0", "completion_tokens": "5.0"}), SOME),
        ("any: none", stream(*HELLO_THERE, end()), None),
        ("any: null", with_usage(None), None),
        ("any: text", with_usage("n/a"), None),
        ("any: a list", with_usage([20, 5]), None),
        ("any: empty", with_usage({}), None),
        ("any: words", with_usage({"prompt_tokens": "many", "completion_tokens": "few"}), None),
        ("any: parts of tokens", with_usage({"prompt_tokens": 1.5, "completion_tokens": 0.5}), None),
        ("any: negative", with_usage({"prompt_tokens": -1, "completion_tokens": -1}), None),
        ("any: beyond int32", with_usage({"prompt_tokens": 2**31, "completion_tokens": 1e300}), None),
        ("any: booleans", with_usage({"prompt_tokens": True, "completion_tokens": False}), None),
        ("any: not streamed", whole(completion({"content": "Hello there."}, usage=USAGE)), COUNTED),
        ("any: not streamed, strings", whole(completion({"content": "Hello there."}, usage=STRINGS)), COUNTED),
    ]  # fmt: skip
    return [Case(name=name, upstream=upstream, expect=counted(tokens)) for name, upstream, tokens in cases]


PONDER = "Ponder it well."
THOUGHTFUL = Answers(reasoning=PONDER)


def reasoned(*fields: Mapping[str, Any]) -> Reply:
    return stream(*(delta(**each) for each in fields), *HELLO_THERE, end())


def reasoning() -> list[Case]:
    """Reasoning in the field of each vendor."""
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": PONDER}]}]
    summary = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": PONDER}]}]
    details = [{"type": "reasoning.text", "text": PONDER, "format": "anthropic-claude-v1", "index": 0}]
    blocks = [{"type": "thinking", "thinking": PONDER, "signature": "x"}]
    cases: list[tuple[str, Reply]] = [
        ("DeepSeek: reasoning_content", reasoned({"content": None, "reasoning_content": "Ponder "}, {"content": None, "reasoning_content": "it well."})),
        ("Groq and Ollama: reasoning", reasoned({"reasoning": "Ponder "}, {"content": "", "reasoning": "it well."})),
        ("OpenRouter: reasoning and reasoning_details", reasoned({"content": "", "reasoning": PONDER, "reasoning_details": details})),
        ("OpenRouter: reasoning_details only", reasoned({"content": "", "reasoning_details": details})),
        ("vLLM: both names", reasoned({"reasoning": PONDER, "reasoning_content": PONDER})),
        ("LiteLLM: reasoning_content and thinking_blocks", reasoned({"reasoning_content": PONDER, "thinking_blocks": blocks})),
        ("Envoy AI Gateway: an object", reasoned({"reasoning_content": {"text": PONDER}})),
        ("a gateway: reasoning as a list", reasoned({"reasoning": [{"text": PONDER}]})),
        ("Ollama: thinking", reasoned({"thinking": PONDER})),
        ("GitHub Copilot: reasoning_text", reasoned({"reasoning_text": PONDER})),
        ("Mistral: part thinking", reasoned({"content": parts})),
        ("Databricks: part reasoning", reasoned({"content": summary})),
        ("a gateway: part thinking as text", reasoned({"content": [{"type": "thinking", "thinking": PONDER}]})),
        ("Qwen: with empty text", reasoned({"content": "", "reasoning_content": PONDER}, {"content": "", "reasoning_content": ""})),
        ("Mistral: thinking and text in one delta", stream(delta(content=[*parts, {"type": "text", "text": "Hello there."}]), end())),
        ("Kimi: reasoning and text in one delta", stream(delta(reasoning_content=PONDER, content="Hello there."), end())),
        ("DeepSeek: not streamed", whole(completion({"content": "Hello there.", "reasoning_content": PONDER}))),
        ("OpenRouter: not streamed", whole(completion({"content": "Hello there.", "reasoning": PONDER, "reasoning_details": details}))),
        ("Mistral: not streamed", whole(completion({"content": [*parts, {"type": "text", "text": "Hello there."}]}))),
    ]  # fmt: skip
    nothing = Answers(reply="", reasoning=PONDER, finish="LENGTH")
    return [
        *(Case(name=name, upstream=upstream, expect=THOUGHTFUL) for name, upstream in cases),
        Case(name="Qwen: empty reasoning in every chunk", upstream=stream(*(delta(content=each, reasoning_content="") for each in ("Hello", " there.")), end()), expect=OK),
        Case(name="vLLM: null reasoning in every chunk", upstream=stream(*(delta(content=each, reasoning_content=None, reasoning=None) for each in ("Hello", " there.")), end()), expect=OK),
        Case(name="OpenRouter: encrypted reasoning only", upstream=reasoned({"content": "", "reasoning": None, "reasoning_details": [{"type": "reasoning.encrypted", "data": "abc"}]}), expect=Answers(events="any")),
        Case(name="DeepSeek: reasoning fills the limit", upstream=stream(delta(reasoning_content=PONDER), end("length")), expect=nothing),
        Case(name="xAI: reasoning after text", upstream=stream(HELLO_THERE[0], delta(reasoning_content=PONDER), HELLO_THERE[1], end()), expect=Answers(reasoning=PONDER, events="any")),
        Case(name="DeepSeek: broken off while it reasons", upstream=stream(delta(reasoning_content=PONDER), done=False), expect=INTERRUPTED),
        Case(name="DeepSeek: cut while it reasons", upstream=Reply(events=[delta(reasoning_content=PONDER)], cut_before=1, done=False, final_chunk=False), expect=INTERRUPTED),
        Case(name="OpenRouter: an error while it reasons", upstream=stream(delta(reasoning=PONDER), json.dumps(plain("x", 502))), expect=INTERRUPTED),
    ]  # fmt: skip


def letters(whole_text: str) -> list[str]:
    return [text(letter) for letter in whole_text]


def tags() -> list[Case]:
    """Reasoning inside the text. A block counts at the beginning of the reply, wherever chunks are cut."""
    blocks = ("<think>{}</think>", "<thinking>{}</thinking>", "<thought>{}</thought>", "[THINK]{}[/THINK]")
    cases: list[tuple[str, Iterable[str], Answers]] = []
    for block in blocks:
        marked = block.format(PONDER)
        name = block.partition("{")[0]
        cases += [
            (f"{name} in one chunk", [text(f"{marked}Hello there.")], THOUGHTFUL),
            (f"{name} letter by letter", letters(f"{marked}Hello there."), THOUGHTFUL),
            (f"{name} with line ends", [text(f"\n{block.format(f'{chr(10)}{PONDER}{chr(10)}')}\n\nHello there.")], THOUGHTFUL),
        ]  # fmt: skip
    middle = len("<think>Ponder it well.</th")
    marked = f"<think>{PONDER}</think>Hello there."
    kept = Answers(reply="Use <think>a</think> tags.")
    cases += [
        ("cut inside the closing tag", [text(marked[:middle]), text(marked[middle:])], THOUGHTFUL),
        ("cut inside the opening tag", [text(marked[:3]), text(marked[3:])], THOUGHTFUL),
        ("cut after each tag", [text("<think>"), text(PONDER), text("</think>"), *HELLO_THERE], THOUGHTFUL),
        ("Qwen3: white space in chunks of its own", [text("<think>"), text("\n"), text(PONDER), text("\n"), text("</think>"), text("\n\n"), *HELLO_THERE], THOUGHTFUL),
        ("Qwen3: an empty block", [text("<think>\n\n</think>\n\nHello there.")], Answers(events="any")),
        ("another tag closes nothing", [text("<think>Ponder </thinking> it.</think>Hello there.")], Answers(reasoning="Ponder </thinking> it.")),
        ("letters beyond ASCII", letters("<think>Überlege 🤔.</think>Grüß dich 👋."), Answers(reply="Grüß dich 👋.", reasoning="Überlege 🤔.")),
        ("in parts", [delta(content=[{"type": "text", "text": marked}])], THOUGHTFUL),
        ("later in the text", [text("Use <think>a</think> tags.")], kept),
        ("later in the text, letter by letter", letters("Use <think>a</think> tags."), kept),
        ("another tag", [text("<b>Hello</b>")], Answers(reply="<b>Hello</b>")),
        ("a longer name", letters("<thinker>Hi"), Answers(reply="<thinker>Hi")),
        ("only its beginning", letters("<thi"), Answers(reply="<thi")),
        ("only one character", [text("<")], Answers(reply="<")),
        ("a bracket", letters("[1] Hello"), Answers(reply="[1] Hello")),
    ]  # fmt: skip
    return [
        *(Case(name=name, upstream=stream(*events, end()), expect=expect) for name, events, expect in cases),
        Case(name="not streamed", upstream=whole(completion({"content": marked})), expect=THOUGHTFUL),
        Case(
            name="DeepSeek: never closed",
            upstream=stream(text(f"<think>{PONDER}"), end("length")),
            expect=Answers(reply="", finish="LENGTH", reasoning=PONDER),
        ),
        Case(name="broken off inside", upstream=stream(text("<think>Ponder"), done=False), expect=INTERRUPTED),
    ]


def parts() -> list[Case]:
    """Content that is a list of parts."""
    cases: list[tuple[str, list[Any]]] = [
        ("Mistral: text", [[{"type": "text", "text": "Hello"}], [{"type": "text", "text": " there."}]]),
        ("a gateway: several in one delta", [[{"type": "text", "text": "Hello"}, {"type": "text", "text": " there."}]]),
        ("a gateway: output_text", [[{"type": "output_text", "text": "Hello there."}]]),
        ("Databricks: without a type", [[{"text": "Hello there."}]]),
        ("a gateway: strings", [["Hello", " there."]]),
        ("a gateway: one part without a list", [{"type": "text", "text": "Hello there."}]),
        ("Mistral: text as strings, with references", ["Hello", [{"type": "reference", "reference_ids": [1]}], " there."]),
        ("a gateway: with an image", [[{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": "Hello there."}]]),
        ("a gateway: empty lists", [[], "Hello there.", []]),
        ("a gateway: odd parts", [[None, 7, {"type": "text"}, {"type": "text", "text": None}, {"type": "text", "text": "Hello there."}]]),
    ]  # fmt: skip
    return [
        *(
            Case(name=name, upstream=stream(*(delta(content=each) for each in contents), end()), expect=OK)
            for name, contents in cases
        ),
        Case(
            name="Mistral: not streamed",
            upstream=whole(completion({"content": [{"type": "text", "text": "Hello there."}]})),
            expect=OK,
        ),
    ]


HELLO, THERE = HELLO_THERE
AZURE_FIRST = (
    '{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,'
    '"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}'
)
AZURE_LAST = (
    '{"choices":[{"content_filter_offsets":{"check_offset":1,"start_offset":1,"end_offset":2},'
    '"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"finish_reason":null,"index":0}],'
    '"created":0,"id":"","model":"","object":""}'
)

#: Frames instead of chunks.
NO_CHUNKS: list[tuple[str, str]] = [
    ("empty data", ""),
    ("blank data", " "),
    ("half of a chunk", '{"choices":[{"index":0,"del'),
    ("text", "ping"),
    ("a number", "7"),
    ("null", "null"),
    ("true", "true"),
    ("a string", '"keep-alive"'),
    ("an empty list", "[]"),
    ("a list of numbers", "[1, 2]"),
    ("an empty object", "{}"),
    ("Anthropic: ping", '{"type": "ping"}'),
    ("Azure: the first chunk", AZURE_FIRST),
    ("Azure: asynchronous filter", AZURE_LAST),
    ("Perplexity: search results", '{"object": "chat.completion.search", "search_results": []}'),
    ("LiteLLM: an id", '{"id": "c-1"}'),
    ("choices null", '{"id": "c-1", "choices": null}'),
    ("choices a number", '{"choices": 7}'),
    ("choices of null", '{"choices": [null]}'),
    ("choices of numbers", '{"choices": [7]}'),
    ("choice without delta", '{"choices": [{"index": 0}]}'),
    ("delta null", '{"choices": [{"index": 0, "delta": null}]}'),
    ("delta a number", '{"choices": [{"index": 0, "delta": 7}]}'),
    ("content null", '{"choices": [{"index": 0, "delta": {"content": null}}]}'),
    ("content a number", '{"choices": [{"index": 0, "delta": {"content": 7}}]}'),
    ("content empty", '{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}'),
    ("error null", '{"error": null, "choices": [{"index": 0, "delta": {}}]}'),
    ("deeply nested", "[" * 40_000),
]


def frames() -> list[Case]:
    """Frames that are not chunks are skipped, before and within the text, as is everything else that SSE allows."""
    hello, there, stop = (sse(each) for each in (HELLO, THERE, end()))
    everything = hello + there + stop + DONE
    lines = HELLO.replace('"choices"', '\ndata: "choices"')
    written: list[tuple[str, bytes]] = [
        ("OpenRouter: comments", b": OPENROUTER PROCESSING\n\n" + hello + b":\n\n" + there + b": ping\n\n" + stop + DONE),
        ("sse-starlette: CRLF", everything.replace(b"\n", b"\r\n")),
        ("the standard: CR", everything.replace(b"\n", b"\r")),
        ("the standard: BOM", b"\xef\xbb\xbf" + everything),
        ("the standard: several data lines", f"data: {lines}\n\n".encode() + there + stop + DONE),
        ("Gemini: no space after the colon", everything.replace(b"data: ", b"data:")),
        ("the standard: retry only", b"retry: 3000\n\n" + everything),
        ("the standard: id and event", b"".join(b"id: 1\nevent: message\n" + each for each in (hello, there, stop)) + DONE),
        ("DashScope: id, event and HTTP_STATUS", b"id:1\nevent:result\n:HTTP_STATUS/200\n" + hello + there + stop + DONE),
        ("a gateway: event is chunk", b"".join(b"event: chunk\n" + each for each in (hello, there, stop)) + DONE),
        ("a gateway: space after [DONE]", hello + there + stop + b"data: [DONE] \n\n"),
        ("a gateway: no space before [DONE]", hello + there + stop + b"data:[DONE]\n\n"),
        ("a gateway: an event after [DONE]", everything + b"data: {not json\n\n"),
        ("a gateway: blank lines", b"\n\n\n" + hello + b"\n\n" + there + b"\n" + stop + DONE),
        ("llama.cpp: data without a colon", b"data\n\n" + everything),
    ]  # fmt: skip
    accents = sse(text("Grüß dich 👋.")) + stop + DONE
    raw = accents.replace(json.dumps("Grüß dich 👋.").encode(), '"Grüß dich 👋."'.encode())
    return [
        *(Case(name=f"{name}, first", upstream=stream(frame, HELLO, THERE, end()), expect=OK) for name, frame in NO_CHUNKS),
        *(Case(name=f"{name}, between", upstream=stream(HELLO, frame, THERE, end()), expect=OK) for name, frame in NO_CHUNKS),
        *(Case(name=name, upstream=body(data), expect=OK) for name, data in written),
        Case(name="byte by byte", upstream=body(*(everything[at : at + 1] for at in range(len(everything)))), expect=OK),
        Case(name="UTF-8 byte by byte", upstream=body(*(raw[at : at + 1] for at in range(len(raw)))), expect=Answers(reply="Grüß dich 👋.")),
        Case(name="cut inside the separator", upstream=body(hello[:-1], hello[-1:] + there + stop[:-1], stop[-1:] + DONE), expect=OK),
        Case(name="CRLF cut in two", upstream=body(*(piece for line in everything.split(b"\n") for piece in (line + b"\r", b"\n"))), expect=OK),
        Case(name="OpenAI: obfuscation", upstream=stream(*(json.dumps({**json.loads(each), "obfuscation": "x" * 500}) for each in HELLO_THERE), end()), expect=OK),
    ]  # fmt: skip


def endings() -> list[Case]:
    """A complete answer is never discarded, and an incomplete one is never a reply."""
    hello, there, stop = (sse(each) for each in (HELLO, THERE, end()))
    usage_chunk = sse(chunk([], usage=USAGE))
    counted_end = sse(end(usage=USAGE))
    everything = hello + there + stop + DONE
    unsaid = Answers(finish="UNSPECIFIED")
    down = unavailable()
    return [
        Case(name="LM Studio: no blank line after the last event", upstream=body(hello + there + stop[:-1]), expect=OK),
        Case(name="a gateway: no line end after the last event", upstream=body(hello + there + stop[:-2]), expect=OK),
        Case(name="a gateway: no line end after [DONE]", upstream=body(hello + there + stop + b"data: [DONE]"), expect=OK),
        Case(name="a gateway: no line end after [DONE], and no reason", upstream=body(hello + there + b"data: [DONE]"), expect=unsaid),
        Case(name="Fireworks: [DONE] without a finish_reason", upstream=stream(HELLO, THERE), expect=unsaid),
        Case(name="a gateway: finish_reason and no [DONE]", upstream=stream(HELLO, THERE, end(), done=False), expect=OK),
        Case(name="a gateway: finish_reason with the text", upstream=stream(HELLO, chunk([{"index": 0, "delta": {"content": " there."}, "finish_reason": "stop"}])), expect=OK),
        Case(name="a gateway: finish_reason, and the body is cut", upstream=body(hello + there + stop, final_chunk=False), expect=OK),
        Case(name="HTTP: [DONE], and no final chunk", upstream=body(everything, final_chunk=False), expect=OK),
        Case(name="HTTP: [DONE], and the connection stays open", upstream=body(everything, stays_open=True), expect=OK),
        Case(name="a proxy: finish_reason, and the connection stays open", upstream=body(hello + there + stop, stays_open=True), expect=OK),
        Case(name="a proxy: usage, and the connection stays open", upstream=body(hello + there + stop + usage_chunk, stays_open=True), expect=Answers(usage=COUNTED)),
        Case(name="a proxy: usage with the finish_reason, and the connection stays open", upstream=body(hello + there + counted_end, stays_open=True), expect=Answers(usage=COUNTED)),
        Case(name="a proxy: comments after the finish_reason", upstream=body(hello + there + stop, b": ping\n\n", b": ping\n\n", stays_open=True), expect=OK),
        Case(name="text, and the body ends", upstream=body(hello + there), expect=INTERRUPTED),
        Case(name="text, and the body is cut", upstream=body(hello + there, final_chunk=False), expect=INTERRUPTED),
        Case(name="half of the last event", upstream=body(hello + there[:40]), expect=INTERRUPTED),
        Case(name="[DONE] and nothing before it", upstream=stream(), expect=down, requests=OUTAGE_REQUESTS),
        Case(name="a role and [DONE]", upstream=stream(delta(role="assistant", content="")), expect=down, requests=OUTAGE_REQUESTS),
        Case(name="usage and [DONE]", upstream=stream(chunk([], usage=USAGE)), expect=down, requests=OUTAGE_REQUESTS),
        Case(name="an empty body", upstream=body(), expect=down, requests=OUTAGE_REQUESTS),
        Case(name="comments only", upstream=body(b": ping\n\n: ping\n\n"), expect=down, requests=OUTAGE_REQUESTS),
    ]  # fmt: skip


def not_streamed() -> list[Case]:
    """JSON though a stream was asked for."""
    hello = {"content": "Hello there."}
    answer = completion(hello, usage=USAGE)
    counted_answer = Answers(usage=COUNTED)
    pretty = json.dumps(answer, indent=2)
    cases: list[tuple[str, Reply, Answers]] = [
        ("a gateway: application/json", whole(answer), counted_answer),
        ("a gateway: application/json with a charset", whole(answer, "application/json; charset=utf-8"), counted_answer),
        ("a gateway: in upper case", whole(answer, "Application/JSON"), counted_answer),
        ("a gateway: as text/event-stream", whole(answer, "text/event-stream"), counted_answer),
        ("a gateway: as text/plain", whole(answer, "text/plain"), counted_answer),
        ("a gateway: on several lines", whole(pretty), counted_answer),
        ("a gateway: on several lines as text/event-stream", whole(pretty, "text/event-stream"), counted_answer),
        ("a gateway: white space before it", whole(f"\n  {pretty}\n", "text/event-stream"), counted_answer),
        ("a gateway: BOM before it", whole(b"\xef\xbb\xbf" + json.dumps(answer).encode()), counted_answer),
        ("a gateway: in pieces", body(*(pretty.encode()[at : at + 50] for at in range(0, len(pretty), 50)), headers={"content-type": "application/json"}), counted_answer),
        ("a gateway: length", whole(completion(hello, "length")), Answers(finish="LENGTH")),
        ("a gateway: no finish_reason", whole(completion(hello, None)), Answers(finish="UNSPECIFIED")),
        ("a gateway: tool calls", whole(completion({"content": None, "tool_calls": [TOOL_CALL]}, "tool_calls")), Answers(reply="", finish="OTHER")),
        ("a stream as application/json", Reply(body=sse(HELLO, THERE, end()) + DONE), OK),
        ("a stream as text/plain", body(sse(HELLO, THERE, end()), DONE, headers={"content-type": "text/plain"}), OK),
        ("a stream without a type", body(sse(HELLO, THERE, end()), DONE, headers={"content-type": ""}), OK),
        ("message instead of delta", stream(chunk([{"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}])), OK),
    ]  # fmt: skip
    odd: list[tuple[str, Payload]] = [
        ("no answer", {"status": "ok"}),
        ("no choices", {"choices": []}),
        ("half", pretty[:60]),
    ]
    return [
        *(Case(name=name, upstream=upstream, expect=expect) for name, upstream, expect in cases),
        *(Case(name=name, upstream=whole(payload), expect=unavailable(), requests=OUTAGE_REQUESTS) for name, payload in odd),
    ]  # fmt: skip


def http() -> list[Case]:
    """What HTTP allows."""
    everything = sse(HELLO, THERE, end()) + DONE
    packed = gzip.compress(everything)
    big = {f"x-big-{number}": "y" * 4000 for number in range(10)}
    head = b"content-type: text/event-stream\r\n"
    sized = b"HTTP/1.1 200 OK\r\n" + head + b"content-length: %d\r\n\r\n" % len(everything)
    return [
        Case(name="gzip", upstream=Reply(body=packed, headers={"content-type": "text/event-stream", "content-encoding": "gzip"}), expect=OK),
        Case(name="gzip in pieces", upstream=body(*(packed[at : at + 7] for at in range(0, len(packed), 7)), headers={"content-encoding": "gzip"}), expect=OK),
        Case(name="HTTP/1.0", upstream=Reply(raw=[b"HTTP/1.0 200 OK\r\n" + head + b"\r\n", everything]), expect=OK),
        Case(name="HTTP/1.1 until the connection closes", upstream=Reply(raw=[b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + head + b"\r\n", everything]), expect=OK),
        Case(name="a length", upstream=Reply(raw=[sized, everything]), expect=OK),
        Case(name="100 Continue before it", upstream=Reply(raw=[b"HTTP/1.1 100 Continue\r\n\r\n", sized, everything]), expect=OK),
        Case(name="103 Early Hints before it", upstream=Reply(raw=[b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", sized, everything]), expect=OK),
        Case(name="no reason phrase", upstream=Reply(raw=[b"HTTP/1.1 200\r\n" + head + b"content-length: %d\r\n\r\n" % len(everything), everything]), expect=OK),
        Case(name="a response header of 20 KB", upstream=body(everything, headers={"content-security-policy": "y" * 20_000}), expect=OK),
        Case(name="a response header of 60 KB", upstream=body(everything, headers={"content-security-policy": "y" * 60_000}), expect=OK),
        Case(name="40 KB of response headers", upstream=body(everything, headers=big), expect=OK),
        Case(name="a response header of 20 KB on an error", upstream=Reply(status=429, headers={"x-big": "y" * 20_000, "retry-after": "7"}), expect=limited(7)),
        Case(name="status 201", upstream=body(everything, status=201), expect=OK),
    ]  # fmt: skip
