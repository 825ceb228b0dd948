"""Settings of the memory."""

from __future__ import annotations

from dataclasses import dataclass

from ilab_chat_service.settings.fields import SettingsError, setting

#: The path of a SQLite database that is in no file.
IN_MEMORY = ":memory:"


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """Where memory is stored, and how much of it a prompt gets."""

    memory_db_path: str = setting(
        "ILAB_MEMORY_DB_PATH", "./memory.db", "SQLite file of the memory. Created if missing, with its directories."
    )
    memory_create: bool = setting(
        "ILAB_MEMORY_CREATE",
        False,
        "Create an empty memory even if files of a lost one are present. Set it for one start only.",
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
        "Failures that an answered turn survives. full: power loss. normal: a process crash.",
    )
    session_timeout_hours: float = setting(
        "ILAB_MEMORY_SESSION_TIMEOUT_HOURS", 24.0, "Hours of inactivity after which a session ends.", least=0.001
    )
    history_turns: int = setting(
        "ILAB_CHAT_HISTORY_TURNS",
        6,
        "Maximum number of turns of the session that the model sees as conversation.",
        least=0,
    )
    search_limit: int = setting(
        "ILAB_CHAT_SEARCH_LIMIT", 5, "Maximum number of memories added by searching for the message.", least=0
    )

    def check_memory(self) -> None:
        """Raise SettingsError if there can be no such memory."""
        if self.durability not in {"full", "normal"}:
            raise SettingsError("ILAB_MEMORY_DURABILITY: must be full or normal")
        if not self.memory_db_path.strip():
            raise SettingsError("ILAB_MEMORY_DB_PATH: must be the path of a file, but is blank")
