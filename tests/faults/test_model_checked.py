"""Random calls to two servers on one store, against a model of what each user must find (`ILAB_SOAK=1`: at length)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import upstream as fake
from ilab_chat import ChatClient, NotFound
from ilab_chat.v1.memory_pb2 import Observation, SaveOutcome
from postgres import Cluster
from processes import running_server

#: Random walks, and the steps of each.
WALKS, STEPS = (200, 100) if os.environ.get("ILAB_SOAK") else (2, 30)

USERS = st.sampled_from(["alice", "bob"])
SERVERS = st.integers(0, 1)
KEYS = st.sampled_from(["k1", "k2"])
CONTENTS = st.sampled_from(["tea", "coffee", "water"])


class Remembered:
    """The model's state of one user."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[str, int]] = {}
        """Content and revision count by id, oldest first."""
        self.keyed: dict[str, int] = {}
        self.in_session: dict[str, int] = {}
        """Ids of rows without a key in the active session, by content."""
        self.has_session = False

    def add(self, observation_id: int, content: str) -> None:
        assert observation_id > max(self.rows, default=0), "ids rise within a user"
        self.rows[observation_id] = (content, 1)
        self.has_session = True


class TwoServers(RuleBasedStateMachine):
    """Each rule calls one of the servers and compares its answer with the model."""

    clients: tuple[ChatClient, ChatClient]
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        # Users of a walk are those of no other one.
        TwoServers.calls += 1
        self.walk = TwoServers.calls
        self.users: dict[str, Remembered] = {}
        self.forgotten: list[tuple[str, int]] = []

    def name(self, user: str) -> str:
        return f"{user} {self.walk}"

    def remembered(self, user: str) -> Remembered:
        return self.users.setdefault(user, Remembered())

    def exported(self, user: str, server: int) -> list[Observation]:
        with self.clients[server].memory.export(self.name(user)) as export:
            return [item for item in export if isinstance(item, Observation)]

    @rule(user=USERS, server=SERVERS, key=KEYS, content=CONTENTS)
    def save_with_a_key(self, user: str, server: int, key: str, content: str) -> None:
        model = self.remembered(user)
        result = self.clients[server].memory.save(self.name(user), content, type="preference", title="t", topic_key=key)
        model.has_session = True
        if key not in model.keyed:
            assert result.outcome == SaveOutcome.SAVE_OUTCOME_CREATED
            model.add(result.id, content)
            model.keyed[key] = result.id
            return
        assert result.id == model.keyed[key]
        before, revisions = model.rows[result.id]
        if before == content:
            assert result.outcome == SaveOutcome.SAVE_OUTCOME_DEDUPED
        else:
            assert result.outcome == SaveOutcome.SAVE_OUTCOME_UPDATED
            model.rows[result.id] = (content, revisions + 1)

    @rule(user=USERS, server=SERVERS, content=CONTENTS)
    def save_without_a_key(self, user: str, server: int, content: str) -> None:
        model = self.remembered(user)
        result = self.clients[server].memory.save(self.name(user), content, type="discovery", title="t")
        model.has_session = True
        if content in model.in_session:
            assert (result.outcome, result.id) == (SaveOutcome.SAVE_OUTCOME_DEDUPED, model.in_session[content])
        else:
            assert result.outcome == SaveOutcome.SAVE_OUTCOME_CREATED
            model.add(result.id, content)
            model.in_session[content] = result.id

    @rule(user=USERS, server=SERVERS)
    def end_the_session(self, user: str, server: int) -> None:
        model = self.remembered(user)
        if model.has_session:
            self.clients[server].memory.end_session(self.name(user), "over")
            # The summary is an observation too.
            summary = max(self.exported(user, 1 - server), key=lambda row: row.id)
            assert (summary.type, summary.content) == ("summary", "over")
            model.add(summary.id, summary.content)
        else:
            with pytest.raises(NotFound):
                self.clients[server].memory.end_session(self.name(user), "over")
        model.has_session = False
        model.in_session.clear()

    @rule(user=USERS, server=SERVERS, message=CONTENTS)
    def chat_and_repeat_on_the_other_server(self, user: str, server: int, message: str) -> None:
        model = self.remembered(user)
        first = self.clients[server].chat(self.name(user), message)
        again = self.clients[1 - server].chat(self.name(user), message, request_id=first.request_id)
        assert (again.replayed, again.observation_id, again.reply) == (True, first.observation_id, first.reply)
        model.add(first.observation_id, f"User: {message}\nAssistant: {first.reply}")

    @rule(user=USERS, server=SERVERS)
    def forget(self, user: str, server: int) -> None:
        model = self.users.pop(user, Remembered())
        assert self.clients[server].memory.forget(self.name(user)) == len(model.rows)
        self.forgotten += [(user, observation_id) for observation_id in model.rows]

    @rule(user=USERS, server=SERVERS)
    def read_all(self, user: str, server: int) -> None:
        model = self.remembered(user)
        rows = self.exported(user, server)
        assert {row.id: (row.content, row.revision_count) for row in rows} == model.rows
        assert self.clients[server].memory.stats(self.name(user)).observations == len(model.rows)

    @rule(server=SERVERS)
    def look_for_what_was_forgotten(self, server: int) -> None:
        for user, observation_id in self.forgotten[-3:]:
            with pytest.raises(NotFound):
                self.clients[server].memory.get(self.name(user), observation_id)

    def teardown(self) -> None:
        for user in self.users:
            for server in (0, 1):
                self.read_all(user, server)


@contextmanager
def two_servers(**memory: str) -> Iterator[tuple[ChatClient, ChatClient]]:
    with ExitStack() as stack:
        model = stack.enter_context(fake.running())
        variables = {**memory, "OPENAI_BASE_URL": model.base_url, "OPENAI_MODEL": "test-model"}
        servers = [stack.enter_context(running_server(**variables)) for _ in range(2)]
        one, other = (stack.enter_context(ChatClient(server.address)) for server in servers)
        yield one, other


@pytest.mark.timeout(3600 if os.environ.get("ILAB_SOAK") else 120)
@pytest.mark.parametrize("kind", ["file", "postgres"])
def test_every_answer_of_two_servers_is_that_of_the_model(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres")
        memory = {"ILAB_MEMORY_URL": cluster.create_database()}
    else:
        memory = {"ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db")}
    with two_servers(**memory) as clients:
        TwoServers.clients = clients
        run_state_machine_as_test(
            TwoServers,
            settings=settings(
                max_examples=WALKS,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
