"""The store on SQLite with FTS5."""

from ilab_memory.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
