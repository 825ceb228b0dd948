"""What a call can fail with. `rpc/errors.py` maps each failure to what the caller sees.

Failure
├── ContextTooLong          message and instructions do not fit into the model's window
├── ContentFiltered         a content filter stopped the prompt
├── FieldRefused            a field of the request is not acceptable
│   ├── ModelNotFound             the caller named a model that does not exist or is not offered
│   └── ModelOptionUnsupported    the model refuses an option that the caller set
├── ModelRateLimited        the model's API limits the rate of requests
├── ModelQuotaExhausted     the quota or the credit of our key is used up
├── ModelUnavailable        the model could not be reached, or failed before it began
├── ModelInterrupted        the model broke off after it began
├── ModelRejected           the model's API refuses our request or our key
├── MemoryUnavailable       memory could not be read or written: nothing has been stored
├── TurnNotStored           the model has answered, and the turn could not be stored, not even in part
├── RequestIdReused         the request_id belongs to another request
└── NotSupported            the memory library in use does not have what was asked for
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

#: What an operator should know of a failure, by the name of the field of the log: statuses, codes and errno, never text
#: of a user, a model or a key.
Cause: TypeAlias = Mapping[str, str | int]


#: How long a caller should wait before trying again, in seconds, where nobody says better.
RETRY_AFTER_SECONDS = 1.0


class Failure(Exception):
    """A call that could not be answered. The text names no user, no message, no key and no other exception."""

    def __init__(self, text: str, *, retry_after_seconds: float | None = None, cause: Cause | None = None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds
        self.cause: Cause = cause or {}


class ContextTooLong(Failure):
    """Message and instructions do not fit into the model's window."""


class ContentFiltered(Failure):
    """A content filter stopped the prompt."""


class FieldRefused(Failure):
    """A field of the request is not acceptable. `field` is its path in the proto; `description` never quotes it."""

    def __init__(self, field: str, description: str, *, cause: Cause | None = None) -> None:
        super().__init__(f"{field}: {description}", cause=cause)
        self.field = field
        self.description = description


class ModelNotFound(FieldRefused):
    """The caller named a model that does not exist or is not offered."""


class ModelOptionUnsupported(FieldRefused):
    """The model refuses an option that the caller set."""


class ModelRateLimited(Failure):
    """The model's API limits the rate of requests."""


class ModelQuotaExhausted(Failure):
    """The quota or the credit of our key is used up. Waiting does not help."""


class ModelUnavailable(Failure):
    """The model could not be reached, or failed before it began."""


class ModelInterrupted(Failure):
    """The model broke off after it began."""


class ModelRejected(Failure):
    """The model's API refuses our request or our key."""


class MemoryUnavailable(Failure):
    """Memory could not be read or written: nothing has been stored."""


class TurnNotStored(Failure):
    """The model has answered, and the turn could not be stored, not even in part."""


class RequestIdReused(Failure):
    """The request_id belongs to another request."""


class NotSupported(Failure):
    """The memory library in use does not have what was asked for."""


class StoreNotOpened(Exception):
    """A store cannot be opened at start. The text says which and why."""
