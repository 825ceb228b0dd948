"""The configuration of an ILabMemory, validated when created."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ilab_memory.core.embedder import Embedder

#: The types of the documented contract, in its order.
DOCUMENTED_TYPES = ("profile", "preference", "decision", "discovery", "pattern")
#: The type that mem_session_summary stores. Reserved: mem_save rejects it.
SUMMARY_TYPE = "summary"
#: The types of facts: short texts about the user that hold until they are replaced or expire.
FACT_TYPES = ("profile", "preference", "decision", "pattern")


def utc_now() -> datetime:
    """Return the current time in UTC, timezone-aware."""
    return datetime.now(UTC)


def _usable_types(types: tuple[str, ...]) -> tuple[str, ...]:
    if not types:
        raise ValueError("observation_types must not be empty")
    if len(set(types)) != len(types):
        raise ValueError("observation_types must not repeat a type")
    if SUMMARY_TYPE in types:
        raise ValueError(f"observation_types must not contain the reserved type {SUMMARY_TYPE!r}")
    if any(not name.strip() for name in types):
        raise ValueError("observation_types must not contain a blank type")
    return types


class Config(BaseModel):
    """Settings of an ILabMemory. Frozen; every field has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)

    db_path: str | Path = ":memory:"
    """Path of the SQLite file. `ILabMemory.from_path` overrides it."""
    session_timeout_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 24.0
    """Hours of inactivity after which the next start, save or summary closes a session."""
    observation_types: Annotated[tuple[str, ...], AfterValidator(_usable_types)] = DOCUMENTED_TYPES
    """The types that mem_save accepts. `summary` is reserved."""
    durability: Literal["full", "normal"] = "full"
    """"full": a save that returned survives power loss. "normal": it survives a crash of the process."""
    busy_timeout_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """Seconds to wait for a lock of another process (PostgreSQL: a lock or a connection) before StorageError."""
    create: bool = False
    """Create an empty SQLite file even if the write-ahead log of a lost one exists. The log's content is lost."""
    embedder: Annotated[Embedder | None, Field(exclude=True, repr=False)] = None
    """Finds observations by their meaning too. None: by their words alone. Needs numpy (extra `semantic`)."""
    clock: Annotated[Callable[[], datetime], Field(exclude=True, repr=False)] = utc_now
    """Returns the current time as a timezone-aware datetime. Replace it in tests."""

    @property
    def allowed_types(self) -> tuple[str, ...]:
        """The types that mem_save accepts."""
        return self.observation_types
