"""Where a faults run keeps its memory, and how it is looked at afterwards."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import psycopg

from ilab_memory import ILabMemory
from memory.killed import faults


@dataclass(frozen=True, slots=True)
class InFile:
    """A SQLite file."""

    path: Path

    @property
    def variables(self) -> dict[str, str]:
        """The settings that point a server at it."""
        return {"ILAB_MEMORY_DB_PATH": str(self.path)}

    def opened(self) -> ILabMemory:
        return ILabMemory.from_path(self.path)

    def damage(self) -> list[str]:
        """Return what is wrong with it, whatever was said."""
        return faults(self.path)

    def turns(self) -> int:
        """Return how many observations all users have."""
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute("SELECT count(*) FROM observations").fetchone()[0])


@dataclass(frozen=True, slots=True)
class InDatabase:
    """A PostgreSQL database."""

    url: str

    @property
    def variables(self) -> dict[str, str]:
        """The settings that point a server at it."""
        return {"ILAB_MEMORY_URL": self.url}

    def through(self, port: int) -> str:
        """Return its URL for who reaches it through a loopback port."""
        _, _, database = str(urlsplit(self.url).path).rpartition("/")
        return f"postgresql://ilab@127.0.0.1:{port}/{database}"

    @property
    def socket(self) -> Path:
        """Where its server listens."""
        [folder] = parse_qs(urlsplit(self.url).query)["host"]
        return Path(folder) / ".s.PGSQL.5432"

    def opened(self) -> ILabMemory:
        return ILabMemory.from_url(self.url)

    def damage(self) -> list[str]:
        """Return what is wrong with it, whatever was said."""
        miscounted = """
            SELECT count(*) FROM ilab_memory.users u WHERE observations <>
            (SELECT count(*) FROM ilab_memory.observations o WHERE o.user_id = u.user_id)
        """
        return [f"{count} users are miscounted"] if (count := self._number(miscounted)) else []

    def turns(self) -> int:
        """Return how many observations all users have."""
        return self._number("SELECT count(*) FROM ilab_memory.observations")

    def _number(self, query: str) -> int:
        with psycopg.connect(self.url) as connection:
            [number] = connection.execute(query.encode()).fetchone() or [0]
            return int(number)


Kept: TypeAlias = InFile | InDatabase
