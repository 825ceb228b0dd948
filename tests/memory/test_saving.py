"""Part 1 and 2 of the contract: saving, reading back, timeline, statistics."""

import hashlib
from typing import Any

import pytest

from batch import cases
from ilab_memory import Config, ILabMemory, Observation, SaveResult, Store
from memory.support import EPOCH, Clock, text


def save(mem: ILabMemory, content: str = "c", user_id: str = "alice", **changes: Any) -> SaveResult:
    return mem.mem_save(user_id, content, **{"type": "discovery", "title": "t", **changes})


def get(mem: ILabMemory, observation_id: int) -> Observation:
    found = mem.mem_get_observation("alice", observation_id)
    assert found is not None
    return found


def test_a_saved_observation_is_returned_unchanged(mem: ILabMemory) -> None:
    content = "  Héllo\r\n\t世界 🎉 "
    result = save(mem, content, type="preference", title=" T ", topic_key="k/1")
    assert result.outcome == "created"
    assert get(mem, result.id).model_dump() == {
        "id": result.id,
        "session_id": result.session_id,
        "user_id": "alice",
        "type": "preference",
        "title": " T ",
        "content": content,
        "topic_key": "k/1",
        "normalized_hash": hashlib.sha256(content.encode()).hexdigest(),
        "revision_count": 1,
        "created_at": text(EPOCH),
        "updated_at": text(EPOCH),
        "pinned": False,
        "expire_time": None,
        "about": None,
        "source_ids": [],
        "earlier_source_ids": [],
    }


def test_the_call_of_the_recipe_works_word_for_word(mem: ILabMemory) -> None:
    mem.mem_save(
        user_id="alice",
        type="discovery",
        title="Turn: hi",
        content="User: hi\nAssistant: ho",
        topic_key="chat/alice/turn",
    )
    session = mem.mem_session_start(user_id="alice")
    assert [f"- ({m.type}) {m.title}" for m in session.memories] == ["- (discovery) Turn: hi"]


def test_an_unkeyed_save_is_deduped_within_the_session(mem: ILabMemory) -> None:
    first = save(mem)
    again = save(mem)
    assert (again.outcome, again.id) == ("deduped", first.id)
    assert get(mem, first.id).revision_count == 1


@pytest.mark.parametrize("change", [{"type": "profile"}, {"title": "u"}, {"user_id": "bob"}, {"topic_key": "k"}])
def test_another_type_title_user_or_key_is_not_deduped(mem: ILabMemory, change: dict[str, str]) -> None:
    first = save(mem)
    second = save(mem, **change)
    assert second.outcome == "created"
    assert second.id != first.id


def test_an_unkeyed_save_is_never_deduped_against_a_keyed_row(mem: ILabMemory) -> None:
    save(mem, topic_key="k")
    assert save(mem).outcome == "created"


def test_the_same_content_in_another_session_is_a_new_row(mem: ILabMemory) -> None:
    save(mem)
    mem.mem_session_end("alice", summary="x")
    assert save(mem).outcome == "created"


def test_contents_that_differ_only_in_private_text_are_deduped(mem: ILabMemory) -> None:
    first = save(mem, "pin <private>1</private>")
    assert save(mem, "pin <private>2</private>").outcome == "deduped"
    assert get(mem, first.id).normalized_hash == hashlib.sha256(b"pin [REDACTED]").hexdigest()


def test_the_same_key_updates_in_place(mem: ILabMemory, clock: Clock) -> None:
    first = save(mem, "one", topic_key="k")
    mem.mem_session_end("alice", summary="x")
    clock.forward(hours=1)
    second = save(mem, "two", topic_key="k", type="decision", title="u")
    assert (second.outcome, second.id, second.topic_key) == ("updated", first.id, "k")
    row = get(mem, first.id)
    assert (row.content, row.type, row.title, row.revision_count) == ("two", "decision", "u", 2)
    assert (row.created_at, row.updated_at) == (text(EPOCH), text(clock.now))
    assert row.session_id == second.session_id != first.session_id


def test_the_same_key_with_the_same_values_is_deduped(mem: ILabMemory, clock: Clock) -> None:
    first = save(mem, topic_key="k")
    mem.mem_session_end("alice", summary="x")
    clock.forward(hours=1)
    again = save(mem, topic_key="k")
    assert (again.outcome, again.id) == ("deduped", first.id)
    row = get(mem, first.id)
    assert (row.revision_count, row.updated_at, row.session_id) == (1, text(EPOCH), first.session_id)


def test_a_key_belongs_to_one_user(mem: ILabMemory) -> None:
    assert save(mem, topic_key="k").id != save(mem, "other", user_id="bob", topic_key="k").id


def test_title_content_and_key_are_redacted(mem: ILabMemory) -> None:
    private = "<private>x</private>"
    row = get(mem, save(mem, f"c{private}", title=f"t{private}", topic_key=f"k{private}").id)
    assert (row.content, row.title, row.topic_key) == ("c[REDACTED]", "t[REDACTED]", "k[REDACTED]")


@cases(
    ("change", "name"),
    [
        ({"type": "summary"}, "type"),
        ({"type": "nonsense"}, "type"),
        ({"content": ""}, "content"),
        ({"content": " \n\t"}, "content"),
        ({"content": "<private/> "}, "content"),
        ({"content": "a\0b"}, "content"),
        ({"content": "a\ud800b"}, "content"),
        ({"content": "é" * (512 * 1024) + "a"}, "content"),
        ({"title": " "}, "title"),
        ({"title": "x" * 513}, "title"),
        ({"title": "\udfff"}, "title"),
        ({"topic_key": ""}, "topic_key"),
        ({"topic_key": "x" * 257}, "topic_key"),
        ({"user_id": " "}, "user_id"),
        ({"user_id": "x" * 257}, "user_id"),
        ({"user_id": "a\0"}, "user_id"),
    ],
)
def test_an_invalid_argument_is_named_and_nothing_is_stored(mem: ILabMemory, change: dict[str, str], name: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        save(mem, **{"content": "c", **change})
    assert len(str(caught.value)) < 120
    assert mem.mem_stats("alice") == {"observations": 0, "sessions": 0}


def test_the_limits_themselves_are_allowed(mem: ILabMemory) -> None:
    save(mem, "x" * 1024 * 1024, user_id="u" * 256, title="t" * 512, topic_key="k" * 256)
    assert mem.mem_stats("u" * 256)["observations"] == 1


def test_configured_types_replace_the_documented_ones(store: Store) -> None:
    mem = ILabMemory(store, Config(observation_types=("note",)))
    assert save(mem, type="note").outcome == "created"
    with pytest.raises(ValueError, match="type"):
        save(mem, type="discovery")


def test_get_of_a_missing_or_foreign_observation_returns_none(mem: ILabMemory) -> None:
    saved = save(mem).id
    assert mem.mem_get_observation("bob", saved) is None
    assert mem.mem_get_observation("alice", saved + 1) is None
    assert mem.mem_get_observation("alice", 10**30) is None


@pytest.mark.parametrize("observation_id", [0, -1])
def test_an_id_below_1_is_rejected(mem: ILabMemory, observation_id: int) -> None:
    with pytest.raises(ValueError, match="observation_id"):
        mem.mem_get_observation("alice", observation_id)
    with pytest.raises(ValueError, match="observation_id"):
        mem.mem_timeline("alice", observation_id)


def test_the_timeline_has_five_neighbours_per_side_across_sessions(mem: ILabMemory, clock: Clock) -> None:
    ids = []
    for number in range(14):
        save(mem, f"b{number}", user_id="bob")
        ids.append(save(mem, f"a{number}").id)
        clock.forward(minutes=1)
        if number % 3 == 0:
            mem.mem_session_end("alice", summary="x")
    assert Store.DEFAULT_TIMELINE_NEIGHBORS == 5
    assert [row.id for row in mem.mem_timeline("alice", ids[7])] == ids[2:13]
    assert [row.id for row in mem.mem_timeline("alice", ids[0])] == ids[:6]
    assert [row.content for row in mem.mem_timeline("alice", ids[13])] == [f"a{number}" for number in range(8, 14)]


def test_the_timeline_is_in_the_order_of_created_at_then_id(mem: ILabMemory, clock: Clock) -> None:
    late = save(mem, "late").id
    clock.forward(days=-1)
    early, early_too = save(mem, "early").id, save(mem, "early too").id
    assert [row.id for row in mem.mem_timeline("alice", late)] == [early, early_too, late]


def test_the_rows_of_a_timeline_are_complete(mem: ILabMemory) -> None:
    contents = ["\U0001f375" * 3, 'a "quoted"\n\tline \\', "e\u0301\x01", "x" * 1024 * 1024, "last"]
    ids = [save(mem, content, topic_key=f"k{number}").id for number, content in enumerate(contents)]
    rows = mem.mem_timeline("alice", ids[2])
    assert rows == [mem.mem_get_observation("alice", observation_id) for observation_id in ids]
    assert [row.content for row in rows] == contents


def test_the_timeline_of_a_missing_or_foreign_anchor_is_empty(mem: ILabMemory) -> None:
    saved = save(mem).id
    assert mem.mem_timeline("bob", saved) == []
    assert mem.mem_timeline("alice", saved + 1) == []
    assert mem.mem_timeline("alice", 2**70) == []


def test_the_recent_observations_of_a_session_are_the_newest_first(mem: ILabMemory, clock: Clock) -> None:
    old = save(mem, "of the session before")
    mem.mem_session_end("alice", summary="x")
    saved = []
    for number in range(5):
        clock.forward(minutes=1)
        saved.append(save(mem, f"a{number}", topic_key=f"k{number % 2}/{number}" if number else None))
    clock.forward(minutes=1)
    save(mem, "a1, changed", topic_key="k1/1")
    session = saved[0].session_id
    contents = [row.content for row in mem.mem_recent("alice", session)]
    assert contents == ["a1, changed", "a4", "a3", "a2", "a0"]
    assert mem.mem_recent("alice", session, 2) == [get(mem, saved[1].id), get(mem, saved[4].id)]
    assert [row.id for row in mem.mem_recent("alice", old.session_id)] == [old.id]
    assert mem.mem_recent("bob", session) == []
    assert mem.mem_recent("alice", "no session") == []


def test_recent_observations_are_filtered_by_key_prefix(mem: ILabMemory) -> None:
    for key in ("k%/a", "k_/b", "k%/c", None):
        session = save(mem, key or "none", topic_key=key).session_id

    def recent(*prefixes: str, limit: int = 10) -> list[str]:
        return [row.content for row in mem.mem_recent("alice", session, limit, key_prefixes=list(prefixes))]

    assert recent("k%/") == ["k%/c", "k%/a"]
    assert recent("k%/", limit=1) == ["k%/c"]
    assert recent("k_", "k%/c") == ["k%/c", "k_/b"]
    assert recent("k%/c/d") == []
    assert recent() == []


def test_recent_observations_end_before_the_one_that_exceeds_the_bytes(mem: ILabMemory) -> None:
    for content in ("x", "y" * 1000, "äöü", "z"):
        session = save(mem, content).session_id

    def recent(max_bytes: int) -> list[str]:
        return [row.content for row in mem.mem_recent("alice", session, max_bytes=max_bytes)]

    assert recent(1006) == ["z", "äöü"]
    assert recent(1007) == ["z", "äöü", "y" * 1000]
    assert recent(6) == ["z"]
    assert recent(0) == []


@cases(
    ("wrong", "name"),
    [
        ({"session_id": ""}, "session_id"),
        ({"limit": 0}, "limit"),
        ({"key_prefixes": "k"}, "key_prefixes"),
        ({"max_bytes": -1}, "max_bytes"),
        ({"max_bytes": True}, "max_bytes"),
    ],
)
def test_invalid_arguments_of_recent_are_rejected(mem: ILabMemory, wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} "):
        mem.mem_recent("alice", **({"session_id": "s"} | wrong))


def test_statistics_are_of_one_user(mem: ILabMemory) -> None:
    save(mem)
    save(mem, "d", topic_key="k")
    save(mem, "e", topic_key="k")
    save(mem, user_id="bob")
    assert mem.mem_stats("alice") == {"observations": 2, "sessions": 1}
    assert mem.mem_stats("nobody") == {"observations": 0, "sessions": 0}


def test_statistics_by_type_count_bytes_and_say_the_first_and_the_last(mem: ILabMemory, clock: Clock) -> None:
    save(mem, "äö", title="t")
    clock.forward(hours=1)
    save(mem, "abc", title="t")
    save(mem, "Rome", type="profile", title="Home")
    save(mem, user_id="bob")
    assert [each.model_dump() for each in mem.mem_type_stats("alice")] == [
        {
            "type": "discovery",
            "observations": 2,
            "text_bytes": 9,
            "first_time": text(EPOCH),
            "last_time": text(clock.now),
        },
        {
            "type": "profile",
            "observations": 1,
            "text_bytes": 8,
            "first_time": text(clock.now),
            "last_time": text(clock.now),
        },
    ]
    assert mem.mem_type_stats("nobody") == []
