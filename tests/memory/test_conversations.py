"""Conversations: each has its own session and recent turns; facts, search and counts belong to the user."""

import pytest

from batch import cases
from ilab_memory import ILabMemory
from memory.support import Clock

USER = "alice"


def save(mem: ILabMemory, content: str, conversation: str = "", key: str | None = None) -> str:
    return mem.mem_save(
        USER, content, type="discovery", title=content, topic_key=key, conversation_id=conversation
    ).session_id


def test_each_conversation_has_its_own_active_session(mem: ILabMemory) -> None:
    sessions = {name: mem.mem_session_start(USER, conversation_id=name).session_id for name in ("", "a", "b")}
    assert len(set(sessions.values())) == 3
    for name, session in sessions.items():
        again = mem.mem_session_start(USER, conversation_id=name)
        assert (again.session_id, again.is_new) == (session, False)
        assert mem.mem_session_peek(USER, conversation_id=name).session_id == session
        assert save(mem, f"in {name}", name) == session
        assert mem.mem_session_summary(USER, f"so far in {name}", conversation_id=name).session_id == session
    assert mem.mem_session_peek(USER, conversation_id="new").session_id == ""
    assert mem.mem_stats(USER) == {"observations": 6, "sessions": 3}


def test_ending_a_session_leaves_other_conversations_active(mem: ILabMemory) -> None:
    kept = save(mem, "one", "a")
    save(mem, "two", "b")
    ended = mem.mem_session_end(USER, summary="done", conversation_id="b")
    assert (ended.conversation_id, ended.status) == ("b", "completed")
    with pytest.raises(LookupError):
        mem.mem_session_end(USER, summary="done", conversation_id="b")
    with pytest.raises(LookupError):
        mem.mem_session_end(USER, summary="done")
    assert mem.mem_session_start(USER, conversation_id="a").session_id == kept


def test_sessions_of_conversations_expire_on_their_own(mem: ILabMemory, clock: Clock) -> None:
    stale = save(mem, "stale", "a")
    clock.forward(hours=20)
    fresh = save(mem, "fresh", "b")
    clock.forward(hours=10)
    assert mem.mem_session_start(USER, conversation_id="b").session_id == fresh
    response = mem.mem_session_start(USER, conversation_id="a")
    assert response.is_new
    assert [shown.session_id for shown in response.sessions_context] == [stale]


def test_sessions_come_without_memories_where_none_are_wanted(mem: ILabMemory) -> None:
    save(mem, "one")
    mem.mem_session_end(USER, summary="done")
    session = save(mem, "two")
    for begin in (mem.mem_session_start, mem.mem_session_peek):
        with_memories, without = begin(USER), begin(USER, with_memories=False)
        assert len(with_memories.memories) == 2
        assert without.memories == []
        assert (without.session_id, without.is_new) == (session, False)
        assert without.sessions_context == with_memories.sessions_context


def test_touching_one_conversation_does_not_hide_the_touch_of_another(mem: ILabMemory, clock: Clock) -> None:
    sessions = {name: save(mem, name, name) for name in ("a", "b")}
    clock.forward(hours=20)
    for name in sessions:
        mem.mem_session_start(USER, conversation_id=name)
    clock.forward(hours=20)
    for name, session in sessions.items():
        assert mem.mem_session_peek(USER, conversation_id=name).session_id == session


def test_recent_turns_are_those_of_the_conversation(mem: ILabMemory) -> None:
    sessions = {name: save(mem, f"turn of {name}", name) for name in ("", "a", "b")}
    for name, session in sessions.items():
        assert [row.content for row in mem.mem_recent(USER, session, conversation_id=name)] == [f"turn of {name}"]
    assert mem.mem_recent(USER, sessions["a"]) == []
    assert mem.mem_recent(USER, sessions[""], conversation_id="a") == []


def test_search_timeline_keys_and_memories_are_the_users(mem: ILabMemory, clock: Clock) -> None:
    save(mem, "green tea", "a", key="drink")
    save(mem, "black tea", "b")
    assert {row.title for row in mem.mem_search(USER, "tea")} == {"green tea", "black tea"}
    clock.forward(minutes=1)
    changed = mem.mem_save(USER, "coffee", type="discovery", title="coffee", topic_key="drink", conversation_id="b")
    assert changed.outcome == "updated"
    assert [row.title for row in mem.mem_timeline(USER, changed.id)] == ["coffee", "black tea"]
    recent = mem.mem_recent(USER, changed.session_id, conversation_id="b")
    assert [row.title for row in recent] == ["coffee", "black tea"]
    mem.mem_session_end(USER, summary="s", conversation_id="b")
    assert {row.title for row in mem.mem_session_start(USER).memories} == {"coffee", "black tea"}


def test_the_same_content_in_two_conversations_is_stored_twice(mem: ILabMemory) -> None:
    save(mem, "tea", "a")
    save(mem, "tea", "b")
    save(mem, "tea", "b")
    assert mem.mem_stats(USER)["observations"] == 2


def test_forgetting_a_user_erases_every_conversation(mem: ILabMemory) -> None:
    for name in ("", "a", "b"):
        save(mem, "tea", name)
    assert mem.mem_forget(USER) == 3
    assert mem.mem_sessions(USER) == []


@cases("bad", [" ", "x" * 257, "a\0b", "\ud800", None, 7])
def test_an_invalid_conversation_id_is_refused_by_every_method(mem: ILabMemory, bad: str) -> None:
    for call in (
        lambda: mem.mem_session_start(USER, conversation_id=bad),
        lambda: mem.mem_session_peek(USER, conversation_id=bad),
        lambda: mem.mem_session_end(USER, summary="s", conversation_id=bad),
        lambda: mem.mem_session_summary(USER, "s", conversation_id=bad),
        lambda: mem.mem_save(USER, "c", type="discovery", title="t", conversation_id=bad),
        lambda: mem.mem_recent(USER, "s", conversation_id=bad),
    ):
        with pytest.raises(ValueError, match="conversation_id must"):
            call()
    if bad is not None:
        with pytest.raises(ValueError, match="conversation_id must"):
            mem.mem_list(USER, conversation_id=bad)
        with pytest.raises(ValueError, match="conversation_id must"):
            mem.mem_sessions(USER, conversation_id=bad)


def test_a_conversation_id_may_have_256_characters(mem: ILabMemory) -> None:
    assert save(mem, "tea", "x" * 256) == mem.mem_session_start(USER, conversation_id="x" * 256).session_id
