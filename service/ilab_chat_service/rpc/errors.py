"""Exceptions of the server's calls, apart from `failures.py`. `error_table.py` maps each one to a status."""

from __future__ import annotations

from typing import TypeAlias

from ilab_chat_service.failures import Failure

#: A field's path in the proto, and what is wrong with its value (which is never quoted).
Violation: TypeAlias = tuple[str, str]

#: gRPC's core passes on a message whose compression flag it does not know as an empty one.
EMPTY_MESSAGE = "the message is empty, or its compression flag is neither 0 nor 1"


class InvalidFields(Exception):
    """A request breaks the contract's limits."""

    def __init__(self, violations: list[Violation], *, cause: str = "") -> None:
        texts = [f"{field}: {description}" for field, description in violations]
        super().__init__("; ".join([cause, *texts] if cause else texts))
        self.violations = violations


class RequestTooLarge(Exception):
    """A chat request is larger than all of its fields may be together."""


class UnparsableRequest(Exception):
    """The request cannot be parsed as the method's message, or has more than 1,000 fields and items of lists."""


class WrongRequestCount(Exception):
    """The call has no request message, or more than one."""


class NotFound(Exception):
    """The user does not have the requested observation or active session."""


class DeadlineExceeded(Exception):
    """The call's deadline has passed, or the model's part of it, or the caller stopped reading the stream."""


class ServerDraining(Exception):
    """The server is shutting down."""


class InterruptedByDrain(Exception):
    """The server is shutting down, and the answer had already begun."""


class ServerBusy(Failure):
    """The server or the user has reached a limit of concurrent calls."""
