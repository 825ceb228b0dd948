"""Any sequence of calls equals a model of plain lists, which shares no code with the library."""

import hashlib
import os
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ilab_memory import Config, ILabMemory, Observation, Session, Store
from memory.support import Clock, text

TIMEOUT = timedelta(hours=24)
TEXTS = st.sampled_from(
    ["apple pie", "banana split", "cherry <private>s3cret</private> cake", "10% % _ ", "苹果", "ß🎉"]
)
TITLES = st.sampled_from(["one", "two", "Turn: apple"])
TYPES = st.sampled_from(["profile", "preference", "discovery"])
KEYS = st.sampled_from([None, None, "k1", "k2"])
USERS = st.sampled_from(["a", "b", "c"])
FRESH = count()

#: Random walks on each store, and the steps of each.
WALKS, STEPS = (300, 60) if os.environ.get("ILAB_SOAK") else (12, 40)


def redacted(given: str) -> str:
    return given.replace("<private>s3cret</private>", "[REDACTED]")


@dataclass
class ModelRow:
    id: int
    session: "ModelSession"
    type: str
    title: str
    content: str
    key: str | None
    created: datetime
    updated: datetime
    revisions: int = 1


@dataclass
class ModelSession:
    id: str
    started: datetime
    active_until: datetime
    ended: datetime | None = None
    summary: str | None = None
    automatic: bool = False


@dataclass
class ModelUser:
    sessions: list[ModelSession] = field(default_factory=list)
    rows: list[ModelRow] = field(default_factory=list)

    @property
    def active(self) -> ModelSession | None:
        return next((session for session in self.sessions if session.ended is None), None)

    def automatic_summary(self, session: ModelSession) -> str:
        held = [row for row in self.rows if row.session is session]
        if not held:
            return "Closed after inactivity. No observations."
        titles = [row.title for row in sorted(held, key=lambda row: (row.updated, row.id))][-3:]
        plural = "s" if len(held) != 1 else ""
        return f"Closed after inactivity. {len(held)} observation{plural}; last: {'; '.join(titles)}"

    def drop_title(self, title: str) -> None:
        for session in self.sessions:
            quoted = session.summary or ""
            if session.automatic and (f": {title}" in quoted or f"; {title}" in quoted):
                session.summary = self.automatic_summary(session)


class Calls(RuleBasedStateMachine):
    """Calls the library and the model alike. Each example has users of its own: the store outlives it."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.mem = ILabMemory(self.store, Config(clock=self.clock))
        self.prefix = f"example{next(FRESH)}-"
        self.users: dict[str, ModelUser] = {}

    def user(self, name: str) -> ModelUser:
        return self.users.setdefault(name, ModelUser())

    def entered(self, name: str, session_id: str) -> tuple[ModelSession, bool]:
        """The session that a start, save or summary works in, as the contract tells."""
        user = self.user(name)
        active = user.active
        if active is not None and self.clock.now - active.active_until >= TIMEOUT:
            active.ended, active.automatic = active.active_until, True
            active.summary = user.automatic_summary(active)
            active = None
        if active is None:
            active = ModelSession(session_id, self.clock.now, self.clock.now)
            user.sessions.append(active)
            return active, True
        active.active_until = self.clock.now
        return active, False

    @rule(minutes=st.sampled_from([1, 60, 60 * 23, 60 * 24, 60 * 24 * 40]))
    def wait(self, minutes: int) -> None:
        self.clock.forward(minutes=minutes)

    @rule(name=USERS)
    def start(self, name: str) -> None:
        response = self.mem.mem_session_start(self.prefix + name)
        session, is_new = self.entered(name, response.session_id)
        assert (response.session_id, response.is_new) == (session.id, is_new)
        past = [session for session in self.user(name).sessions if session.ended][::-1][:5]
        assert [
            (shown.session_id, shown.summary, shown.date, shown.is_auto_generated)
            for shown in response.sessions_context
        ] == [
            (session.id, session.summary, text(session.ended), session.automatic) for session in past if session.ended
        ]
        within = {id(session), *(id(session) for session in past)}
        shown = {memory.id for memory in response.memories}
        candidates = {row.id for row in self.user(name).rows if id(row.session) in within}
        assert shown <= candidates
        assert len(shown) == len(response.memories) == min(len(candidates), 10)

    @rule(name=USERS, content=TEXTS, title=TITLES, kind=TYPES, key=KEYS)
    def save(self, name: str, content: str, title: str, kind: str, key: str | None) -> None:
        result = self.mem.mem_save(self.prefix + name, content, type=kind, title=title, topic_key=key)
        session, _ = self.entered(name, result.session_id)
        self.expect_saved(name, session, ModelRow(
            result.id, session, kind, title, redacted(content), key, self.clock.now, self.clock.now
        ), result.outcome)  # fmt: skip
        assert (result.session_id, result.topic_key) == (session.id, key)

    @rule(name=USERS, summary=TEXTS)
    def summarise(self, name: str, summary: str) -> None:
        result = self.mem.mem_session_summary(self.prefix + name, summary)
        session, _ = self.entered(name, result.session_id)
        said = redacted(summary)
        self.expect_saved(name, session, ModelRow(
            result.id, session, "summary", said, said, None, self.clock.now, self.clock.now
        ), result.outcome)  # fmt: skip

    def expect_saved(self, name: str, session: ModelSession, new: ModelRow, outcome: str) -> None:
        rows = self.user(name).rows
        told = (new.type, new.title, new.content)
        if new.key is None:
            same = [
                row
                for row in rows
                if row.session is session and row.key is None and (row.type, row.title, row.content) == told
            ]
        else:
            same = [row for row in rows if row.key == new.key]
        if not same:
            assert outcome == "created"
            assert all(new.id > row.id for row in rows)
            rows.append(new)
            return
        (old,) = same
        assert new.id == old.id
        if (old.type, old.title, old.content) == told:
            assert outcome == "deduped"
        else:
            assert outcome == "updated"
            rows[rows.index(old)] = replace(new, created=old.created, revisions=old.revisions + 1)
            if old.title != new.title:
                self.user(name).drop_title(old.title)

    @rule(name=USERS, summary=TEXTS)
    def end(self, name: str, summary: str) -> None:
        active = self.user(name).active
        if active is None:
            with pytest.raises(LookupError):
                self.mem.mem_session_end(self.prefix + name, summary=summary)
            return
        ended = self.mem.mem_session_end(self.prefix + name, summary=summary)
        active.ended = active.active_until = self.clock.now
        active.summary = redacted(summary)
        assert ended == self.as_session(name, active)

    @rule(name=USERS)
    def forget(self, name: str) -> None:
        assert self.mem.mem_forget(self.prefix + name) == len(self.user(name).rows)
        self.users.pop(name)

    @rule(name=USERS, word=st.sampled_from(["apple", "banana", "cherry", "苹果", "%", "ß"]), kind=TYPES)
    def search(self, name: str, word: str, kind: str) -> None:
        found = self.mem.mem_search(self.prefix + name, word, limit=1000)
        held = {row.id for row in self.user(name).rows}
        holding = {
            row.id for row in self.user(name).rows if word in row.content.replace("ß", "ss") + row.content + row.title
        }
        assert holding <= {row.id for row in found} <= held
        assert [row.score for row in found] == sorted((row.score for row in found), reverse=True)
        of_kind = [row.id for row in self.mem.mem_search(self.prefix + name, word, limit=1000, types=[kind])]
        assert set(of_kind) == {row.id for row in found if row.type == kind}

    @rule(name=USERS, other=USERS, data=st.data())
    def read(self, name: str, other: str, data: st.DataObject) -> None:
        rows = sorted(self.user(name).rows, key=lambda row: (row.created, row.id))
        if not rows:
            return
        place = data.draw(st.integers(0, len(rows) - 1))
        anchor = rows[place].id
        assert self.mem.mem_get_observation(self.prefix + name, anchor) == self.as_observation(name, rows[place])
        around = rows[max(place - 5, 0) : place + 6]
        assert self.mem.mem_timeline(self.prefix + name, anchor) == [self.as_observation(name, row) for row in around]
        if other != name:
            assert self.mem.mem_get_observation(self.prefix + other, anchor) is None
            assert self.mem.mem_timeline(self.prefix + other, anchor) == []

    @invariant()
    def export_equals_what_was_saved(self) -> None:
        for name, user in self.users.items():
            rows = sorted(user.rows, key=lambda row: (row.created, row.id))
            expected: list[Session | Observation] = [self.as_session(name, session) for session in user.sessions]
            expected += [self.as_observation(name, row) for row in rows]
            assert list(self.mem.mem_export(self.prefix + name)) == expected
            assert self.mem.mem_stats(self.prefix + name) == {
                "observations": len(user.rows),
                "sessions": len(user.sessions),
            }

    def as_session(self, name: str, session: ModelSession) -> Session:
        return Session(
            id=session.id,
            user_id=self.prefix + name,
            started_at=text(session.started),
            ended_at=None if session.ended is None else text(session.ended),
            last_activity_at=text(session.active_until),
            summary=session.summary,
            status="active" if session.ended is None else "completed",
            is_auto_generated=session.automatic,
        )

    def as_observation(self, name: str, row: ModelRow) -> Observation:
        return Observation(
            id=row.id,
            session_id=row.session.id,
            user_id=self.prefix + name,
            type=row.type,
            title=row.title,
            content=row.content,
            topic_key=row.key,
            normalized_hash=hashlib.sha256(row.content.encode()).hexdigest(),
            revision_count=row.revisions,
            created_at=text(row.created),
            updated_at=text(row.updated),
        )


@pytest.mark.slow
def test_any_sequence_of_calls_equals_the_model(store: Store) -> None:
    class OnThisStore(Calls):
        pass

    OnThisStore.store = store
    walks = settings(max_examples=WALKS, stateful_step_count=STEPS, deadline=None)
    run_state_machine_as_test(OnThisStore, settings=walks)
