"""ILabMemory, the public API: validates arguments, calls the store, builds the results."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Self

from ilab_memory import checks, intake
from ilab_memory.core.config import FACT_TYPES, SUMMARY_TYPE, Config
from ilab_memory.core.models import (
    UNSET,
    Fact,
    NewFact,
    Observation,
    ObservationCompact,
    Recall,
    SaveResult,
    Session,
    SessionStartResponse,
    Statement,
    TypeStats,
    Unset,
)
from ilab_memory.core.store import Change, FactCursor, ObservationCursor, Redacted, SessionCursor
from ilab_memory.embedding import Embedding
from ilab_memory.limits import (
    ABOUT_CHARACTERS,
    MAX_CONTENT_BYTES,
    MAX_TITLE,
    MAX_TOPIC_KEY,
    MOST_FACTS,
    MOST_LISTED,
    MOST_LISTED_BYTES,
    MOST_RECENT,
)
from ilab_memory.recall import session_start
from ilab_memory.recall.meaning import Meaning
from ilab_memory.recall.mem_recall import Request, recall
from ilab_memory.recall.mem_search import Question, search
from ilab_memory.sessions import is_ahead, is_expired
from ilab_memory.stores.sqlite import SQLiteStore


class ILabMemory(Embedding):
    """The memory of many users, isolated from each other.

    Any thread may use an instance at any time. Every method raises ValueError for an invalid argument (it names the
    argument and never quotes it), StorageError when the storage fails, and RuntimeError after `close` and in a forked
    child.
    """

    @classmethod
    def from_path(cls, db_path: str | Path, config: Config | None = None) -> Self:
        """Open or create the SQLite file *db_path*. `:memory:` stores everything in this process only.

        Expands `~` and creates missing folders. Only the owner can read and write a new file.

        Raises:
            StorageError: the file cannot be opened or created, belongs to another program, or is missing or empty while
                its write-ahead log exists (see `Config.create`).
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
        """Open the PostgreSQL database *url* (`postgresql://...`) and create missing tables.

        Needs the extra `postgres`. Ignores `Config.db_path`.

        Raises:
            ValueError: *url* is not a PostgreSQL URL.
            ModuleNotFoundError: the extra is not installed.
        """
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("url must start with postgresql://")
        try:
            from ilab_memory.stores.postgres import PostgresStore  # noqa: PLC0415 - an optional extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "PostgreSQL needs the extra postgres: in the repository, pip install './memory[postgres]'",
                name=error.name,
            ) from error
        config = config or Config()
        store = PostgresStore(url, durability=config.durability, wait_seconds=config.busy_timeout_seconds)
        return cls(store, config)

    def mem_session_start(
        self, user_id: str, *, conversation_id: str = "", with_memories: bool = True
    ) -> SessionStartResponse:
        """Return the session to work in, the last completed ones, and the best memories by ContextScore.

        Reuses the active session and updates its last activity, or opens a session. Completes a session first that was
        inactive for `Config.session_timeout_hours`.

        Each *conversation_id* of a user (empty: the default conversation) has its own active session. The completed
        sessions and the memories are those of all conversations. *with_memories* false: read and return no memories.
        """
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        now = self._now()
        find = partial(
            session_start.recent_sessions, self._store, user_id, conversation_id, now, with_memories=with_memories
        )
        recent = find()
        if (
            recent.active is not None
            and not self._is_expired(recent.active, now)
            and not is_ahead(recent.active.last_activity_at, now=now)
        ):
            self._store.touch_session(user_id, recent.active.id, now=now)
            return session_start.response(recent.active.id, recent, is_new=False, now=now)
        session_id, is_new = self._store.open_session(
            user_id, conversation_id=conversation_id, now=now, session_timeout=self._session_timeout
        )
        return session_start.response(session_id, find(), is_new=is_new, now=now)

    def mem_session_peek(
        self, user_id: str, *, conversation_id: str = "", with_memories: bool = True
    ) -> SessionStartResponse:
        """Return the same as `mem_session_start`, but write nothing.

        If a start would open a session, `session_id` is empty and `is_new` False. A session that expired but is not
        completed yet contributes memories, and is not in `sessions_context`.
        """
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        now = self._now()
        recent = session_start.recent_sessions(self._store, user_id, conversation_id, now, with_memories=with_memories)
        session_id = "" if recent.active is None or self._is_expired(recent.active, now) else recent.active.id
        return session_start.response(session_id, recent, is_new=False, now=now)

    def mem_session_end(
        self, user_id: str, *, summary: str, conversation_id: str = "", searchable: bool = False
    ) -> Session:
        """Complete the conversation's active session, even if it expired, with the redacted *summary*.

        *searchable*: also store the summary as an observation of the session, as `mem_session_summary` does, in the
        same transaction.

        Raises:
            LookupError: the user has no active session in this conversation.
        """
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        checks.check_content("summary", summary)
        observation = intake.summary(user_id, summary, conversation_id)
        session = self._store.end_session(
            user_id,
            conversation_id=conversation_id,
            summary=observation.content,
            now=self._now(),
            observation=observation if searchable else None,
        )
        if session is None:
            raise LookupError("the user has no active session")
        return session

    def mem_session_summary(self, user_id: str, summary: str, *, conversation_id: str = "") -> SaveResult:
        """Store *summary* as an observation of type `summary`; the conversation's session stays open."""
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        checks.check_content("summary", summary)
        return self._save(intake.summary(user_id, summary, conversation_id))

    def mem_save(
        self,
        user_id: str,
        content: str,
        *,
        type: str,  # noqa: A002 - the documented name
        title: str,
        topic_key: str | None = None,
        conversation_id: str = "",
        pinned: bool = False,
        expire_time: datetime | None = None,
        about: str | None = None,
        facts: Sequence[NewFact] = (),
        queue_work: bool = False,
    ) -> SaveResult:
        """Redact an observation and store it, durably (see `Config.durability`), in the conversation's active session.

        Opens a session if there is no active one. With a *topic_key* that the user already has, in any conversation,
        updates the observation of that key in place. With a new content, its `about` and facts replace the former ones.

        Args:
            user_id: The user.
            content: The content.
            type: One of `Config.allowed_types`.
            title: The title.
            topic_key: Identifies the observation among those of the user.
            conversation_id: The conversation whose session it belongs to.
            pinned: List it before other facts. A save never unpins.
            expire_time: When it stops to be true; a save without one removes the stored one.
            about: Statements about the user in the content, one per line.
            facts: Facts that were derived from the content. Each is saved like an observation of its own, in the same
                transaction, and replaces the fact of its topic_key. Redaction sees each text alone: derive facts and
                `about` from redacted text.
            queue_work: Queue the observation for consolidation in the same transaction, see `WorkQueue`.

        Raises:
            ValueError: *type* is not one of `Config.allowed_types`, or another argument is invalid.
        """
        checks.check_user_id(user_id)
        if type not in self._config.allowed_types:
            raise ValueError(f"type must be one of {', '.join(self._config.allowed_types)}")
        checks.check_text("title", title, MAX_TITLE)
        checks.check_content("content", content)
        if topic_key is not None:
            checks.check_text("topic_key", topic_key, MAX_TOPIC_KEY)
        checks.check_conversation_id(conversation_id)
        checks.check_pinned("pinned", pinned)
        if about is not None:
            checks.check_content("about", about)
        expire_at = intake.expire_at("expire_time", expire_time)
        content, content_hash = intake.redacted_content("content", content)
        title = intake.redacted("title", title)
        if topic_key is not None:
            topic_key = intake.redacted("topic_key", topic_key)
        if about is not None:
            about = intake.redacted("about", about)
        types = self._config.allowed_types
        observation = Redacted(
            user_id=user_id,
            type=type,
            title=title,
            content=content,
            topic_key=topic_key,
            normalized_hash=content_hash,
            conversation_id=conversation_id,
            pinned=pinned,
            expire_at=expire_at,
            about=about,
            facts=intake.new_facts(facts, user_id, conversation_id, of_key=topic_key, types=types),
            queue_work=queue_work,
        )
        return self._save(observation)

    def mem_update(
        self,
        user_id: str,
        observation_id: int,
        *,
        title: str | None = None,
        content: str | None = None,
        type: str | None = None,  # noqa: A002 - as in mem_save
        pinned: bool | None = None,
        expire_time: datetime | Unset | None = UNSET,
    ) -> SaveResult | None:
        """Replace parts of an observation; None if the user has none of this id.

        Redacts private text. Increments the revision count; if nothing changes, the outcome is "deduped". The
        topic_key, the session and its last activity stay the same. A new content removes the `about` and what was
        derived from the old content alone, and makes the sources of the observation earlier ones. *pinned* and
        *expire_time* (None: never) alone change neither the revision count nor `updated_at`.

        Raises:
            ValueError: no new value was given, *type* is not one of `Config.allowed_types`, or another argument is
                invalid.
        """
        checks.check_user_id(user_id)
        checks.check_observation_id(observation_id)
        if (title, content, type, pinned, expire_time) == (None, None, None, None, UNSET):
            raise ValueError("title, content, type, pinned or expire_time must be given")
        if title is not None:
            checks.check_text("title", title, MAX_TITLE)
        if content is not None:
            checks.check_content("content", content)
        if type is not None and type not in self._config.allowed_types:
            raise ValueError(f"type must be one of {', '.join(self._config.allowed_types)}")
        if pinned is not None:
            checks.check_pinned("pinned", pinned)
        expire_at = UNSET if expire_time is UNSET else intake.expire_at("expire_time", expire_time)
        content_hash = None
        if content is not None:
            content, content_hash = intake.redacted_content("content", content)
        if title is not None:
            title = intake.redacted("title", title)
        change = Change(
            title=title, content=content, type=type, normalized_hash=content_hash, pinned=pinned, expire_at=expire_at
        )
        return self._store.change(user_id, observation_id, change, now=self._now())

    def mem_facts(
        self, user_id: str, *, types: Collection[str] = (), limit: int = 50, before: FactCursor | None = None
    ) -> list[Fact]:
        """Return a page of what holds now: the observations of FACT_TYPES that have not expired, at most 1,000.

        Pinned ones first, then the last changed, then higher ids.

        Args:
            user_id: The user.
            types: Only these of FACT_TYPES. Empty: all.
            limit: Page size. A shorter page is the last one.
            before: `pinned`, `updated_at` and id of the last fact of the previous page.
        """
        checks.check_user_id(user_id)
        checks.check_types("types", types)
        checks.check_limit(limit)
        return self._store.facts(
            user_id,
            types=frozenset(types) or None,
            now=self._now(),
            limit=min(limit, MOST_FACTS),
            before=intake.fact_cursor(before),
        )

    def mem_about(self, user_id: str, *, limit: int = 100) -> list[Statement]:
        """Return what the user's observations say about the user, one statement per line of their `about`.

        The statements of the newest observation come first, by (updated_at, id), in the order of its lines; at most
        1,000. Of each `about` the first 4,096 characters are read. Without observations that have expired.
        """
        checks.check_user_id(user_id)
        checks.check_limit(limit)
        most = min(limit, MOST_FACTS)
        rows = self._store.about(user_id, now=self._now(), limit=most, characters=ABOUT_CHARACTERS)
        lines = (
            row.model_copy(update={"text": line.strip()})
            for row in rows
            for line in row.text.split("\n")
            if line.strip()
        )
        return list(islice(lines, most))

    def mem_list(
        self,
        user_id: str,
        *,
        types: Collection[str] = (),
        conversation_id: str | None = None,
        limit: int = 50,
        before: ObservationCursor | None = None,
    ) -> list[Observation]:
        """Return a page of the user's observations, newest first by (updated_at, id), at most 1,000.

        Args:
            user_id: The user.
            types: Only these types. Empty: all.
            conversation_id: Only observations of this conversation's sessions. None: all. Empty: the default one.
            limit: Page size. A page also ends after 4 MiB of contents and `about`; only an empty one ends the
                list.
            before: `updated_at` and id of the last observation of the previous page. An observation that changes
                between two pages moves to the front: no later page contains it. None is repeated.
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
            limit=min(limit, MOST_LISTED),
            most_bytes=MOST_LISTED_BYTES,
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
        """Return a page of the user's sessions, newest start first, at most 1,000.

        *before*: `started_at` and id of the last session of the previous page. A page also ends after 4 MiB of
        summaries. For the others see `mem_list`.
        """
        checks.check_user_id(user_id)
        if conversation_id is not None:
            checks.check_conversation_id(conversation_id)
        checks.check_limit(limit)
        return self._store.list_sessions(
            user_id,
            conversation_id=conversation_id,
            limit=min(limit, MOST_LISTED),
            most_bytes=MOST_LISTED_BYTES,
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
        checks.check_not_blank("query", query)
        checks.check_limit(limit)
        checks.check_types("types", types)
        checks.check_types("types_exclude", types_exclude)
        if types is not None and types_exclude is not None:
            raise ValueError("types and types_exclude must not both be given")
        question = Question(
            user_id=user_id,
            query=query,
            limit=limit,
            types=None if types is None else frozenset(types),
            types_exclude=frozenset(types_exclude or ()),
        )
        return search(self._store, question, self._now())

    def mem_recall(
        self,
        user_id: str,
        message: str,
        *,
        limit: int = 10,
        previous: str | None = None,
        types: Collection[str] = (),
        time_zone: tzinfo | None = None,
        meaning: Meaning | None = None,
        hits_only: bool = False,
    ) -> Recall:
        """Return the memory for a prompt: `hits`, the observations that are relevant to *message*, best first, or none.

        Also `facts`, which hold whatever the message is, and `summaries` of the last sessions.

        Args:
            user_id: The user.
            message: The user's new message.
            limit: Maximum number of results. A message that asks for a complete list ("how many", "which", "all") may
                get up to 20 shorter ones.
            previous: The user's message before, which has the subject of a follow-up question.
            types: Only these types. Empty: all.
            time_zone: The user's, for dates in the message such as "yesterday". None: UTC.
            meaning: What `mem_meaning` returned for the message. None: it is embedded now, if there is an embedder.
            hits_only: Read no facts and summaries.
        """
        checks.check_user_id(user_id)
        checks.check_not_blank("message", message)
        checks.check_limit(limit)
        checks.check_types("types", types)
        if previous is not None:
            checks.check_not_blank("previous", previous)
        checks.check_time_zone(time_zone)
        request = Request(
            user_id,
            message,
            limit,
            previous,
            frozenset(types),
            zone=time_zone or UTC,
            meaning=meaning or self.mem_meaning(message),
        )
        hits = recall(self._store, request, self._now())
        if hits_only:
            return Recall(hits)
        fact_types = [each for each in FACT_TYPES if each in types]
        facts = self.mem_facts(user_id, types=fact_types) if fact_types or not types else ()
        recent = session_start.recent_sessions(self._store, user_id, "", self._now(), with_memories=False)
        written = [each for each in session_start.sessions_context(recent.completed) if not each.is_auto_generated]
        return Recall(hits, facts=facts, summaries=written if not types or SUMMARY_TYPE in types else ())

    def mem_get_observation(self, user_id: str, observation_id: int) -> Observation | None:
        """Return the user's observation of this id, or None if the user has none."""
        checks.check_user_id(user_id)
        checks.check_observation_id(observation_id)
        return self._store.get(user_id, observation_id)

    def mem_timeline(self, user_id: str, observation_id: int) -> list[Observation]:
        """Return this observation of the user and those around it, by (created_at, id).

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
        max_bytes: int = MAX_CONTENT_BYTES,
        conversation_id: str = "",
    ) -> list[Observation]:
        """Return the *limit* newest observations of a session, newest first by (`updated_at`, id).

        Leaves out observations that have expired, and the sources of the others.

        With *key_prefixes*, only observations whose `topic_key` starts with one of them, among the 1,000 newest of the
        session. The list ends before the observation whose content would exceed *max_bytes* of UTF-8 in total. Empty if
        the session does not belong to this user and conversation.
        """
        checks.check_user_id(user_id)
        checks.check_conversation_id(conversation_id)
        checks.check_not_blank("session_id", session_id)
        checks.check_limit(limit)
        checks.check_types("key_prefixes", key_prefixes)
        checks.check_max_bytes(max_bytes)
        return self._store.recent(
            user_id,
            session_id,
            conversation_id=conversation_id,
            limit=min(limit, MOST_RECENT),
            key_prefixes=key_prefixes,
            most_bytes=max_bytes,
            now=self._now(),
        )

    def mem_stats(self, user_id: str) -> Mapping[str, int]:
        """Return how many `observations` and `sessions` the user has."""
        checks.check_user_id(user_id)
        return self._store.stats(user_id)

    def mem_type_stats(self, user_id: str) -> list[TypeStats]:
        """Return how much the user has of each type of observations, most frequent first, expired ones included.

        Takes time in proportion to what the user has: it reads the size of every text.
        """
        checks.check_user_id(user_id)
        return self._store.type_stats(user_id)

    def _save(self, observation: Redacted) -> SaveResult:
        """Store *observation*. Every save goes through here."""
        return self._store.save(observation, now=self._now(), session_timeout=self._session_timeout)

    def _is_expired(self, session: Session, now: datetime) -> bool:
        return is_expired(session.last_activity_at, now=now, timeout=self._session_timeout)
