"""Embedded per-user memory: observations, sessions, redaction, ranked recall."""

from ilab_memory.api import ILabMemory
from ilab_memory.core.config import Config
from ilab_memory.core.errors import StorageDamaged, StorageError
from ilab_memory.core.models import (
    ImportResult,
    Observation,
    ObservationCompact,
    RecallHit,
    SaveResult,
    Session,
    SessionStartResponse,
    SessionSummaryCompact,
)
from ilab_memory.core.store import Store
from ilab_memory.redaction import private_spans, strip_private

__all__ = [
    "Config",
    "ILabMemory",
    "ImportResult",
    "Observation",
    "ObservationCompact",
    "RecallHit",
    "SaveResult",
    "Session",
    "SessionStartResponse",
    "SessionSummaryCompact",
    "StorageDamaged",
    "StorageError",
    "Store",
    "private_spans",
    "strip_private",
]
