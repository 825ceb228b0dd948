"""The store on SQLite with FTS5."""

from ilab_memory.stores.sqlite.connections import translated
from ilab_memory.stores.sqlite.erasure import request_rewrite
from ilab_memory.stores.sqlite.group_commit import RewriteWait
from ilab_memory.stores.sqlite.store import SQLiteStore

__all__ = ["RewriteWait", "SQLiteStore", "request_rewrite", "translated"]
