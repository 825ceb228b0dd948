"""ILabMemory: check the arguments, ask the store, put the answer together."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from ilab_memory import checks, intake
from ilab_memory.core.config import SUMMARY_TYPE, Config
from ilab_memory.core.errors import StorageError
from ilab_memory.core.models import (
    ImportResult,
    Observation,
    ObservationCompact,
    SaveResult,
    Session,
    SessionStartResponse,
)
from ilab_memory.core.store import (
    Change,
    ObservationCursor,
    RecentSessions,
    Redacted,
    SessionCursor,
    Store,
)
from ilab_memory.intake import redacted, redacted_content
from ilab_memory.recall import session_start
from ilab_memory.recall.search import Question, TypeFilter, search
from ilab_memory.sessions import is_expired, summary_title
from ilab_memory.stores.sqlite import SQLiteStore

#: Rows that `mem_recent` looks at, and so returns at most.
_MOST_RECENT = 1000
#: Items of one page of a list, at most.
_MOST_LISTED = 1000


class ILabMemory:
    """The memory of many users, apart from each other.

    One instance may be used from any thread at once. Every method raises ValueError for an argument that cannot be
    (naming it, never quoting it), StorageError when the storage fails, and RuntimeError after `close`.
    """

    def __init__(self, store: Store, config: Config | None = None) -> None:
        """Use *store*, which `close` closes."""
        self._store = store
        self._config = config or Config()
        self._session_timeout = timedelta(hours=self._config.session_timeout_hours)

    @classmethod
    def from_path(cls, db_path: str | Path, config: Config | None = None) -> Self:
        """Open or create the SQLite file *db_path*; `:memory:` keeps everything in this process.

        `~` is expanded, missing folders are made, a new file is readable and writable for its owner only.

        Raises:
            StorageError: the file cannot be opened or created, is not a memory, or is missing or empty although a
                write-ahead log lies beside it, see `Config.create`.
        """
        config = (config or Config()).model_copy(update={"db_path": db_path})
        store = SQLiteStore(
            db_path,
            durability=config.durability,
            busy_timeout_seconds=config.busy_timeout_seconds,
            create=config.create,
        )
        return cls(store, config)

    @classmethod
    def from_url(cls, url: str, config: Config | None = None) -> Self:
        """Open the PostgreSQL database *url* (`postgresql://...`); tables are made if there are none.

        Needs the extra `ilab_memory[postgres]`. `Config.db_path` does not count.

        Raises:
            ValueError: *url* is none of PostgreSQL.
            ModuleNotFoundError: the extra is not installed.
        """
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("url must begin with postgresql://")
        try:
            from ilab_memory.stores.postgres import PostgresStore  # noqa: PLC0415 - an optional extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "PostgreSQL needs the extra: pip install 'ilab_memory[postgres]'", name=error.name
            ) from error
        config = config or Config()
        store = PostgresStore(url, durability=config.durability, wait_seconds=config.busy_timeout_seconds)
        return cls(store, config)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    def close(self) -> None:
        """Finish what was begun and close the store. A second call does nothing."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def mem_session_start(self, user_id: str, *, conversation_id: str = "") -> SessionStartResponse:
        """Return the session to work in, the last completed ones, and the best memories by ContextScore.

        Reuses the active session and touches it, or opens one. A session that has been inactive for
        `Config.session_timeout_hours` is completed first.

        Each *conversation_id* of a user, the empty one included, has an active session of its own. The completed
        sessions and the memories are those of all conversations.
        """
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        now = self._now()
        recent = session_start.recent_sessions(self._store, user_id, conversation_id)
        if recent.active is not None and not self._is_expired(recent.active, now):
            self._store.touch_session(user_id, recent.active.id, now=now)
            return _start_response(recent.active.id, recent, is_new=False, now=now)
        session_id, is_new = self._store.open_session(
            user_id, conversation_id=conversation_id, now=now, session_timeout=self._session_timeout
        )
        recent = session_start.recent_sessions(self._store, user_id, conversation_id)
        return _start_response(session_id, recent, is_new=is_new, now=now)

    def mem_session_peek(self, user_id: str, *, conversation_id: str = "") -> SessionStartResponse:
        """Return what `mem_session_start` would, and write nothing.

        Where that would open a session, `session_id` is empty and `is_new` False. An expired session that nobody has
        completed yet gives its memories but is not in `sessions_context`.
        """
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        now = self._now()
        recent = session_start.recent_sessions(self._store, user_id, conversation_id)
        session_id = "" if recent.active is None or self._is_expired(recent.active, now) else recent.active.id
        return _start_response(session_id, recent, is_new=False, now=now)

    def mem_session_end(self, user_id: str, *, summary: str, conversation_id: str = "") -> Session:
        """Complete the conversation's active session, expired or not, with *summary*, whose private spans are redacted.

        Raises:
            LookupError: the user has no active session in this conversation.
        """
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        checks.check_content("summary", summary)
        session = self._store.end_session(
            user_id, conversation_id=conversation_id, summary=redacted("summary", summary), now=self._now()
        )
        if session is None:
            raise LookupError("the user has no active session")
        return session

    def mem_session_summary(self, user_id: str, summary: str, *, conversation_id: str = "") -> SaveResult:
        """Store *summary* as an observation of type `summary`; the conversation's session stays open."""
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        checks.check_content("summary", summary)
        return self._upsert_observation(
            user_id, SUMMARY_TYPE, summary, title=None, content_name="summary", conversation_id=conversation_id
        )

    def mem_save(
        self,
        user_id: str,
        content: str,
        *,
        type: str,  # noqa: A002 - the documented name
        title: str,
        topic_key: str | None = None,
        conversation_id: str = "",
    ) -> SaveResult:
        """Store an observation, private spans redacted. When this returns, it is durable as `Config.durability` says.

        It is stored in the active session of the conversation, which is opened if there is none. With a *topic_key*
        that the user has used before, in whichever conversation, the observation of that key is updated in place.

        Raises:
            ValueError: *type* is not one of `Config.allowed_types`, or another argument cannot be.
        """
        checks.check_user_id(user_id)
        if type not in self._config.allowed_types:
            raise ValueError(f"type must be one of {', '.join(self._config.allowed_types)}")
        checks.check_title(title)
        checks.check_content("content", content)
        checks.check_topic_key(topic_key)
        checks.check_conversation_id(conversation_id)
        return self._upsert_observation(
            user_id, type, content, title=title, topic_key=topic_key, conversation_id=conversation_id
        )

    def mem_update(
        self,
        user_id: str,
        observation_id: int,
        *,
        title: str | None = None,
        content: str | None = None,
        type: str | None = None,  # noqa: A002 - as in mem_save
    ) -> SaveResult | None:
        """Replace the title, the content or the type of an observation; None if the user has none of this id.

        Private spans are redacted. The revision count rises by 1; if nothing changes, the outcome is "deduped". The
        observation keeps its topic_key and its session, which is not touched.

        Raises:
            ValueError: nothing to change was given, *type* is not one of `Config.allowed_types`, or another argument is
                invalid.
        """
        checks.check_user_id(user_id)
        checks.check_observation_id(observation_id)
        if title is None and content is None and type is None:
            raise ValueError("title, content or type must be given")
        if title is not None:
            checks.check_title(title)
        if content is not None:
            checks.check_content("content", content)
        if type is not None and type not in self._config.allowed_types:
            raise ValueError(f"type must be one of {', '.join(self._config.allowed_types)}")
        left, content_hash = (None, None) if content is None else redacted_content("content", content)
        change = Change(
            title=None if title is None else redacted("title", title),
            content=left,
            type=type,
            normalized_hash=content_hash,
        )
        return self._store.change(user_id, observation_id, change, now=self._now())

    def mem_delete(self, user_id: str, observation_id: int) -> bool:
        """Erase an observation; False if the user has none of this id.

        When this returns, no byte of it is in the files of a SQLite database, at the cost that `mem_forget` has: the
        file is rewritten, and concurrent calls share a rewrite.

        Raises:
            StorageError: the observation is gone from every answer, but its bytes may not be from the files; calling
                again, or `mem_finish_forgetting`, completes the erasure.
        """
        checks.check_user_id(user_id)
        checks.check_observation_id(observation_id)
        return self._store.delete(user_id, observation_id)

    def mem_list(
        self,
        user_id: str,
        *,
        types: Collection[str] = (),
        conversation_id: str | None = None,
        limit: int = 50,
        before: ObservationCursor | None = None,
    ) -> list[Observation]:
        """Return a page of the user's observations, newest first by (updated_at, id); 1,000 at most.

        Args:
            user_id: Whose.
            types: Only these types. Empty: all.
            conversation_id: Only observations of this conversation's sessions. None: all. Empty: the default one.
            limit: Length of the page; a shorter one is the last.
            before: `updated_at` and id of the last observation of the page before. Observations that are saved or
                changed between two pages move to the front: they are neither skipped nor repeated further on.
        """
        checks.check_user_id(user_id)
        checks.check_types("types", types)
        if conversation_id is not None:
            checks.check_conversation_id(conversation_id)
        checks.check_limit(limit)
        return self._store.list_observations(
            user_id,
            types=frozenset(types) or None,
            conversation_id=conversation_id,
            limit=min(limit, _MOST_LISTED),
            before=intake.cursor(before),
        )

    def mem_sessions(
        self,
        user_id: str,
        *,
        conversation_id: str | None = None,
        limit: int = 50,
        before: SessionCursor | None = None,
    ) -> list[Session]:
        """Return a page of the user's sessions, the newest start first; 1,000 at most.

        *before* is `started_at` and id of the last session of the page before; the others are as in `mem_list`.
        """
        checks.check_user_id(user_id)
        if conversation_id is not None:
            checks.check_conversation_id(conversation_id)
        checks.check_limit(limit)
        return self._store.list_sessions(
            user_id,
            conversation_id=conversation_id,
            limit=min(limit, _MOST_LISTED),
            before=intake.session_cursor(before),
        )

    def mem_search(
        self,
        user_id: str,
        query: str,
        *,
        limit: int = 10,
        types: list[str] | None = None,
        types_exclude: list[str] | None = None,
    ) -> list[ObservationCompact]:
        """Return the *limit* observations that answer *query* best, by SearchScore.

        *query* is plain language; it has no operators. *types* and *types_exclude* cannot both be given; an empty
        *types* matches nothing.
        """
        checks.check_user_id(user_id)
        checks.check_query(query)
        checks.check_limit(limit)
        checks.check_types("types", types)
        checks.check_types("types_exclude", types_exclude)
        if types is not None and types_exclude is not None:
            raise ValueError("types and types_exclude must not both be given")
        type_filter = TypeFilter(None if types is None else frozenset(types), frozenset(types_exclude or ()))
        question = Question(user_id=user_id, query=query, limit=limit, types=type_filter)
        return search(self._store, question, self._now())

    def mem_get_observation(self, user_id: str, observation_id: int) -> Observation | None:
        """Return the user's observation of this id, or None if the user has none."""
        checks.check_user_id(user_id)
        checks.check_observation_id(observation_id)
        return self._store.get(user_id, observation_id)

    def mem_timeline(self, user_id: str, observation_id: int) -> list[Observation]:
        """Return the user's observations around this one by (created_at, id), it included.

        `Store.DEFAULT_TIMELINE_NEIGHBORS` on each side; empty if the user has no such observation.
        """
        checks.check_user_id(user_id)
        checks.check_observation_id(observation_id)
        return self._store.timeline(user_id, observation_id)

    def mem_recent(
        self,
        user_id: str,
        session_id: str,
        limit: int = 10,
        *,
        key_prefixes: list[str] | None = None,
        max_bytes: int = checks.MAX_CONTENT_BYTES,
        conversation_id: str = "",
    ) -> list[Observation]:
        """Return the *limit* newest observations of a session, newest first by (`updated_at`, id).

        With *key_prefixes*, only observations whose `topic_key` begins with one of them, among the 1,000 newest of the
        session. The list ends before the observation with which the contents would exceed *max_bytes* of UTF-8. Empty
        for a session that is not one of this conversation of the user.
        """
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        checks.check_session_id(session_id)
        checks.check_limit(limit)
        checks.check_types("key_prefixes", key_prefixes)
        checks.check_max_bytes(max_bytes)
        return self._store.recent(
            user_id,
            session_id,
            conversation_id=conversation_id,
            limit=min(limit, _MOST_RECENT),
            key_prefixes=key_prefixes,
            most_bytes=max_bytes,
        )

    def mem_stats(self, user_id: str) -> Mapping[str, int]:
        """Return how many `observations` and `sessions` the user has."""
        checks.check_user_id(user_id)
        return self._store.stats(user_id)

    def mem_forget(self, user_id: str) -> int:
        """Erase everything of the user and return how many observations that were.

        When this returns, no byte of it is in the files of a SQLite database; a PostgreSQL server keeps copies for a
        while, see `PostgresStore`. For a user who has nothing this is one look-up. A SQLite file is rewritten, which
        needs twice its size in free disk space; calls at the same time share a rewrite, and wait if there was one just
        before.

        Raises:
            StorageError: the erasure is not complete; calling again, or `mem_finish_forgetting`, completes it.
        """
        checks.check_user_id(user_id)
        return self._store.forget(user_id)

    def mem_finish_forgetting(self) -> int:
        """Finish the erasures that calls of `mem_forget` could not; return how many are pending, 0 if all are finished.

        A full disk, a busy reader or the end of the process may have been in the way. Call it at start and now and
        then. It is one look-up if nothing is pending, and always returns 0 on PostgreSQL, where an erasure is one
        transaction.

        Raises:
            StorageError: they could not be finished. The text names the cause.
        """
        return self._store.finish_forgetting()

    def mem_pending_erasures(self) -> int:
        """Return how many erasures are not finished, those of running calls included. One look-up."""
        return self._store.pending_erasures()

    def mem_check(self) -> list[str]:
        """Return what is damaged in the pages of a SQLite file, a line each, without any text of a user.

        Reads the whole file once; other calls go on. `ilab-memory check` compares more. Always empty on PostgreSQL,
        whose files are the server's.

        Raises:
            StorageError: the file could not be read.
        """
        return self._store.check()

    def mem_export(self, user_id: str) -> Iterator[Session | Observation]:
        """Return an iterator over the user's sessions by their start, then the observations by (created_at, id).

        It contains what exists when this is called, in constant memory. An observation that is updated before it is
        read comes with the newer content, and with its session just before it if that began after the call. Iterating
        raises StorageError if the user is forgotten before the end: the export is incomplete then.
        """
        checks.check_user_id(user_id)
        return self._store.export(user_id)

    def mem_import(self, user_id: str, items: Iterable[Session | Observation]) -> ImportResult:
        """Add what an export contains to the user, as it is but for the ids; return how much was added.

        *items* may come from any user: sessions come before the observations that name them, as `mem_export` yields
        them. Texts are redacted again. What the user already has is left out, so repeating an import adds nothing:
        sessions are recognized by their ids; observations by their topic_key, of which the stored one stays, or else by
        session, type, title, content and created_at. A session that is active is completed if the conversation has an
        active one.

        Raises:
            ValueError: an item is invalid, or comes before its session.
            StorageError: the text says how much was added.

        After an error the batches before it, of up to 100 items each, stay: repeat the import to complete it.
        """
        checks.check_user_id(user_id)
        sessions = observations = 0
        try:
            for batch in intake.batches(items):
                added = self._store.add_rows(user_id, batch.sessions, batch.rows)
                sessions += added.sessions
                observations += added.observations
        except StorageError as error:
            done = f"{sessions} sessions and {observations} observations were added; repeat the import to complete it"
            raise type(error)(f"{error}; {done}") from error
        return ImportResult(sessions=sessions, observations=observations)

    def _upsert_observation(
        self,
        user_id: str,
        kind: str,
        content: str,
        *,
        title: str | None,
        topic_key: str | None = None,
        conversation_id: str = "",
        content_name: str = "content",
    ) -> SaveResult:
        """Redact an observation, then store it: every observation that is saved goes through here.

        Without *title*, the title is made from the redacted content.
        """
        left, content_hash = redacted_content(content_name, content)
        observation = Redacted(
            user_id=user_id,
            type=kind,
            title=redacted("title", summary_title(left) if title is None else title),
            content=left,
            topic_key=None if topic_key is None else redacted("topic_key", topic_key),
            normalized_hash=content_hash,
            conversation_id=conversation_id,
        )
        return self._store.save(observation, now=self._now(), session_timeout=self._session_timeout)

    def _is_expired(self, session: Session, now: datetime) -> bool:
        return is_expired(session.last_activity_at, now=now, timeout=self._session_timeout)

    def _now(self) -> datetime:
        now = self._config.clock()
        if now.tzinfo is None:
            raise ValueError("clock must return a timezone-aware datetime")
        return now


def _start_response(session_id: str, recent: RecentSessions, *, is_new: bool, now: datetime) -> SessionStartResponse:
    return SessionStartResponse.model_construct(
        session_id=session_id,
        is_new=is_new,
        sessions_context=session_start.sessions_context(recent.completed),
        memories=session_start.memories(recent.newest, now),
    )
