"""Every statement of the store. Built from constants only: each value from a caller is a parameter."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.limits import MOST_COMPARED, MOST_REBUILT, MOST_RECENT, PREVIEW_CHARACTERS

# Parameters are bound by position: the driver releases the GIL at each name. A reader's first one is the user_id.

# The writer's view of a user: key, index key and active session in one look-up.
USER_NOW = """
    SELECT u.key, u.index_key, s.key, s.id, s.started_at, s.last_activity_at
    FROM users u LEFT JOIN sessions s ON s.user = u.key AND s.conversation_id = ?2 AND s.ended_at IS NULL
    WHERE u.user_id = ?1
"""
USER = "SELECT key, index_key FROM users WHERE user_id = ?"
# No row: another user has these ids.
NEW_USER = """
    INSERT INTO users (user_id, index_key, first_id) VALUES (?, ?, ?) ON CONFLICT (first_id) DO NOTHING RETURNING key
"""

# Sessions.
NEW_SESSION = """
    INSERT INTO sessions (
        id, user, conversation_id, started_at, ended_at, last_activity_at, summary, is_auto_generated
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING key
"""
TOUCH_SESSION = "UPDATE sessions SET last_activity_at = max(last_activity_at, ?) WHERE key = ?"
SET_BACK_SESSION = "UPDATE sessions SET started_at = min(started_at, ?), last_activity_at = ? WHERE key = ?"
# Of many users at once.
TOUCH_ACTIVE = """
    WITH touched AS MATERIALIZED (
        SELECT s.key, touch.value ->> 1 AS moment
        FROM json_each(?) touch
        CROSS JOIN users u ON u.user_id = touch.value ->> 0
        CROSS JOIN sessions s ON s.user = u.key AND s.id = touch.value ->> 2
        WHERE s.ended_at IS NULL
    )
    UPDATE sessions SET last_activity_at = max(last_activity_at, touched.moment)
    FROM touched WHERE sessions.key = touched.key
"""
COMPLETE_SESSION = (
    "UPDATE sessions SET ended_at = ?, summary = ?, is_auto_generated = ?, last_activity_at = ? WHERE key = ?"
)
COUNT_IN_SESSION = "SELECT count(*) FROM observations WHERE session = ?"
LAST_TITLES = "SELECT title FROM observations WHERE session = ? ORDER BY updated_at DESC, id DESC LIMIT 3"
SESSION_COLUMNS = (
    "s.id, s.started_at, s.ended_at, s.last_activity_at, s.summary, s.is_auto_generated, s.conversation_id"
)
_QUOTES_TITLE = "user = ?1 AND is_auto_generated AND (instr(summary, ': ' || ?2) OR instr(summary, '; ' || ?2))"
# The newest sessions that expired and whose summary quotes this title.
CLOSED_WITH_TITLE = f"""
    SELECT key, started_at FROM sessions WHERE {_QUOTES_TITLE} ORDER BY started_at DESC, key DESC LIMIT {MOST_REBUILT}
"""
# Of the older ones.
CLEAR_SUMMARIES = f"UPDATE sessions SET summary = ?3 WHERE {_QUOTES_TITLE} AND (started_at, key) < (?4, ?5)"
SET_SUMMARY = "UPDATE sessions SET summary = ? WHERE key = ?"

# Saving.
# The newest rows of the content are compared.
SAME_UNKEYED = f"""
    SELECT id FROM (
        SELECT id, user, type, title, pinned, expire_at, about FROM observations
        WHERE session = ? AND normalized_hash = ? AND topic_key IS NULL ORDER BY id DESC LIMIT {MOST_COMPARED}
    ) same
    WHERE user = ? AND type = ? AND title = ? AND pinned >= ? AND expire_at IS ? AND about IS ?
"""
BY_KEY = """
    SELECT id, number, content, type, title, normalized_hash, pinned, expire_at, about
    FROM observations WHERE user = ? AND topic_key = ?
"""
# The next number of the user, and the next id; triggers count the row in and touch its session.
_NUMBER = "(SELECT last_number + 1 FROM users WHERE key = ?1)"
_ID = "(SELECT first_id + last_number + 1 FROM users WHERE key = ?1)"
#: The columns of CHANGE_OBSERVATION, by place; the id is behind them.
CHANGED = (
    "user", "session", "conversation_id", "type", "title", "normalized_hash", "updated_at",
    "title_terms", "said_terms", "reply_terms", "tail_terms", "preview", "content", "pinned", "expire_at", "about",
)  # fmt: skip
#: The columns of NEW_OBSERVATION, by place.
WRITTEN = (*CHANGED, "topic_key", "created_at", "revision_count")
_INSERT = f"""
    INSERT INTO observations ({", ".join(WRITTEN)}, id, number)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, {{id}}, {{number}})
"""
NEW_OBSERVATION = f"{_INSERT.format(id=_ID, number=_NUMBER)} RETURNING id, number"
# With the id and the number behind the columns.
ADD_OBSERVATION = _INSERT.format(id="?20", number="?21")
# A save never unpins.
CHANGE_OBSERVATION = f"""
    UPDATE observations SET
        number = {_NUMBER}, session = ?2, conversation_id = ?3, type = ?4, title = ?5, normalized_hash = ?6,
        revision_count = revision_count + 1, updated_at = ?7, title_terms = ?8, said_terms = ?9, reply_terms = ?10,
        tail_terms = ?11, preview = ?12, content = ?13, pinned = max(pinned, ?14), expire_at = ?15, about = ?16
    WHERE id = ?17 RETURNING id, number
"""
# An observation as it is, for a change or an erasure.
TO_CHANGE = """
    SELECT u.key, u.index_key, s.key, s.id, s.conversation_id, o.number, o.topic_key, o.pinned, o.expire_at, o.type,
        o.title, o.content, o.normalized_hash, o.about
    FROM users u JOIN observations o ON o.user = u.key JOIN sessions s ON s.key = o.session
    WHERE u.user_id = ?1 AND o.id = ?2
"""
PIN_OBSERVATION = "UPDATE observations SET pinned = ?, expire_at = ? WHERE id = ?"
DELETE_OBSERVATION = """
    DELETE FROM observations WHERE id = ? RETURNING title_terms, said_terms, reply_terms, tail_terms, user
"""
COUNT_OUT = """
    UPDATE users SET
        observations = observations - 1, title_terms = title_terms - ?, said_terms = said_terms - ?,
        reply_terms = reply_terms - ?, tail_terms = tail_terms - ?
    WHERE key = ?
"""
SESSION_OF_ID = "SELECT key, conversation_id, last_activity_at FROM sessions WHERE user = ?1 AND id = ?2"
# After rows that were added to the session have touched it.
RESTORE_ACTIVITY = "UPDATE sessions SET last_activity_at = ? WHERE key = ?"
HAS_ACTIVE = "SELECT 1 FROM sessions WHERE user = ? AND conversation_id = ? AND ended_at IS NULL"
HAS_KEY = "SELECT id, type, title, normalized_hash FROM observations WHERE user = ? AND topic_key = ?"
# Many rows of a session may have this content, and many rows of the user this time, but hardly both.
HAS_ROW = f"""
    SELECT id, type, title, normalized_hash FROM (
        SELECT id, type, title, normalized_hash, created_at FROM observations
        WHERE session = ?2 AND normalized_hash = ?3 AND topic_key IS NULL LIMIT {MOST_COMPARED}
    ) same
    WHERE type = ?4 AND title = ?5 AND created_at = ?6
    UNION ALL
    SELECT id, type, title, normalized_hash FROM (
        SELECT id, session, type, title, topic_key, normalized_hash FROM observations
        WHERE user = ?1 AND created_at = ?6 LIMIT {MOST_COMPARED}
    ) same
    WHERE session = ?2 AND normalized_hash = ?3 AND topic_key IS NULL AND type = ?4 AND title = ?5
    LIMIT 1
"""
# Of saves that come together, those that only add a row: the user has an active session, no row of this key, and no row
# of this content in the session. The hashes come in one blob, one behind the other.
READY = """
    SELECT json_group_array(json_array(
        asked.key, u.key, hex(u.index_key), s.key, s.id, s.last_activity_at, u.first_id, u.last_number
    ))
    FROM json_each(?1) asked
    CROSS JOIN users u ON u.user_id = asked.value ->> 0
    CROSS JOIN sessions s ON s.user = u.key AND s.conversation_id = asked.value ->> 2 AND s.ended_at IS NULL
    WHERE NOT EXISTS (SELECT 1 FROM observations o WHERE o.user = u.key AND o.topic_key = asked.value ->> 1)
        AND (asked.value ->> 1 IS NOT NULL OR NOT EXISTS (
            SELECT 1 FROM observations o
            WHERE o.session = s.key AND o.topic_key IS NULL
                AND o.normalized_hash = substr(?2, 1 + 32 * asked.key, 32)
        ))
"""
ADD_TO_INDEX = "INSERT INTO search (rowid, title, said, reply, tail) VALUES (?, ?, ?, ?, ?)"
TAKE_FROM_INDEX = "INSERT INTO search (search, rowid, title, said, reply, tail) VALUES ('delete', ?, ?, ?, ?, ?)"

# Reading whole rows.
_PLAIN_COLUMNS = """
    o.id, s.id AS session_id, o.type, o.title, o.content, o.topic_key,
    lower(hex(o.normalized_hash)) AS normalized_hash, o.revision_count, o.created_at, o.updated_at,
    o.pinned, o.expire_at, o.about"""
OBSERVATION_COLUMNS = f"""{_PLAIN_COLUMNS}, (
        -- The ids, with a minus before earlier sources.
        SELECT group_concat(iif(link.is_earlier, -link.source, link.source)) FROM sources link
        WHERE link.user = o.user AND link.fact = o.id
    ) AS sources
"""
OF_USER = "o.user = (SELECT key FROM users WHERE user_id = ?1)"
_OBSERVATIONS = f"SELECT {OBSERVATION_COLUMNS} FROM observations o JOIN sessions s ON s.key = o.session"
GET = f"{_OBSERVATIONS} WHERE o.id = ?2 AND {OF_USER}"
_ANCHOR = """
    SELECT anchor.created_at, anchor.id FROM observations anchor
    WHERE anchor.id = ?2 AND anchor.user = (SELECT key FROM users WHERE user_id = ?1)
"""
# As one row: the driver releases the GIL at each step, and reacquiring it from a busy event loop costs more than the
# step. The contents, which may be long, stand one behind the other: in JSON, each character of them would be looked at
# twice.
_AS_ONE_ROW = """
    json_group_array(json_array(
        id, session_id, type, title, length(content), topic_key, normalized_hash, revision_count, created_at,
        updated_at, pinned, expire_at, about, sources
    )), group_concat(content, '')
"""
# The anchor and those before it backwards, then those after it.
TIMELINE = f"""
    SELECT {_AS_ONE_ROW}
    FROM (
        SELECT * FROM (
            {_OBSERVATIONS} WHERE {OF_USER} AND (o.created_at, o.id) <= ({_ANCHOR})
            ORDER BY o.created_at DESC, o.id DESC LIMIT ?3 + 1
        ) UNION ALL SELECT * FROM (
            {_OBSERVATIONS} WHERE {OF_USER} AND (o.created_at, o.id) > ({_ANCHOR})
            ORDER BY o.created_at, o.id LIMIT ?3
        )
    )
"""
# Only the beginning of each row that is looked at is read: its topic_key stands before its content. The contents that
# are returned are measured before they are read.
RECENT = f"""
    WITH prefixes AS MATERIALIZED (SELECT value, length(value) AS characters FROM json_each(?3))
    SELECT {_AS_ONE_ROW}
    FROM (
        SELECT {_PLAIN_COLUMNS}, NULL AS sources FROM (
            SELECT id, sum(bytes) OVER (ROWS UNBOUNDED PRECEDING) AS bytes FROM (
                SELECT newest.id, (
                    SELECT length(CAST(long.content AS BLOB)) FROM observations long WHERE long.id = newest.id
                ) AS bytes
                FROM (
                    SELECT id, topic_key FROM observations
                    WHERE session = (
                        SELECT key FROM sessions
                        WHERE id = ?2 AND user = (SELECT key FROM users WHERE user_id = ?1) AND conversation_id = ?6
                    )
                    AND (expire_at IS NULL OR expire_at > ?7)
                    ORDER BY updated_at DESC, id DESC LIMIT {MOST_RECENT}
                ) newest
                WHERE ?3 IS NULL OR EXISTS (
                    SELECT 1 FROM prefixes WHERE substr(newest.topic_key, 1, prefixes.characters) = prefixes.value
                )
                LIMIT ?4
            )
        ) found
        CROSS JOIN observations o ON o.id = found.id CROSS JOIN sessions s ON s.key = o.session
        WHERE found.bytes <= ?5
    )
"""
# A page of a list. The newest rows of each type come from an index, and are merged: how many rows there are does not
# matter. The types that the user has are found in the index, one look-up each, if none are given. The page is walked
# row by row, so that no content behind its end is read.
_PAGE_OF_TYPES = f"""
    WITH RECURSIVE kinds (type) AS (
        SELECT min(o.type) FROM observations o WHERE ?2 IS NULL AND {OF_USER}{{of_conversation}}
        UNION ALL
        SELECT (SELECT min(o.type) FROM observations o WHERE {OF_USER}{{of_conversation}} AND o.type > kinds.type)
        FROM kinds WHERE kinds.type IS NOT NULL
    ), asked (type) AS (
        SELECT value FROM json_each(?2) UNION ALL SELECT type FROM kinds WHERE type IS NOT NULL
    ), page AS MATERIALIZED (
        SELECT id, row_number() OVER () AS place FROM (
            SELECT listed.id FROM asked CROSS JOIN observations listed ON listed.id IN (
                SELECT o.id FROM observations o
                WHERE {OF_USER}{{of_conversation}} AND o.type = asked.type AND (o.updated_at, o.id) < (?3, ?4)
                ORDER BY o.updated_at DESC, o.id DESC LIMIT ?5
            )
            ORDER BY listed.updated_at DESC, listed.id DESC LIMIT ?5
        )
    ), walk (place, id, bytes) AS (
        SELECT 0, NULL, 0
        UNION ALL
        SELECT page.place, page.id, walk.bytes + (
            SELECT length(CAST(long.content AS BLOB)) + coalesce(length(CAST(long.about AS BLOB)), 0)
            FROM observations long WHERE long.id = page.id
        )
        FROM walk CROSS JOIN page ON page.place = walk.place + 1 WHERE walk.bytes < ?6
    )
    SELECT {_AS_ONE_ROW}
    FROM (
        SELECT {OBSERVATION_COLUMNS} FROM walk
        CROSS JOIN observations o ON o.id = walk.id CROSS JOIN sessions s ON s.key = o.session
    )
"""
LIST_OBSERVATIONS = _PAGE_OF_TYPES.format(of_conversation="")
LIST_OF_CONVERSATION = _PAGE_OF_TYPES.format(of_conversation=" AND o.conversation_id = ?7")
_PAGE_OF_SESSIONS = f"""
    SELECT {SESSION_COLUMNS} FROM sessions s
    WHERE s.user = (SELECT key FROM users WHERE user_id = ?1){{of_conversation}} AND (s.started_at, s.key) < (
        ?2, coalesce((
            SELECT before.key FROM sessions before
            WHERE before.id = ?3 AND before.user = (SELECT key FROM users WHERE user_id = ?1)
        ), 0)
    )
    ORDER BY s.started_at DESC, s.key DESC LIMIT ?4
"""
LIST_SESSIONS = _PAGE_OF_SESSIONS.format(of_conversation="")
LIST_SESSIONS_OF_CONVERSATION = _PAGE_OF_SESSIONS.format(of_conversation=" AND s.conversation_id = ?5")
STATS = """
    SELECT u.observations, (SELECT count(*) FROM sessions s WHERE s.user = u.key) FROM users u WHERE u.user_id = ?
"""
TYPE_STATS = """
    SELECT o.type, count(*), sum(length(CAST(o.title AS BLOB)) + length(CAST(o.content AS BLOB))), min(o.created_at),
        max(o.updated_at)
    FROM observations o JOIN users u ON u.key = o.user WHERE u.user_id = ? GROUP BY o.type
"""

# Lists.
# Only a content without a preview that is long enough is read.
PREVIEW_COLUMNS = f"""
    o.id, o.type, o.title, o.topic_key, o.revision_count, o.updated_at,
    substr(coalesce(CASE WHEN {{characters}} <= {PREVIEW_CHARACTERS} THEN o.preview END, o.content), 1, {{characters}})
"""
_NEWEST = f"""
    SELECT group_concat(line) FROM (
        SELECT json_array({PREVIEW_COLUMNS.format(characters="?4")}) AS line
        FROM observations o WHERE o.session = s.key AND {OF_USER} AND (o.expire_at IS NULL OR o.expire_at > ?6)
        ORDER BY o.updated_at DESC, o.id DESC LIMIT ?3
    )
"""
_SESSION_LINE = f"json_array({SESSION_COLUMNS}) || ',[' || coalesce(({_NEWEST}), '') || ']'"
_SESSIONS_OF_USER = (
    f"SELECT {_SESSION_LINE} AS line FROM sessions s WHERE s.user = (SELECT key FROM users WHERE user_id = ?1)"
)
# One JSON array: each session, the active one first, and behind it an array of its newest observations. Put together as
# text, for SQLite would read each array again that is put into another.
RECENT_SESSIONS = f"""
    SELECT '[' || coalesce(group_concat(line), '') || ']' FROM (
        SELECT * FROM ({_SESSIONS_OF_USER} AND s.conversation_id = ?5 AND s.ended_at IS NULL)
        UNION ALL SELECT * FROM (
            {_SESSIONS_OF_USER} AND s.ended_at IS NOT NULL ORDER BY s.ended_at DESC, s.key DESC LIMIT ?2
        )
    )
"""
