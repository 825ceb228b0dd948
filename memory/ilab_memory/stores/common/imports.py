"""The rules of an import."""

from typing import Any
from uuid import UUID, uuid5

from ilab_memory.core.models import Session
from ilab_memory.core.store import ImportedRow

_NAMESPACE = UUID("5a1f0f6e-7c1f-4c2b-9d0a-0c8f3f6f2b11")


def imported_session_id(user_id: str, session_id: str) -> str:
    """Return the id that a session of an export gets when it is imported for this user.

    The id is derived, so a repeated import is recognized, and no two users share the id of a session.
    """
    return str(uuid5(_NAMESPACE, f"{user_id}\0{session_id}"))


def completed_by_import(session: Session) -> Session:
    """Return an active session of an import as completed: the conversation has another active one."""
    return session.model_copy(
        update={
            "ended_at": session.last_activity_at,
            "summary": "Closed by an import.",
            "status": "completed",
            "is_auto_generated": True,
        }
    )


def imported_columns(row: ImportedRow) -> dict[str, Any]:
    """Return the columns of *row* that are the same in every store."""
    return {
        "type": row.type,
        "title": row.title,
        "topic_key": row.topic_key,
        "normalized_hash": bytes.fromhex(row.normalized_hash),
        "revision_count": row.revision_count,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "content": row.content,
        "pinned": row.pinned,
        "expire_at": row.expire_at,
        "about": row.about,
    }


def session_is_missing() -> ValueError:
    """Return the error for an observation whose session is neither stored nor imported before it."""
    return ValueError("items must contain the session of an observation before the observation")
