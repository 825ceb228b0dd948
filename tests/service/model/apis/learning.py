"""Fields of ours that an API rejects: they are dropped in the same call, and in later calls to that model."""

# ruff: noqa: E501 - a row is a line

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.model.apis.case import (
    OK,
    REJECTED,
    Case,
    Payload,
    anthropic,
    cloudflare,
    data_of,
    gemini,
    litellm,
    openai,
    plain,
    refusal,
    stream,
    vllm,
    while_it,
    wrapped,
)
from upstream import Reply, Request

Has = Callable[[dict[str, Any]], bool]


def has_stream_options(body: dict[str, Any]) -> bool:
    return "stream_options" in body


def has_max_tokens(body: dict[str, Any]) -> bool:
    return "max_tokens" in body


def streams(body: dict[str, Any]) -> bool:
    return bool(body.get("stream"))


def has_system_role(body: dict[str, Any]) -> bool:
    return any(each["role"] == "system" for each in body["messages"])


def extra(*location: str) -> list[dict[str, Any]]:
    return [
        {"type": "extra_forbidden", "loc": ["body", *location], "msg": "Extra inputs are not permitted", "input": 1}
    ]


MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
VERIFY = (
    "Your organization must be verified to stream this model. Please go to: "
    "https://platform.openai.com/settings/organization/general and click on Verify Organization."
)
OPTIONS = "stream_options"
ROLES = "Conversation roles must alternate user/assistant/user/assistant/..."

STREAM_OPTIONS: list[tuple[str, int, Payload]] = [
    ("Mistral: detail", 422, {"detail": extra(OPTIONS)}),
    ("Mistral: include_usage in message.detail", 422, {"object": "error", "message": {"detail": extra(OPTIONS, "include_usage")}, "type": "invalid_request_error", "param": None, "code": None}),
    ("Mistral: detail as text", 422, {"object": "error", "message": data_of({"detail": extra(OPTIONS)}).decode(), "type": "internal_error_proxy", "param": None, "code": "1000"}),
    ("vLLM: list as text", 400, vllm("[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted', 'input': {'include_usage': True}}]")),
    ("Azure: unrecognized argument", 400, openai("Unrecognized request argument supplied: stream_options")),
    ("Azure: unknown parameter", 400, openai("Unknown parameter: 'stream_options'.", "unknown_parameter", param="stream_options")),
    ("OpenAI: param include_usage", 400, openai("Unknown parameter: 'stream_options.include_usage'.", "unknown_parameter", param="stream_options.include_usage")),
    ("Databricks: unknown field", 400, {"error_code": "BAD_REQUEST", "message": 'Bad request: json: unknown field "stream_options"\n'}),
    ("Databricks: include_usage", 400, {"message": "stream_options.include_usage: Extra inputs are not permitted"}),
    ("Groq: property", 400, openai("property 'stream_options' is unsupported")),
    ("Gemini: unknown name", 400, gemini(400, 'Invalid JSON payload received. Unknown name "stream_options": Cannot find field.')),
    ("TGI: plain text", 422, "Failed to deserialize the JSON body into the target type: stream_options: unknown field `include_usage`"),
    ("LiteLLM: UnsupportedParamsError", 400, litellm("litellm.UnsupportedParamsError: x does not support parameters: ['stream_options'], for model=y. To drop these, set `litellm.drop_params=True`")),
    ("Cohere: unknown field", 400, {"message": "invalid request: unknown field 'stream_options'"}),
    ("Cloudflare: not supported", 400, cloudflare(5006, "Error: oneOf at '/' not met: unknown property 'stream_options'")),
    ("FastAPI: detail as text", 400, {"detail": "stream_options is not supported"}),
    ("FastAPI: pydantic 1", 422, {"detail": [{"loc": ["body", "stream_options"], "msg": "extra fields not permitted", "type": "value_error.extra"}]}),
    ("OpenRouter: in metadata.raw", 400, wrapped(openai("Unknown parameter: 'stream_options'.", "unknown_parameter", param="stream_options"))),
    ("Fireworks: field", 400, openai("Extra inputs are not permitted, field: 'stream_options', value: {'include_usage': True}")),
    ("Anthropic: extra inputs", 400, anthropic("invalid_request_error", "stream_options: Extra inputs are not permitted")),
    ("Jackson: unrecognized field", 400, {"message": 'Unrecognized field "stream_options" (class x.ChatRequest), not marked as ignorable (5 known properties)'}),
    ("serde: unknown field", 422, {"error": "unknown field `stream_options`, expected one of `model`, `messages`, `stream` at line 1 column 90"}),
    ("zod: unrecognized_keys", 400, {"success": False, "error": {"issues": [{"code": "unrecognized_keys", "keys": ["stream_options"], "path": [], "message": "Unrecognized key(s) in object: 'stream_options'"}], "name": "ZodError"}}),
    ("jsonschema: additional properties", 400, {"detail": "Additional properties are not allowed ('stream_options' was unexpected)"}),
]  # fmt: skip

TOKEN_LIMIT: list[tuple[str, int, Payload]] = [
    ("OpenAI: unsupported_parameter", 400, openai(MAX_TOKENS, "unsupported_parameter", param="max_tokens")),
    ("OpenAI: no words", 400, openai("Unsupported", "unsupported_parameter", param="max_tokens")),
    ("LiteLLM: error as text", 400, litellm(f"litellm.BadRequestError: OpenAIException - Error code: 400 - {{'error': {{'message': \"{MAX_TOKENS}\", 'type': 'invalid_request_error', 'param': 'max_tokens', 'code': 'unsupported_parameter'}}}}")),
    ("GitHub Copilot: invalid_request_body", 400, plain(MAX_TOKENS, "invalid_request_body")),
    ("OpenRouter: in metadata.raw", 400, wrapped(openai(MAX_TOKENS, "unsupported_parameter", param="max_tokens"))),
    ("9router: error as text", 400, {"error": {"message": f"[openai/gpt-5.4] [400]: {data_of(openai(MAX_TOKENS, 'unsupported_parameter', param='max_tokens')).decode()} (reset after 30s)"}}),
    ("Azure: message only", 400, openai(MAX_TOKENS)),
]  # fmt: skip

STREAMING: list[tuple[str, int, Payload]] = [
    ("OpenAI: verified organizations", 400, openai(VERIFY, "unsupported_value", param="stream")),
    ("OpenAI: only the default", 400, openai("Unsupported value: 'stream' does not support true with this model. Only the default (false) value is supported.", "unsupported_value", param="stream")),
    ("OpenRouter: in metadata.raw", 400, wrapped(openai(VERIFY, "unsupported_value", param="stream"))),
    ("Azure gateway: streaming requests", 403, {"message": "Streaming requests are not yet allowed."}),
    ("Databricks: streaming", 400, {"error_code": "BAD_REQUEST", "message": "Streaming is not supported for this model."}),
    ("Bedrock gateway: streaming", 400, {"detail": "An error occurred (ValidationException) when calling the ConverseStream operation: The model is unsupported for streaming"}),
    ("a gateway: this model", 400, openai("This model does not support streaming.")),
    ("FastAPI: stream=true", 400, {"detail": "stream=true is not supported"}),
]  # fmt: skip

SYSTEM_ROLE: list[tuple[str, int, Payload]] = [
    ("vLLM: Gemma", 400, vllm("System role not supported")),
    ("vLLM: Gemma, wrapped in error", 400, {"error": {"message": "System role not supported System role not supported", "type": "BadRequestError", "param": None, "code": 400}}),
    ("vLLM: roles must alternate", 400, vllm(ROLES)),
    ("TGI: template", 422, {"error": "Template error: invalid operation: System role not supported (in <string>:1)", "error_type": "template_error"}),
    ("OpenAI: o1-mini", 400, openai("Unsupported value: 'messages[0].role' does not support 'system' with this model.", "unsupported_value", param="messages[0].role")),
    ("Gemini: Gemma", 400, gemini(400, "Developer instruction is not enabled for models/gemma-3-27b-it")),
    ("new-api: Gemini", 400, plain("Developer instruction is not enabled for models/gemini-2.0-flash-exp (request id: 2025)")),
    ("DeepSeek: unknown variant", 400, openai("Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant `system`, expected `user` or `assistant` at line 1 column 33", "invalid_request_error")),
    ("Anthropic: unexpected role", 400, anthropic("invalid_request_error", 'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" as an input message role.')),
    ("FastAPI: role", 422, {"detail": [{"type": "literal_error", "loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user' or 'assistant'", "input": "system"}]}),
    ("Bedrock gateway: system messages", 400, {"detail": "An error occurred (ValidationException) when calling the Converse operation: This model doesn't support system messages. Try again without a system message or use a model that supports system messages."}),
    ("vLLM: Mistral 7B", 400, vllm("Only user and assistant roles are supported!")),
    ("llama.cpp: Jinja with status 500", 500, {"error": {"code": 500, "message": "Jinja Exception: System role not supported at row 1, column 66", "type": "server_error"}}),
]  # fmt: skip


def learned(kind: list[tuple[str, int, Payload]], has: Has, **generation: Any) -> list[Case]:
    return [
        Case(
            name=name,
            upstream=while_it(has, refusal(status, payload)),
            generation=generation,
            expect=OK,
            requests=2,
            again=1,
        )
        for name, status, payload in kind
    ]


def learning() -> list[Case]:
    """One rejected field: two requests for the first call, then one per call."""
    event = while_it(has_stream_options, stream(data_of(STREAM_OPTIONS[0][-1]).decode()))
    return [
        *(named("stream_options", case) for case in learned(STREAM_OPTIONS, has_stream_options)),
        *(named("max_tokens", case) for case in learned(TOKEN_LIMIT, has_max_tokens, max_output_tokens=9)),
        *(named("stream", case) for case in learned(STREAMING, streams)),
        *(named("system", case) for case in learned(SYSTEM_ROLE, has_system_role)),
        Case(name="stream_options: Mistral: as an event", upstream=event, expect=OK, requests=2, again=1),
        Case(name="all of them", upstream=picky, generation={"max_output_tokens": 9}, expect=OK, requests=5, again=1),
        Case(
            name="stream_options without stream",
            upstream=strict_about_stream_options,
            expect=OK,
            requests=2,
            again=1,
        ),
        Case(
            name="a field that was left out is refused again",
            upstream=refusal(422, STREAM_OPTIONS[0][-1]),
            expect=REJECTED,
            requests=2,
        ),
    ]


def named(field: str, case: Case) -> Case:
    return Case(
        name=f"{field}: {case.name}",
        upstream=case.upstream,
        generation=case.generation,
        expect=case.expect,
        requests=case.requests,
        again=case.again,
    )


def picky(request: Request) -> Reply:
    """Reject one field after the other."""
    kinds: list[tuple[Has, list[tuple[str, int, Payload]]]] = [
        (has_stream_options, STREAM_OPTIONS),
        (has_max_tokens, TOKEN_LIMIT),
        (has_system_role, SYSTEM_ROLE),
        (streams, STREAMING),
    ]
    for has, kind in kinds:
        if has(request.body):
            _, status, payload = kind[0]
            return refusal(status, payload)
    return Reply()


def strict_about_stream_options(request: Request) -> Reply:
    """Reject streaming, and reject stream_options without stream, like OpenAI."""
    if streams(request.body):
        _, status, payload = STREAMING[0]
        return refusal(status, payload)
    if has_stream_options(request.body):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        return refusal(400, openai(message, param="stream_options"))
    return Reply()
