"""Every statement of the search, in the manner of `statements`."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.stores.postgres.blind_index import HASH, PREFIX
from ilab_memory.stores.postgres.schema import SCHEMA
from ilab_memory.stores.postgres.statements import PREVIEW_COLUMNS

_USERS, _OBSERVATIONS_TABLE = f"{SCHEMA}.users", f"{SCHEMA}.observations"

#: Rows of a user that are read, the newest first, before the index is asked for more rows with a term. The index has no
#: order: it would find every row with a common term, for each of the terms.
WALKED_ROWS = 2000

_TOKEN = f"""
    left(encode(u.index_key, 'base64'), {PREFIX})
    || left(encode(sha256(u.index_key || convert_to(asked.term, 'UTF8')), 'base64'), {HASH})
"""
_ASKED = "unnest(%(terms)s::text[]) WITH ORDINALITY AS asked (term, place)"
_OBSERVATIONS_OF_USER = f"(SELECT observations FROM {_USERS} WHERE user_id = %(user_id)s)"
# How many rows hold each term is not asked about who has so few rows that POSTINGS_OF_FEW reads where they stand.
STATISTICS = f"""
    SELECT
        u.observations, u.title_terms, u.said_terms, u.reply_terms, u.tail_terms, asked.place,
        CASE WHEN u.observations > %(most_for_places)s THEN (
            SELECT count(*) FROM (
                SELECT FROM {_OBSERVATIONS_TABLE} o
                WHERE o.user_id = %(user_id)s AND o.terms @@ quote_literal({_TOKEN})::tsquery
                LIMIT %(most_frequency)s
            ) found
        ) END
    FROM {_USERS} u CROSS JOIN {_ASKED}
    WHERE u.user_id = %(user_id)s ORDER BY asked.place
"""
# Of each row that has any of the terms, its vector without all other terms; before them, the lexemes of the terms.
_POSTINGS = f"""
    WITH looked_up AS MATERIALIZED (
        SELECT array_agg(token ORDER BY place) AS tokens, string_agg(quote_literal(token), '|')::tsquery AS query
        FROM (
            SELECT asked.place, {_TOKEN} AS token FROM {_USERS} u, {_ASKED} WHERE u.user_id = %(user_id)s{{and_few}}
        ) t
    )
    SELECT 0, array_to_string(tokens, ' ') FROM looked_up WHERE tokens IS NOT NULL
    UNION ALL
    SELECT o.number, ts_filter(setweight(o.terms, 'A', looked_up.tokens), '{{{{a}}}}')::text
    FROM looked_up JOIN {_OBSERVATIONS_TABLE} o ON o.user_id = %(user_id)s AND o.terms @@ looked_up.query
"""
POSTINGS = _POSTINGS.format(and_few="")
POSTINGS_OF_FEW = _POSTINGS.format(and_few=" AND u.observations <= %(most_for_places)s")
_DOCUMENT = """
    o.number, o.id, o.session, o.type, o.updated_at, o.revision_count,
    o.title_terms, o.said_terms, o.reply_terms, o.tail_terms
"""


def newest_with(walked: int) -> str:
    """Return NEWEST_WITH for a number of rows that are walked."""
    # A label stands for a part of an observation, see blind_index.py.
    matches = f"o.terms @@ (quote_literal({_TOKEN}) || %(label)s)::tsquery"
    newest = f"FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s ORDER BY number DESC"
    # UNION ALL is read in its order, and only until there are enough rows.
    return f"""
        SELECT asked.place, ARRAY(
            (
                SELECT o.number FROM (SELECT number, terms {newest} LIMIT {walked}) o WHERE {matches}
                ORDER BY o.number DESC LIMIT %(most)s
            )
            UNION ALL
            (
                SELECT o.number FROM {_OBSERVATIONS_TABLE} o
                WHERE o.user_id = %(user_id)s AND {matches}
                    AND o.number < (SELECT number {newest} LIMIT 1 OFFSET {walked - 1})
                ORDER BY o.number DESC LIMIT %(most)s
            )
            LIMIT %(most)s
        )
        FROM {_USERS} u CROSS JOIN {_ASKED} WHERE u.user_id = %(user_id)s
    """


NEWEST_WITH = newest_with(WALKED_ROWS)
ROWS_OF_FEW = f"""
    SELECT {_DOCUMENT}, {PREVIEW_COLUMNS} FROM {_OBSERVATIONS_TABLE} o
    WHERE o.user_id = %(user_id)s AND {_OBSERVATIONS_OF_USER} <= %(most_rows)s
        AND (o.expire_at IS NULL OR o.expire_at > %(now)s)
"""
DOCUMENTS = f"""
    SELECT {_DOCUMENT} FROM {_OBSERVATIONS_TABLE} o
    WHERE o.user_id = %(user_id)s AND o.number = ANY(%(numbers)s::bigint[])
        AND (o.expire_at IS NULL OR o.expire_at > %(now)s)
"""
# Not ILIKE, which takes seconds to look for a long text in one that repeats its beginning. Under COLLATE "C", lower()
# is of A to Z alone. CASE: content that is stored apart from its row is read only as far as it counts.
CONTAINING = f"""
    SELECT number FROM (
        SELECT number, title, content, sum(octet_length(content)) OVER (
            ORDER BY number DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
        FROM {_OBSERVATIONS_TABLE} WHERE user_id = %(user_id)s
    ) newest
    WHERE CASE WHEN coalesce(bytes_before, 0) < %(most_bytes)s THEN
        strpos(lower(content), lower(%(text)s COLLATE "C")) > 0
        OR strpos(lower(title), lower(%(text)s COLLATE "C")) > 0
    END
    ORDER BY number DESC LIMIT %(at_most)s
"""
