"""Callers, their credentials, and the users they may act for."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol


class MissingCredentials(Exception):
    """The call lacks the kind of credentials that this server requires."""


class InvalidCredentials(Exception):
    """The credentials are not accepted. The text says why and never quotes them."""


class UserMismatch(Exception):
    """The caller may not act for this user."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials that a call presents.

    Args:
        bearer: token from the authorization header, if the call has one.
        certificate: client certificate in PEM, verified by TLS, if the client presented one.
    """

    bearer: str | None = field(repr=False)
    certificate: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: bound to `user_id`, or without one allowed to act for any user."""

    user_id: str | None = field(repr=False)
    name: str = field(default="", compare=False)
    """Name for the audit log: an identity of a service, never of a person. Empty: unknown."""


ANY_USER = Caller(user_id=None)
ANONYMOUS = Caller(user_id=None, name="anonymous")


class Authenticator(Protocol):
    """Identifies callers by their credentials."""

    async def caller(self, credentials: Credentials) -> Caller:
        """Return the caller with these credentials.

        Raises:
            MissingCredentials: the call lacks the required kind of credentials.
            InvalidCredentials: the credentials are not accepted.
        """


class AllowAll:
    """Allows every caller to act for any user."""

    async def caller(self, _credentials: Credentials) -> Caller:
        """Return a caller that may act for any user."""
        return ANONYMOUS


_current: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Set the caller of the call that this task handles."""
    _current.set(caller)


def act_for(user_id: str) -> None:
    """Check that the caller of this task's call may act for the user.

    Raises:
        UserMismatch: the caller is bound to another user.
        LookupError: the call was not authenticated. This is a bug, and the call fails.
    """
    caller = _current.get()
    if caller.user_id is not None and caller.user_id != user_id:
        raise UserMismatch("these credentials are bound to another user_id")
