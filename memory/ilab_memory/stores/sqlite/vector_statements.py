"""Every statement about vectors. Built from constants only."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.core.vector_store import BLOCK

# Users behind ?2 with observations that are not embedded by ?1. ?4: also those with vectors of another embedder.
_WAITING = """
    FROM users u LEFT JOIN embedded e ON e.user = u.key
    WHERE u.user_id > ?2 AND u.observations > 0
        AND (e.user IS NULL OR (e.model = ?1 AND e.cursor < u.last_number) OR (e.model <> ?1 AND ?4))
"""
WAITING_USERS = f"SELECT u.user_id {_WAITING} ORDER BY u.user_id LIMIT ?3"
COUNT_WAITING = f"SELECT coalesce(sum(u.last_number - iif(e.model = ?1, e.cursor, 0)), 0) {_WAITING} AND ?3 IS NOT NULL"
# One row, of one moment: the user's last number is that of the rows.
NEXT = """
    SELECT u.index_key, e.model, iif(e.model = ?2, e.cursor, 0), u.last_number, (
        SELECT json_group_array(json_array(number, title, content)) FROM (
            SELECT o.number, o.title, substr(coalesce(o.preview, o.content), 1, ?4) AS content
            FROM observations o WHERE o.user = u.key AND o.number > iif(e.model = ?2, e.cursor, 0)
            ORDER BY o.number LIMIT ?3
        )
    )
    FROM users u LEFT JOIN embedded e ON e.user = u.key
    WHERE u.user_id = ?1 AND (e.user IS NULL OR e.model <> ?2 OR e.cursor < u.last_number)
"""
STATE = """
    SELECT u.key, e.model, e.cursor FROM users u LEFT JOIN embedded e ON e.user = u.key
    WHERE u.user_id = ? AND u.index_key = ?
"""
SET_STATE = """
    INSERT INTO embedded (user, model, cursor) VALUES (?1, ?2, ?3)
    ON CONFLICT (user) DO UPDATE SET model = ?2, cursor = ?3
"""
STILL_THERE = "SELECT number FROM observations WHERE user = ? AND number IN (SELECT value FROM json_each(?))"
BLOCK_DATA = "SELECT data FROM vectors WHERE user = ? AND block = ?"
PUT_BLOCK = """
    INSERT INTO vectors (user, block, stamp, size, data) VALUES (?1, ?2, random(), ?3, ?4)
    ON CONFLICT (user, block) DO UPDATE SET stamp = excluded.stamp, size = ?3, data = ?4
"""
# One JSON array: the driver releases the GIL at each row.
STAMPS = """
    SELECT json_group_array(json_array(block, size, stamp)) FROM (
        SELECT v.block, v.size, v.stamp
        FROM users u CROSS JOIN embedded e ON e.user = u.key CROSS JOIN vectors v ON v.user = u.key
        WHERE u.user_id = ? AND e.model = ? ORDER BY v.block
    )
"""
BLOCKS = """
    SELECT v.block, v.stamp, v.data
    FROM users u CROSS JOIN vectors v ON v.user = u.key AND v.block IN (SELECT value FROM json_each(?2))
    WHERE u.user_id = ?1
"""
REMOVE_ALL = "DELETE FROM vectors WHERE user = ?"
# Of a user who is erased: a page at a time.
REMOVE_SOME = """
    DELETE FROM vectors
    WHERE user = ?1 AND block IN (SELECT block FROM vectors WHERE user = ?1 ORDER BY block LIMIT ?2)
"""
REMOVE_STATE = "DELETE FROM embedded WHERE user = ?"

# For triggers: remove the vector of the observation OLD. What `||` makes of two blobs is a text of the same bytes.
_BEGIN = f"(OLD.number % {BLOCK}) * size"
REMOVE_VECTOR = f"""
    UPDATE vectors SET stamp = random(), data = CAST(
        substr(data, 1, {_BEGIN}) || zeroblob(size) || substr(data, {_BEGIN} + size + 1) AS BLOB
    )
    WHERE user = OLD.user AND block = OLD.number / {BLOCK} AND length(data) > {_BEGIN};
    DELETE FROM vectors
    WHERE user = OLD.user AND block = OLD.number / {BLOCK} AND data = zeroblob(length(data));
"""
