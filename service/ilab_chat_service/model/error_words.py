"""The codes and words that identify errors of APIs. Tables only; `error_classification.py` uses them.

Sources: https://platform.openai.com/docs/guides/error-codes, https://ai.google.dev/gemini-api/docs/troubleshooting,
https://docs.anthropic.com/en/api/errors, https://openrouter.ai/docs/api-reference/errors,
https://api-docs.deepseek.com/quick_start/error_codes.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(enum.Enum):
    """The meaning of an error for the call."""

    CONTEXT_TOO_LONG = enum.auto()
    RATE_LIMIT = enum.auto()
    QUOTA = enum.auto()
    CONTENT_FILTER = enum.auto()
    UNKNOWN_MODEL = enum.auto()
    SYSTEM_ROLE = enum.auto()
    BAD_OPTION = enum.auto()
    BAD_KEY = enum.auto()
    REJECTED = enum.auto()
    OUTAGE = enum.auto()


def any_of(*patterns: str) -> re.Pattern[str]:
    """Return a case-insensitive pattern that matches any of *patterns*."""
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


#: HTTP statuses of codes and types, for error events, which have no status.
STATUS_OF_NAME: Mapping[str, int] = {
    "invalid_argument": 400,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "failed_precondition": 400,
    "unauthenticated": 401,
    "authentication_error": 401,
    "authenticationerror": 401,
    "invalid_api_key": 401,
    "permission_denied": 403,
    "permission_error": 403,
    "not_found": 404,
    "not_found_error": 404,
    "notfounderror": 404,
    "request_too_large": 413,
    "resource_exhausted": 429,
    "rate_limit_error": 429,
    "ratelimiterror": 429,
    "too_many_requests": 429,
    "internal": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "server_error": 500,
    "api_error": 500,
    "unavailable": 503,
    "service_unavailable": 503,
    "deadline_exceeded": 504,
    "timeout_error": 504,
    "overloaded_error": 529,
}

#: Kinds of errors by code or type, in lower case. The numbers are Zhipu's.
KIND_OF_NAME: Mapping[str, Kind] = {
    name: kind
    for kind, names in {
        Kind.CONTEXT_TOO_LONG: """
            context_length_exceeded exceed_context_size_error context_window_exceeded prompt_too_long input_too_long
            contextwindowexceedederror model_max_prompt_tokens_exceeded max_tokens_exceeded context_length_error
            string_above_max_length request_too_large tokens_limit_reached 1261
        """,
        Kind.QUOTA: """
            insufficient_quota billing_hard_limit_reached billing_not_active insufficient_balance insufficient_credits
            insufficient_funds quota_exceeded credit_balance_too_low billing_error exceeded_current_quota_error
            arrearage budget_exceeded credit_limit accountoverdueerror insufficient_user_quota
            allocationquota.freetieronly 1113
        """,
        Kind.CONTENT_FILTER: """
            content_filter content_filtered content_policy_violation contentpolicyviolationerror
            responsibleaipolicyviolation data_inspection_failed moderation_blocked content_moderation safety_violation
            prohibited_content invalid_prompt sensitive_content sensitivecontentdetected guardrail_intervened
            censorship_blocked 1301
        """,
        Kind.UNKNOWN_MODEL: """
            model_not_found deploymentnotfound deployment_not_found invalid_model unknown_model model_not_available
            model_decommissioned model_not_exist unsupported_model modelnotfound model_not_supported
            resource_does_not_exist key_model_access_denied 1211
        """,
        Kind.RATE_LIMIT: """
            rate_limit_exceeded rate_limit_error ratelimitreached rate_limit_reached_error model_rate_limit
            request_limit_exceeded limit_requests limit_burst_rate service_tier_capacity_exceeded throttling
            throttling.ratequota throttlingexception 1302 1303 1305
        """,
    }.items()
    for name in names.split()
}

CONTEXT_WORDS = any_of(
    r"(maximum|max|model'?s?|available) context (length|window|size|limit)",
    r"context[ _](length|window|size|limit)s?\b.{0,40}exceed",
    r"exceed\w*.{0,60}(context|token limit|max(imum)? length|maximum (allowed )?(number of )?(input )?tokens)",
    r"(prompt|input|request|message)s? (is |are |was |were )?too (long|large|many tokens)",
    r"too many (input |prompt )?tokens",
    r"too large for model",
    r"reduce (the length of the|your) (message|prompt|input)",
    r"input token count",
    r"(longer|greater|larger) than the (maximum )?(context|model length|model's context)",
    r"context.{0,12}overflow",
    r"maximum (prompt|input) length",
    r"range of input length",
    r"(context|sequence|prompt|message) (length|tokens).{0,40}(is just|at most|must be (less|smaller|fewer))",
    r"tokens.{0,40}exceed.{0,20}tokens",
    r"(prompt|input|message) tokens (are |is )?too (long|large|many)",
    r"prompt_tokens .{0,20}must be less",
    r"must have (less|fewer) than \d+ tokens",
    r"(total length|number) of (all )?(the )?(messages|tokens).{0,20}too (long|large)",
    r"tokens?`? \+ `?max_new_tokens`? must be",
    r"(input|prompt) length.{0,60}(exceed|limit|maximum)",
)
RATE_WORDS = any_of(
    r"rate[ -]?limit",
    r"too many requests",
    r"(tokens|requests) per (second|minute|hour|day)",
    r"\b[TR]P[MD]\b",
    r"throttl",
    r"slow down",
)
QUOTA_WORDS = any_of(
    r"(insufficient|not enough|out of|no|low) (\w+ ){0,2}(quota|balance|credits?|funds)\b",
    r"exceeded your current quota",
    r"(credit|account) balance is (too low|insufficient)",
    r"payment required",
    r"billing (hard )?limit",
    r"(spending|usage) limits?\b",
    r"overdue",
    r"credits are (depleted|used up|exhausted)",
    r"free tier.{0,40}exhausted",
    r"额度不足",
    r"used (up|all) .{0,40}(credits|quota|allocation)",
    r"exceeded .{0,40}(credits|budget)",
    r"余额不足",
    r"(add|purchase|buy) (more )?credits",
)
FILTER_WORDS = any_of(
    r"content[ _-]?(filter|management policy|policy|moderation|safety|exists risk)",
    r"guardrail",
    r"(prompt|input|content)\b.{0,40}(is|was|been)? ?blocked",
    r"sensitive information",
    r"violat\w+ .{0,40}(policy|policies|guidelines|safety)",
    r"敏感内容",
    r"flagged",
    r"safety (system|settings|filter)",
    r"responsible ai",
    r"inappropriate content",
    r"usage polic(y|ies)",
    r"prohibited[ _]content",
    r"blocked (by|due to) .{0,40}(safety|policy|filter)",
)
MODEL_WORDS = any_of(
    r"\b(models?|deployment)\b.{0,160}(not (be )?(found|exist|available|supported)|n['o]t exist|decommissioned)",
    r"(unknown|invalid|unsupported|no such) model\b",
    r"not a valid model",
    r"model (identifier|id|name) is (invalid|unknown|not valid)",
    r"pull(ing)? it first",
    r"no endpoints found for",
    r"not found the model",
    r"^model: \S+$",
)
#: Words of errors without a status that are not caused by the request.
OUTAGE_WORDS = any_of(
    r"overload|unavailable|capacity|temporar|time(d)? ?out|again later|try again",
    r"(engine|worker|network|connection|provider|upstream) ?\w* (error|failed|failure|limit)",
    r"internal|server error|out of memory|cuda|disconnected|crashed|unexpectedly",
)
KEY_WORDS = any_of(
    r"(invalid|incorrect|missing|expired|no) (\w+ )?api[ _-]?key",
    r"api[ _-]?key (is )?(not valid|invalid|expired)",
    r"\bunauthorized\b",
)
SYSTEM_WORDS = any_of(
    r"\b(system|developer)\b.{0,20}\b(role|message|prompt|instruction)s?\b.{0,60}"
    r"\b(not|n't|un)\s?(be )?(supported|allowed|enabled|permitted|accepted)",
    r"\b(system|developer)\b.{0,10}\bis not (supported|allowed|one of|a valid)",
    r"(n't|not) support (\w+ ){0,2}(system|developer) (role|message|prompt|instruction)",
    r"not support.{0,20}\b(system|developer)\b (role|message|prompt|instruction)",
    r"(unexpected|invalid|unsupported|unknown) ((message )?role|variant)\W{0,4}(system|developer)\b",
    r"(developer|system) instruction is not enabled",
    r"only \W?user\W? and \W?assistant\W? roles",
    r"conversation roles must alternate user/assistant",
)
VALUE_WORDS = any_of(
    r"invalid value",
    r"too (large|small|high|low|big|many|long)",
    r"(less|greater|smaller|larger|lower|higher) than",
    r"at (most|least)",
    r"must be",
    r"between",
    r"maximum|minimum|exceed|range|above|below",
    r"unsupported value",
)
VALUE_CODES = frozenset(
    "invalid_value unsupported_value integer_above_max_value integer_below_min_value invalid_type".split()
)
FIELD_CODES = frozenset("unsupported_parameter unknown_parameter extra_forbidden".split())

#: Documented codes, which may be logged. Any other code may quote a prompt.
KNOWN_CODES = frozenset({*STATUS_OF_NAME, *KIND_OF_NAME, *VALUE_CODES, *FIELD_CODES})

#: A request with more tokens than the limit per minute (Groq, with HTTP 413). A shorter prompt helps, waiting does not.
SIZE_WORDS = any_of(r"reduce your (message|prompt|input) size")

#: A token limit of the reply that is too large. Its message resembles that of a prompt that is too long.
LIMIT_WORDS = any_of(
    r"max_(completion_)?tokens\W{1,4}(or \W?max_completion_tokens\W )?(is|are) too (large|big|high)",
    r"maximum tokens (you requested|value)",
)

LIMIT_VALUE = re.compile(r"too large: (\d{1,9})\b")
WINDOW_VALUE = re.compile(r"maximum context length is (\d{1,9})\b", re.IGNORECASE)

#: Fields of our requests whose names are unambiguous in a message. Longer names precede their prefixes.
DISTINCT_FIELDS = (
    *("stream_options", "max_completion_tokens", "max_tokens", "top_p", "reasoning_effort", "response_format"),
)
#: Fields that are also English words. They count only in quotes, or next to words that reject a field.
PLAIN_FIELDS = ("temperature", "stream", "stop", "seed")
SENT = (*DISTINCT_FIELDS, *PLAIN_FIELDS)
_PLAIN = f"({'|'.join(PLAIN_FIELDS)})"
FIELD_WORDS = any_of(
    rf"(?<![a-z_])({'|'.join(DISTINCT_FIELDS)})(?![a-z_])",
    rf"[\"'`\[(]{_PLAIN}(?:\.\w+)?[\"'`\])]",
    rf"(?:^|\W){_PLAIN}:",
    rf"\b{_PLAIN} (?:\w+ ){{0,3}}?(?:not|n't|unsupported|unknown|extra|unexpected|must|should|cannot|invalid)",
    rf"(?:unsupported|unknown|unrecognized|unexpected|extra|invalid|not support\w*)\W+(?:\w+\W+){{0,4}}?{_PLAIN}\b",
)
#: Fields that a message describes without their names.
OTHER_FIELD_WORDS: Mapping[str, re.Pattern[str]] = {
    "stream": any_of(
        r"streaming (\w+ ){0,4}not (yet )?(be )?(supported|allowed|available|enabled)",
        r"(not support(ed)?|unsupported)( for)? stream",
        r"stream ?= ?true",
    ),
    "reasoning_effort": any_of(
        r"reasoningEffort", r"not support (thinking|reasoning)", r"thinking (can't|cannot|can not) be"
    ),
    "response_format": any_of(
        r"json[ _]?(schema|object|mode)", r"structured output", r"must contain the word 'json'", r"\bgrammar\b"
    ),
    "max_tokens": LIMIT_WORDS,
}
