"""Errors that an API reports about the request, the key, its limits and itself, in the words of each vendor."""

# ruff: noqa: E501, RUF001 - a row is a line, and some vendors write Chinese

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from service.model.apis.case import (
    ANY_WAIT,
    FILTERED,
    HELLO_THERE,
    INTERRUPTED,
    NO_MODEL,
    OK,
    OUTAGE_REQUESTS,
    QUOTA,
    REJECTED,
    TOO_LONG,
    Case,
    Payload,
    anthropic,
    both_ways,
    cloudflare,
    data_of,
    gemini,
    limited,
    litellm,
    openai,
    plain,
    refusal,
    stream,
    unavailable,
    unsupported,
    vllm,
    whole,
    wrapped,
)
from upstream import Reply, Request

MAXIMUM = "This model's maximum context length is 4096 tokens. However, "
OPENAI_LENGTH = f"{MAXIMUM}your messages resulted in 10346 tokens. Please reduce the length of the messages."
VLLM_LENGTH = (
    f"{MAXIMUM}you requested 5000 tokens (1000 in the messages, 4000 in the completion). "
    "Please reduce the length of the messages or completion."
)
ANTHROPIC_LENGTH = (
    "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length or "
    "`max_tokens` and try again"
)
LONG_INPUTS = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens and 0 "
    "`max_new_tokens`"
)
OPENROUTER_LENGTH = (
    "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens (150000 of "
    'text input). Please reduce the length of either one, or use the "middle-out" transform to compress your prompt.'
)
LM_STUDIO_LENGTH = (
    "The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model "
    "with a larger context length, or provide a shorter input"
)
LM_STUDIO_KEEP = (
    "Trying to keep the first 5564 tokens when context the overflows. However, the model is loaded with context length "
    "of only 4096 tokens, which is not enough. Try to load the model with a larger context length, or provide a "
    "shorter input"
)
LLAMA_LENGTH = "the request exceeds the available context size. try increasing the context size or enable context shift"
GROQ_SIZE = (
    "Request too large for model `llama-3.1-8b-instant` in organization `org_1` service tier `on_demand` on tokens per "
    "minute (TPM): Limit 6000, Requested 14368, please reduce your message size and try again."
)

CONTEXT: list[tuple[str, int, Payload]] = [
    ("OpenAI: context_length_exceeded", 400, openai(OPENAI_LENGTH, "context_length_exceeded", param="messages")),
    (
        "OpenAI: exceeds the context window",
        400,
        openai("Your input exceeds the context window of this model.", "context_length_exceeded", param="input"),
    ),
    (
        "Azure: configured limit",
        400,
        openai(
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens. Please "
            "reduce the length of the messages.",
            "context_length_exceeded",
            param="messages",
        ),
    ),
    ("vLLM: maximum context length", 400, vllm(VLLM_LENGTH)),
    ("vLLM: wrapped in error", 400, {"error": {"message": VLLM_LENGTH, "type": "BadRequestError", "code": 400}}),
    (
        "vLLM: input_tokens",
        400,
        openai(f"{MAXIMUM}your request has 5000 input tokens.", 400, "BadRequestError", param="input_tokens"),
    ),
    (
        "vLLM: decoder prompt",
        400,
        vllm("The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
    ),
    ("SGLang: longer", 400, vllm("The input (9000 tokens) is longer than the model's context length (8192 tokens).")),
    (
        "SGLang: requested token count",
        400,
        vllm(
            "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of "
            "9000 tokens: 8000 tokens from the input messages and 1000 tokens for the completion."
        ),
    ),
    (
        "llama.cpp: exceed_context_size_error",
        400,
        {
            "error": {
                "code": 400,
                "message": "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 4390,
                "n_ctx": 4096,
            }
        },
    ),
    (
        "llama.cpp: with status 500",
        500,
        {"error": {"code": 500, "message": LLAMA_LENGTH, "type": "exceed_context_size_error", "n_ctx": 256}},
    ),
    (
        "llama.cpp of 2025: invalid_request_error",
        400,
        {"error": {"code": 400, "message": LLAMA_LENGTH, "type": "invalid_request_error"}},
    ),
    ("LM Studio: tokens to keep", 400, {"error": LM_STUDIO_LENGTH}),
    ("LM Studio: context overflows", 400, {"error": LM_STUDIO_KEEP}),
    ("TGI: inputs", 422, {"error": LONG_INPUTS, "error_type": "validation"}),
    (
        "TGI: must have less than",
        422,
        {
            "error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1234",
            "error_type": "validation",
        },
    ),
    ("Batcher: param is max_tokens", 422, openai(LONG_INPUTS, param="max_tokens")),
    (
        "Anthropic: prompt is too long",
        400,
        anthropic("invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"),
    ),
    ("Anthropic: input length and max_tokens", 400, anthropic("invalid_request_error", ANTHROPIC_LENGTH)),
    ("Anthropic: request_too_large", 413, anthropic("request_too_large", "Request exceeds the maximum size")),
    (
        "Gemini: input token count",
        400,
        gemini(400, "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."),
    ),
    (
        "Mistral: too large for model",
        400,
        {
            **vllm(
                "Prompt contains 65673 tokens and 0 draft tokens, too large for model with 32768 maximum context length"
            ),
            "type": "invalid_request_error",
            "code": "3051",
        },
    ),
    (
        "Groq: reduce the length",
        400,
        openai("Please reduce the length of the messages or completion.", "context_length_exceeded", param="messages"),
    ),
    ("Groq: 413 rate_limit_exceeded", 413, openai(GROQ_SIZE, "rate_limit_exceeded", "tokens")),
    (
        "Cerebras: reduce the length",
        400,
        {
            "message": "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        },
    ),
    ("DeepSeek: invalid_request_error", 400, openai(VLLM_LENGTH, "invalid_request_error")),
    ("OpenRouter: this endpoint", 400, plain(OPENROUTER_LENGTH)),
    ("OpenRouter: in metadata.raw", 400, wrapped(openai(OPENAI_LENGTH, "context_length_exceeded", param="messages"))),
    (
        "Fireworks: the prompt is too long",
        400,
        openai("The prompt is too long: 140000, model maximum context length: 131072", "invalid_request_error"),
    ),
    (
        "Cohere: too many tokens",
        400,
        {"message": "too many tokens: size limit exceeded by 11326 tokens. Try using shorter or fewer inputs."},
    ),
    (
        "Bedrock gateway: detail",
        400,
        {
            "detail": "An error occurred (ValidationException) when calling the ConverseStream operation: Input is too "
            "long for requested model."
        },
    ),
    (
        "LiteLLM: ContextWindowExceededError",
        400,
        litellm(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: OpenAIException - "
            f"{OPENAI_LENGTH}\nReceived Model Group=gpt-4\nAvailable Model Group Fallbacks=None"
        ),
    ),
    (
        "Moonshot: token limit",
        400,
        openai("Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)"),
    ),
    ("Zhipu: 1261", 400, plain("Prompt exceeds max length", "1261")),
    (
        "DashScope: range of input length",
        400,
        openai(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
            "invalid_parameter_error",
        ),
    ),
    (
        "xAI: maximum prompt length",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        },
    ),
    ("Perplexity: all messages", 400, openai("The total length of all messages is too long.", 400, "bad_request")),
    (
        "Databricks: error of a provider as text",
        400,
        {
            "error_code": "BAD_REQUEST",
            "message": '{"external_model_provider":"amazon-bedrock","external_model_error":{"message":"Input is too long '
            'for requested model."}}',
        },
    ),
    (
        "Cloudflare: context window limit",
        413,
        cloudflare(
            5021,
            "The estimated number of input and maximum output tokens (30000) exceeded this model context window limit "
            "(24000).",
        ),
    ),
    ("MiniMax: context window exceeds limit", 400, plain("invalid params, context window exceeds limit (2013)")),
    (
        "GitHub Models: tokens_limit_reached",
        413,
        plain("Request body too large for gpt-4o model. Max size: 8000 tokens.", "tokens_limit_reached"),
    ),
    (
        "OpenAI: string_above_max_length",
        400,
        openai(
            "Invalid 'messages[1].content': string too long. Expected a string with maximum length 1048576, but got a string with length 2000000 instead.",
            "string_above_max_length",
            param="messages[1].content",
        ),
    ),
    ("Ollama: input length", 400, openai("the input length exceeds the context length", kind="api_error")),
    (
        "SambaNova: sequence length",
        400,
        openai(
            "Requested generation length 100 is not possible! The provided prompt is 9000 tokens long, so generating 100 tokens requires a sequence length of 9100, but the maximum supported sequence length is just 8192!"
        ),
    ),
    ("Baidu: 336103", 400, plain("Prompt tokens too long", "336103")),
    (
        "Volcengine: max message tokens",
        400,
        openai(
            "Total tokens of image and text exceed max message tokens. Request id: 0217",
            "InvalidParameter",
            "BadRequest",
        ),
    ),
    (
        "SiliconFlow: max_seq_len",
        400,
        {
            "code": 20015,
            "message": "length of prompt_tokens (9000) must be less than max_seq_len (8192).",
            "data": None,
        },
    ),
    (
        "TensorRT-LLM: max_num_tokens",
        400,
        vllm("The sum of prompt length (9000.0), query length (0) should not exceed max_num_tokens (8192)"),
    ),
    (
        "Vertex: input token count",
        400,
        gemini(
            400,
            "Unable to submit request because the input token count is 40000 but the model only supports up to 32768. Reduce the input token count and try again.",
        ),
    ),
    (
        "Bedrock gateway: Nova",
        400,
        {
            "detail": "An error occurred (ValidationException) when calling the Converse operation: Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again."
        },
    ),
    (
        "Bedrock gateway: Titan",
        400,
        {"message": "Too many input tokens. Max input tokens: 8192, request input token count: 9000 "},
    ),
]


def context() -> list[Case]:
    """The prompt does not fit. Every error comes as a response, and as an event."""
    cases = [case for name, status, payload in CONTEXT for case in both_ways(name, status, payload, TOO_LONG)]
    proxy = refusal(413, "<html><head><title>413 Request Entity Too Large</title></head></html>")
    return [
        *cases,
        Case(name="nginx: 413 as HTML", upstream=proxy, expect=TOO_LONG),
        Case(name="Cerebras: 413 without a body", upstream=refusal(413), expect=TOO_LONG),
        Case(
            name="vLLM: error in an answer with status 200 that is not a stream",
            upstream=whole(vllm(VLLM_LENGTH)),
            expect=TOO_LONG,
        ),
        Case(
            name="llama.cpp of 2025: an error line in the stream",
            upstream=Reply(
                parts=[
                    b'error: {"code":400,"message":"'
                    + LLAMA_LENGTH.encode()
                    + b'","type":"invalid_request_error"}\n\n',
                    b"data: [DONE]\n\n",
                ]
            ),
            expect=TOO_LONG,
        ),
    ]


GEMINI_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits. Quota exceeded for metric: "
    "generate_content_free_tier_requests, limit: 15. Please retry in 26.373475849s."
)
PER_MINUTE = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "15"}],
}
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"}
OPENAI_RATE = "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000, "
AZURE_RATE = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate "
    "limit of your current OpenAI S0 pricing tier. Please retry after 26 seconds. Please go here: "
    "https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
)
LITELLM_COOLDOWN = (
    "litellm.RateLimitError: No deployments available for selected model, Try again in 5 seconds. Passed model=gpt-4o. "
    "pre-call-checks=False, cooldown_list=[]"
)


def openai_rate(wait: str) -> dict[str, Any]:
    return openai(f"{OPENAI_RATE}Requested 2000. Please try again in {wait}.", "rate_limit_exceeded", "tokens")


RATE: list[tuple[str, Payload, float | tuple[float, float]]] = [
    ("OpenAI: wait in seconds", openai_rate("5.289s"), 5.289),
    ("OpenAI: wait in minutes", openai_rate("6m0s"), 360),
    ("OpenAI: wait in milliseconds", openai_rate("120ms"), 0.12),
    ("Groq: minutes and seconds", openai_rate("9m38.016s"), 578.016),
    (
        "OpenAI: request too large for the rate",
        openai(
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389. The input or output "
            "tokens must be reduced in order to run successfully.",
            "rate_limit_exceeded",
            "tokens",
        ),
        ANY_WAIT,
    ),
    ("Azure: retry after", plain(AZURE_RATE, "429"), 26),
    (
        "GitHub Models: please wait",
        plain("Rate limit of 10 per 60s exceeded. Please wait 44 seconds before retrying.", "RateLimitReached"),
        44,
    ),
    ("Gemini: retryDelay", gemini(429, "Resource exhausted.", "RESOURCE_EXHAUSTED", RETRY_INFO), 26),
    (
        "Gemini: quota per minute",
        gemini(429, GEMINI_QUOTA, "RESOURCE_EXHAUSTED", PER_MINUTE, RETRY_INFO),
        (26, 26.4),
    ),
    (
        "Gemini: check quota",
        gemini(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"),
        ANY_WAIT,
    ),
    (
        "Anthropic: rate_limit_error",
        anthropic("rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit"),
        ANY_WAIT,
    ),
    (
        "Moonshot: after 1 seconds",
        openai(
            "Your account org-1 request reached max request: 3, please try again after 1 seconds",
            kind="rate_limit_reached_error",
        ),
        1,
    ),
    ("LiteLLM: cooldown", litellm(LITELLM_COOLDOWN, "429"), 5),
    (
        "OpenRouter: of a provider",
        wrapped("x/y is temporarily rate-limited upstream. Please retry shortly.", 429),
        ANY_WAIT,
    ),
    ("OpenRouter: wait of a provider", wrapped(openai_rate("7.5s"), 429), 7.5),
    (
        "Batcher: model_rate_limit",
        openai("You have reached the rate limit specific to this model x.", "model_rate_limit", "model_rate_limit"),
        ANY_WAIT,
    ),
    (
        "Mistral: capacity",
        {
            **vllm("Service tier capacity exceeded for this model."),
            "type": "service_tier_capacity_exceeded",
            "code": "3505",
        },
        ANY_WAIT,
    ),
    ("Zhipu: 1302", plain("您当前使用该API的并发数过高，请降低并发，或联系客服增加限额。", "1302"), ANY_WAIT),
    (
        "DashScope: limit_requests",
        openai("You exceeded your current requests list.", "limit_requests", "limit_requests"),
        ANY_WAIT,
    ),
    (
        "DashScope: Throttling.RateQuota",
        openai("Requests rate limit exceeded, please try again later.", "Throttling.RateQuota", "Throttling"),
        ANY_WAIT,
    ),
    (
        "Databricks: REQUEST_LIMIT_EXCEEDED",
        {
            "error_code": "REQUEST_LIMIT_EXCEEDED",
            "message": "REQUEST_LIMIT_EXCEEDED: Exceeded workspace output tokens per minute rate limit for model.",
        },
        ANY_WAIT,
    ),
    (
        "a text like that of a long prompt",
        openai("too many tokens per minute, please wait", "rate_limit_exceeded"),
        ANY_WAIT,
    ),
    ("Azure: after 1 second", plain("Rate limit is exceeded. Try again in 1 second.", "RateLimitReached"), 1),
    ("OpenAI: hours", openai_rate("1h2m3s"), 3600),
    ("any: minutes in words", openai("Rate limit exceeded, please retry after 2 minutes.", "rate_limit_exceeded"), 120),
    (
        "Gemini: a fraction in retryDelay",
        gemini(429, "Resource exhausted.", "RESOURCE_EXHAUSTED", {**RETRY_INFO, "retryDelay": "1.203608125s"}),
        1.2036,
    ),
    (
        "Volcengine: TPM",
        openai(
            "The Tokens Per Minute (TPM) limit of the associated endpoint for your account has been exceeded. Please try again later",
            "RateLimitExceeded.EndpointTPMExceeded",
            "TooManyRequests",
        ),
        ANY_WAIT,
    ),
]

#: The status says what it is, and nothing in the body does.
RATE_BY_STATUS: list[tuple[str, Payload]] = [
    ("Bedrock: too many tokens", {"message": "Too many tokens, please wait before trying again."}),
    ("a text like that of a long prompt, and no code", {"message": "too many tokens per minute, please wait"}),
    ("xAI: resource exhausted", {"code": "Some resource has been exhausted", "error": "Too many requests for team t and model grok-4. Your team's rate limit is 60/min"}),
    ("Perplexity: HTML", "<html><head><title>429 Too Many Requests</title></head></html>"),
    ("Mistral: message", {"message": "Requests rate limit exceeded"}),
    ("Cloudflare: capacity", cloudflare(3040, "Capacity temporarily exceeded, please try again.")),
    ("TGI: overloaded", {"error": "Model is overloaded", "error_type": "overloaded"}),
    ("Fireworks: no body", b""),
]  # fmt: skip

RATE_BY_HEADER: list[tuple[str, Callable[[], dict[str, str]], float | tuple[float, float]]] = [
    ("OpenAI: retry-after", lambda: {"retry-after": "7"}, 7),
    ("OpenAI: retry-after-ms", lambda: {"retry-after-ms": "5200"}, 5.2),
    ("OpenAI: retry-after-ms and retry-after", lambda: {"retry-after-ms": "5200", "retry-after": "6"}, 5.2),
    ("Mistral: a fraction", lambda: {"retry-after": "1.5"}, 1.5),
    ("Azure: x-ms-retry-after-ms", lambda: {"x-ms-retry-after-ms": "4300"}, 4.3),
    ("OpenAI: reset of requests", lambda: {"x-ratelimit-reset-requests": "6s"}, 6),
    (
        "OpenAI: requests are used up",
        lambda: {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "8.64s",
            "x-ratelimit-remaining-tokens": "149",
            "x-ratelimit-reset-tokens": "20ms",
        },
        8.64,
    ),
    (
        "OpenAI: tokens are used up",
        lambda: {
            "x-ratelimit-remaining-requests": "99",
            "x-ratelimit-reset-requests": "60ms",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "1m30s",
        },
        90,
    ),
    ("Batcher: x-ratelimit-reset in seconds", lambda: {"x-ratelimit-reset": "30"}, 30),
    ("OpenRouter: X-RateLimit-Reset in milliseconds of the epoch", lambda: {"X-RateLimit-Reset": f"{(time.time() + 1000) * 1000:.0f}"}, (900, 1000)),
    ("GitHub: x-ratelimit-reset in seconds of the epoch", lambda: {"x-ratelimit-reset": f"{time.time() + 1000:.0f}"}, (900, 1001)),
    (
        "any: retry-after as a date",
        lambda: {"retry-after": format_datetime(datetime.fromtimestamp(time.time() + 1000, UTC), usegmt=True)},
        (900, 1000),
    ),
    (
        "Anthropic: reset as a time",
        lambda: {
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": datetime.fromtimestamp(time.time() + 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        (900, 1000),
    ),
    ("any: nonsense", lambda: {"retry-after": "soon"}, ANY_WAIT),
]  # fmt: skip


def with_headers(headers: Callable[[], dict[str, str]]) -> Callable[[Request], Reply]:
    return lambda _: Reply(
        status=429, body=data_of(openai("Rate limit reached", "rate_limit_exceeded")), headers=headers()
    )


def openrouter_reset(_: Request) -> Reply:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{(time.time() + 1000) * 1000:.0f}"}
    error = {"message": "Rate limit exceeded: free-models-per-min. ", "code": 429, "metadata": {"headers": headers}}
    return refusal(429, {"error": error, "user_id": "user_1"})


def rate() -> list[Case]:
    """The rate is limited: the wait is passed on, and the API is asked once."""
    cases = [case for name, payload, wait in RATE for case in both_ways(name, 429, payload, limited(wait))]
    cases += [Case(name=name, upstream=refusal(429, payload), expect=limited()) for name, payload in RATE_BY_STATUS]
    cases += [
        Case(name=name, upstream=with_headers(headers), expect=limited(wait)) for name, headers, wait in RATE_BY_HEADER
    ]
    return [
        *cases,
        Case(name="OpenRouter: reset in the metadata", upstream=openrouter_reset, expect=limited((900, 1000))),
        Case(name="OpenRouter: code 429 in an event", upstream=stream(data_of(plain("slow down", 429)).decode()), expect=limited()),
        Case(name="OpenRouter: code 429 in an answer with status 200", upstream=whole(plain("slow down", 429)), expect=limited()),
    ]  # fmt: skip


OPENAI_QUOTA = "You exceeded your current quota, please check your plan and billing details."

QUOTAS: list[tuple[str, int, Payload]] = [
    ("OpenAI: insufficient_quota", 429, openai(OPENAI_QUOTA, "insufficient_quota", "insufficient_quota")),
    (
        "OpenAI: billing_not_active",
        429,
        openai(
            "Your account is not active, please check your billing details on our website.",
            "billing_not_active",
            "billing_not_active",
        ),
    ),
    ("OpenAI: billing_hard_limit_reached", 400, openai("Billing hard limit has been reached", "billing_hard_limit_reached")),
    ("DeepSeek: 402", 402, openai("Insufficient Balance", "invalid_request_error", "unknown_error")),
    (
        "OpenRouter: fewer max_tokens",
        402,
        plain("This request requires more credits, or fewer max_tokens. You requested up to 32000 tokens, but can only afford 0.", 402),
    ),
    ("OpenRouter: insufficient credits", 402, plain("Insufficient credits. Add more using https://openrouter.ai/credits", 402)),
    (
        "Anthropic: credit balance",
        400,
        anthropic(
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits.",
        ),
    ),
    (
        "Moonshot: suspended",
        429,
        openai(
            "Your account org-1 <ak-1> is suspended due to insufficient balance, please recharge your account or check "
            "your plan and billing details",
            kind="exceeded_current_quota_error",
        ),
    ),
    ("Zhipu: 1113", 429, plain("余额不足或无可用资源包,请充值。", "1113")),
    ("Zhipu: 1113 in English", 429, plain("Insufficient balance or no resource package. Please recharge.", "1113")),
    (
        "DashScope: Arrearage",
        400,
        openai("Access denied, please make sure your account is in good standing.", "Arrearage", "Arrearage"),
    ),
    (
        "xAI: no credits yet",
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Your newly created team doesn't have any credits yet. You can purchase credits on https://console.x.ai",
        },
    ),
    (
        "xAI: spending limit",
        429,
        {
            "code": "Some resource has been exhausted",
            "error": "Your team t has either used all available credits or reached its monthly spending limit.",
        },
    ),
    ("Perplexity: insufficient_quota with 401", 401, openai("You exceeded your current quota.", 401, "insufficient_quota")),
    ("Batcher: credit_limit", 402, openai("Credit limit exceeded, please add credits.", kind="credit_limit")),
    (
        "Fireworks: 412",
        412,
        {
            "error": "Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past "
            "invoices. Please go to https://fireworks.ai/account/billing for more information."
        },
    ),
    (
        "Hugging Face: included credits",
        402,
        {"error": "You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO."},
    ),
    (
        "LiteLLM: budget_exceeded",
        400,
        openai("Budget has been exceeded! Current cost: 10.5, Max budget: 10.0", "400", "budget_exceeded"),
    ),
    (
        "OpenRouter: balance of a provider's key",
        429,
        wrapped(openai("Your account is suspended due to insufficient balance", kind="exceeded_current_quota_error"), 429),
    ),
    (
        "Cloudflare: daily allocation",
        429,
        cloudflare(4006, "you have used up your daily free allocation of 10,000 neurons, please upgrade to a paid plan."),
    ),
    ("Volcengine: AccountOverdueError", 403, openai("The request failed because your account has an overdue balance.", "AccountOverdueError", "Forbidden")),
    ("SiliconFlow: balance", 403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}),
    ("new-api: insufficient_user_quota", 403, openai("用户额度不足, 剩余额度: $-0.01", "insufficient_user_quota", "new_api_error")),
    ("Gemini: prepayment", 429, gemini(429, "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.", "RESOURCE_EXHAUSTED")),
    ("DashScope: free tier", 403, openai("The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, please disable the free tier only mode.", "AllocationQuota.FreeTierOnly", "AllocationQuota.FreeTierOnly")),
    ("Anthropic: usage limits", 400, anthropic("invalid_request_error", "You have reached your specified API usage limits. You will regain access on 2027-01-01 at 00:00 UTC.")),
]  # fmt: skip


def quota() -> list[Case]:
    """The credit of the key is used up: waiting does not help."""
    cases = [case for name, status, payload in QUOTAS for case in both_ways(name, status, payload, QUOTA)]
    wait = Reply(status=429, body=data_of(QUOTAS[0][2]), headers={"retry-after": "60"})
    return [*cases, Case(name="OpenAI: insufficient_quota with a wait", upstream=wait, expect=QUOTA)]


AZURE_POLICY = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your "
    "prompt and retry. To learn more about our content filtering policies please read our documentation: "
    "https://go.microsoft.com/fwlink/?linkid=2198766"
)
JAILBREAK = {
    "code": "ResponsibleAIPolicyViolation",
    "content_filter_result": {
        "hate": {"filtered": False, "severity": "safe"},
        "jailbreak": {"filtered": True, "detected": True},
    },
}


def azure(code: str | None, **more: Any) -> dict[str, Any]:
    error = {"message": AZURE_POLICY, "type": None, "param": "prompt", "code": code, "status": 400}
    return {"error": {**error, **more}}


FILTERS: list[tuple[str, int, Payload]] = [
    ("Azure: content_filter", 400, azure("content_filter", innererror=JAILBREAK)),
    ("Azure: inner_error", 400, azure("content_filter", inner_error=JAILBREAK)),
    ("Azure: only the innererror says it", 400, azure("BadRequest", message="Bad request", innererror=JAILBREAK)),
    ("Azure through LiteLLM", 400, {"error": {**litellm(f"litellm.ContentPolicyViolationError: AzureException - {AZURE_POLICY}")["error"], "provider_specific_fields": {"innererror": JAILBREAK}}}),
    ("OpenAI: content_policy_violation", 400, openai("Your request was rejected as a result of our safety system.", "content_policy_violation")),
    ("OpenAI: invalid_prompt", 400, openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt.", "invalid_prompt")),
    ("DashScope: data_inspection_failed", 400, openai("<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content.", "data_inspection_failed", "data_inspection_failed")),
    ("DeepSeek: Content Exists Risk", 400, openai("Content Exists Risk", "invalid_request_error")),
    ("Zhipu: 1301", 400, {"contentFilter": [{"level": 1, "role": "user"}], **plain("系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合。", "1301")}),
    ("Moonshot: high risk", 400, openai("The request was rejected because it was considered high risk", kind="content_filter")),
    ("OpenRouter: moderation", 403, {"error": {"message": 'openai/gpt-4o requires moderation on OpenAI. Your input was flagged for "violence". No credits were charged.', "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "...", "provider_name": "OpenAI"}}}),
    ("OpenRouter: in metadata.raw", 400, wrapped(azure("content_filter", innererror=JAILBREAK))),
    ("xAI: usage guidelines", 403, {"code": "The caller does not have permission to execute the specified operation", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}),
    ("LiteLLM: guardrail", 400, litellm("{'error': 'Violated content safety policy', 'lakera_guardrail_response': {}}")),
    ("Databricks: guardrail", 400, {"error_code": "BAD_REQUEST", "message": "Error: Invalid user input, the input guardrail was triggered", "finishReason": "input_guardrail_triggered"}),
    ("Volcengine: SensitiveContentDetected", 400, openai("The request failed because the input text may contain sensitive information.", "SensitiveContentDetected", "BadRequest")),
    ("StepFun: 451", 451, openai("The content you provided or machine outputted is blocked.", "censorship_blocked", "censorship_blocked")),
    ("LiteLLM: Bedrock guardrail", 400, litellm("{'error': 'Violated guardrail policy', 'bedrock_guardrail_response': 'Blocked.'}")),
    ("Portkey: 446", 446, openai("The guardrail checks defined in the config failed. You can find more information in the `hook_results` object.", None, "hooks_failed")),
    ("Cloudflare AI Gateway: 2016", 400, {"success": False, "result": [], "messages": [], "error": [{"code": 2016, "message": "Prompt blocked due to security configurations"}]}),
]  # fmt: skip


def content_filter() -> list[Case]:
    """A filter stopped the prompt."""
    return [case for name, status, payload in FILTERS for case in both_ways(name, status, payload, FILTERED)]


MODELS: list[tuple[str, int, Payload]] = [
    ("OpenAI: model_not_found", 404, openai("The model `x` does not exist or you do not have access to it.", "model_not_found")),
    ("OpenAI: no access", 403, openai("Project `proj_x` does not have access to model `x`", "model_not_found")),
    ("OpenAI: invalid model ID", 400, openai("invalid model ID")),
    ("OpenAI: 400 with param", 400, openai("The requested model 'x' does not exist.", "model_not_found", param="model")),
    ("vLLM: does not exist", 404, vllm("The model `x` does not exist.", 404, "NotFoundError")),
    ("Ollama: try pulling it", 404, openai('model "x" not found, try pulling it first', kind="api_error")),
    ("Ollama: not_found_error", 404, openai("model 'x' not found", kind="not_found_error")),
    ("DeepSeek: Model Not Exist", 400, openai("Model Not Exist", "invalid_request_error")),
    ("Mistral: invalid_model", 400, {**vllm("Invalid model: x"), "type": "invalid_model", "code": "1500"}),
    ("Groq: model_decommissioned", 400, openai("The model `x` has been decommissioned and is no longer supported.", "model_decommissioned")),
    ("OpenRouter: not a valid model ID", 400, plain("x is not a valid model ID")),
    ("OpenRouter: no endpoints", 404, plain("No endpoints found for x.", 404)),
    ("Batcher: model_not_available", 404, openai("Unable to access model x. Please visit https://api.together.ai/models to view the list of supported models.", "model_not_available", param="model")),
    ("Fireworks: NOT_FOUND", 404, openai("Model not found, inaccessible, and/or not deployed", "NOT_FOUND")),
    ("Gemini: NOT_FOUND", 404, gemini(404, "models/x is not found for API version v1main, or is not supported for generateContent.", "NOT_FOUND")),
    ("Anthropic: not_found_error", 404, anthropic("not_found_error", "model: x")),
    ("xAI: not found", 404, {"code": "Some requested entity was not found", "error": "The model x does not exist or your team t does not have access to it."}),
    ("Azure: DeploymentNotFound", 404, plain("The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.", "DeploymentNotFound")),
    ("Azure: unknown_model", 400, plain("Unknown model: x", "unknown_model")),
    ("Moonshot: resource_not_found_error", 404, openai("Not found the model x or Permission denied", kind="resource_not_found_error")),
    ("DashScope: model_not_supported", 400, openai("Unsupported model `x` for OpenAI compatibility mode.", "model_not_supported")),
    ("Zhipu: 1211", 400, plain("模型不存在，请检查模型代码。", "1211")),
    ("LM Studio: specify a valid model", 404, openai('Model "x" not found. Please specify a valid model.', "model_not_found", param="model")),
    ("LiteLLM: invalid model name", 400, openai("/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view available models for your key.", "400", param="model")),
    ("LiteLLM: key_model_access_denied", 401, openai("key not allowed to access model. This key can only access models=['a']. Tried to access x", "401", "key_model_access_denied", param="model")),
    ("Perplexity: invalid_model", 400, openai("Invalid model 'x'. Permitted models can be found in the documentation.", 400, "invalid_model")),
    ("Cohere: correct model ID", 404, {"message": "model 'x' not found, make sure the correct model ID was used and that you have access to the model."}),
    ("Cloudflare: no such model", 400, cloudflare(5007, "No such model @cf/x or task")),
    ("Hugging Face: not supported by any provider", 400, openai("The requested model 'x' is not supported by any provider you have enabled.", "model_not_supported", param="model")),
    ("Databricks: RESOURCE_DOES_NOT_EXIST", 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "The given endpoint does not exist, please retry after checking the specified model and version deployment exists."}),
    ("OpenRouter: in metadata.raw", 404, wrapped(openai("The model `x` does not exist", "model_not_found"), 404)),
    ("Volcengine: InvalidEndpointOrModel.NotFound", 404, openai("The model or endpoint x does not exist or you do not have access to it.", "InvalidEndpointOrModel.NotFound", "NotFound")),
    ("SiliconFlow: check it carefully", 400, {"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": None}),
    ("new-api: with status 503", 503, openai("No available channel for model x under group default (distributor)", "model_not_found", "new_api_error")),
    ("Bedrock gateway: identifier", 400, {"detail": "An error occurred (ValidationException) when calling the Converse operation: The provided model identifier is invalid."}),
    ("Vertex: publisher model", 404, gemini(404, "Publisher Model `projects/p/locations/us/publishers/google/models/x` was not found or your project does not have access to it.", "NOT_FOUND")),
]  # fmt: skip


def unknown_model() -> list[Case]:
    """No such model: the caller's mistake if the caller named it, else ours."""
    cases = [Case(name=name, upstream=refusal(status, payload), expect=NO_MODEL) for name, status, payload in MODELS]
    name, status, payload = MODELS[0]
    event = stream(data_of(payload).decode())
    return [
        *cases,
        Case(name=f"{name}, as an event", upstream=event, expect=NO_MODEL),
        Case(name="the server chose it", upstream=refusal(status, payload), expect=REJECTED, servers_model=True),
        Case(name="the server chose it, as an event", upstream=event, expect=REJECTED, servers_model=True),
        Case(name="Azure: the server chose it", upstream=refusal(404, MODELS[17][2]), expect=REJECTED, servers_model=True),
    ]  # fmt: skip


JSON_OBJECT: dict[str, Any] = {"response_format": {"json_object": {}}}
JSON_SCHEMA: dict[str, Any] = {"response_format": {"json_schema": {"name": "answer", "schema": {"type": "object"}}}}
COLD = {"temperature": 0.1}
EFFORT = {"reasoning_effort": 3}
SHORT = {"max_output_tokens": 100_000}

#: Name, what the caller set, the field that is named, status, and what the API says.
OPTIONS: list[tuple[str, dict[str, Any], tuple[str, ...], int, Payload]] = [
    ("OpenAI: temperature unsupported_value", COLD, ("temperature",), 400, openai("Unsupported value: 'temperature' does not support 0.1 with this model. Only the default (1) value is supported.", "unsupported_value", param="temperature")),
    ("OpenAI: temperature unsupported_parameter", COLD, ("temperature",), 400, openai("Unsupported parameter: 'temperature' is not supported with this model.", "unsupported_parameter", param="temperature")),
    ("OpenAI: top_p", {"top_p": 0.5}, ("top_p",), 400, openai("Unsupported parameter: 'top_p' is not supported with this model.", "unsupported_parameter", param="top_p")),
    ("OpenAI: stop", {"stop_sequences": ["x"]}, ("stop_sequences",), 400, openai("Unsupported parameter: 'stop' is not supported with this model.", "unsupported_parameter", param="stop")),
    ("OpenAI: reasoning_effort has no such value", EFFORT, ("reasoning_effort",), 400, openai("Unsupported value: 'reasoning_effort' does not support 'low' with this model. Supported values are: 'medium' and 'high'.", "unsupported_value", param="reasoning_effort")),
    ("OpenAI: unrecognized reasoning_effort", EFFORT, ("reasoning_effort",), 400, openai("Unrecognized request argument supplied: reasoning_effort")),
    ("OpenAI: max_tokens too large", SHORT, ("max_output_tokens",), 400, openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.", param="max_tokens")),
    ("OpenAI: max_completion_tokens too large", SHORT, ("max_output_tokens",), 400, openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", "invalid_value", param="max_completion_tokens")),
    ("Azure: temperature in LiteLLM", COLD, ("temperature",), 400, litellm("litellm.BadRequestError: AzureException BadRequestError - Unsupported value: 'temperature' does not support 0.1 with this model. Only the default (1) value is supported.")),
    ("LiteLLM: UnsupportedParamsError", {"seed": 7}, ("seed",), 400, litellm("litellm.UnsupportedParamsError: anthropic does not support parameters: ['seed'], for model=claude. To drop these, set `litellm.drop_params=True`")),
    ("Moonshot: invalid temperature", COLD, ("temperature",), 400, openai("invalid temperature: only 1 is allowed for this model")),
    ("Mistral: extra_forbidden", EFFORT, ("reasoning_effort",), 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "reasoning_effort"], "msg": "Extra inputs are not permitted", "input": "low"}]}),
    ("Mistral: seed in message.detail", {"seed": 7}, ("seed",), 422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 7}]}, "type": "invalid_request_error", "param": None, "code": None}),
    ("Mistral: temperature out of range", {"temperature": 2.0}, ("temperature",), 422, {"detail": [{"type": "less_than_equal", "loc": ["body", "temperature"], "msg": "Input should be less than or equal to 1.5", "input": 2.0, "ctx": {"le": 1.5}}]}),
    ("vLLM: list as text", {"seed": 7}, ("seed",), 400, vllm("[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted', 'input': 7}]")),
    ("vLLM: top_p out of range", {"top_p": 0.5}, ("top_p",), 400, openai("top_p must be in (0, 1], got 0.5.", 400, "BadRequestError", param="top_p")),
    ("vLLM: max_tokens too large", SHORT, ("max_output_tokens",), 400, openai("'max_tokens' or 'max_completion_tokens' is too large: 100000. This model's maximum context length is 4096 tokens and your request has 20 input tokens (100000 > 4096 - 20).", 400, "BadRequestError", param="max_tokens")),
    ("xAI: parameter stop", {"stop_sequences": ["x"]}, ("stop_sequences",), 400, {"code": "Client specified an invalid argument", "error": "Model grok-4 does not support parameter stop."}),
    ("xAI: parameter reasoningEffort", EFFORT, ("reasoning_effort",), 400, {"code": "Client specified an invalid argument", "error": "Model grok-4 does not support parameter reasoningEffort."}),
    ("Groq: reasoning_effort", EFFORT, ("reasoning_effort",), 400, openai("`reasoning_effort` must be one of `none` or `default`", param="reasoning_effort")),
    ("Groq: not supported with this model", EFFORT, ("reasoning_effort",), 400, openai("`reasoning_effort` is not supported with this model", param="reasoning_effort")),
    ("Cerebras: property is unsupported", {"seed": 7}, ("seed",), 400, {"message": "property 'seed' is unsupported", "type": "invalid_request_error", "param": "validation_error", "code": "wrong_api_format"}),
    ("Anthropic: range", {"temperature": 1.5}, ("temperature",), 400, anthropic("invalid_request_error", "temperature: range: 0..1")),
    ("Anthropic: both given", {"temperature": 0.5, "top_p": 0.5}, ("temperature", "top_p"), 400, anthropic("invalid_request_error", "`temperature` and `top_p` cannot both be specified for this model. Please use only one.")),
    ("Anthropic: thinking", {"temperature": 0.5, "reasoning_effort": 5}, ("temperature",), 400, anthropic("invalid_request_error", "`temperature` may only be set to 1 when thinking is enabled.")),
    ("Anthropic: max_tokens", SHORT, ("max_output_tokens",), 400, anthropic("invalid_request_error", "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude-3-5-sonnet-20241022")),
    ("Bedrock gateway: maximum tokens", SHORT, ("max_output_tokens",), 400, {"detail": "An error occurred (ValidationException) when calling the Converse operation: The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum tokens value that is lower than 4096."}),
    ("Gemini: unknown name", {"seed": 7}, ("seed",), 400, gemini(400, 'Invalid JSON payload received. Unknown name "seed": Cannot find field.')),
    ("Gemini: thinking cannot be disabled", {"reasoning_effort": 1}, ("reasoning_effort",), 400, gemini(400, "Unable to submit request because Thinking can't be disabled for this model. Remove 'reasoning_effort' from your request or set it to a value other than 'none'.")),
    ("DeepSeek: range of max_tokens", SHORT, ("max_output_tokens",), 400, openai("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", "invalid_request_error")),
    ("DashScope: range of max_tokens", SHORT, ("max_output_tokens",), 400, openai("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]", "invalid_parameter_error")),
    ("DashScope: temperature", {"temperature": 2.0}, ("temperature",), 400, openai("<400> InternalError.Algo.InvalidParameter: Temperature should be in [0.0, 2.0)", "invalid_parameter_error")),
    ("Zhipu: 1214", {"top_p": 0.5}, ("top_p",), 400, plain("top_p 参数非法。请检查文档。", "1214")),
    ("TGI: strictly positive", {"temperature": 0.0}, ("temperature",), 422, {"error": "Input validation error: `temperature` must be strictly positive", "error_type": "validation"}),
    ("TGI: top_p", {"top_p": 1.0}, ("top_p",), 422, {"error": "Input validation error: `top_p` must be > 0.0 and < 1.0", "error_type": "validation"}),
    ("Ollama: thinking", EFFORT, ("reasoning_effort",), 400, openai('"llama3" does not support thinking', kind="api_error")),
    ("Databricks: unknown field", {"seed": 7}, ("seed",), 400, {"error_code": "BAD_REQUEST", "message": 'Bad request: json: unknown field "seed"\n'}),
    ("FastAPI: in the query of pydantic 1", {"seed": 7}, ("seed",), 422, {"detail": [{"loc": ["body", "seed"], "msg": "extra fields not permitted", "type": "value_error.extra"}]}),
    ("OpenRouter: in metadata.raw", COLD, ("temperature",), 400, wrapped(openai("Unsupported parameter: 'temperature' is not supported with this model.", "unsupported_parameter", param="temperature"))),
    ("DeepSeek: response_format", JSON_SCHEMA, ("response_format",), 400, openai("This response_format type is unavailable now", "invalid_request_error")),
    ("DeepSeek: response_format, plain text", JSON_SCHEMA, ("response_format",), 422, "Failed to deserialize the JSON body into the target type: response_format: response_format.type `json_schema` is unavailable now at line 1 column 12440"),
    ("Groq: response_format.type", JSON_SCHEMA, ("response_format",), 400, openai("'response_format.type' : value is not one of the allowed values ['text','json_object']")),
    ("Groq: response format in words", JSON_SCHEMA, ("response_format",), 400, openai("This model does not support response format `json_schema`. See supported models at https://console.groq.com/docs/structured-outputs#supported-models", param="response_format")),
    ("OpenAI: json_schema with this model", JSON_SCHEMA, ("response_format",), 400, openai("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.")),
    ("OpenAI: the word json", JSON_OBJECT, ("response_format",), 400, openai("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.", param="messages")),
    ("OpenAI: invalid schema", JSON_SCHEMA, ("response_format",), 400, openai("Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is required to be supplied and to be false.", param="response_format")),
    ("Azure: api version", JSON_SCHEMA, ("response_format",), 400, {"error": {"code": "BadRequest", "message": "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later"}}),
    ("LM Studio: type", JSON_OBJECT, ("response_format",), 400, {"error": "'response_format.type' must be 'json_schema' or 'text'"}),
    ("Mistral: response_format", JSON_SCHEMA, ("response_format",), 422, {"detail": [{"type": "literal_error", "loc": ["body", "response_format", "type"], "msg": "Input should be 'text' or 'json_object'", "input": "json_schema"}]}),
    ("Perplexity: At body", JSON_OBJECT, ("response_format",), 400, openai("[\"At body -> response_format -> type: Input should be 'text', 'json_schema' or 'regex'\"]", 400, "bad_request")),
    ("Cloudflare: JSON Schema", JSON_SCHEMA, ("response_format",), 400, cloudflare(5025, "This model doesn't support JSON Schema.")),
    ("Batcher: response_format", JSON_SCHEMA, ("response_format",), 400, openai("response_format is not supported for this model", param="response_format")),
    ("llama.cpp: grammar", JSON_SCHEMA, ("response_format",), 400, {"error": {"code": 400, "message": "failed to parse grammar", "type": "invalid_request_error"}}),
    ("vLLM: features of the schema", JSON_SCHEMA, ("response_format",), 400, vllm("The provided JSON schema contains features not supported by xgrammar.")),
    ("OpenAI: decimal_above_max_value", {"temperature": 1.5}, ("temperature",), 400, openai("Invalid 'temperature': decimal above maximum value. Expected a value <= 1, but got 1.5 instead.", "decimal_above_max_value", param="temperature")),
    ("OpenAI: array_above_max_length", {"stop_sequences": ["x"]}, ("stop_sequences",), 400, openai("Invalid 'stop': array too long. Expected an array with maximum length 0, but got an array with length 1 instead.", "array_above_max_length", param="stop")),
    ("Volcengine: max_tokens", SHORT, ("max_output_tokens",), 400, openai("The parameter `max_tokens` specified in the request are not valid: integer above maximum value, expected a value <= 12288, but got 100000 instead.", "InvalidParameter", "BadRequest", param="max_tokens")),
    ("Cohere: temperature", {"temperature": 2.0}, ("temperature",), 400, {"message": "invalid request: temperature must be between 0 and 1.0 inclusive."}),
    ("Fireworks: field", {"seed": 7}, ("seed",), 400, openai("Extra inputs are not permitted, field: 'seed', value: 7")),
    ("Mistral: reasoning_effort is not enabled", EFFORT, ("reasoning_effort",), 400, {**vllm("reasoning_effort is not enabled for this model"), "type": "invalid_request_invalid_args", "code": "3051"}),
    ("xAI: argument stop", {"stop_sequences": ["x"]}, ("stop_sequences",), 400, {"code": "Client specified an invalid argument", "error": "Argument not supported on this model: stop"}),
    ("Gemini: JSON mode", JSON_OBJECT, ("response_format",), 400, gemini(400, "JSON mode is not enabled for models/gemma-3-27b-it")),
    ("Anthropic: structured outputs", JSON_SCHEMA, ("response_format",), 400, anthropic("invalid_request_error", "Structured outputs are not supported for this model.")),
    ("zod: unrecognized_keys", {"seed": 7}, ("seed",), 400, {"success": False, "error": {"issues": [{"code": "unrecognized_keys", "keys": ["seed"], "path": [], "message": "Unrecognized key(s) in object: 'seed'"}], "name": "ZodError"}}),
]  # fmt: skip


def options() -> list[Case]:
    """The model rejects an option. It is an error of the caller only if the caller set the option."""
    cases = [
        Case(name=name, generation=generation, upstream=refusal(status, payload), expect=unsupported(*fields))
        for name, generation, fields, status, payload in OPTIONS
    ]
    events = [
        replace(case, name=f"{case.name}, as an event", upstream=stream(data_of(payload).decode()))
        for case, (*_, payload) in zip(cases, OPTIONS, strict=True)
    ]
    temperature = refusal(400, OPTIONS[0][-1])
    return [
        *cases,
        events[0],
        events[11],
        Case(name="OpenAI: an option that the caller did not set", upstream=temperature, expect=REJECTED),
        Case(name="OpenAI: with another option", generation={"seed": 7}, upstream=temperature, expect=REJECTED),
    ]


REJECTIONS: list[tuple[str, int, Payload]] = [
    ("OpenAI: invalid_api_key", 401, openai("Incorrect API key provided: sk-x.", "invalid_api_key")),
    ("OpenAI: country", 403, openai("Country, region, or territory not supported", "unsupported_country_region_territory", "request_forbidden")),
    ("OpenAI: messages", 400, openai("Invalid type for 'messages[1].content': expected one of a string or array of objects.", "invalid_type", param="messages[1].content")),
    ("Anthropic: authentication_error", 401, anthropic("authentication_error", "invalid x-api-key")),
    ("Anthropic: permission_error", 403, anthropic("permission_error", "Your API key does not have permission to use the specified resource.")),
    ("Gemini: API key not valid", 400, gemini(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"})),
    ("Mistral: Unauthorized", 401, {"detail": "Unauthorized"}),
    ("DeepSeek: Authentication Fails", 401, openai("Authentication Fails, Your api key: ****abcd is invalid", "invalid_request_error", "authentication_error")),
    ("xAI: incorrect key with 400", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***. You can obtain an API key from https://console.x.ai."}),
    ("Azure: subscription key", 401, plain("Access denied due to invalid subscription key or wrong API endpoint.", "401")),
    ("Azure: Resource not found", 404, plain("Resource not found", "404")),
    ("OpenRouter: no auth credentials", 401, plain("No auth credentials found", 401)),
    ("Zhipu: 1000", 401, plain("身份验证失败。", "1000")),
    ("Databricks: token", 403, {"error_code": "403", "message": "Invalid access token."}),
    ("FastAPI: wrong path", 404, {"detail": "Not Found"}),
    ("FastAPI: a field that we do not send", 422, {"detail": [{"type": "missing", "loc": ["body", "prompt"], "msg": "Field required", "input": {}}]}),
    ("pydantic: the refused text talks of our fields", 422, {"detail": [{"type": "string_type", "loc": ["body", "messages", 0, "content"], "msg": "Input should be a valid string", "input": "Extra inputs are not permitted: stream_options, maximum context length"}]}),
    ("Cloudflare: HTML 403", 403, "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>"),
    ("nginx: HTML 404", 404, "<html><head><title>404 Not Found</title></head></html>"),
    ("Go: plain text 404", 404, "404 page not found"),
    ("Ollama: plain text 405", 405, "405 method not allowed"),
    ("any: empty 400", 400, b""),
    ("any: empty 401", 401, b""),
    ("any: JSON that is not an object", 400, b"[1, 2]"),
    ("any: odd types", 400, {"error": {"message": ["x"], "code": {"a": 1}, "type": 7, "param": []}}),
]  # fmt: skip


def rejected() -> list[Case]:
    """The API refuses the key or the request, and the caller is not to blame. It is asked once."""
    cases = [
        Case(name=name, upstream=refusal(status, payload), expect=REJECTED) for name, status, payload in REJECTIONS
    ]
    moved = [
        Case(
            name=f"a redirection, {status}", upstream=refusal(status, location="http://127.0.0.1:1/v1"), expect=REJECTED
        )
        for status in (301, 302, 307, 308)
    ]
    events = [
        Case(name=f"{name}, as an event", upstream=stream(data_of(payload).decode()), expect=REJECTED)
        for name, _, payload in (REJECTIONS[0], REJECTIONS[3], REJECTIONS[6])
    ]
    return [*cases, *moved, *events]


OUTAGES: list[tuple[str, int, Payload]] = [
    ("OpenAI: server_error", 500, openai("The server had an error while processing your request. Sorry about that!", kind="server_error")),
    ("OpenAI: overloaded", 503, openai("The engine is currently overloaded, please try again later.", kind="server_error")),
    ("OpenAI: slow down", 503, openai("Slow down", "slow_down", "server_error")),
    ("Anthropic: overloaded_error", 529, anthropic("overloaded_error", "Overloaded")),
    ("Anthropic: api_error", 500, anthropic("api_error", "Internal server error")),
    ("Gemini: overloaded", 503, gemini(503, "The model is overloaded. Please try again later.", "UNAVAILABLE")),
    ("OpenRouter: provider", 502, wrapped("error code: 502", 502)),
    ("OpenRouter: no provider", 503, plain("No instances available", 503)),
    ("Azure: Timeout", 408, plain("The operation was timeout.", "Timeout")),
    ("Hugging Face: loading", 503, {"error": "Model x/y is currently loading", "estimated_time": 0.5}),
    ("llama.cpp: loading", 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    ("Ollama: runner", 500, openai("model runner has unexpectedly stopped, this may be due to resource limitations or an internal error", kind="api_error")),
    ("vLLM: engine", 500, vllm("EngineCore encountered an issue. See stack trace for the root cause.", 500, "InternalServerError")),
    ("TGI: generation", 424, {"error": "Request failed during generation: Server error: CUDA out of memory.", "error_type": "generation"}),
    ("Cloudflare Workers AI: internal", 500, cloudflare(8001, "Internal server error")),
    ("LiteLLM: internal", 500, {"error": {"message": "litellm.InternalServerError: Connection error.", "type": None, "param": None, "code": "500"}}),
    ("AWS: timed out", 504, {"message": "Endpoint request timed out"}),
    ("nginx: HTML 502", 502, "<html><head><title>502 Bad Gateway</title></head></html>"),
    ("Cloudflare: HTML 520", 520, "<!DOCTYPE html><html><head><title>520: Web server is returning an unknown error</title></head></html>"),
    ("Cloudflare: HTML 524", 524, "<!DOCTYPE html><html><head><title>524: A timeout occurred</title></head></html>"),
    ("FastAPI: plain text 500", 500, "Internal Server Error"),
    ("any: empty 500", 500, b""),
]  # fmt: skip


def outages() -> list[Case]:
    """The API is down. It is asked again, as often as the settings say."""
    down = unavailable()
    again = OUTAGE_REQUESTS
    name, _, payload = OUTAGES[3]
    events: list[tuple[str, Payload]] = [
        (name, payload),
        (OUTAGES[5][0], OUTAGES[5][2]),
        (OUTAGES[12][0], OUTAGES[12][2]),
        ("OpenRouter: code 502", plain("Provider returned error", 502)),
    ]
    return [
        *(Case(name=each, upstream=refusal(status, payload), expect=down, requests=again) for each, status, payload in OUTAGES),
        *(Case(name=f"{each}, as an event", upstream=stream(data_of(error).decode()), expect=down, requests=again) for each, error in events),
        Case(name="OpenRouter: code 502 in an answer with status 200", upstream=whole(plain("Provider returned error", 502)), expect=down, requests=again),
        Case(name="the connection is cut before the first event", upstream=Reply(cut_before=0), expect=down, requests=again),
        Case(name="the connection is cut before the response", upstream=Reply(raw=[b""]), expect=down, requests=again),
        Case(name="half a status line", upstream=Reply(raw=[b"HTTP/1.1 2"]), expect=down, requests=again),
        Case(name="no HTTP", upstream=Reply(raw=[b"220 smtp.example.com ESMTP\r\n"]), expect=down, requests=again),
        Case(name="a page of a web server", upstream=whole("<html><body>It works!</body></html>", "text/html"), expect=down, requests=again),
        Case(name="a long wait is left to the caller", upstream=refusal(503, retry_after="100"), expect=unavailable(100)),
        Case(name="it is back", upstream=[refusal(503, retry_after="0.01"), Reply()], expect=OK, requests=2),
        Case(name="it is back after an overload in the stream", upstream=[stream(data_of(payload).decode()), Reply()], expect=OK, requests=2),
    ]  # fmt: skip


def broken_off() -> list[Case]:
    """An error after the reply has begun, in every shape: the reply is not complete, and nothing of it is stored."""
    shapes: list[tuple[str, str]] = [
        ("OpenAI: error", data_of(openai("The server had an error", kind="server_error")).decode()),
        ("OpenAI: rate limit", data_of(openai_rate("6s")).decode()),
        ("OpenAI: context", data_of(openai(OPENAI_LENGTH, "context_length_exceeded")).decode()),
        ("vLLM: object error", data_of(vllm("EngineCore encountered an issue.", 500, "InternalServerError")).decode()),
        ("FastAPI: detail", '{"detail": "Internal server error"}'),
        ("TGI: error as text", '{"error": "Request failed during generation: Server error: ", "error_type": "generation"}'),
        ("MLX: error as text", '{"error": "thinking_budget is not supported"}'),
        ("Anthropic: overloaded_error", data_of(anthropic("overloaded_error", "Overloaded")).decode()),
        ("Gemini: list", data_of(gemini(503, "The model is overloaded.", "UNAVAILABLE")).decode()),
        ("Mistral: code 1000", data_of({**vllm("Internal server error"), "code": "1000"}).decode()),
        ("DashScope: output inspected", data_of(openai("Output data may contain inappropriate content.", "data_inspection_failed")).decode()),
        ("Zhipu: 1234", data_of(plain("网络错误，错误id：2024，请联系客服。", "1234")).decode()),
        ("Command Code: success false", '{"success": false, "error": {"code": "INTERNAL_SERVER_ERROR", "status": 500, "message": "x"}}'),
        ("Cloudflare: errors", data_of(cloudflare(3030, "Internal server error")).decode()),
        ("FastChat: error_code", '{"text": "**NETWORK ERROR DUE TO HIGH TRAFFIC.**", "error_code": 50001}'),
        ("a gateway: code and message", '{"code": 500, "message": "Internal server error"}'),
        ("OpenRouter: with empty choices", '{"id": "gen-1", "choices": [], "error": {"code": 502, "message": "Worker limit reached (33/32)"}}'),
        ("OpenRouter: with finish_reason error", '{"id": "gen-1", "error": {"code": "server_error", "message": "Provider disconnected"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}'),
        ("OpenRouter: on the choice", '{"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "x"}}]}'),
    ]  # fmt: skip
    hello = HELLO_THERE[0]
    named = f"data: {hello}\n\nevent: error\ndata: Internal Server Error\n\n".encode()
    line = f'data: {hello}\n\nerror: {{"code":500,"message":"x","type":"server_error"}}\n\ndata: [DONE]\n\n'.encode()
    return [
        *(Case(name=f"{name}, then [DONE]", upstream=stream(hello, event), expect=INTERRUPTED) for name, event in shapes),
        *(Case(name=name, upstream=stream(hello, event, done=False), expect=INTERRUPTED) for name, event in shapes[:5]),
        Case(name="an event named error, as text", upstream=Reply(parts=[named]), expect=INTERRUPTED),
        Case(name="llama.cpp of 2025: an error line", upstream=Reply(parts=[line]), expect=INTERRUPTED),
        Case(name="the connection is cut", upstream=Reply(cut_before=1), expect=INTERRUPTED),
        Case(name="the body ends", upstream=stream(hello, done=False), expect=INTERRUPTED),
        Case(name="the body is cut", upstream=Reply(events=[hello], done=False, final_chunk=False), expect=INTERRUPTED),
    ]  # fmt: skip
