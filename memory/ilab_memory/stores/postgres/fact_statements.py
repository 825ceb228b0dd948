"""Every statement about facts, their sources and expiry of one user, in the manner of `statements`."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.limits import LONG_CHARACTERS, PREVIEW_CHARACTERS
from ilab_memory.stores.postgres.schema import FACTS, SCHEMA

_OBSERVATIONS_TABLE, _SOURCES = f"{SCHEMA}.observations", f"{SCHEMA}.sources"

# Sources.
ADD_SOURCE = f"""
    INSERT INTO {_SOURCES} (user_id, fact, source) VALUES (%(user_id)s, %(fact)s, %(source)s)
    ON CONFLICT (user_id, fact, source) DO UPDATE SET is_earlier = false
"""
MAKE_EARLIER = f"UPDATE {_SOURCES} SET is_earlier = true WHERE user_id = %(user_id)s AND fact = %(id)s"
REMOVE_SOURCE = f"""
    DELETE FROM {_SOURCES}
    WHERE user_id = %(user_id)s AND source = %(source)s AND fact <> ALL(%(kept)s::bigint[])
"""
DELETE_SOURCES = f"""
    DELETE FROM {_SOURCES}
    WHERE user_id = %(user_id)s AND (fact = ANY(%(ids)s::bigint[]) OR source = ANY(%(ids)s::bigint[]))
"""
# Of an import: what is stored stays.
IMPORT_SOURCES = f"""
    INSERT INTO {_SOURCES} (user_id, fact, source, is_earlier)
    SELECT %(user_id)s, given.fact, given.source, given.is_earlier
    FROM unnest(%(facts)s::bigint[], %(sources)s::bigint[], %(earlier)s::boolean[]) given (fact, source, is_earlier)
    WHERE EXISTS (SELECT 1 FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s AND id = given.fact)
        AND EXISTS (SELECT 1 FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s AND id = given.source)
    ON CONFLICT DO NOTHING
"""
# The facts that an observation is, or was, a source of.
DERIVED = f"SELECT fact FROM {_SOURCES} WHERE user_id = %(user_id)s AND source = %(source)s"
# The facts derived from an observation, also in several steps, but for *kept*; each with all its sources.
REACHED = f"""
    WITH RECURSIVE reached (id) AS (
        SELECT %(source)s::bigint
        UNION
        SELECT link.fact FROM reached CROSS JOIN LATERAL (
            SELECT fact FROM {_SOURCES}
            WHERE user_id = %(user_id)s AND source = reached.id AND NOT is_earlier AND fact <> ALL(%(kept)s::bigint[])
        ) link
    )
    SELECT f.id, ARRAY(
        SELECT source FROM {_SOURCES} WHERE user_id = %(user_id)s AND fact = f.id AND NOT is_earlier
    ), f.title, f.title_terms, f.said_terms, f.reply_terms, f.tail_terms
    FROM reached JOIN {_OBSERVATIONS_TABLE} f ON f.user_id = %(user_id)s AND f.id = reached.id
    WHERE reached.id <> %(source)s
"""

# Facts. A content of more than 2,048 characters is cut, as in SQLite, where a preview takes its place.
LIST_FACTS = f"""
    SELECT o.id, o.type, o.title,
        CASE WHEN length(o.content) > {LONG_CHARACTERS} THEN left(o.content, {PREVIEW_CHARACTERS}) ELSE o.content END,
        o.topic_key, o.pinned, o.created_at, o.updated_at, o.expire_at, o.revision_count, (
            SELECT string_agg(link.source::text, ',') FROM {_SOURCES} link
            WHERE link.user_id = %(user_id)s AND link.fact = o.id AND NOT link.is_earlier
        )
    FROM {_OBSERVATIONS_TABLE} o
    WHERE o.user_id = %(user_id)s AND o.type IN {FACTS} AND (o.expire_at IS NULL OR o.expire_at > %(now)s)
        AND (%(types)s::text[] IS NULL OR o.type = ANY(%(types)s::text[]))
        AND (o.pinned, o.updated_at, o.id) < (%(pinned)s, %(moment)s, %(key)s)
    ORDER BY o.pinned DESC, o.updated_at DESC, o.id DESC LIMIT %(limit)s
"""
LIST_ABOUT = f"""
    SELECT o.id, left(o.about, %(characters)s), o.updated_at, EXISTS (
        SELECT 1 FROM {_SOURCES} link
        WHERE link.user_id = %(user_id)s AND link.source = o.id AND link.is_earlier
    )
    FROM {_OBSERVATIONS_TABLE} o
    WHERE o.user_id = %(user_id)s AND o.about IS NOT NULL AND (o.expire_at IS NULL OR o.expire_at > %(now)s)
    ORDER BY o.updated_at DESC, o.id DESC LIMIT %(limit)s
"""
EARLIER_SOURCES = f"""
    SELECT source FROM {_SOURCES}
    WHERE user_id = %(user_id)s AND is_earlier AND source = ANY(%(ids)s::bigint[])
"""
# With the lock of the user's row: those that still are to be erased.
STILL_EXPIRED = f"""
    SELECT o.id, o.title, o.title_terms, o.said_terms, o.reply_terms, o.tail_terms FROM {_OBSERVATIONS_TABLE} o
    WHERE o.user_id = %(user_id)s AND o.id = ANY(%(ids)s::bigint[]) AND (
        o.expire_at <= %(now)s OR o.updated_at < (
            SELECT age.moment FROM unnest(%(types)s::text[], %(moments)s::timestamptz[]) age (type, moment)
            WHERE age.type IN (o.type, '') ORDER BY age.type DESC LIMIT 1
        )
    )
"""

ERASE_SOURCES = f"DELETE FROM {_SOURCES} WHERE user_id = %(user_id)s"
