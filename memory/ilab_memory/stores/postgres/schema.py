"""The tables, of the newest schema version. Every name here is private to the store.

Every table is partitioned by the hash of user_id, and user_id begins every key and every index but the full-text one
and those of pending work.
There is no sequence, trigger or foreign key: what one would do is done under the lock of the user's row, so that all of
a user can live on any machine. Texts are compared by their bytes (COLLATE "C"): no index depends on the order that a
version of the C library keeps.
"""

from collections.abc import Iterator

from ilab_memory.core.config import FACT_TYPES

#: Version of the schema that this code reads and writes. A change of what `ilab_memory.recall.analysis.fields` returns
#: needs a new version too, with a migration that rebuilds the index. A bound on the length of what is indexed does not:
#: rows that an earlier version wrote are found by all of their words.
VERSION = 3
#: Where the tables are.
SCHEMA = "ilab_memory"

#: Where versions before the first release recorded theirs. Such a database is refused.
UNRELEASED_TABLE = "schema_version"

SCHEMA_MIGRATIONS = f"""
    CREATE SCHEMA IF NOT EXISTS {SCHEMA};
    CREATE TABLE {SCHEMA}.schema_migrations (version integer NOT NULL)
"""

# A save updates the rows of its user and session: room in their pages keeps that off the indexes. Erased rows are
# to be gone soon, not when a fifth of the table is.
_OFTEN_CHANGED = "WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02)"
_ADDED_TO = "WITH (autovacuum_vacuum_scale_factor = 0.02)"

#: Name, columns, and how the partitions are stored.
TABLES = (
    (
        "users",
        """
        user_id text COLLATE "C" PRIMARY KEY,
        index_key bytea NOT NULL,              -- makes the index of the user's words unreadable; gone with the row
        first_id bigint NOT NULL,           -- an observation's id is this and the number with which it was created
        last_number bigint NOT NULL DEFAULT 0,
        last_session bigint NOT NULL DEFAULT 0,
        observations bigint NOT NULL DEFAULT 0,
        title_terms bigint NOT NULL DEFAULT 0,
        said_terms bigint NOT NULL DEFAULT 0,
        reply_terms bigint NOT NULL DEFAULT 0,
        tail_terms bigint NOT NULL DEFAULT 0
        """,
        _OFTEN_CHANGED,
    ),
    (
        "sessions",
        """
        user_id text COLLATE "C" NOT NULL,
        number bigint NOT NULL,
        conversation_id text COLLATE "C" NOT NULL DEFAULT '',
        started_at timestamptz NOT NULL,
        ended_at timestamptz,
        last_activity_at timestamptz NOT NULL,
        is_auto_generated boolean NOT NULL DEFAULT false,
        id text COLLATE "C" NOT NULL,
        summary text,
        PRIMARY KEY (user_id, number),
        UNIQUE (user_id, id)
        """,
        _OFTEN_CHANGED,
    ),
    (
        "observations",
        """
        user_id text COLLATE "C" NOT NULL,
        id bigint NOT NULL,
        number bigint NOT NULL,
        session bigint NOT NULL,
        conversation_id text COLLATE "C" NOT NULL DEFAULT '',   -- of the session, for the index of lists
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        revision_count integer NOT NULL DEFAULT 1,
        title_terms integer NOT NULL,
        said_terms integer NOT NULL,
        reply_terms integer NOT NULL,
        tail_terms integer NOT NULL,
        normalized_hash bytea NOT NULL,
        type text COLLATE "C" NOT NULL,
        title text COLLATE "C" NOT NULL,
        topic_key text COLLATE "C",
        pinned boolean NOT NULL DEFAULT false,
        expire_at timestamptz,
        about text COLLATE "C",     -- what the content says about the user, one statement per line
        terms tsvector NOT NULL,    -- of hashes, see blind_index.py
        content text COLLATE "C" NOT NULL,
        PRIMARY KEY (user_id, id),
        UNIQUE (user_id, number)
        """,
        _ADDED_TO,
    ),
    # Which observations a fact was derived from. Rows of a value that was replaced stay, as earlier ones.
    (
        "sources",
        """
        user_id text COLLATE "C" NOT NULL,
        fact bigint NOT NULL,       -- an observation
        source bigint NOT NULL,     -- another one
        is_earlier boolean NOT NULL DEFAULT false,
        PRIMARY KEY (user_id, fact, source)
        """,
        _ADDED_TO,
    ),
    # Consolidation, see `ilab_memory.core.work`: a user whose turns have been queued.
    (
        "work",
        """
        user_id text COLLATE "C" PRIMARY KEY,
        cursor bigint NOT NULL,             -- number of the last observation that was consolidated
        pending bigint NOT NULL,            -- saves queued since
        first_pending_at timestamptz,       -- of the first of them; NULL if none is
        last_turn_at timestamptz NOT NULL,
        is_session_ended boolean NOT NULL DEFAULT false,
        lease text COLLATE "C",
        lease_until timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        not_before timestamptz,
        is_dead boolean NOT NULL DEFAULT false,
        day text COLLATE "C",               -- of tokens_used
        tokens_used bigint NOT NULL DEFAULT 0
        """,
        _OFTEN_CHANGED,
    ),
    # Vectors, see `ilab_memory.core.vector_store`: whose they are, and up to which observation.
    (
        "embedded",
        """
        user_id text COLLATE "C" PRIMARY KEY,
        model text COLLATE "C" NOT NULL,    -- id of the embedder
        cursor bigint NOT NULL              -- number of the last observation that was embedded
        """,
        _OFTEN_CHANGED,
    ),
    (
        "vectors",
        """
        user_id text COLLATE "C" NOT NULL,
        block bigint NOT NULL,
        stamp bigint NOT NULL,  -- random, another one after each change
        size integer NOT NULL,  -- of one vector, in bytes
        data bytea NOT NULL,
        PRIMARY KEY (user_id, block)
        """,
        _OFTEN_CHANGED,
    ),
)

#: The types of facts, for statements that use the index of facts.
FACTS = f"({', '.join(map(repr, FACT_TYPES))})"

INDEXES = (
    # At most one active session per user and conversation, even if two processes open it at once.
    "CREATE UNIQUE INDEX sessions_active ON {schema}.sessions (user_id, conversation_id) WHERE ended_at IS NULL",
    "CREATE INDEX sessions_completed ON {schema}.sessions (user_id, ended_at, number) WHERE ended_at IS NOT NULL",
    "CREATE INDEX sessions_started ON {schema}.sessions (user_id, started_at, number)",
    "CREATE INDEX sessions_of_conversation ON {schema}.sessions (user_id, conversation_id, started_at, number)",
    # For lists: the newest rows of each type are merged.
    "CREATE INDEX observations_by_type ON {schema}.observations (user_id, type, updated_at, id)",
    """
    CREATE INDEX observations_of_conversation ON {schema}.observations (
        user_id, conversation_id, type, updated_at, id
    )
    """,
    "CREATE INDEX observations_timeline ON {schema}.observations (user_id, created_at, id)",
    "CREATE INDEX observations_newest ON {schema}.observations (user_id, session, updated_at, id)",
    """
    CREATE UNIQUE INDEX observations_keyed ON {schema}.observations (user_id, topic_key) WHERE topic_key IS NOT NULL
    """,
    """
    CREATE INDEX observations_unkeyed ON {schema}.observations (user_id, normalized_hash) WHERE topic_key IS NULL
    """,
    f"""
    CREATE INDEX observations_facts ON {{schema}}.observations (user_id, pinned, updated_at, id) WHERE type IN {FACTS}
    """,
    "CREATE INDEX observations_about ON {schema}.observations (user_id, updated_at, id) WHERE about IS NOT NULL",
    "CREATE INDEX observations_expiring ON {schema}.observations (user_id, expire_at) WHERE expire_at IS NOT NULL",
    "CREATE INDEX sources_of_source ON {schema}.sources (user_id, source)",
    # Pending work of all users: the only indexes without the user. A save changes none of their columns.
    "CREATE INDEX work_pending ON {schema}.work (first_pending_at) WHERE first_pending_at IS NOT NULL",
    "CREATE INDEX work_spent ON {schema}.work (day) INCLUDE (tokens_used) WHERE day IS NOT NULL",
    # No pending list: every search would read through it, other users' words included.
    "CREATE INDEX observations_search ON {schema}.observations USING gin (terms) WITH (fastupdate = off)",
)


def statements(partitions: int) -> Iterator[str]:
    """Yield the statements that make the tables, each with this number of *partitions*."""
    for name, columns, storage in TABLES:
        yield f"CREATE TABLE {SCHEMA}.{name} ({columns}) PARTITION BY HASH (user_id)"
        if name == "observations":
            # In the row as long as a page can hold it: a search reads the terms of many rows, and the content of ten.
            yield f"ALTER TABLE {SCHEMA}.{name} ALTER COLUMN terms SET STORAGE MAIN"
        if name == "vectors":
            # They cannot be compressed.
            yield f"ALTER TABLE {SCHEMA}.{name} ALTER COLUMN data SET STORAGE EXTERNAL"
        for remainder in range(partitions):
            yield (
                f"CREATE TABLE {SCHEMA}.{name}_{remainder} PARTITION OF {SCHEMA}.{name}"
                f" FOR VALUES WITH (MODULUS {partitions}, REMAINDER {remainder}) {storage}"
            )
    for index in INDEXES:
        yield index.format(schema=SCHEMA)
