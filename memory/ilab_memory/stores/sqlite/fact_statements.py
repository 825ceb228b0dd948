"""Every statement about facts, their sources and expiry. Built from constants only."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.stores.sqlite.schema import FACTS

# The facts that an observation is, or was, a source of, and whether nothing else is a source of them now.
DERIVED = """
    SELECT link.fact, NOT link.is_earlier AND NOT EXISTS (
        SELECT 1 FROM sources other
        WHERE other.user = link.user AND other.fact = link.fact AND other.source <> link.source AND NOT other.is_earlier
    )
    FROM sources link WHERE link.user = ? AND link.source = ?
"""
ADD_SOURCE = """
    INSERT INTO sources (user, fact, source) VALUES (?, ?, ?)
    ON CONFLICT (user, fact, source) DO UPDATE SET is_earlier = 0
"""
REMOVE_SOURCE = "DELETE FROM sources WHERE user = ? AND fact = ? AND source = ?"
MAKE_EARLIER = "UPDATE sources SET is_earlier = 1 WHERE user = ? AND fact = ?"
# Of an import: what is stored stays.
IMPORT_SOURCE = """
    INSERT INTO sources (user, fact, source, is_earlier)
    SELECT u.key, fact.id, source.id, ?4
    FROM users u
    CROSS JOIN observations fact ON fact.id = ?2 AND fact.user = u.key
    CROSS JOIN observations source ON source.id = ?3 AND source.user = u.key
    WHERE u.user_id = ?1
    ON CONFLICT DO NOTHING
"""

# Reading. A content that has a preview is long.
_USER = "(SELECT key FROM users WHERE user_id = ?1)"
_HOLDS = "(o.expire_at IS NULL OR o.expire_at > ?2)"
LIST_FACTS = f"""
    SELECT json_group_array(json_array(
        id, type, title, content, topic_key, pinned, created_at, updated_at, expire_at, revision_count, sources
    ))
    FROM (
        SELECT o.id, o.type, o.title, coalesce(o.preview, o.content) AS content, o.topic_key, o.pinned, o.created_at,
            o.updated_at, o.expire_at, o.revision_count, (
                SELECT group_concat(link.source) FROM sources link
                WHERE link.user = o.user AND link.fact = o.id AND NOT link.is_earlier
            ) AS sources
        FROM observations o
        WHERE o.user = {_USER} AND o.type IN {FACTS} AND {_HOLDS}
            AND (?3 IS NULL OR o.type IN (SELECT value FROM json_each(?3)))
            AND (o.pinned, o.updated_at, o.id) < (?4, ?5, ?6)
        ORDER BY o.pinned DESC, o.updated_at DESC, o.id DESC LIMIT ?7
    )
"""
LIST_ABOUT = f"""
    SELECT json_group_array(json_array(id, about, updated_at, is_earlier))
    FROM (
        SELECT o.id, substr(o.about, 1, ?4) AS about, o.updated_at, EXISTS (
            SELECT 1 FROM sources link WHERE link.user = o.user AND link.source = o.id AND link.is_earlier
        ) AS is_earlier
        FROM observations o
        WHERE o.user = {_USER} AND o.about IS NOT NULL AND {_HOLDS}
        ORDER BY o.updated_at DESC, o.id DESC LIMIT ?3
    )
"""
EARLIER_SOURCES = f"""
    SELECT source FROM sources
    WHERE user = {_USER} AND is_earlier AND source IN (SELECT value FROM json_each(?2))
"""

# Expiry, of all users. ?1: the moment; ?2: by type, the moment before which the last change must be; ?3: how many.
EXPIRED = """
    SELECT u.user_id, o.id
    FROM observations o CROSS JOIN users u ON u.key = o.user
    WHERE o.expire_at <= ? AND u.user_id IS NOT NULL ORDER BY o.expire_at LIMIT ?
"""
# The types of each user are found in the index, one look-up each.
OLD = """
    WITH RECURSIVE kinds (user, type) AS (
        SELECT * FROM (SELECT o.user, o.type FROM observations o WHERE o.user > 0 ORDER BY o.user, o.type LIMIT 1)
        UNION ALL
        SELECT next.user, next.type FROM kinds CROSS JOIN observations next ON next.id = coalesce((
            SELECT o.id FROM observations o WHERE o.user = kinds.user AND o.type > kinds.type ORDER BY o.type LIMIT 1
        ), (
            SELECT o.id FROM observations o WHERE o.user > kinds.user ORDER BY o.user, o.type LIMIT 1
        ))
    ), ages (type, moment) AS MATERIALIZED (SELECT key, value FROM json_each(?1))
    SELECT u.user_id, o.id
    FROM kinds
    CROSS JOIN users u ON u.key = kinds.user AND u.user_id IS NOT NULL
    CROSS JOIN observations o ON o.user = kinds.user AND o.type = kinds.type AND o.updated_at < coalesce(
        (SELECT moment FROM ages WHERE type = kinds.type), (SELECT moment FROM ages WHERE type = '')
    )
    LIMIT ?2
"""
IS_EXPIRED = """
    SELECT 1 FROM observations o
    WHERE o.id = ?1 AND o.user = (SELECT key FROM users WHERE user_id = ?2) AND (
        o.expire_at <= ?3 OR o.updated_at < coalesce(
            (SELECT value FROM json_each(?4) WHERE key = o.type), (SELECT value FROM json_each(?4) WHERE key = '')
        )
    )
"""
