"""Part 1 and 2 of the contract: sessions."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from ilab_memory import Config, ILabMemory, Store
from memory.support import EPOCH, Clock, text


def save(mem: ILabMemory, user_id: str, title: str) -> str:
    return mem.mem_save(user_id, f"content of {title}", type="discovery", title=title).session_id


def test_start_opens_a_session_then_reuses_it(mem: ILabMemory) -> None:
    first = mem.mem_session_start("alice")
    again = mem.mem_session_start("alice")
    assert (first.is_new, again.is_new) == (True, False)
    assert first.session_id == again.session_id == str(uuid.UUID(first.session_id))


def test_a_session_belongs_to_one_user(mem: ILabMemory) -> None:
    assert mem.mem_session_start("alice").session_id != mem.mem_session_start("bob").session_id


def test_start_updates_the_last_activity(mem: ILabMemory, clock: Clock) -> None:
    first = mem.mem_session_start("alice").session_id
    for _ in range(3):
        clock.forward(hours=23)
        assert mem.mem_session_start("alice").session_id == first


@pytest.mark.parametrize("save_first", [False, True])
def test_clock_that_is_set_back_leaves_no_session_in_the_future(
    mem: ILabMemory, clock: Clock, *, save_first: bool
) -> None:
    clock.forward(days=400)
    ahead = save(mem, "alice", "a")
    clock.forward(days=-400)
    again = save(mem, "alice", "b") if save_first else mem.mem_session_start("alice").session_id
    assert again == ahead
    [session] = mem.mem_sessions("alice")
    assert session.started_at == session.last_activity_at == text(EPOCH)
    clock.forward(hours=24)
    assert mem.mem_session_start("alice").is_new, "it expires"


def test_every_save_and_summary_updates_the_last_activity_even_deduped(mem: ILabMemory, clock: Clock) -> None:
    first = save(mem, "alice", "a")
    clock.forward(hours=23)
    assert save(mem, "alice", "a") == first
    clock.forward(hours=23)
    assert mem.mem_session_summary("alice", "so far").session_id == first
    clock.forward(hours=23)
    assert not mem.mem_session_start("alice").is_new


def test_peek_returns_the_same_as_start_and_writes_nothing(mem: ILabMemory, clock: Clock) -> None:
    nothing = mem.mem_session_peek("alice")
    assert (nothing.session_id, nothing.is_new, nothing.memories) == ("", False, [])
    assert mem.mem_stats("alice")["sessions"] == 0
    first = save(mem, "alice", "a")
    peeked = mem.mem_session_peek("alice")
    assert (peeked.session_id, [item.title for item in peeked.memories]) == (first, ["a"])
    clock.forward(hours=23)
    mem.mem_session_peek("alice")
    clock.forward(hours=1)
    expired = mem.mem_session_peek("alice")
    assert (expired.session_id, [item.title for item in expired.memories]) == ("", ["a"])
    assert mem.mem_session_start("alice").is_new


def test_reads_do_not_update_the_last_activity(mem: ILabMemory, clock: Clock) -> None:
    mem.mem_save("alice", "tea", type="discovery", title="tea")
    clock.forward(hours=23)
    mem.mem_search("alice", "tea")
    mem.mem_timeline("alice", 1)
    mem.mem_get_observation("alice", 1)
    mem.mem_stats("alice")
    clock.forward(hours=1)
    assert mem.mem_session_start("alice").is_new


@pytest.mark.parametrize(("microseconds", "is_new"), [(-1, False), (0, True)])
def test_a_session_expires_when_inactivity_reaches_the_timeout(
    mem: ILabMemory, clock: Clock, microseconds: int, *, is_new: bool
) -> None:
    mem.mem_session_start("alice")
    clock.forward(hours=24, microseconds=microseconds)
    assert mem.mem_session_start("alice").is_new is is_new


def test_the_timeout_is_configurable(store: Store, clock: Clock) -> None:
    mem = ILabMemory(store, Config(clock=clock, session_timeout_hours=0.5))
    mem.mem_session_start("alice")
    clock.forward(minutes=30)
    assert mem.mem_session_start("alice").is_new


def test_the_next_start_closes_an_expired_session_with_a_rudimentary_summary(mem: ILabMemory, clock: Clock) -> None:
    for title in "abcd":
        session_id = save(mem, "alice", title)
        clock.forward(minutes=1)
    last_activity = clock.now - timedelta(minutes=1)
    clock.forward(hours=24)
    (past,) = mem.mem_session_start("alice").sessions_context
    assert past.session_id == session_id
    assert past.is_auto_generated
    assert past.date == text(last_activity)
    assert past.summary == "Closed after inactivity. 4 observations; last: b; c; d"


def test_an_automatic_close_stores_no_observation(mem: ILabMemory, clock: Clock) -> None:
    mem.mem_session_start("alice")
    clock.forward(hours=24)
    mem.mem_session_start("alice")
    assert mem.mem_stats("alice") == {"observations": 0, "sessions": 2}


@pytest.mark.parametrize("wait", [0, 24])
def test_a_save_or_summary_opens_a_session_without_an_active_one(mem: ILabMemory, clock: Clock, wait: int) -> None:
    if wait:
        mem.mem_session_start("alice")
        clock.forward(hours=wait)
    saved = save(mem, "alice", "a")
    assert mem.mem_session_start("alice").session_id == saved
    clock.forward(hours=24)
    summarised = mem.mem_session_summary("alice", "s").session_id
    assert summarised != saved
    assert mem.mem_session_start("alice").session_id == summarised


def test_end_completes_the_session(mem: ILabMemory, clock: Clock) -> None:
    started = mem.mem_session_start("alice")
    clock.forward(hours=1)
    ended = mem.mem_session_end("alice", summary="We met.")
    assert ended.model_dump() == {
        "id": started.session_id,
        "user_id": "alice",
        "started_at": text(EPOCH),
        "ended_at": text(clock.now),
        "last_activity_at": text(clock.now),
        "summary": "We met.",
        "status": "completed",
        "is_auto_generated": False,
        "conversation_id": "",
    }
    assert mem.mem_session_start("alice").is_new


def test_an_expired_session_can_still_be_ended(mem: ILabMemory, clock: Clock) -> None:
    mem.mem_session_start("alice")
    clock.forward(days=3)
    assert not mem.mem_session_end("alice", summary="late").is_auto_generated


def test_end_without_an_active_session_is_a_lookup_error(mem: ILabMemory) -> None:
    with pytest.raises(LookupError):
        mem.mem_session_end("alice", summary="x")
    mem.mem_session_start("alice")
    mem.mem_session_end("alice", summary="x")
    with pytest.raises(LookupError):
        mem.mem_session_end("alice", summary="x")


@pytest.mark.parametrize("summary", ["", " \n", "<private/>"])
def test_a_blank_summary_is_rejected_and_changes_nothing(mem: ILabMemory, summary: str) -> None:
    mem.mem_session_start("alice")
    with pytest.raises(ValueError, match=r"^summary"):
        mem.mem_session_end("alice", summary=summary)
    with pytest.raises(ValueError, match=r"^summary"):
        mem.mem_session_summary("alice", summary)
    assert not mem.mem_session_start("alice").is_new
    assert mem.mem_stats("alice")["observations"] == 0


def test_the_summary_of_an_end_is_redacted(mem: ILabMemory) -> None:
    mem.mem_session_start("alice")
    assert mem.mem_session_end("alice", summary="pin <private>1234</private>.").summary == "pin [REDACTED]."
    assert mem.mem_session_start("alice").sessions_context[0].summary == "pin [REDACTED]."


@pytest.mark.parametrize(
    ("summary", "title"),
    [
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 77 + "..."),
        ("<private>" + "s" * 90 + "</private> done", "[REDACTED] done"),
    ],
)
def test_a_session_summary_is_an_observation_of_type_summary(mem: ILabMemory, summary: str, title: str) -> None:
    result = mem.mem_session_summary("alice", summary)
    stored = mem.mem_get_observation("alice", result.id)
    assert stored is not None
    assert (stored.type, stored.title, stored.topic_key) == ("summary", title, None)
    assert (result.outcome, result.topic_key) == ("created", None)
    assert not mem.mem_session_start("alice").is_new


def test_sessions_context_has_the_last_five_including_automatic_ones(mem: ILabMemory, clock: Clock) -> None:
    for number in range(6):
        mem.mem_session_start("alice")
        clock.forward(hours=1)
        mem.mem_session_end("alice", summary=f"s{number}")
    expired = mem.mem_session_start("alice").session_id
    clock.forward(hours=24)
    current = mem.mem_session_start("alice")
    shown = current.sessions_context
    assert [past.summary for past in shown[1:]] == ["s5", "s4", "s3", "s2"]
    assert (shown[0].session_id, shown[0].is_auto_generated) == (expired, True)
    assert current.session_id not in [past.session_id for past in shown]


def test_a_clock_that_moves_back_is_tolerated(mem: ILabMemory, clock: Clock) -> None:
    first = mem.mem_session_start("alice").session_id
    clock.forward(days=-7)
    assert save(mem, "alice", "a") == first
    ended = mem.mem_session_end("alice", summary="x")
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.started_at


def test_memories_are_the_best_ten_by_context_score_of_six_sessions(mem: ILabMemory, clock: Clock) -> None:
    for number in range(7):
        save(mem, "alice", f"old{number}")
        mem.mem_session_end("alice", summary="x")
        clock.forward(days=1)
    for number in range(12):
        save(mem, "alice", f"new{number}")
        clock.forward(seconds=1)
    titles = [memory.title for memory in mem.mem_session_start("alice").memories]
    assert titles == [f"new{number}" for number in range(11, 1, -1)]


def test_memories_of_past_sessions_follow_those_of_the_current(mem: ILabMemory, clock: Clock) -> None:
    for number in range(7):
        save(mem, "alice", f"s{number}")
        mem.mem_session_end("alice", summary="x")
        clock.forward(days=1)
    assert [memory.title for memory in mem.mem_session_start("alice").memories] == ["s6", "s5", "s4", "s3", "s2"]


def test_memories_have_context_scores_and_snippets(mem: ILabMemory, clock: Clock) -> None:
    mem.mem_save("alice", "word " * 200, type="discovery", title="d")
    mem.mem_save("alice", "short", type="profile", title="p", topic_key="k")
    clock.forward(days=30)
    mem.mem_save("alice", "again", type="profile", title="p", topic_key="k")
    profile, discovery = mem.mem_session_start("alice").memories
    assert profile.score == pytest.approx(0.5 + 0.3 * 0.2 + 0.2)
    assert discovery.score == pytest.approx(0.5 * 0.5 + 0.3 * 0.1 + 0.2 * 0.5)
    assert (profile.snippet, profile.topic_key) == ("again", "k")
    assert 300 < len(discovery.snippet) <= 400
    assert discovery.snippet.endswith("word...")


def test_an_ended_session_has_its_summary_as_an_observation_if_it_is_searchable(mem: ILabMemory) -> None:
    session = save(mem, "alice", "a")
    summary = "Decided to plant a quince. " * 5 + "<private>Zebulon</private>"
    ended = mem.mem_session_end("alice", summary=summary, searchable=True)
    [row] = mem.mem_list("alice", types=["summary"])
    assert (row.session_id, row.content, row.topic_key) == (session, ended.summary, None)
    assert "Zebulon" not in row.content
    assert row.title == row.content[:77] + "..."
    assert mem.mem_search("alice", "quince")[0].id == row.id
    assert mem.mem_stats("alice") == {"observations": 2, "sessions": 1}
    with pytest.raises(LookupError):
        mem.mem_session_end("alice", summary=summary, searchable=True)
    assert mem.mem_stats("alice") == {"observations": 2, "sessions": 1}


def test_concurrent_ends_store_one_summary_a_session(mem: ILabMemory) -> None:
    """Eight threads save and end: each session has one summary, which is its last observation."""

    def work(number: int) -> int:
        ended = 0
        for turn in range(10):
            save(mem, "alice", f"{number}/{turn}")
            try:
                mem.mem_session_end("alice", summary=f"Ended by {number} after {turn}.", searchable=True)
                ended += 1
            except LookupError:
                pass
        return ended

    with ThreadPoolExecutor(8) as threads:
        ended = sum(threads.map(work, range(8)))
    rows = sorted(mem.mem_list("alice", limit=1000), key=lambda row: row.id or 0)
    by_session = {
        session.id: [row for row in rows if row.session_id == session.id]
        for session in mem.mem_sessions("alice", limit=1000)
    }
    assert len(rows) == 80 + ended
    assert ended == len(by_session) == mem.mem_stats("alice")["sessions"]
    for session in mem.mem_sessions("alice", limit=1000):
        *saves, summary = by_session[session.id]
        assert saves
        assert {row.type for row in saves} == {"discovery"}
        assert (summary.type, summary.content) == ("summary", session.summary)
