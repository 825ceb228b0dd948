"""Configuration of one ILabMemory, checked when it is made."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

#: The types of the documented contract, in its order.
DOCUMENTED_TYPES = ("profile", "preference", "decision", "discovery", "pattern")
#: Type of what mem_session_summary stores; reserved, so mem_save refuses it.
SUMMARY_TYPE = "summary"


def utc_now() -> datetime:
    """Return the present moment, timezone-aware, UTC."""
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
    """Settings of one ILabMemory. Frozen; every field has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    db_path: str | Path = ":memory:"
    """Where SQLite keeps its file. `ILabMemory.from_path` overrides it."""
    session_timeout_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 24.0
    """Hours without activity after which a session is closed by the next start, save or summary."""
    observation_types: Annotated[tuple[str, ...], AfterValidator(_usable_types)] = DOCUMENTED_TYPES
    """The types that mem_save accepts. `summary` is reserved."""
    durability: Literal["full", "normal"] = "full"
    """"full": a save that returned survives power loss. "normal": it survives a crash of the process."""
    busy_timeout_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """How long a call waits for another process that holds the file before it raises StorageError."""
    create: bool = False
    """Create an empty SQLite file even beside the write-ahead log of a lost one, whose content is lost then."""
    clock: Annotated[Callable[[], datetime], Field(exclude=True, repr=False)] = utc_now
    """Tells the present moment; must return a timezone-aware datetime. For tests and replays."""

    @property
    def allowed_types(self) -> tuple[str, ...]:
        """The types that mem_save accepts."""
        return self.observation_types
