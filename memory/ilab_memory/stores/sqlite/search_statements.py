"""Statements of the search.

The driver releases the GIL at each row too, so that with busy threads a search would wait for it hundreds of times:
what may be many rows is returned as one, a JSON array.
"""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.stores.sqlite.schema import NUMBER_BITS, NUMBER_MASK
from ilab_memory.stores.sqlite.statements import OF_USER, PREVIEW_COLUMNS

PREVIEWS = f"""
    SELECT json_group_array(json_array(o.number, {PREVIEW_COLUMNS.format(characters="?3")})) FROM observations o
    WHERE {OF_USER} AND o.number IN (SELECT value FROM json_each(?2))
"""
_DOCUMENT = """
    o.id, o.session, o.type, o.updated_at, o.revision_count, o.title_terms, o.said_terms, o.reply_terms, o.tail_terms
"""
DOCUMENTS = f"""
    SELECT json_group_array(json_array(o.number, {_DOCUMENT})) FROM observations o
    WHERE {OF_USER} AND o.number IN (SELECT value FROM json_each(?2))
        AND (o.expire_at IS NULL OR o.expire_at > ?3)
"""
# The index key may come from a stale cache entry: see `blind_index.KeyCache`.
_ASKED_USER = "FROM users u WHERE u.user_id = ?1 AND u.index_key = ?2"
_ASKED_USER_AND_TOKENS = "FROM users u CROSS JOIN json_each(?3) token WHERE u.user_id = ?1 AND u.index_key = ?2"
# For each token an array of numbers, one of fields and one of positions: read faster than one for each place. The token
# alone keeps users apart; the key in the row's number makes it a rule. Put together as text, for SQLite would read each
# array again that is put into another.
_PLACES = f"""
    SELECT '[' || group_concat((
        SELECT '[' || json_group_array(found.doc & {NUMBER_MASK}) || ',' || json_group_array(found.col) || ','
            || json_group_array(found.offset) || ']'
        FROM search_places found WHERE found.term = token.value AND found.doc >> {NUMBER_BITS} = u.key
    )) || ']' FROM json_each(?3) token
"""
TERM_PLACES = f"SELECT ({_PLACES}) {_ASKED_USER}"
# The newest rows in which each token is in one of the columns ?4.
NEWEST_WITH = f"""
    SELECT '[' || group_concat((
        SELECT json_group_array(number) FROM (
            SELECT found.rowid & {NUMBER_MASK} AS number FROM search found
            WHERE found.search MATCH ?4 || token.value AND found.rowid >> {NUMBER_BITS} = u.key
            ORDER BY found.rowid DESC LIMIT ?5
        )
    )) || ']' {_ASKED_USER_AND_TOKENS}
"""
# All that a search must know of a user with few rows. For one with more than ?4 rows it comes without places, but with
# how many rows hold each token, counted up to ?8; for one with more than ?5 without the rows.
MATCHES = f"""
    SELECT
        u.observations, u.title_terms, u.said_terms, u.reply_terms, u.tail_terms,
        CASE WHEN u.observations <= ?4 THEN ({_PLACES}) END,
        CASE WHEN u.observations > ?4 THEN (
            SELECT json_group_array(json_array(token.key, (
                SELECT count(*) FROM (SELECT 1 FROM search found WHERE found.search MATCH token.value LIMIT ?8)
            ))) FROM json_each(?3) token
        ) END,
        CASE WHEN u.observations <= ?5 THEN (
            SELECT json_group_array(json_array(o.number, {_DOCUMENT}, {PREVIEW_COLUMNS.format(characters="?6")}))
            FROM observations o WHERE o.user = u.key AND (o.expire_at IS NULL OR o.expire_at > ?7)
        ) END
    {_ASKED_USER}
"""
# Not LIKE, which takes seconds to look for a long text in one that repeats its beginning. lower() is of A to Z alone.
# Row by row from the newest one, so that it ends when enough rows are found or enough text is read.
CONTAINING = """
    WITH RECURSIVE walk (user, number, characters, found, is_found) AS (
        SELECT key, last_number + 1, 0, 0, 0 FROM users WHERE user_id = ?1
        UNION ALL
        SELECT o.user, o.number, walk.characters + length(o.content), walk.found + walk.is_found,
            instr(lower(o.content), lower(?2)) OR instr(lower(o.title), lower(?2))
        FROM walk CROSS JOIN observations o ON o.user = walk.user AND o.number = (
            SELECT max(before.number) FROM observations before
            WHERE before.user = walk.user AND before.number < walk.number
        )
        WHERE walk.found + walk.is_found < ?3 AND walk.characters < ?4
    )
    SELECT json_group_array(number) FROM walk WHERE is_found
"""
