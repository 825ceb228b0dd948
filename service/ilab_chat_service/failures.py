"""Failures of a call. `rpc/error_table.py` maps each one to the status that the caller gets.

ServerBusy, in `rpc/errors.py`, is a Failure too. The other exceptions there need no delay and no cause.

Failure
├── ContextTooLong          message and instructions do not fit into the context window
├── ContentFiltered         a content filter blocked the prompt
├── FieldRefused            a field of the request is refused
│   ├── ModelNotFound             the requested model does not exist or is not offered
│   └── ModelOptionUnsupported    the model does not support an option of the request
├── ModelRateLimited        the model's API limits the rate of requests
├── ModelQuotaExhausted     the quota or credit of the server's API key is used up
├── ModelUnavailable        the model could not be reached, or failed before it began
├── ModelInterrupted        the model failed after it began
├── ModelRejected           the model's API rejected the server's request or API key
├── MemoryUnavailable       memory or the idempotency store could not be read or written
├── TurnNotStored           the model has answered, but storing the turn, or erasing what it asks to forget, failed
├── RequestIdReused         the request_id belongs to another request
└── RateLimited             the user or the caller has used up its turns or tokens
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

#: Log fields that explain a failure to operators: statuses, error codes and errno, never text of a user or model, never
#: a key.
Cause: TypeAlias = Mapping[str, str | int]

#: Default delay before a caller should retry.
RETRY_AFTER_SECONDS = 1.0


class Failure(Exception):
    """A call that could not be answered. The text never quotes a user, a message, a key or another exception."""

    def __init__(self, text: str, *, retry_after_seconds: float | None = None, cause: Cause | None = None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds
        self.cause: Cause = cause or {}


class ContextTooLong(Failure):
    """Message and instructions do not fit into the model's context window."""


class ContentFiltered(Failure):
    """A content filter blocked the prompt."""


class FieldRefused(Failure):
    """A field of the request is not acceptable. `field` is its path in the proto; `description` never quotes it."""

    def __init__(self, field: str, description: str, *, cause: Cause | None = None) -> None:
        super().__init__(f"{field}: {description}", cause=cause)
        self.field = field
        self.description = description


class ModelNotFound(FieldRefused):
    """The requested model does not exist or is not offered."""


class ModelOptionUnsupported(FieldRefused):
    """The model does not support an option of the request."""


class ModelRateLimited(Failure):
    """The model's API limits the rate of requests."""


class ModelQuotaExhausted(Failure):
    """The quota or credit of the server's API key is used up. Waiting does not help."""


class ModelUnavailable(Failure):
    """The model could not be reached, or failed before it began."""


class ModelInterrupted(Failure):
    """The model failed after it began."""


class ModelRejected(Failure):
    """The model's API rejected the server's request or API key."""


class MemoryUnavailable(Failure):
    """Memory or the idempotency store could not be read or written. An erasure may be incomplete."""


class TurnNotStored(Failure):
    """The model has answered, but the turn could not be stored, or what it asks to forget could not be erased."""


class RequestIdReused(Failure):
    """The request_id belongs to another request."""


class RateLimited(Failure):
    """The user or the caller has used up its turns or tokens per minute or per day."""

    def __init__(self, text: str, *, retry_after_seconds: float, limits: Sequence[tuple[str, str]]) -> None:
        """*limits*: the limits that are reached, each as its subject (`user` or `caller`) and its description."""
        super().__init__(text, retry_after_seconds=retry_after_seconds)
        self.limits = limits


class StoreNotOpened(Exception):
    """A store could not be opened at the start. The text names the store and the reason."""
