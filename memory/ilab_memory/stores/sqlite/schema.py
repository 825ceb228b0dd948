"""The tables of the newest schema version. Every name here is private to the store."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.vector_store import BLOCK

#: Version of the schema that this code reads and writes, stored in the file's `user_version`. A change of what
#: `ilab_memory.recall.analysis.fields` returns needs a new version too, with a migration that rebuilds the index: rows
#: are removed from the index by the terms that they were added with.
VERSION = 3
#: Stored in the file's `application_id`, to recognize files of other programs. ASCII "ILME".
APPLICATION_ID = 0x494C4D45
#: The `application_id` of files written before the first release. They are refused.
UNRELEASED_APPLICATION_ID = 0x494C4142

#: Bits of a row of the index that hold the number of an observation; the user's key stands above them.
NUMBER_BITS = 28
NUMBER_MASK = (1 << NUMBER_BITS) - 1
#: A user's ids are one block of numbers, drawn at random from this range of blocks. Beyond it, ids would pass 2**53,
#: which JSON readers round.
ID_BLOCKS = range(2**8, 2 ** (53 - NUMBER_BITS))

TABLES = (
    # A user that is being erased has no user_id any more: its row is a tombstone, which `erasures` names.
    """
    CREATE TABLE users (
        key INTEGER PRIMARY KEY AUTOINCREMENT,
        user_id TEXT UNIQUE,
        index_key BLOB NOT NULL,           -- makes the index of the user's words unreadable; gone with the row
        first_id INTEGER NOT NULL UNIQUE,   -- an observation's id is this plus the number it was created with
        last_number INTEGER NOT NULL DEFAULT 0,
        observations INTEGER NOT NULL DEFAULT 0,
        title_terms INTEGER NOT NULL DEFAULT 0,
        said_terms INTEGER NOT NULL DEFAULT 0,
        reply_terms INTEGER NOT NULL DEFAULT 0,
        tail_terms INTEGER NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE sessions (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        user INTEGER NOT NULL REFERENCES users (key),
        conversation_id TEXT NOT NULL DEFAULT '',
        started_at TEXT NOT NULL,
        ended_at TEXT,
        last_activity_at TEXT NOT NULL,
        summary TEXT,
        is_auto_generated INTEGER NOT NULL DEFAULT 0,
        UNIQUE (user, id)   -- not of all users: a user who is being erased may be imported again
    )
    """,
    """
    CREATE TABLE observations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        user INTEGER NOT NULL REFERENCES users (key),
        number INTEGER NOT NULL,
        session INTEGER NOT NULL REFERENCES sessions (key),
        conversation_id TEXT NOT NULL DEFAULT '',   -- of the session, for the index of lists
        type TEXT NOT NULL,
        title TEXT NOT NULL,
        topic_key TEXT,
        normalized_hash BLOB NOT NULL,
        revision_count INTEGER NOT NULL DEFAULT 1,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        title_terms INTEGER NOT NULL,
        said_terms INTEGER NOT NULL,
        reply_terms INTEGER NOT NULL,
        tail_terms INTEGER NOT NULL,
        pinned INTEGER NOT NULL DEFAULT 0,
        expire_at TEXT,
        about TEXT,             -- what the content says about the user, one statement per line
        -- Beginning of a long content, which lists show: SQLite reads a text whole, also for its first characters.
        preview TEXT,           -- NULL for a short content
        content TEXT NOT NULL   -- last: it alone may fill pages beyond that of its row
    )
    """,
    # Which observations a fact was derived from. Rows of a value that was replaced stay, as earlier ones.
    """
    CREATE TABLE sources (
        user INTEGER NOT NULL,
        fact INTEGER NOT NULL,      -- an observation
        source INTEGER NOT NULL,    -- another one
        is_earlier INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (user, fact, source)
    ) WITHOUT ROWID
    """,
    # Consolidation, see `ilab_memory.core.work`: a user whose turns have been queued.
    """
    CREATE TABLE work (
        user INTEGER PRIMARY KEY REFERENCES users (key),
        cursor INTEGER NOT NULL,    -- number of the last observation that was consolidated
        pending INTEGER NOT NULL,   -- saves queued since
        first_pending_at TEXT,      -- of the first of them; NULL if none is
        last_turn_at TEXT NOT NULL,
        is_session_ended INTEGER NOT NULL DEFAULT 0,
        lease TEXT,
        lease_until TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        not_before TEXT,
        is_dead INTEGER NOT NULL DEFAULT 0,
        day TEXT,                   -- of tokens_used
        tokens_used INTEGER NOT NULL DEFAULT 0
    )
    """,
    # Vectors, see `ilab_memory.core.vector_store`: whose they are, and up to which observation.
    """
    CREATE TABLE embedded (
        user INTEGER PRIMARY KEY REFERENCES users (key),
        model TEXT NOT NULL,        -- id of the embedder
        cursor INTEGER NOT NULL     -- number of the last observation that was embedded
    )
    """,
    """
    CREATE TABLE vectors (
        user INTEGER NOT NULL REFERENCES users (key),
        block INTEGER NOT NULL,
        stamp INTEGER NOT NULL, -- random, another one after each change
        size INTEGER NOT NULL,  -- of one vector, in bytes
        data BLOB NOT NULL,
        UNIQUE (user, block)
    )
    """,
    # Contentless: the index contains hashes of the words (see blind_index.py); only observations has the text.
    """
    CREATE VIRTUAL TABLE search USING fts5 (
        title, said, reply, tail, content = '', columnsize = 0, tokenize = "ascii tokenchars '_'"
    )
    """,
    # Merges that are asked for take two segments or more: `user_erasure.merge_index` has to come to an end.
    "INSERT INTO search (search, rank) VALUES ('usermerge', 2)",
    "CREATE VIRTUAL TABLE search_places USING fts5vocab (search, instance)",
    "CREATE VIRTUAL TABLE search_terms USING fts5vocab (search, row)",
    # An erasure from the moment it is asked for until no byte is left in the files.
    """
    CREATE TABLE erasures (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        user INTEGER,                           -- key of the tombstone; NULL once its rows are erased
        salt BLOB NOT NULL,
        user_hash BLOB NOT NULL,                -- of the user_id, keyed with the salt
        in_index INTEGER NOT NULL DEFAULT 0,    -- the full-text index may contain hashes of a deleted observation
        is_rewritten INTEGER NOT NULL DEFAULT 0 -- not used; remove it with the next change of the tables
    )
    """,
    # One row: the last rewrite, by the clock of the system.
    "CREATE TABLE last_rewrite (ended_at REAL NOT NULL, seconds REAL NOT NULL)",
)

# Remove the vector of the observation OLD. What `||` makes of two blobs is a text of the same bytes.
_VECTOR_BEGIN = f"(OLD.number % {BLOCK}) * size"
_REMOVE_VECTOR = f"""
    UPDATE vectors SET stamp = random(), data = CAST(
        substr(data, 1, {_VECTOR_BEGIN}) || zeroblob(size) || substr(data, {_VECTOR_BEGIN} + size + 1) AS BLOB
    )
    WHERE user = OLD.user AND block = OLD.number / {BLOCK} AND length(data) > {_VECTOR_BEGIN};
    DELETE FROM vectors
    WHERE user = OLD.user AND block = OLD.number / {BLOCK} AND data = zeroblob(length(data));
"""

# The changes of a save besides its row. They are triggers, so that one statement does it all: between two statements
# the writer releases the GIL.
TRIGGERS = (
    """
    CREATE TRIGGER observation_created AFTER INSERT ON observations BEGIN
        UPDATE users SET
            last_number = NEW.number,
            observations = observations + 1,
            title_terms = title_terms + NEW.title_terms,
            said_terms = said_terms + NEW.said_terms,
            reply_terms = reply_terms + NEW.reply_terms,
            tail_terms = tail_terms + NEW.tail_terms
        WHERE key = NEW.user;
        -- Not of an imported row that was changed since; an import restores the times of its sessions itself.
        UPDATE sessions SET last_activity_at = max(last_activity_at, NEW.updated_at)
        WHERE key = NEW.session AND NEW.created_at = NEW.updated_at;
    END
    """,
    f"""
    CREATE TRIGGER observation_changed AFTER UPDATE OF number ON observations BEGIN
        UPDATE users SET
            last_number = NEW.number,
            title_terms = title_terms + NEW.title_terms - OLD.title_terms,
            said_terms = said_terms + NEW.said_terms - OLD.said_terms,
            reply_terms = reply_terms + NEW.reply_terms - OLD.reply_terms,
            tail_terms = tail_terms + NEW.tail_terms - OLD.tail_terms
        WHERE key = NEW.user;
        {_REMOVE_VECTOR}
    END
    """,
    f"""
    CREATE TRIGGER observation_deleted AFTER DELETE ON observations BEGIN
        DELETE FROM sources WHERE user = OLD.user AND fact = OLD.id;
        DELETE FROM sources WHERE user = OLD.user AND source = OLD.id;
        {_REMOVE_VECTOR}
    END
    """,
)

#: The types of facts, for statements that use the index of facts.
FACTS = f"({', '.join(map(repr, FACT_TYPES))})"

INDEXES = (
    # At most one active session per user and conversation, also between processes.
    "CREATE UNIQUE INDEX sessions_active ON sessions (user, conversation_id) WHERE ended_at IS NULL",
    "CREATE INDEX sessions_completed ON sessions (user, ended_at) WHERE ended_at IS NOT NULL",
    "CREATE INDEX sessions_started ON sessions (user, started_at)",
    "CREATE INDEX sessions_of_conversation ON sessions (user, conversation_id, started_at)",
    # Covers what ranking reads, so that a search touches few pages besides the rows it returns.
    """
    CREATE INDEX observations_ranked ON observations (
        user, number, session, type, updated_at, revision_count, title_terms, said_terms, reply_terms, tail_terms,
        expire_at
    )
    """,
    "CREATE INDEX observations_timeline ON observations (user, created_at, id)",
    # For lists: the newest rows of each type are merged.
    "CREATE INDEX observations_by_type ON observations (user, type, updated_at, id)",
    """
    CREATE INDEX observations_of_conversation ON observations (user, conversation_id, type, updated_at, id)
    """,
    "CREATE INDEX observations_newest ON observations (session, updated_at, id)",
    "CREATE UNIQUE INDEX observations_keyed ON observations (user, topic_key) WHERE topic_key IS NOT NULL",
    "CREATE INDEX observations_unkeyed ON observations (session, normalized_hash) WHERE topic_key IS NULL",
    f"""
    CREATE INDEX observations_facts ON observations (user, pinned, updated_at, id) WHERE type IN {FACTS}
    """,
    "CREATE INDEX observations_about ON observations (user, updated_at, id) WHERE about IS NOT NULL",
    "CREATE INDEX observations_expiring ON observations (expire_at) WHERE expire_at IS NOT NULL",
    "CREATE INDEX sources_of_source ON sources (user, source, fact, is_earlier)",
    # The condition does not change with every save, so a save leaves the index alone.
    "CREATE INDEX work_pending ON work (first_pending_at) WHERE first_pending_at IS NOT NULL",
)
