"""Users and sessions, and what every write begins with. Each function runs inside one transaction.

The first round trip locks the user's row and reads what the previous transaction committed. The second one writes and
commits. A new user, an expired session or a replaced title needs more.
"""

import secrets
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ilab_memory.limits import MOST_REBUILT
from ilab_memory.sessions import SUMMARY_WITHOUT_TITLES, auto_close_summary, is_ahead, is_expired
from ilab_memory.stores.common.users import LENGTHS, new_index_key
from ilab_memory.stores.postgres import fact_statements, statements, vectors, work_statements
from ilab_memory.stores.postgres.connections import Query, Row, Transaction
from ilab_memory.timestamps import to_text

# A user's ids begin at a random number, so that ids of a forgotten user are not reused and no counter is shared by all
# users. All ids stay below 2**53, for readers that use floating point.
_FIRST_IDS = 2**52

#: Erase all of a user.
ERASE_ALL = (
    statements.ERASE_OBSERVATIONS, fact_statements.ERASE_SOURCES, work_statements.ERASE, vectors.ERASE_VECTORS,
    vectors.ERASE_STATE, statements.ERASE_SESSIONS, statements.ERASE_USER,
)  # fmt: skip


class User(NamedTuple):
    """A user, whose row is locked."""

    index_key: bytes
    first_id: int
    last_number: int
    last_session: int
    observations: int


class SessionNow(NamedTuple):
    """The session to work in, with what has to be written for it: nothing if it is only touched."""

    number: int
    id: str
    started_at: str
    last_activity_at: str
    conversation_id: str
    opening: tuple[Query, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether it is opened now."""
        return bool(self.opening)


def new_session_id() -> str:
    """Return an id that no other session has."""
    return str(uuid.uuid4())


def new_user(user_id: str, *, above: int = 0) -> dict[str, Any]:
    """Return the row of a user whose ids are above that one."""
    return {
        "user_id": user_id,
        "index_key": new_index_key(),
        "first_id": above + secrets.randbelow(_FIRST_IDS),
    }


def open_session(
    transaction: Transaction,
    user_id: str,
    session_id: str,
    *,
    conversation_id: str,
    now: datetime,
    session_timeout: timedelta,
) -> SessionNow:
    """Return the session to work in, touched; one that has to be opened gets *session_id*."""
    asked = {"user_id": user_id, "conversation_id": conversation_id}
    user, (active,) = locked(transaction, user_id, (statements.SESSION_NOW, asked))
    session = enter(transaction, asked, user, active, session_id, now=now, session_timeout=session_timeout)
    touch = {"user_id": user_id, "session": session.number, "now": now}
    if session.is_new:
        transaction.commit(*session.opening, count_in(user_id, user, last_session=session.number))
    else:
        transaction.commit((statements.TOUCH_SESSION, touch))
    return session


def forget(transaction: Transaction, user_id: str) -> int:
    """Erase everything of the user; return how many observations that were."""
    asked = {"user_id": user_id}
    (users,) = transaction.ask((statements.LOCK_USER, asked))
    if not users:
        return 0
    transaction.commit(*((erase, asked) for erase in ERASE_ALL))
    return User._make(users[0]).observations


def locked(transaction: Transaction, user_id: str, *queries: Query) -> tuple[User, list[list[Row]]]:
    """Return the user, made if missing and locked, and the rows of each of *queries*."""
    users, *rows = transaction.ask((statements.LOCK_USER, {"user_id": user_id}), *queries)
    while not users:  # also when another forgets the user in between
        new = new_user(user_id)
        _, users, *rows = transaction.ask((statements.NEW_USER, new), (statements.LOCK_USER, new), *queries)
    return User._make(users[0]), rows


def drop_title(transaction: Transaction, user_id: str, title: str) -> None:
    """Rebuild the newest automatic summaries that quote *title*; remove all titles from older ones that quote it."""
    asked = {"user_id": user_id, "title": title}
    (newest,) = transaction.ask((statements.CLOSED_WITH_TITLE, asked))
    if not newest:
        return
    sessions = [{"user_id": user_id, "session": session} for session, _ in newest]
    counts = transaction.ask(*((statements.COUNT_IN_SESSION, session) for session in sessions))
    titles = transaction.ask(*((statements.LAST_TITLES, session) for session in sessions))
    changes: list[Query] = [
        (statements.SET_SUMMARY, {**session, "summary": _summary(observations, last)})
        for session, ((observations,),), last in zip(sessions, counts, titles, strict=True)
    ]
    if len(newest) == MOST_REBUILT:
        session, started_at = newest[-1]
        older = {**asked, "summary": SUMMARY_WITHOUT_TITLES, "started_at": started_at, "session": session}
        changes.append((statements.CLEAR_SUMMARIES, older))
    transaction.ask(*changes)


def enter(
    transaction: Transaction,
    asked: Mapping[str, Any],
    user: User,
    active: list[Row],
    session_id: str,
    *,
    now: datetime,
    session_timeout: timedelta,
) -> SessionNow:
    """Return the session to work in: the active one, or one that is opened when the former is completed or missing."""
    user_id, conversation_id = asked["user_id"], asked["conversation_id"]
    moment = to_text(now)
    completing: tuple[Query, ...] = ()
    if active:
        session = SessionNow._make((*active[0], conversation_id, ()))
        if is_ahead(session.last_activity_at, now=now):
            setting_back = {"user_id": user_id, "session": session.number, "now": now}
            transaction.ask((statements.SET_BACK_SESSION, setting_back))
            return session._replace(started_at=min(session.started_at, moment), last_activity_at=moment)
        if not is_expired(session.last_activity_at, now=now, timeout=session_timeout):
            return session
        completing = (_closing(transaction, user_id, session),)
    number = user.last_session + 1
    opening = {
        "user_id": user_id,
        "conversation_id": conversation_id,
        "session": number,
        "session_id": session_id,
        "now": now,
    }
    return SessionNow(
        number, session_id, moment, moment, conversation_id, (*completing, (statements.NEW_SESSION, opening))
    )


def _closing(transaction: Transaction, user_id: str, session: SessionNow) -> Query:
    """Return the write that completes an expired session, with the summary of its consolidation or an automatic one."""
    asked = {"user_id": user_id, "session_id": session.id}
    (found,) = transaction.ask((work_statements.SUMMARY_OF, asked))
    summary = found[0][0] if found else _auto_close_summary(transaction, user_id, session.number)
    return complete(user_id, session.number, session.last_activity_at, summary, is_auto_generated=not found)


def _auto_close_summary(transaction: Transaction, user_id: str, session: int) -> str:
    asked = {"user_id": user_id, "session": session}
    ((observations,),), titles = transaction.ask((statements.COUNT_IN_SESSION, asked), (statements.LAST_TITLES, asked))
    return _summary(observations, titles)


def _summary(observations: int, titles: list[Row]) -> str:
    return auto_close_summary(observations, [title for (title,) in titles[::-1]])


def complete(user_id: str, number: int, ended_at: str, summary: str, *, is_auto_generated: bool) -> Query:
    """Return the write that completes a session."""
    return statements.COMPLETE_SESSION, {
        "user_id": user_id,
        "session": number,
        "ended_at": ended_at,
        "summary": summary,
        "is_auto_generated": is_auto_generated,
    }


def count_in(user_id: str, user: User, *, last_number: int = 0, last_session: int = 0, **added: int) -> Query:
    """Return the write that adds *added*, `observations` and LENGTHS, to the user's row; last numbers never fall."""
    return statements.COUNT_IN, {
        **dict.fromkeys((*LENGTHS, "observations"), 0),
        **added,
        "user_id": user_id,
        "last_number": max(user.last_number, last_number),
        "last_session": max(user.last_session, last_session),
    }
