"""Consolidation in the library: who is due, what a claim gives, and what finishing stores."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from ilab_memory import ILabMemory, Observation
from ilab_memory.core.models import NewFact
from ilab_memory.core.work import NewSummary, Work, WorkTurns
from memory.support import Clock

LEASE = timedelta(seconds=30)
TURNS = "chat:turn/"


def say(mem: ILabMemory, user: str, text: str, *, queue: bool = True, conversation: str = "") -> int:
    """Save a turn and return its id."""
    saved = mem.mem_save(
        user,
        f"User: {text}",
        type="discovery",
        title=f"Turn: {text}",
        topic_key=TURNS + text.replace(" ", "-"),
        queue_work=queue,
        conversation_id=conversation,
    )
    return saved.id


def claim(mem: ILabMemory, turns: int = 2) -> Work | None:
    return mem.mem_work_claim(owner="test", lease=LEASE, turns=turns)


def claimed(mem: ILabMemory, turns: int = 2) -> Work:
    work = claim(mem, turns)
    assert work is not None
    return work


def read(mem: ILabMemory, work: Work, limit: int = 16, max_bytes: int = 10**6) -> WorkTurns:
    return mem.mem_work_turns(work, key_prefixes=[TURNS], limit=limit, max_bytes=max_bytes)


def texts(turns: WorkTurns) -> list[str]:
    return [turn.content.removeprefix("User: ") for turn in turns.observations]


def fact(key: str, content: str) -> NewFact:
    return NewFact(type="profile", title=key, content=content, topic_key=f"fact/{key}")


def facts(mem: ILabMemory, user: str = "ann") -> dict[str | None, str]:
    return {each.topic_key: each.content for each in mem.mem_facts(user)}


def summaries(mem: ILabMemory, user: str = "ann") -> list[str]:
    return [each.content for each in mem.mem_list(user, types=["summary"])]


def two_turns(mem: ILabMemory, clock: Clock, user: str = "ann") -> list[int]:
    first = say(mem, user, "I live in Hamburg")
    clock.forward(minutes=1)
    return [first, say(mem, user, "My cat is called Mo")]


def test_nobody_is_due_without_queued_turns(mem: ILabMemory, clock: Clock) -> None:
    say(mem, "ann", "one", queue=False)
    say(mem, "ann", "two", queue=False)
    clock.forward(days=1)
    assert claim(mem) is None


def test_enough_turns_are_due_at_once(mem: ILabMemory) -> None:
    say(mem, "ann", "one")
    assert claim(mem) is None
    say(mem, "ann", "two")
    work = claimed(mem)
    assert (work.user_id, work.pending, work.attempts) == ("ann", 2, 1)
    assert texts(read(mem, work)) == ["one", "two"]


def test_fewer_turns_are_due_when_the_user_is_idle(mem: ILabMemory, clock: Clock) -> None:
    say(mem, "ann", "one")
    clock.forward(minutes=9)
    assert claim(mem) is None
    clock.forward(minutes=1)
    assert claimed(mem).user_id == "ann"


def test_fewer_turns_are_due_when_a_session_ended(mem: ILabMemory) -> None:
    say(mem, "ann", "one")
    mem.mem_session_end("ann", summary="Done.")
    assert claimed(mem).user_id == "ann"


def test_a_repeated_turn_is_not_queued_again(mem: ILabMemory) -> None:
    say(mem, "ann", "one")
    say(mem, "ann", "one")
    assert claim(mem) is None


def test_the_user_who_waited_longest_comes_first(mem: ILabMemory, clock: Clock) -> None:
    for user in ("bob", "ann"):
        two_turns(mem, clock, user)
    assert [claimed(mem).user_id, claimed(mem).user_id] == ["bob", "ann"]


def test_a_claimed_user_is_not_claimed_again_before_the_lease_expires(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    first = claimed(mem)
    assert claim(mem) is None
    clock.forward(seconds=20)
    assert mem.mem_work_renew(first, lease=LEASE)
    clock.forward(seconds=29)
    assert claim(mem) is None
    clock.forward(seconds=1)
    second = claimed(mem)
    assert second.attempts == 2
    assert second.lease != first.lease
    assert not mem.mem_work_renew(first, lease=LEASE)
    assert not mem.mem_work_finish(first, read(mem, first), set=[(fact("home", "Hamburg"), ids(mem, first)[:1])])
    assert facts(mem) == {}


def ids(mem: ILabMemory, work: Work) -> list[int]:
    return [turn.id or 0 for turn in read(mem, work).observations]


def test_finishing_stores_facts_with_their_sources_and_times(mem: ILabMemory, clock: Clock) -> None:
    first, second = two_turns(mem, clock)
    clock.forward(hours=1)
    work = claimed(mem)
    assert mem.mem_work_finish(
        work,
        read(mem, work),
        set=[(fact("home", "Lives in Hamburg."), [first]), (fact("pet", "Has a cat, Mo."), [first, second])],
        tokens_used=70,
    )
    stored = {each.topic_key: each for each in mem.mem_facts("ann")}
    assert {key: each.source_ids for key, each in stored.items()} == {"fact/home": [first], "fact/pet": [first, second]}
    turns = {turn.id: turn for turn in mem.mem_list("ann", types=["discovery"])}
    assert stored["fact/home"].updated_at == turns[first].updated_at
    assert stored["fact/pet"].updated_at == turns[second].updated_at
    assert mem.mem_work_stats().pending == 0
    assert mem.mem_work_stats().tokens_used == 70
    assert claim(mem) is None


def test_finishing_leaves_the_session_as_it_is(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    before = mem.mem_sessions("ann")
    clock.forward(hours=1)
    finish(mem, summary="Ann talked about Hamburg and her cat.")
    assert mem.mem_sessions("ann") == before


def finish(mem: ILabMemory, *, summary: str = "", turns: int = 2, limit: int = 16) -> None:
    """Claim the next work and finish it with *summary* for each session."""
    work = claimed(mem, turns)
    found = read(mem, work, limit)
    sessions = {turn.session_id for turn in found.observations}
    assert mem.mem_work_finish(
        work, found, summaries=[NewSummary(session_id=each, content=summary) for each in sessions if summary]
    )


def test_the_next_claim_begins_behind_the_last_turn(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    finish(mem)
    say(mem, "ann", "three")
    say(mem, "ann", "four")
    assert texts(read(mem, claimed(mem))) == ["three", "four"]


def test_turns_from_before_the_first_queued_one_are_left_alone(mem: ILabMemory) -> None:
    say(mem, "ann", "zero", queue=False)
    say(mem, "ann", "one")
    say(mem, "ann", "two")
    assert texts(read(mem, claimed(mem))) == ["one", "two"]


def test_turns_beyond_the_limit_are_left_for_the_next_claim(mem: ILabMemory) -> None:
    for number in range(5):
        say(mem, "ann", f"number {number}")
    work = claimed(mem)
    turns = read(mem, work, limit=3)
    assert texts(turns) == ["number 0", "number 1", "number 2"]
    assert turns.has_more
    assert mem.mem_work_finish(work, turns)
    assert texts(read(mem, claimed(mem))) == ["number 3", "number 4"]


def test_turns_are_limited_by_bytes_but_one_is_always_read(mem: ILabMemory) -> None:
    for name in ("a" * 90, "b" * 90, "c"):
        say(mem, "ann", name)
    work = claimed(mem)
    assert texts(read(mem, work, max_bytes=1)) == ["a" * 90]
    assert texts(read(mem, work, max_bytes=195)) == ["a" * 90, "b" * 90]


def test_a_turn_that_comes_while_work_runs_is_not_lost(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    work = claimed(mem)
    turns = read(mem, work)
    say(mem, "ann", "three")
    assert mem.mem_work_finish(work, turns)
    assert mem.mem_work_stats().pending == 1
    clock.forward(minutes=10)
    assert texts(read(mem, claimed(mem))) == ["three"]


@pytest.mark.parametrize("change", ["delete", "update"])
def test_nothing_is_stored_of_turns_that_changed_while_work_ran(mem: ILabMemory, clock: Clock, change: str) -> None:
    first, _ = two_turns(mem, clock)
    work = claimed(mem)
    turns = read(mem, work)
    if change == "delete":
        mem.mem_delete("ann", first)
    else:
        mem.mem_update("ann", first, content="User: I live nowhere")
    assert not mem.mem_work_finish(work, turns, set=[(fact("home", "Hamburg"), [first])])
    assert facts(mem) == {}
    assert mem.mem_work_release(work)
    assert "I live in Hamburg" not in texts(read(mem, claimed(mem)))


def test_a_user_forgotten_while_work_runs_stays_forgotten(mem: ILabMemory, clock: Clock) -> None:
    first, _ = two_turns(mem, clock)
    work = claimed(mem)
    turns = read(mem, work)
    mem.mem_forget("ann")
    assert not mem.mem_work_finish(work, turns, set=[(fact("home", "Hamburg"), [first])], tokens_used=5)
    assert not mem.mem_work_fail(work, not_before=clock.now)
    assert not mem.mem_work_renew(work, lease=LEASE)
    two_turns(mem, clock)
    assert not mem.mem_work_finish(work, turns, set=[(fact("home", "Hamburg"), [first])])
    assert facts(mem) == {}
    stats = mem.mem_work_stats()
    assert (stats.pending, stats.dead, stats.tokens_used) == (1, 0, 0)


def test_statistics_name_the_turn_that_has_waited_longest(mem: ILabMemory, clock: Clock) -> None:
    assert mem.mem_work_stats().oldest_pending is None
    began = clock.now
    two_turns(mem, clock)
    assert mem.mem_work_stats().oldest_pending == began
    mem.mem_work_fail(claimed(mem), not_before=clock.now + timedelta(days=1), is_dead=True)
    assert mem.mem_work_stats().oldest_pending is None


def test_finishing_twice_has_its_effect_once(mem: ILabMemory, clock: Clock) -> None:
    first, _ = two_turns(mem, clock)
    work = claimed(mem)
    turns = read(mem, work)
    change = [(fact("home", "Hamburg"), [first])]
    assert mem.mem_work_finish(work, turns, set=change, tokens_used=5)
    assert not mem.mem_work_finish(work, turns, set=change, tokens_used=5)
    assert mem.mem_work_stats().tokens_used == 5
    assert mem.mem_facts("ann")[0].revision_count == 1


def test_a_newer_value_of_a_key_stays(mem: ILabMemory, clock: Clock) -> None:
    first, _ = two_turns(mem, clock)
    clock.forward(minutes=1)
    mem.mem_save(
        "ann",
        "User: I moved to Lisbon",
        type="discovery",
        title="t",
        facts=[fact("home", "Lives in Lisbon."), fact("old", "stays")],
    )
    work = claimed(mem)
    assert mem.mem_work_finish(
        work, read(mem, work), set=[(fact("home", "Lives in Hamburg."), [first])], retire=[("fact/old", first)]
    )
    assert facts(mem) == {"fact/home": "Lives in Lisbon.", "fact/old": "stays"}


def test_a_value_replaces_an_older_one_and_its_source_becomes_an_earlier_one(mem: ILabMemory, clock: Clock) -> None:
    earlier = mem.mem_save(
        "ann", "User: I live in Kiel", type="discovery", title="t", facts=[fact("home", "Lives in Kiel.")]
    )
    clock.forward(minutes=1)
    first, _ = two_turns(mem, clock)
    work = claimed(mem)
    assert mem.mem_work_finish(work, read(mem, work), set=[(fact("home", "Lives in Hamburg."), [first])])
    assert facts(mem) == {"fact/home": "Lives in Hamburg."}
    [stored] = mem.mem_facts("ann")
    assert stored.source_ids == [first]
    whole = mem.mem_get_observation("ann", stored.id)
    assert whole is not None
    assert whole.earlier_source_ids == [earlier.id]


def test_a_pinned_fact_stays(mem: ILabMemory, clock: Clock) -> None:
    mem.mem_save("ann", "Lives in Rome.", type="profile", title="home", topic_key="fact/home", pinned=True)
    clock.forward(minutes=1)
    first, second = two_turns(mem, clock)
    work = claimed(mem)
    assert mem.mem_work_finish(
        work, read(mem, work), set=[(fact("home", "Hamburg"), [first])], retire=[("fact/home", second)]
    )
    assert facts(mem) == {"fact/home": "Lives in Rome."}


def test_a_retired_fact_does_not_hold_any_more(mem: ILabMemory, clock: Clock) -> None:
    mem.mem_save("ann", "Has a dog.", type="profile", title="pet", topic_key="fact/pet")
    clock.forward(minutes=1)
    _, second = two_turns(mem, clock)
    work = claimed(mem)
    assert mem.mem_work_finish(work, read(mem, work), retire=[("fact/pet", second), ("fact/unknown", second)])
    assert facts(mem) == {}
    clock.forward(minutes=1)
    mem.mem_save("ann", "Has a dog again.", type="profile", title="pet", topic_key="fact/pet")
    assert facts(mem) == {"fact/pet": "Has a dog again."}


def test_only_facts_are_retired(mem: ILabMemory, clock: Clock) -> None:
    first, second = two_turns(mem, clock)
    work = claimed(mem)
    key = mem.mem_list("ann", limit=1)[0].topic_key or ""
    assert mem.mem_work_finish(work, read(mem, work), retire=[(key, second)])
    assert {each.id for each in mem.mem_recent("ann", session_of(mem, first))} == {first, second}


def session_of(mem: ILabMemory, observation: int) -> str:
    found = mem.mem_get_observation("ann", observation)
    assert isinstance(found, Observation)
    return found.session_id


def test_a_summary_is_found_and_replaced_in_steps(mem: ILabMemory, clock: Clock) -> None:
    ids = two_turns(mem, clock)
    finish(mem, summary="Ann lives in Hamburg.")
    assert summaries(mem) == ["Ann lives in Hamburg."]
    assert [hit.type for hit in mem.mem_search("ann", "Hamburg", types=["summary"])] == ["summary"]
    clock.forward(minutes=1)
    ids += [say(mem, "ann", "three"), say(mem, "ann", "four")]
    work = claimed(mem)
    session = session_of(mem, ids[0])
    assert mem.mem_work_summaries(work, [session, "another"]) == {session: "Ann lives in Hamburg."}
    assert mem.mem_work_release(work)
    finish(mem, summary="Ann lives in Hamburg and counts.")
    assert summaries(mem) == ["Ann lives in Hamburg and counts."]
    assert mem.mem_list("ann", types=["summary"])[0].source_ids == ids


def test_a_turn_is_not_read_as_a_summary_nor_a_summary_as_a_turn(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    finish(mem, summary="First.")
    say(mem, "ann", "three")
    say(mem, "ann", "four")
    work = claimed(mem)
    assert texts(mem.mem_work_turns(work, key_prefixes=["chat"])) == ["three", "four"]


def test_each_session_gets_a_summary_of_its_own(mem: ILabMemory) -> None:
    say(mem, "ann", "one")
    say(mem, "ann", "two", conversation="work")
    work = claimed(mem)
    turns = read(mem, work)
    mem.mem_work_finish(
        work,
        turns,
        summaries=[NewSummary(session_id=turn.session_id, content=turn.title) for turn in turns.observations],
    )
    listed = {each.topic_key: each.session_id for each in mem.mem_list("ann", types=["summary"])}
    assert listed == {f"chat:summary/{turn.session_id}": turn.session_id for turn in turns.observations}


def test_an_expired_session_gets_the_summary(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    clock.forward(days=2)
    mem.mem_session_start("ann")
    assert mem.mem_sessions("ann")[1].is_auto_generated
    finish(mem, summary="Ann lives in Hamburg.")
    closed = mem.mem_sessions("ann")[1]
    assert (closed.summary, closed.is_auto_generated) == ("Ann lives in Hamburg.", False)


def test_a_session_that_expires_later_gets_the_summary(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    finish(mem, summary="Ann lives in Hamburg.")
    clock.forward(days=2)
    mem.mem_session_start("ann")
    closed = mem.mem_sessions("ann")[1]
    assert (closed.summary, closed.is_auto_generated) == ("Ann lives in Hamburg.", False)


def test_a_summary_that_a_caller_wrote_stays(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    mem.mem_session_end("ann", summary="By the caller.")
    finish(mem, summary="By consolidation.")
    assert mem.mem_sessions("ann")[0].summary == "By the caller."
    assert summaries(mem) == ["By consolidation."]


def test_deleting_a_summary_removes_it_from_its_session(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    finish(mem, summary="Ann lives in Hamburg.")
    clock.forward(days=2)
    mem.mem_session_start("ann")
    [summary] = mem.mem_list("ann", types=["summary"])
    assert mem.mem_delete("ann", summary.id or 0)
    closed = mem.mem_sessions("ann")[1]
    assert "Ann lives" not in (closed.summary or "")
    assert closed.is_auto_generated


def test_deleting_all_turns_of_a_summary_deletes_it(mem: ILabMemory, clock: Clock) -> None:
    first, second = two_turns(mem, clock)
    finish(mem, summary="Ann lives in Hamburg.")
    mem.mem_delete("ann", first)
    assert summaries(mem) == ["Ann lives in Hamburg."]
    mem.mem_delete("ann", second)
    assert summaries(mem) == []


def test_private_text_is_redacted_from_facts_and_summaries(mem: ILabMemory, clock: Clock) -> None:
    first, _ = two_turns(mem, clock)
    work = claimed(mem)
    secret = "knows <private>the code quokka</private> of the door"
    mem.mem_work_finish(
        work,
        read(mem, work),
        set=[(fact("code", secret), [first])],
        summaries=[NewSummary(session_id=session_of(mem, first), content=secret)],
    )
    assert "quokka" not in str(list(mem.mem_export("ann")))


def test_failed_work_rests_and_counts_its_attempts(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    work = claimed(mem)
    assert mem.mem_work_fail(work, not_before=clock.now + timedelta(minutes=5), tokens_used=11)
    assert not mem.mem_work_fail(work, not_before=clock.now)
    clock.forward(minutes=4)
    assert claim(mem) is None
    clock.forward(minutes=1)
    again = claimed(mem)
    assert (again.attempts, again.tokens_used) == (2, 11)
    assert mem.mem_work_fail(again, not_before=clock.now, counts=False)
    assert claimed(mem).attempts == 2


def test_released_work_is_due_again_as_if_it_had_not_been_claimed(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    work = claimed(mem)
    assert mem.mem_work_release(work)
    assert not mem.mem_work_release(work)
    assert claimed(mem).attempts == 1


def test_dead_work_stays_so_until_the_user_is_active_after_a_rest(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    assert mem.mem_work_fail(claimed(mem), not_before=clock.now + timedelta(days=1), is_dead=True)
    assert mem.mem_work_stats().dead == 1
    clock.forward(hours=1)
    say(mem, "ann", "three")
    clock.forward(hours=24)
    assert claim(mem) is None
    say(mem, "ann", "four")
    assert mem.mem_work_stats().dead == 0
    assert len(read(mem, claimed(mem)).observations) == 4


def test_tokens_are_counted_by_day(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock)
    mem.mem_work_fail(claimed(mem), not_before=clock.now, tokens_used=11)
    mem.mem_work_fail(claimed(mem), not_before=clock.now, tokens_used=4)
    assert mem.mem_work_stats().tokens_used == 15
    clock.forward(days=1)
    assert mem.mem_work_stats().tokens_used == 0
    work = claimed(mem)
    assert work.tokens_used == 0
    mem.mem_work_finish(work, read(mem, work), tokens_used=3)
    assert mem.mem_work_stats().tokens_used == 3


def test_turns_that_have_expired_are_passed_over(mem: ILabMemory, clock: Clock) -> None:
    soon: datetime = clock.now + timedelta(minutes=1)
    mem.mem_save(
        "ann", "User: gone", type="discovery", title="t", topic_key=f"{TURNS}gone", expire_time=soon, queue_work=True
    )
    say(mem, "ann", "here")
    clock.forward(minutes=1)
    assert texts(read(mem, claimed(mem))) == ["here"]


@pytest.mark.parametrize(
    "changes",
    [
        {"set": [(fact("home", "Hamburg"), [10**9])]},
        {"set": [(fact("home", "Hamburg"), [])]},
        {"retire": [("fact/home", 10**9)]},
        {"summaries": [NewSummary(session_id="another", content="text")]},
    ],
)
def test_sources_and_sessions_must_be_of_the_turns(
    mem: ILabMemory, clock: Clock, changes: dict[str, Sequence[object]]
) -> None:
    two_turns(mem, clock)
    work = claimed(mem)
    with pytest.raises(ValueError, match="of"):
        mem.mem_work_finish(work, read(mem, work), **changes)  # type: ignore[arg-type]


def test_a_user_takes_nothing_of_another(mem: ILabMemory, clock: Clock) -> None:
    two_turns(mem, clock, "ann")
    two_turns(mem, clock, "bob")
    for _ in range(2):
        work = claimed(mem)
        turns = read(mem, work)
        assert {turn.user_id for turn in turns.observations} == {work.user_id}
        mem.mem_work_finish(work, turns, set=[(fact("name", work.user_id), [turns.observations[0].id or 0])])
    assert facts(mem, "ann") == {"fact/name": "ann"}
    assert facts(mem, "bob") == {"fact/name": "bob"}
