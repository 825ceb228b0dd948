"""Settings of the memory."""

from __future__ import annotations

from dataclasses import dataclass

from ilab_chat_service.settings.fields import SettingsError, setting

#: The path of an in-memory SQLite database.
IN_MEMORY = ":memory:"

#: Values of the embedder, besides the name of a model behind EMBEDDER_PROFILE.
EMBEDDERS = ("auto", "local", "none")
EMBEDDER_PROFILE = "profile:"

#: A thousand years.
RETENTION_DAYS_MOST = 365_250
RETENTION_FAULT = (
    "ILAB_MEMORY_RETENTION_DAYS: must be a number of days above 0, or TYPE=DAYS separated by commas, for example "
    "discovery=90,summary=365"
)


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """Where memory is stored, and how much of it a prompt gets."""

    memory_db_path: str = setting(
        "ILAB_MEMORY_DB_PATH",
        "./memory.db",
        "SQLite file of the memory. Created if missing, with its directories. For PostgreSQL, set ILAB_MEMORY_URL "
        "instead.",
    )
    memory_create: bool = setting(
        "ILAB_MEMORY_CREATE",
        False,
        "If the SQLite file is gone but its -wal or -locks file is left, the server refuses to start. true: start with "
        "an empty memory anyway. Set it for one start only.",
    )
    memory_url: str = setting(
        "ILAB_MEMORY_URL",
        "",
        "PostgreSQL database of the memory, postgresql://USER@HOST/DATABASE, instead of ILAB_MEMORY_DB_PATH.",
        secret=True,
    )
    durability: str = setting(
        "ILAB_MEMORY_DURABILITY",
        "full",
        "full: answered turns survive power loss. normal: answered turns survive a process crash, but not power loss.",
    )
    session_timeout_hours: float = setting(
        "ILAB_MEMORY_SESSION_TIMEOUT_HOURS", 24.0, "Idle time after which a session ends, in hours.", least=0.001
    )
    memory_tokens: int = setting(
        "ILAB_CHAT_MEMORY_TOKENS",
        1400,
        "Maximum number of estimated tokens of memory in a prompt: facts, summaries, conversation and search hits. The "
        "last turn may exceed it. ILAB_CHAT_PROMPT_TOKENS limits the whole prompt.",
        least=0,
    )
    search_limit: int = setting(
        "ILAB_CHAT_SEARCH_LIMIT", 5, "Maximum number of search results added to a prompt.", least=0
    )

    embedder: str = setting(
        "ILAB_MEMORY_EMBEDDER",
        "auto",
        "Embedder that finds memories by meaning. local: a model in this process (extra semantic). profile:NAME: "
        "/embeddings of a model's API (docs/models.md). none: search by words only. auto: local if it is installed.",
    )
    retention_days: str = setting(
        "ILAB_MEMORY_RETENTION_DAYS",
        "",
        "Retention in days after the last change of an observation: one number for all types, for example "
        "365, or numbers by type, for example discovery=90,summary=365. Then it is erased. Empty: unlimited.",
    )

    @property
    def retention_by_type(self) -> dict[str, float]:
        """Days until observations are erased, by type; "" is all other types.

        Raises:
            SettingsError: the setting cannot be parsed.
        """
        days: dict[str, float] = {}
        for each in filter(None, (part.strip() for part in self.retention_days.split(","))):
            kind, _, number = each.rpartition("=")
            try:
                days[kind.strip()] = float(number)
            except ValueError:
                raise SettingsError(RETENTION_FAULT) from None
        if not all(0 < number <= RETENTION_DAYS_MOST for number in days.values()):
            raise SettingsError(RETENTION_FAULT)
        return days

    @property
    def embedder_profile(self) -> str:
        """Name of the model whose API computes embeddings. Empty: the embedder is another one."""
        return self.embedder.removeprefix(EMBEDDER_PROFILE) if self.embedder.startswith(EMBEDDER_PROFILE) else ""

    def check_memory(self) -> None:
        """Raise SettingsError if a setting of the memory is invalid."""
        _ = self.retention_by_type
        if self.embedder not in EMBEDDERS and not self.embedder_profile:
            raise SettingsError("ILAB_MEMORY_EMBEDDER: must be auto, local, none or profile:NAME")
        if self.durability not in {"full", "normal"}:
            raise SettingsError("ILAB_MEMORY_DURABILITY: must be full or normal")
        if not self.memory_db_path.strip():
            raise SettingsError("ILAB_MEMORY_DB_PATH: must be the path of a file, but is blank")
