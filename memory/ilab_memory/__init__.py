"""Embedded per-user memory: observations, sessions, redaction, ranked recall."""

from ilab_memory.api import ILabMemory
from ilab_memory.core.config import Config
from ilab_memory.core.embedder import Embedder, EmbedderUnavailable
from ilab_memory.core.errors import StorageDamaged, StorageError
from ilab_memory.core.models import (
    UNSET,
    Fact,
    ImportResult,
    NewFact,
    Observation,
    ObservationCompact,
    Recall,
    RecallHit,
    SaveResult,
    Session,
    SessionStartResponse,
    SessionSummaryCompact,
    Statement,
    TypeStats,
)
from ilab_memory.core.store import Store
from ilab_memory.core.work import NewSummary, Work, WorkStats, WorkTurns
from ilab_memory.redaction import private_spans, strip_private

__all__ = [
    "UNSET",
    "Config",
    "Embedder",
    "EmbedderUnavailable",
    "Fact",
    "ILabMemory",
    "ImportResult",
    "NewFact",
    "NewSummary",
    "Observation",
    "ObservationCompact",
    "Recall",
    "RecallHit",
    "SaveResult",
    "Session",
    "SessionStartResponse",
    "SessionSummaryCompact",
    "Statement",
    "StorageDamaged",
    "StorageError",
    "Store",
    "TypeStats",
    "Work",
    "WorkStats",
    "WorkTurns",
    "private_spans",
    "strip_private",
]
