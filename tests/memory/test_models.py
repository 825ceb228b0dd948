"""Part 1 of the contract: the models, what every method has in common, and who may know the store."""

import ast
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

import ilab_memory
from batch import cases
from ilab_memory import Config, ILabMemory, Observation, Session, Store
from ilab_memory.core import models
from memory.support import EPOCH, Clock, text

#: The documented fields, and the defaults of those that have one.
FIELDS: dict[type[BaseModel], tuple[list[str], dict[str, object]]] = {
    models.Observation: (
        ["id", "session_id", "user_id", "type", "title", "content", "topic_key", "normalized_hash", "revision_count",
         "created_at", "updated_at", "pinned", "expire_time", "about", "source_ids", "earlier_source_ids"],
        {"id": None, "topic_key": None, "normalized_hash": None, "revision_count": 1, "pinned": False,
         "expire_time": None, "about": None, "source_ids": [], "earlier_source_ids": []},
    ),
    models.ObservationCompact: (
        ["id", "type", "title", "topic_key", "score", "snippet", "updated_at"],
        {"topic_key": None},
    ),
    models.SaveResult: (["id", "outcome", "session_id", "topic_key", "facts"], {"topic_key": None, "facts": ()}),
    models.NewFact: (
        ["type", "title", "content", "topic_key", "pinned", "expire_time"],
        {"pinned": False, "expire_time": None},
    ),
    models.Fact: (
        ["id", "type", "title", "content", "topic_key", "pinned", "created_at", "updated_at", "expire_time",
         "revision_count", "source_ids"],
        {"topic_key": None, "pinned": False, "expire_time": None, "revision_count": 1, "source_ids": []},
    ),
    models.Statement: (["observation_id", "text", "updated_at", "is_earlier"], {"is_earlier": False}),
    models.Session: (
        ["id", "user_id", "started_at", "ended_at", "last_activity_at", "summary", "status", "is_auto_generated",
         "conversation_id"],
        {"ended_at": None, "summary": None, "status": "active", "is_auto_generated": False, "conversation_id": ""},
    ),
    models.ImportResult: (["sessions", "observations"], {}),
    models.SessionStartResponse: (["session_id", "is_new", "sessions_context", "memories"], {}),
    models.SessionSummaryCompact: (
        ["session_id", "date", "summary", "is_auto_generated"],
        {"is_auto_generated": False},
    ),
}  # fmt: skip
#: Every method, with a user_id to be filled in.
METHODS: dict[str, Callable[[ILabMemory, str], object]] = {
    "session_start": lambda mem, user_id: mem.mem_session_start(user_id),
    "session_peek": lambda mem, user_id: mem.mem_session_peek(user_id),
    "session_end": lambda mem, user_id: mem.mem_session_end(user_id, summary="s"),
    "session_summary": lambda mem, user_id: mem.mem_session_summary(user_id, "s"),
    "save": lambda mem, user_id: mem.mem_save(user_id, "c", type="discovery", title="t"),
    "search": lambda mem, user_id: mem.mem_search(user_id, "query"),
    "get": lambda mem, user_id: mem.mem_get_observation(user_id, 1),
    "timeline": lambda mem, user_id: mem.mem_timeline(user_id, 1),
    "recent": lambda mem, user_id: mem.mem_recent(user_id, "s"),
    "stats": lambda mem, user_id: mem.mem_stats(user_id),
    "forget": lambda mem, user_id: mem.mem_forget(user_id),
    "export": lambda mem, user_id: mem.mem_export(user_id),
    "import": lambda mem, user_id: mem.mem_import(
        user_id, [Session(id="s", user_id="x", started_at=text(EPOCH), last_activity_at=text(EPOCH))]
    ),
    "list": lambda mem, user_id: mem.mem_list(user_id),
    "sessions": lambda mem, user_id: mem.mem_sessions(user_id),
    "update": lambda mem, user_id: mem.mem_update(user_id, 1, title="t"),
    "delete": lambda mem, user_id: mem.mem_delete(user_id, 1),
    "forget_observation": lambda mem, user_id: mem.mem_forget_observation(user_id, 1),
    "facts": lambda mem, user_id: mem.mem_facts(user_id),
    "about": lambda mem, user_id: mem.mem_about(user_id),
}


@cases("model", FIELDS)
def test_a_model_has_the_documented_fields_and_defaults(model: type[BaseModel]) -> None:
    names, defaults = FIELDS[model]
    assert list(model.model_fields) == names
    given = {name: field.default for name, field in model.model_fields.items() if not field.is_required()}
    assert given == defaults


def test_models_documented_as_frozen_are_frozen(mem: ILabMemory) -> None:
    saved = mem.mem_save("alice", "tea", type="discovery", title="t")
    (found,) = mem.mem_search("alice", "tea")
    started = mem.mem_session_start("alice")
    for value in (saved, found, started):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(value, next(iter(type(value).model_fields)), "changed")


@cases("name", METHODS)
@cases("user_id", ["", " \t", "u" * 257, "a\0b", "\ud800"])
def test_every_method_rejects_an_invalid_user_id(mem: ILabMemory, name: str, user_id: str) -> None:
    with pytest.raises(ValueError, match=r"^user_id must"):
        METHODS[name](mem, user_id)


def test_a_search_accepts_only_one_of_its_two_filters(mem: ILabMemory) -> None:
    with pytest.raises(ValueError, match=r"^types and types_exclude must not both be given$"):
        mem.mem_search("alice", "tea", types=[], types_exclude=[])


def test_timestamps_are_iso_8601_in_utc_whatever_the_timezone_of_the_clock(store: Store) -> None:
    moment = EPOCH.astimezone(timezone(timedelta(hours=-7)))
    mem = ILabMemory(store, Config(clock=lambda: moment))
    saved = mem.mem_save("alice", "tea", type="discovery", title="t")
    mem.mem_session_end("alice", summary="s")
    row = mem.mem_get_observation("alice", saved.id)
    session = next(iter(mem.mem_export("alice")))
    assert isinstance(row, Observation)
    assert isinstance(session, Session)
    moments = [row.created_at, row.updated_at, session.started_at, session.ended_at, session.last_activity_at]
    moments.append(mem.mem_session_start("alice").sessions_context[0].date)
    moments.append(mem.mem_search("alice", "tea")[0].updated_at)
    assert moments == [text(EPOCH)] * 7
    assert datetime.fromisoformat(row.created_at).utcoffset() == timedelta(0)


def test_ties_of_memories_are_ordered_by_newer_then_higher_id(mem: ILabMemory, clock: Clock) -> None:
    """Of the same age and type, and so of the same ContextScore; also the first one, saved last with a change."""
    first = mem.mem_save("alice", "a", type="discovery", title="t", topic_key="k").id
    others = [mem.mem_save("alice", f"{number}", type="discovery", title="t").id for number in range(3)]
    assert [row.id for row in mem.mem_session_start("alice").memories] == [*reversed(others), first]
    clock.forward(seconds=-1)
    older = mem.mem_save("alice", "older", type="discovery", title="t").id
    clock.forward(seconds=1)
    assert [row.id for row in mem.mem_session_start("alice").memories] == [*reversed(others), first, older]


def test_only_ilabmemory_uses_a_store() -> None:
    """Hexagonal: a store is imported by its own package and by api.py, and there only `from_...` make one.

    copying.py moves the rows of one store into the other, below what a user of the memory can do.
    """
    root = Path(ilab_memory.__file__).parent
    importing: set[str] = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ilab_memory.stores"):
                importing.add(path.relative_to(root).as_posix())
    assert {name for name in importing if not name.startswith("stores/")} == {"api.py", "command.py", "copying.py"}
    tree = ast.parse((root / "api.py").read_text())
    making = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Store")
    }
    assert making == {"from_path", "from_url"}
