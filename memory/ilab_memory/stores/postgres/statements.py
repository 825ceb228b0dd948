"""Every statement of the store. Built from constants only: each value from a caller is a parameter.

Every one names the user, of every table it touches: so it touches one partition.
"""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.limits import MOST_COMPARED, MOST_REBUILT, MOST_RECENT
from ilab_memory.stores.postgres.schema import SCHEMA

_USERS, _SESSIONS, _OBSERVATIONS_TABLE = f"{SCHEMA}.users", f"{SCHEMA}.sessions", f"{SCHEMA}.observations"
_SOURCES = f"{SCHEMA}.sources"

# Users. Every write of a user takes the lock of the user's row first: so writers of one user come one after
# the other, and never wait for each other in a circle.
LOCK_USER = f"""
    SELECT index_key, first_id, last_number, last_session, observations
    FROM {_USERS} WHERE user_id = %(user_id)s FOR UPDATE
"""
NEW_USER = f"""
    INSERT INTO {_USERS} (user_id, index_key, first_id) VALUES (%(user_id)s, %(index_key)s, %(first_id)s)
    ON CONFLICT DO NOTHING
"""
USER = f"SELECT index_key FROM {_USERS} WHERE user_id = %(user_id)s"
COUNT_IN = f"""
    UPDATE {_USERS} SET
        last_number = %(last_number)s,
        last_session = %(last_session)s,
        observations = observations + %(observations)s,
        title_terms = title_terms + %(title_terms)s,
        said_terms = said_terms + %(said_terms)s,
        reply_terms = reply_terms + %(reply_terms)s,
        tail_terms = tail_terms + %(tail_terms)s
    WHERE user_id = %(user_id)s
"""

# Sessions.
SESSION_COLUMNS = "id, started_at, ended_at, last_activity_at, summary, is_auto_generated, conversation_id"
_ACTIVE = f"""
    FROM {_SESSIONS} WHERE user_id = %(user_id)s AND conversation_id = %(conversation_id)s AND ended_at IS NULL
"""
# The writer's view of the active one.
SESSION_NOW = f"SELECT number, id, started_at, last_activity_at {_ACTIVE}"
# It needs no lock before it: the session is touched if it is active, or nothing is done.
TOUCH_ACTIVE = f"""
    UPDATE {_SESSIONS} SET last_activity_at = greatest(last_activity_at, %(now)s)
    WHERE user_id = %(user_id)s AND id = %(session_id)s AND ended_at IS NULL
"""
NEW_SESSION = f"""
    INSERT INTO {_SESSIONS} (user_id, number, conversation_id, id, started_at, last_activity_at)
    VALUES (%(user_id)s, %(session)s, %(conversation_id)s, %(session_id)s, %(now)s, %(now)s)
"""
TOUCH_SESSION = f"""
    UPDATE {_SESSIONS} SET last_activity_at = greatest(last_activity_at, %(now)s)
    WHERE user_id = %(user_id)s AND number = %(session)s
"""
SET_BACK_SESSION = f"""
    UPDATE {_SESSIONS} SET started_at = least(started_at, %(now)s), last_activity_at = %(now)s
    WHERE user_id = %(user_id)s AND number = %(session)s
"""
COMPLETE_SESSION = f"""
    UPDATE {_SESSIONS} SET
        ended_at = %(ended_at)s, last_activity_at = %(ended_at)s, summary = %(summary)s,
        is_auto_generated = %(is_auto_generated)s
    WHERE user_id = %(user_id)s AND number = %(session)s
"""
COUNT_IN_SESSION = f"SELECT count(*) FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s AND session = %(session)s"
LAST_TITLES = f"""
    SELECT title FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s AND session = %(session)s
    ORDER BY updated_at DESC, id DESC LIMIT 3
"""
_QUOTES_TITLE = """
    user_id = %(user_id)s AND is_auto_generated
    AND (strpos(summary, ': ' || %(title)s) > 0 OR strpos(summary, '; ' || %(title)s) > 0)
"""
# The newest sessions that expired and whose summary quotes this title.
CLOSED_WITH_TITLE = f"""
    SELECT number, started_at FROM {_SESSIONS} WHERE {_QUOTES_TITLE}
    ORDER BY started_at DESC, number DESC LIMIT {MOST_REBUILT}
"""
# Of the older ones.
CLEAR_SUMMARIES = f"""
    UPDATE {_SESSIONS} SET summary = %(summary)s
    WHERE {_QUOTES_TITLE} AND (started_at, number) < (%(started_at)s, %(session)s)
"""
SET_SUMMARY = f"UPDATE {_SESSIONS} SET summary = %(summary)s WHERE user_id = %(user_id)s AND number = %(session)s"

# Saving.
SAME_UNKEYED = f"""
    SELECT id FROM {_OBSERVATIONS_TABLE}
    WHERE user_id = %(user_id)s AND normalized_hash = %(normalized_hash)s AND topic_key IS NULL
        AND type = %(type)s AND title = %(title)s AND session = (SELECT number {_ACTIVE})
        AND pinned >= %(pinned)s AND expire_at IS NOT DISTINCT FROM %(expire_at)s::timestamptz
        AND about IS NOT DISTINCT FROM %(about)s
"""
_KEYED = "id, title_terms, said_terms, reply_terms, tail_terms, type, title, normalized_hash, pinned, expire_at, about"
# Behind the columns, whether it is a source of anything.
BY_KEY = f"""
    SELECT {_KEYED}, EXISTS (
        SELECT 1 FROM {_SOURCES} link WHERE link.user_id = %(user_id)s AND link.source = o.id
    )
    FROM {_OBSERVATIONS_TABLE} o WHERE o.user_id = %(user_id)s AND o.topic_key = %(topic_key)s
"""
FACTS_BY_KEY = f"""
    SELECT topic_key, {_KEYED} FROM {_OBSERVATIONS_TABLE}
    WHERE user_id = %(user_id)s AND topic_key = ANY(%(topic_keys)s::text[])
"""
#: The columns of a new observation.
NEW_COLUMNS = """
    user_id, id, number, session, conversation_id, type, title, topic_key, normalized_hash, revision_count,
    created_at, updated_at, title_terms, said_terms, reply_terms, tail_terms, terms, content, pinned, expire_at, about
"""
NEW_OBSERVATION = f"""
    INSERT INTO {_OBSERVATIONS_TABLE} ({NEW_COLUMNS}) VALUES (
        %(user_id)s, %(id)s, %(number)s, %(session)s, %(conversation_id)s, %(type)s, %(title)s, %(topic_key)s,
        %(normalized_hash)s, %(revision_count)s, %(created_at)s, %(updated_at)s,
        %(title_terms)s, %(said_terms)s, %(reply_terms)s, %(tail_terms)s, %(terms)s::tsvector, %(content)s,
        %(pinned)s, %(expire_at)s, %(about)s
    )
"""
# A save never unpins.
CHANGE_OBSERVATION = f"""
    UPDATE {_OBSERVATIONS_TABLE} SET
        number = %(number)s, session = %(session)s, conversation_id = %(conversation_id)s, type = %(type)s,
        title = %(title)s, normalized_hash = %(normalized_hash)s, revision_count = revision_count + 1,
        updated_at = %(updated_at)s, title_terms = %(title_terms)s, said_terms = %(said_terms)s,
        reply_terms = %(reply_terms)s, tail_terms = %(tail_terms)s, terms = %(terms)s::tsvector, content = %(content)s,
        pinned = pinned OR %(pinned)s, expire_at = %(expire_at)s, about = %(about)s
    WHERE user_id = %(user_id)s AND id = %(id)s
"""
# An observation as it is, for a change or an erasure.
TO_CHANGE = f"""
    SELECT o.session, s.id, s.conversation_id, o.topic_key, o.pinned, o.expire_at, o.type, o.title, o.content,
        o.normalized_hash, o.about, o.title_terms, o.said_terms, o.reply_terms, o.tail_terms
    FROM {_OBSERVATIONS_TABLE} o JOIN {_SESSIONS} s ON s.user_id = %(user_id)s AND s.number = o.session
    WHERE o.user_id = %(user_id)s AND o.id = %(id)s
"""
PIN_OBSERVATION = f"""
    UPDATE {_OBSERVATIONS_TABLE} SET pinned = %(pinned)s, expire_at = %(expire_at)s
    WHERE user_id = %(user_id)s AND id = %(id)s
"""
DELETE_OBSERVATIONS = f"""
    DELETE FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s AND id = ANY(%(ids)s::bigint[])
"""

# Importing.
SESSIONS_OF_IDS = f"""
    SELECT id, number, conversation_id FROM {_SESSIONS}
    WHERE user_id = %(user_id)s AND id = ANY(%(session_ids)s::text[])
"""
ACTIVE_CONVERSATIONS = f"SELECT conversation_id FROM {_SESSIONS} WHERE user_id = %(user_id)s AND ended_at IS NULL"
KEYS = f"""
    SELECT topic_key, id, type, title, normalized_hash FROM {_OBSERVATIONS_TABLE}
    WHERE user_id = %(user_id)s AND topic_key = ANY(%(topic_keys)s::text[])
"""
# Many rows of a user may have a content, and many rows a time, but hardly both.
_COMPARED = f"SELECT session, type, title, normalized_hash, created_at, id FROM {_OBSERVATIONS_TABLE}"
UNKEYED = f"""
    SELECT same.* FROM unnest(
        %(hashes)s::bytea[], %(types)s::text[], %(titles)s::text[], %(moments)s::timestamptz[]
    ) asked (normalized_hash, type, title, created_at)
    CROSS JOIN LATERAL (
        SELECT * FROM (
            {_COMPARED}
            WHERE user_id = %(user_id)s AND normalized_hash = asked.normalized_hash AND topic_key IS NULL
            LIMIT {MOST_COMPARED}
        ) of_content
        WHERE type = asked.type AND title = asked.title AND created_at = asked.created_at
        UNION
        SELECT * FROM (
            {_COMPARED}
            WHERE user_id = %(user_id)s AND created_at = asked.created_at AND topic_key IS NULL LIMIT {MOST_COMPARED}
        ) of_time
        WHERE normalized_hash = asked.normalized_hash AND type = asked.type AND title = asked.title
    ) same
"""
IMPORT_SESSION = f"""
    INSERT INTO {_SESSIONS} (
        user_id, number, conversation_id, id, started_at, ended_at, last_activity_at, summary, is_auto_generated
    ) VALUES (
        %(user_id)s, %(session)s, %(conversation_id)s, %(session_id)s, %(started_at)s, %(ended_at)s,
        %(last_activity_at)s, %(summary)s, %(is_auto_generated)s
    )
"""
# Reading whole rows.
_PLAIN_COLUMNS = """
    o.id, s.id, o.type, o.title, o.content, o.topic_key, encode(o.normalized_hash, 'hex'), o.revision_count,
    o.created_at, o.updated_at, o.pinned, o.expire_at, o.about"""
OBSERVATION_COLUMNS = f"""{_PLAIN_COLUMNS}, (
        -- The ids, with a minus before earlier sources.
        SELECT string_agg((CASE WHEN link.is_earlier THEN -link.source ELSE link.source END)::text, ',')
        FROM {_SOURCES} link WHERE link.user_id = %(user_id)s AND link.fact = o.id
    )
"""
_OBSERVATIONS = f"""
    SELECT {OBSERVATION_COLUMNS} FROM {_OBSERVATIONS_TABLE} o
    JOIN {_SESSIONS} s ON s.user_id = %(user_id)s AND s.number = o.session
    WHERE o.user_id = %(user_id)s
"""
GET = f"{_OBSERVATIONS} AND o.id = %(id)s"
_ANCHOR = f"SELECT created_at, id FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s AND id = %(id)s"
TIMELINE = f"""
    (
        {_OBSERVATIONS} AND (o.created_at, o.id) <= ({_ANCHOR})
        ORDER BY o.created_at DESC, o.id DESC LIMIT %(neighbors)s + 1
    ) UNION ALL (
        {_OBSERVATIONS} AND (o.created_at, o.id) > ({_ANCHOR})
        ORDER BY o.created_at, o.id LIMIT %(neighbors)s
    ) ORDER BY 9, 1
"""
# octet_length and topic_key need no content that is stored apart from its row.
RECENT = f"""
    SELECT {_PLAIN_COLUMNS}, NULL FROM (
        SELECT *, sum(octet_length(content)) OVER (
            ORDER BY updated_at DESC, id DESC ROWS UNBOUNDED PRECEDING
        ) AS bytes
        FROM (
            SELECT * FROM (
                SELECT * FROM {_OBSERVATIONS_TABLE}
                WHERE user_id = %(user_id)s AND session = (
                    SELECT number FROM {_SESSIONS}
                    WHERE user_id = %(user_id)s AND id = %(session_id)s AND conversation_id = %(conversation_id)s
                ) AND (expire_at IS NULL OR expire_at > %(now)s)
                ORDER BY updated_at DESC, id DESC LIMIT {MOST_RECENT}
            ) newest
            WHERE %(prefixes)s::text[] IS NULL
                OR EXISTS (SELECT 1 FROM unnest(%(prefixes)s::text[]) prefix WHERE starts_with(topic_key, prefix))
            ORDER BY updated_at DESC, id DESC LIMIT %(limit)s
        ) matching
    ) o JOIN {_SESSIONS} s ON s.user_id = %(user_id)s AND s.number = o.session
    WHERE o.bytes <= %(most_bytes)s ORDER BY o.updated_at DESC, o.id DESC
"""
# A page of a list. The newest rows of each type come from an index, and are merged: how many rows there are does not
# matter. The types that the user has are found in the index, one look-up each, if none are given.
_FIRST_TYPE = f"""
    SELECT type FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s{{of_conversation}}{{after}} ORDER BY type LIMIT 1
"""
_PAGE_OF_TYPES = f"""
    WITH RECURSIVE kinds AS (
        ({_FIRST_TYPE.format(of_conversation="{of_conversation}", after="")})
        UNION ALL
        SELECT ({_FIRST_TYPE.format(of_conversation="{of_conversation}", after=" AND type > kinds.type")})
        FROM kinds WHERE kinds.type IS NOT NULL
    ), asked AS (
        SELECT type FROM unnest(%(types)s::text[]) type
        UNION ALL SELECT type FROM kinds WHERE %(types)s::text[] IS NULL AND type IS NOT NULL
    )
    SELECT {OBSERVATION_COLUMNS} FROM (
        SELECT *, sum(octet_length(content) + coalesce(octet_length(about), 0)) OVER (
            ORDER BY updated_at DESC, id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
        FROM (
            SELECT listed.* FROM asked CROSS JOIN LATERAL (
                SELECT * FROM {_OBSERVATIONS_TABLE}
                WHERE user_id = %(user_id)s{{of_conversation}} AND type = asked.type
                    AND (updated_at, id) < (%(moment)s, %(key)s)
                ORDER BY updated_at DESC, id DESC LIMIT %(limit)s
            ) listed
            ORDER BY listed.updated_at DESC, listed.id DESC LIMIT %(limit)s
        ) page
    ) o JOIN {_SESSIONS} s ON s.user_id = %(user_id)s AND s.number = o.session
    WHERE o.bytes_before IS NULL OR o.bytes_before < %(bytes)s
    ORDER BY o.updated_at DESC, o.id DESC
"""
_OF_CONVERSATION = " AND conversation_id = %(conversation_id)s"
LIST_OBSERVATIONS = _PAGE_OF_TYPES.format(of_conversation="")
LIST_OF_CONVERSATION = _PAGE_OF_TYPES.format(of_conversation=_OF_CONVERSATION)
_PAGE_OF_SESSIONS = f"""
    SELECT {SESSION_COLUMNS} FROM (
        SELECT *, sum(octet_length(summary)) OVER (
            ORDER BY started_at DESC, number DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
        FROM {_SESSIONS}
        WHERE user_id = %(user_id)s{{of_conversation}} AND (started_at, number) < (
            %(moment)s,
            coalesce((SELECT number FROM {_SESSIONS} WHERE user_id = %(user_id)s AND id = %(session_id)s), 0)
        )
        ORDER BY started_at DESC, number DESC LIMIT %(limit)s
    ) page
    WHERE bytes_before IS NULL OR bytes_before < %(bytes)s ORDER BY started_at DESC, number DESC
"""
LIST_SESSIONS = _PAGE_OF_SESSIONS.format(of_conversation="")
LIST_SESSIONS_OF_CONVERSATION = _PAGE_OF_SESSIONS.format(of_conversation=_OF_CONVERSATION)
STATS = f"SELECT observations, last_session FROM {_USERS} WHERE user_id = %(user_id)s"
TYPE_STATS = f"""
    SELECT o.type, count(*), sum(octet_length(o.title) + octet_length(o.content)), min(o.created_at), max(o.updated_at)
    FROM {_OBSERVATIONS_TABLE} o WHERE o.user_id = %(user_id)s GROUP BY o.type
"""

# Lists.
PREVIEW_COLUMNS = """
    o.id, o.type, o.title, o.topic_key, o.revision_count, o.updated_at, left(o.content, %(characters)s)
"""
# The active session comes first. Behind the columns of each session an array of its newest observations.
RECENT_SESSIONS = f"""
    SELECT {SESSION_COLUMNS}, ARRAY(
        SELECT ROW({PREVIEW_COLUMNS}) FROM {_OBSERVATIONS_TABLE} o
        WHERE o.user_id = %(user_id)s AND o.session = s.number AND (o.expire_at IS NULL OR o.expire_at > %(now)s)
        ORDER BY o.updated_at DESC, o.id DESC LIMIT %(each)s
    )
    FROM (
        (SELECT * {_ACTIVE})
        UNION ALL (
            SELECT * FROM {_SESSIONS} WHERE user_id = %(user_id)s AND ended_at IS NOT NULL
            ORDER BY ended_at DESC, number DESC LIMIT %(completed)s
        )
    ) s ORDER BY ended_at DESC NULLS FIRST, number DESC
"""
PREVIEWS = f"""
    SELECT o.number, {PREVIEW_COLUMNS} FROM {_OBSERVATIONS_TABLE} o
    WHERE o.user_id = %(user_id)s AND o.number = ANY(%(numbers)s::bigint[])
"""

# Forgetting.
ERASE_OBSERVATIONS = f"DELETE FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s"
ERASE_SESSIONS = f"DELETE FROM {_SESSIONS} WHERE user_id = %(user_id)s"
ERASE_USER = f"DELETE FROM {_USERS} WHERE user_id = %(user_id)s"

#: Lets one transaction be acknowledged before it is synced.
NOT_SYNCED = "SET LOCAL synchronous_commit = off"
