"""Who calls, and for which users they may act."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol


class MissingCredentials(Exception):
    """The call has no credentials of the kind that this server asks for."""


class InvalidCredentials(Exception):
    """The credentials are not accepted. The text says why and quotes nothing of them."""


class UserMismatch(Exception):
    """The caller may not act for this user."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call says of its caller. None: it does not say that.

    Args:
        bearer: the token of its header.
        certificate: what the connection's client has shown, in PEM, verified by TLS.
    """

    bearer: str | None = field(repr=False)
    certificate: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a caller may act: one user, or any where `user_id` is None."""

    user_id: str | None = field(repr=False)


ANY_USER = Caller(user_id=None)


class Authenticator(Protocol):
    """Knows callers by their credentials."""

    async def caller(self, credentials: Credentials) -> Caller:
        """Return who calls.

        Raises:
            MissingCredentials: there are none of the kind that is asked for.
            InvalidCredentials: they are not accepted.
        """


_current: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Note who makes the call that this task handles."""
    _current.set(caller)


def act_for(user_id: str) -> None:
    """Return if the caller of this task's call may act for the user.

    Raises:
        UserMismatch: it may not.
        LookupError: nobody asked who calls: a mistake of ours, and the call fails.
    """
    caller = _current.get()
    if caller.user_id is not None and caller.user_id != user_id:
        raise UserMismatch("these credentials are bound to another user_id")
