"""Every statement that erases users. Built from constants only: each value from a caller is a parameter."""

HAS_ERASURES = "SELECT count(*) FROM sqlite_schema WHERE name = 'erasures'"
ERASURES = "SELECT salt, user_hash FROM erasures"
COUNT_ERASURES = "SELECT count(*) FROM erasures"
MARK_DELETED = "UPDATE users SET user_id = NULL WHERE user_id = ? RETURNING key, observations"
ADD_ERASURE = "INSERT INTO erasures (user, in_index, salt, user_hash) VALUES (?, ?, ?, ?)"
TOMBSTONES = "SELECT u.key, u.index_key FROM erasures e CROSS JOIN users u ON u.key = e.user"
TOMBSTONE_ROWS = "SELECT number, title, content FROM observations WHERE user = ? ORDER BY number LIMIT ?"
ERASE_ROW = "DELETE FROM observations WHERE user = ? AND number = ? RETURNING id"
ERASE_SESSIONS = "DELETE FROM sessions WHERE key IN (SELECT key FROM sessions WHERE user = ? LIMIT ?)"
ERASE_USER = "DELETE FROM users WHERE key = ?"
ROWS_ERASED = "UPDATE erasures SET user = NULL WHERE user = ?"
# FTS5 marks what is deleted; a merge of all segments drops it. A negative number of pages begins one.
# https://www.sqlite.org/fts5.html#the_merge_command
MERGE_INDEX = "INSERT INTO search (search, rank) VALUES ('merge', ?)"
INDEX_SEGMENTS = """
    WITH RECURSIVE segments (id) AS (
        SELECT min(segid) FROM search_idx
        UNION ALL
        SELECT (SELECT min(segid) FROM search_idx WHERE segid > segments.id) FROM segments WHERE id IS NOT NULL
    )
    SELECT id FROM segments WHERE id IS NOT NULL
"""
ERASURES_IN_INDEX = "SELECT id FROM erasures WHERE in_index"
MERGED = "UPDATE erasures SET in_index = 0 WHERE id = ?"
# Of which the file's pages may have bytes, and nothing else.
ERASED = "SELECT id FROM erasures WHERE user IS NULL AND NOT in_index"
END_ERASURE = "DELETE FROM erasures WHERE id = ?"
# Where there is no file.
END_ERASED = "DELETE FROM erasures WHERE user IS NULL"
LAST_REWRITE = "SELECT ended_at, seconds FROM last_rewrite"
CLEAR_LAST_REWRITE = "DELETE FROM last_rewrite"
SET_LAST_REWRITE = "INSERT INTO last_rewrite (ended_at, seconds) VALUES (?, ?)"
# All of the WAL into the database, as far as no reader needs what that was before. It is all when the last two columns
# are the same, unless the first is 1.
MOVE_WAL = "PRAGMA wal_checkpoint(PASSIVE)"
# The same, then cut to nothing. Its first column is 0 when that was possible.
EMPTY_WAL = "PRAGMA wal_checkpoint(TRUNCATE)"
