"""The store on SQLite with FTS5."""

from ilab_memory.stores.sqlite.connections import translated
from ilab_memory.stores.sqlite.group_commit import RewriteWait
from ilab_memory.stores.sqlite.store import SQLiteStore
from ilab_memory.stores.sqlite.user_erasure import request_rewrite

__all__ = ["RewriteWait", "SQLiteStore", "request_rewrite", "translated"]
