"""Facts with their sources, statements about the user, pins and expiry, on every store."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batch import cases
from ilab_memory import Config, Fact, ILabMemory, NewFact, Observation, SaveResult, Session
from ilab_memory.core.config import FACT_TYPES
from ilab_memory.stores.sqlite import SQLiteStore
from ilab_memory.stores.sqlite.check import check
from memory.support import EPOCH, Clock, text

USER = "alice"


def home(city: str, **values: object) -> NewFact:
    return NewFact.model_validate(
        {"type": "profile", "title": "Home", "content": f"Lives in {city}.", "topic_key": "user.home", **values}
    )


def name(of: str) -> NewFact:
    return NewFact(type="profile", title="Name", content=f"Is called {of}.", topic_key="user.name")


def turn(mem: ILabMemory, key: str | None, said: str, *facts: NewFact, user: str = USER) -> SaveResult:
    return mem.mem_save(
        user, f"User: {said}\nAssistant: Good.", type="discovery", title=f"Turn: {said}"[:80], topic_key=key,
        about=said, facts=facts,
    )  # fmt: skip


def contents(mem: ILabMemory, user: str = USER) -> dict[str | None, str]:
    return {fact.topic_key: fact.content for fact in mem.mem_facts(user)}


def sources(mem: ILabMemory, key: str = "user.home") -> tuple[list[int], list[int]]:
    (row,) = [row for row in mem.mem_list(USER) if row.topic_key == key]
    return row.source_ids, row.earlier_source_ids


def earlier(mem: ILabMemory) -> dict[str, bool]:
    return {statement.text: statement.is_earlier for statement in mem.mem_about(USER)}


def test_facts_are_saved_with_their_observation_as_the_source(mem: ILabMemory) -> None:
    saved = turn(mem, "t1", "I live in Rome", home("Rome", pinned=True), name("Ann"))
    assert [(fact.outcome, fact.topic_key) for fact in saved.facts] == [
        ("created", "user.home"),
        ("created", "user.name"),
    ]
    home_id, name_id = (fact.id for fact in saved.facts)
    assert saved.id < home_id < name_id
    pinned, unpinned = mem.mem_facts(USER)
    assert pinned == Fact(
        id=home_id,
        type="profile",
        title="Home",
        content="Lives in Rome.",
        topic_key="user.home",
        pinned=True,
        created_at=text(EPOCH),
        updated_at=text(EPOCH),
        expire_time=None,
        revision_count=1,
        source_ids=[saved.id],
    )
    assert (unpinned.id, unpinned.pinned, unpinned.source_ids) == (name_id, False, [saved.id])
    assert mem.mem_facts("bob") == []
    row = mem.mem_get_observation(USER, saved.id)
    assert row
    assert (row.about, row.source_ids) == ("I live in Rome", [])
    assert mem.mem_stats(USER)["observations"] == 3


def test_the_newest_value_wins_and_the_older_statement_is_earlier(mem: ILabMemory, clock: Clock) -> None:
    rome = turn(mem, "t1", "I live in Rome", home("Rome"))
    clock.forward(days=1)
    paris = turn(mem, "t2", "I moved to Paris", home("Paris"))
    assert paris.facts[0].outcome == "updated"
    assert paris.facts[0].id == rome.facts[0].id
    assert contents(mem) == {"user.home": "Lives in Paris."}
    assert sources(mem) == ([paris.id], [rome.id])
    assert earlier(mem) == {"I moved to Paris": False, "I live in Rome": True}
    clock.forward(days=1)
    again = turn(mem, "t3", "I still live in Paris", home("Paris"))
    assert again.facts[0].outcome == "deduped"
    assert mem.mem_facts(USER)[0].updated_at == text(EPOCH + timedelta(days=1))
    assert sources(mem) == ([paris.id, again.id], [rome.id])
    clock.forward(days=1)
    turn(mem, "t4", "I am back in Rome", home("Rome"))
    assert earlier(mem) == {
        "I am back in Rome": False,
        "I still live in Paris": True,
        "I moved to Paris": True,
        "I live in Rome": True,
    }


def test_a_repeated_save_changes_nothing(mem: ILabMemory, clock: Clock) -> None:
    first = turn(mem, "t1", "I live in Rome", home("Rome"), name("Ann"))
    clock.forward(minutes=1)
    turn(mem, "t2", "I moved to Paris", home("Paris"))
    before = list(mem.mem_export(USER))[1:]
    clock.forward(minutes=1)
    again = turn(mem, "t1", "I live in Rome", home("Rome"), name("Ann"))
    assert again.id == first.id
    assert [(fact.id, fact.outcome) for fact in again.facts] == [(fact.id, "deduped") for fact in first.facts]
    assert list(mem.mem_export(USER))[1:] == before


def test_a_repeated_save_adds_facts_that_it_did_not_have(mem: ILabMemory) -> None:
    for key in ("t1", None):
        turn(mem, key, "I am Ann and live in Rome")
        saved = turn(mem, key, "I am Ann and live in Rome", home("Rome"))
        assert (saved.outcome, saved.facts[0].outcome) == ("deduped", "created" if key else "deduped")
    assert contents(mem) == {"user.home": "Lives in Rome."}


def test_deleting_a_turn_deletes_what_was_derived_from_it_alone(mem: ILabMemory) -> None:
    first = turn(mem, "t1", "I am Ann and live in Rome", home("Rome"), name("Ann"))
    second = turn(mem, "t2", "As I said, I live in Rome", home("Rome"))
    of_home, of_name = (fact.id for fact in first.facts)
    assert mem.mem_forget_observation(USER, first.id) == [first.id, of_name]
    assert contents(mem) == {"user.home": "Lives in Rome."}
    assert sources(mem) == ([second.id], [])
    assert mem.mem_forget_observation(USER, first.id) == []
    assert mem.mem_delete(USER, second.id)
    assert not mem.mem_delete(USER, second.id)
    assert mem.mem_list(USER) == []
    assert mem.mem_stats(USER)["observations"] == 0
    assert mem.mem_get_observation(USER, of_home) is None


def test_several_observations_are_deleted_with_what_was_derived_from_each(mem: ILabMemory) -> None:
    first = turn(mem, "t1", "I am Ann and live in Rome", home("Rome"), name("Ann"))
    second = turn(mem, "t2", "As I said, I live in Rome", home("Rome"))
    kept = turn(mem, "t3", "It rains")
    of_home, of_name = (fact.id for fact in first.facts)
    erased = mem.mem_forget_observations(USER, [first.id, second.id, first.id, 999_999, 2**70])
    assert erased == [first.id, of_name, second.id, of_home]
    assert [row.id for row in mem.mem_list(USER)] == [kept.id]
    assert mem.mem_forget_observations(USER, []) == []


def test_deleting_an_earlier_source_keeps_the_fact(mem: ILabMemory) -> None:
    rome = turn(mem, "t1", "I live in Rome", home("Rome"))
    paris = turn(mem, "t2", "I moved to Paris", home("Paris"))
    assert mem.mem_forget_observation(USER, rome.id) == [rome.id]
    assert contents(mem) == {"user.home": "Lives in Paris."}
    assert sources(mem) == ([paris.id], [])


def test_deletion_follows_chains_of_facts(mem: ILabMemory) -> None:
    first = turn(mem, "t1", "I live in Rome", home("Rome"))
    middle = mem.mem_save(
        USER, "Lives in Rome.", type="profile", title="Home", topic_key="user.home",
        facts=[NewFact(type="pattern", title="Country", content="Lives in Italy.", topic_key="user.country")],
    )  # fmt: skip
    assert middle.outcome == "deduped"
    assert mem.mem_forget_observation(USER, first.id) == [first.id, middle.id, middle.facts[0].id]
    assert mem.mem_list(USER) == []


def linked(*links: tuple[int, ...]) -> list[Session | Observation]:
    """Return an export of facts: each has the numbers of those that it was derived from, itself at 1 and up."""
    start = {"user_id": USER, "started_at": text(EPOCH), "last_activity_at": text(EPOCH)}
    at = {"user_id": USER, "session_id": "s", "created_at": text(EPOCH), "updated_at": text(EPOCH)}
    rows = [
        {**at, "type": "profile", "title": "t", "content": f"fact {number}", "id": number, "source_ids": sources}
        for number, sources in enumerate(links, 1)
    ]
    return [Session.model_validate({"id": "s", **start}), *map(Observation.model_validate, rows)]


@pytest.mark.parametrize(
    ("links", "left"),
    [
        ([(), (1,), (2,), (1, 3)], []),
        ([(), (1,), (), (2, 3)], [3, 4]),
        ([(3,), (1,), (2,)], []),
        ([(), (1, 2)], [2]),
        ([(), (1, 3), (1, 2)], [2, 3]),
    ],
)
def test_deletion_follows_every_way_between_facts(
    mem: ILabMemory, links: list[tuple[int, ...]], left: list[int]
) -> None:
    mem.mem_import(USER, linked(*links))
    (first,) = [row for row in mem.mem_list(USER) if row.content == "fact 1"]
    mem.mem_forget_observation(USER, first.id or 0)
    assert {row.content for row in mem.mem_list(USER)} == {f"fact {number}" for number in left}


def test_an_edited_turn_replaces_its_facts(mem: ILabMemory, clock: Clock) -> None:
    first = turn(mem, "t1", "I am Ann and live in Rome", home("Rome"), name("Ann"))
    clock.forward(minutes=1)
    edited = turn(mem, "t1", "I live in Paris", home("Paris"))
    assert edited.outcome == "updated"
    assert contents(mem) == {"user.home": "Lives in Paris."}
    assert sources(mem) == ([first.id], [])
    assert earlier(mem) == {"I live in Paris": False}
    assert mem.mem_search(USER, "Ann") == []
    assert mem.mem_stats(USER)["observations"] == 2
    other = turn(mem, "t2", "I live in Paris, you know", home("Paris"))
    turn(mem, "t1", "Never mind")
    assert sources(mem) == ([other.id], [])
    turn(mem, "t2", "Never mind that either")
    assert mem.mem_facts(USER) == []
    assert mem.mem_stats(USER)["observations"] == 2


def test_an_edited_turn_does_not_stay_an_earlier_source(mem: ILabMemory) -> None:
    turn(mem, "t1", "I live in Rome", home("Rome"))
    paris = turn(mem, "t2", "I moved to Paris", home("Paris"))
    turn(mem, "t1", "Hello there")
    assert sources(mem) == ([paris.id], [])
    assert earlier(mem)["Hello there"] is False


def test_updating_the_content_of_a_turn_removes_what_was_derived_from_it(mem: ILabMemory) -> None:
    saved = turn(mem, "t1", "I live in Rome", home("Rome"))
    mem.mem_update(USER, saved.id, title="Other title")
    assert contents(mem) == {"user.home": "Lives in Rome."}
    mem.mem_update(USER, saved.id, content="User: Hello\nAssistant: Hello.")
    assert not mem.mem_facts(USER)
    assert not mem.mem_about(USER)
    assert mem.mem_stats(USER)["observations"] == 1


def test_updating_the_content_of_a_fact_makes_its_sources_earlier_ones(mem: ILabMemory) -> None:
    saved = turn(mem, "t1", "I live in Rome", home("Rome"))
    (fact,) = mem.mem_facts(USER)
    mem.mem_update(USER, fact.id, title="Town")
    assert sources(mem) == ([saved.id], [])
    mem.mem_update(USER, fact.id, content="Lives in Milan.")
    assert sources(mem) == ([], [saved.id])
    assert earlier(mem) == {"I live in Rome": True}
    assert mem.mem_forget_observation(USER, saved.id) == [saved.id]
    assert contents(mem) == {"user.home": "Lives in Milan."}


def test_facts_and_saves_of_the_caller_replace_each_other(mem: ILabMemory) -> None:
    def caller(city: str) -> SaveResult:
        return mem.mem_save(USER, f"Lives in {city}.", type="profile", title="Home", topic_key="user.home")

    caller("Oslo")
    rome = turn(mem, "t1", "I live in Rome", home("Rome"))
    assert contents(mem) == {"user.home": "Lives in Rome."}
    assert sources(mem) == ([rome.id], [])
    assert caller("Bergen").outcome == "updated"
    assert sources(mem) == ([], [rome.id])
    assert mem.mem_forget_observation(USER, rome.id) == [rome.id]
    assert contents(mem) == {"user.home": "Lives in Bergen."}


def test_facts_are_listed_pinned_first_then_newest_and_pages_join(mem: ILabMemory, clock: Clock) -> None:
    for number in range(20):
        clock.forward(minutes=number % 3 == 0)
        kind = FACT_TYPES[number % 4]
        mem.mem_save(USER, f"fact {number}", type=kind, title="t", pinned=number % 5 == 0)
        mem.mem_save(USER, f"turn {number}", type="discovery", title="t", pinned=True)
    whole = mem.mem_facts(USER)
    assert len(whole) == 20
    assert [fact.pinned for fact in whole] == [True] * 4 + [False] * 16
    assert [(fact.pinned, fact.updated_at, fact.id) for fact in whole] == sorted(
        ((fact.pinned, fact.updated_at, fact.id) for fact in whole), reverse=True
    )
    for limit in (1, 3, 20, 21):
        assert [fact for page in pages(mem, limit) for fact in page] == whole
    assert {fact.type for fact in mem.mem_facts(USER, types=["decision", "profile"])} == {"decision", "profile"}
    assert mem.mem_facts(USER, types=["discovery", "other"]) == []
    assert [fact for page in pages(mem, 2, types=["pattern"]) for fact in page] == [
        fact for fact in whole if fact.type == "pattern"
    ]


def pages(mem: ILabMemory, limit: int, types: list[str] | None = None) -> Iterator[list[Fact]]:
    before = None
    while page := mem.mem_facts(USER, types=types or [], limit=limit, before=before):
        yield page
        before = (page[-1].pinned, page[-1].updated_at, page[-1].id)


def test_a_long_fact_is_cut(mem: ILabMemory) -> None:
    mem.mem_save(USER, "é" * 2048, type="profile", title="whole", topic_key="a")
    mem.mem_save(USER, "é" * 2049, type="profile", title="cut", topic_key="b")
    assert contents(mem) == {"a": "é" * 2048, "b": "é" * 512}


def test_a_statement_is_a_line_of_about_newest_first(mem: ILabMemory, clock: Clock) -> None:
    mem.mem_save(USER, "c", type="discovery", title="t", about="I have a dog.\n\n  He is called Rex. \n")
    clock.forward(minutes=1)
    mem.mem_save(USER, "d", type="discovery", title="t", about="I like tea.")
    mem.mem_save(USER, "nothing", type="discovery", title="t")
    said = [statement.text for statement in mem.mem_about(USER)]
    assert said == ["I like tea.", "I have a dog.", "He is called Rex."]
    assert [statement.text for statement in mem.mem_about(USER, limit=2)] == said[:2]
    assert mem.mem_about("bob") == []
    mem.mem_save(USER, "e", type="discovery", title="t", about="x" * 10_000)
    assert mem.mem_about(USER, limit=1)[0].text == "x" * 4096


def test_expired_rows_are_hidden_at_once(mem: ILabMemory, clock: Clock) -> None:
    expiry = EPOCH + timedelta(days=1)
    saved = mem.mem_save(
        USER, "I am in Oslo until tomorrow", type="discovery", title="Turn", topic_key="t1", about="I am in Oslo",
        expire_time=expiry, facts=[home("Oslo", expire_time=expiry), name("Ann")],
    )  # fmt: skip
    assert mem.mem_facts(USER)[-1].expire_time == text(expiry)

    def seen() -> list[bool]:
        started = mem.mem_session_start(USER)
        return [
            "user.home" in contents(mem),
            bool(mem.mem_about(USER)),
            any(found.id == saved.id for found in mem.mem_search(USER, "Oslo")),
            any(found.id == saved.id for found in mem.mem_search(USER, "Osl")),
            any(memory.id == saved.id for memory in started.memories),
            any(row.id == saved.id for row in mem.mem_recent(USER, started.session_id)),
        ]

    clock.now = expiry - timedelta(microseconds=1)
    assert seen() == [True] * 6
    clock.now = expiry
    assert seen() == [False] * 6
    assert list(contents(mem)) == ["user.name"]
    assert len(mem.mem_list(USER)) == 3
    assert mem.mem_get_observation(USER, saved.id)
    assert len(mem.mem_timeline(USER, saved.id)) == 3


def test_expired_rows_are_hidden_from_users_of_many_rows(mem: ILabMemory, clock: Clock) -> None:
    for number in range(50):
        mem.mem_save(USER, f"apple {number}", type="discovery", title=f"t{number}", topic_key=f"k{number}",
                     expire_time=EPOCH + timedelta(days=1) if number % 2 else None)  # fmt: skip
    assert len(mem.mem_search(USER, "apple", limit=100)) == 50
    assert len(mem.mem_search(USER, "pple", limit=100)) == 50
    clock.forward(days=1)
    for query in ("apple", "pple"):
        assert {row.topic_key for row in mem.mem_search(USER, query, limit=100)} == {
            f"k{number}" for number in range(0, 50, 2)
        }


def test_a_save_of_an_expired_key_or_content_shows_it_again(mem: ILabMemory, clock: Clock) -> None:
    turn(mem, "t1", "Rome until tomorrow", home("Rome", expire_time=EPOCH + timedelta(hours=1)))
    mem.mem_save(USER, "Busy", type="profile", title="t", expire_time=EPOCH + timedelta(hours=1))
    clock.forward(hours=2)
    assert mem.mem_facts(USER) == []
    turn(mem, "t2", "Rome for another day", home("Rome", expire_time=clock.now + timedelta(hours=1)))
    mem.mem_save(USER, "Busy", type="profile", title="t", expire_time=clock.now + timedelta(hours=1))
    assert sorted(fact.content for fact in mem.mem_facts(USER)) == ["Busy", "Lives in Rome."]
    assert len(sources(mem)[0]) == 2


def test_expiring_erases_expired_rows_of_all_users(mem: ILabMemory, clock: Clock) -> None:
    for user in ("alice", "bob"):
        mem.mem_save(user, "soon gone", type="discovery", title="t", topic_key="t", facts=[name("Ann")],
                     expire_time=EPOCH + timedelta(hours=1))  # fmt: skip
    assert mem.mem_expire() == 0
    clock.forward(hours=1)
    assert mem.mem_expire(limit=1) == 1
    assert mem.mem_expire() == 1
    assert mem.mem_expire() == 0
    for user in ("alice", "bob"):
        # The derived fact stays, without the source.
        (fact,) = mem.mem_list(user)
        assert (fact.topic_key, fact.source_ids) == ("user.name", [])
        assert mem.mem_stats(user)["observations"] == 1


def test_retention_is_by_type_and_by_the_last_change(mem: ILabMemory, clock: Clock) -> None:
    for user in ("alice", "bob"):
        for kind in ("discovery", "profile", "decision"):
            for number in range(3):
                mem.mem_save(user, f"{kind} {number}", type=kind, title="t", topic_key=f"{kind} {number}")
        mem.mem_session_summary(user, "summed up")
    clock.forward(days=10)
    mem.mem_save(USER, "changed", type="discovery", title="t", topic_key="discovery 0")
    clock.forward(days=1)
    assert mem.mem_expire(retention=timedelta(days=11)) == 0
    clock.forward(microseconds=1)
    assert mem.mem_expire(retention={"discovery": timedelta(days=11)}) == 5
    assert [row.content for row in mem.mem_list(USER, types=["discovery"])] == ["changed"]
    assert mem.mem_expire(retention={"": timedelta(days=11), "profile": timedelta(days=100)}, limit=7) == 7
    assert mem.mem_expire(retention={"": timedelta(days=11), "profile": timedelta(days=100)}) == 1
    assert {row.type for row in mem.mem_list("bob")} == {"profile"}
    assert mem.mem_expire(retention=timedelta.max) == 0


def test_pinning_does_not_count_as_a_revision(mem: ILabMemory, clock: Clock) -> None:
    saved = turn(mem, "t1", "I live in Rome", home("Rome"))
    (fact,) = saved.facts
    clock.forward(minutes=1)
    expiry = datetime(2027, 1, 1, tzinfo=UTC)
    assert mem.mem_update(USER, fact.id, pinned=True, expire_time=expiry) == SaveResult(
        id=fact.id, outcome="updated", session_id=saved.session_id, topic_key="user.home"
    )
    (now,) = mem.mem_facts(USER)
    assert (now.pinned, now.expire_time, now.revision_count, now.updated_at) == (True, text(expiry), 1, text(EPOCH))
    again = mem.mem_update(USER, fact.id, pinned=True)
    assert again
    assert again.outcome == "deduped"
    assert mem.mem_facts(USER)[0].expire_time == text(expiry)
    mem.mem_update(USER, fact.id, title="Town", pinned=False, expire_time=None)
    (now,) = mem.mem_facts(USER)
    assert (now.title, now.pinned, now.expire_time, now.revision_count) == ("Town", False, None, 2)
    assert mem.mem_update(USER, 1, pinned=True) is None
    # The next number of the user is still free.
    turn(mem, "t2", "Hello")
    turn(mem, "t3", "Hello again")
    assert mem.mem_search(USER, "again")[0].topic_key == "t3"


def test_a_save_never_unpins(mem: ILabMemory) -> None:
    turn(mem, "t1", "I live in Rome", home("Rome", pinned=True))
    assert turn(mem, "t2", "I said Rome", home("Rome")).facts[0].outcome == "deduped"
    turn(mem, "t3", "I live in Paris", home("Paris"))
    assert mem.mem_facts(USER)[0].pinned
    mem.mem_save(USER, "Lives in Paris.", type="profile", title="Home", topic_key="user.home")
    assert mem.mem_facts(USER)[0].pinned


def exported(mem: ILabMemory, user: str) -> list[Session | Observation]:
    return list(mem.mem_export(user))


def fill(mem: ILabMemory, clock: Clock) -> None:
    turn(mem, "t1", "I am Ann and live in Rome", home("Rome"), name("Ann"))
    clock.forward(minutes=1)
    for number in range(120):
        turn(mem, f"u{number}", f"Chat {number}")
    clock.forward(minutes=1)
    turn(mem, "t2", "I moved to Paris", home("Paris", pinned=True, expire_time=EPOCH + timedelta(days=365)))
    turn(mem, "t3", "Paris it is", home("Paris", expire_time=EPOCH + timedelta(days=365)))


def test_an_import_restores_facts_with_their_sources(mem: ILabMemory, clock: Clock) -> None:
    fill(mem, clock)
    items = exported(mem, USER)
    assert sources(mem)[0] != []
    mem.mem_save("bob", "Other", type="profile", title="t", topic_key="user.name")
    mem.mem_import("bob", items)
    mem.mem_import("bob", items)
    clock.forward(days=1)

    def plain(user: str) -> dict[str | None, object]:
        rows = [item for item in exported(mem, user) if isinstance(item, Observation)]
        keys = {row.id: row.topic_key for row in rows}
        return {
            row.topic_key: (
                row.content, row.about, row.pinned, row.expire_time, row.created_at, row.updated_at,
                [keys[source] for source in row.source_ids], [keys[source] for source in row.earlier_source_ids],
            )
            for row in rows
        }  # fmt: skip

    original, copy = plain(USER), plain("bob")
    assert original["user.home"] == (
        "Lives in Paris.", None, True, text(EPOCH + timedelta(days=365)), text(EPOCH),
        text(EPOCH + timedelta(minutes=2)), ["t2", "t3"], ["t1"],
    )  # fmt: skip
    # The stored row of a key stays, without the sources of the other value.
    assert copy.pop("user.name") == ("Other", None, False, None, *[text(EPOCH + timedelta(minutes=2))] * 2, [], [])
    del original["user.name"]
    assert copy == original


def test_erasure_leaves_nothing_of_facts(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "memory.db"
    with ILabMemory(SQLiteStore(path), Config(clock=clock)) as mem:
        turn(mem, "kept", "I am Bob", user="bob")
        saved = turn(mem, "t1", "I live in Timbuktu", home("Timbuktu"))
        turn(mem, "t2", "My cat is Zorro", NewFact(type="profile", title="Zorro", content="Cat.", topic_key="cat"))
        assert mem.mem_forget_observation(USER, saved.id) == [saved.id, saved.facts[0].id]
        assert b"Timbuktu" not in files(tmp_path)
        mem.mem_save(USER, "Quetzal", type="profile", title="t", about="Quetzal", expire_time=EPOCH)
        assert mem.mem_expire() == 1
        assert b"Quetzal" not in files(tmp_path)
        assert mem.mem_forget(USER) == 2
        assert b"Zorro" not in files(tmp_path)
        assert mem.mem_about("bob")
    assert check(path).damage == []


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_forgetting_a_user_erases_facts_and_sources(mem: ILabMemory, clock: Clock) -> None:
    fill(mem, clock)
    assert mem.mem_forget(USER) == 125
    assert not [*mem.mem_facts(USER), *mem.mem_about(USER), *mem.mem_list(USER)]
    saved = turn(mem, "t1", "I live in Rome", home("Rome"))
    assert sources(mem) == ([saved.id], [])


def test_private_text_is_redacted_in_facts_and_about(mem: ILabMemory) -> None:
    secret = "<private>s3cret</private>"
    mem.mem_save(
        USER, f"c {secret}", type="discovery", title="t", about=f"a {secret}",
        facts=[NewFact(type="profile", title=f"t {secret}", content=f"f {secret}", topic_key=f"k {secret}")],
    )  # fmt: skip
    (fact,) = mem.mem_facts(USER)
    assert (fact.title, fact.content, fact.topic_key) == ("t [REDACTED]", "f [REDACTED]", "k [REDACTED]")
    assert [statement.text for statement in mem.mem_about(USER)] == ["a [REDACTED]"]
    assert "s3cret" not in repr(list(mem.mem_export(USER)))


def test_threads_that_save_facts_of_one_key_leave_one_value(mem: ILabMemory) -> None:
    def save(number: int) -> SaveResult:
        return turn(mem, f"t{number}", f"I live in city {number}", home(f"city {number}"))

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(save, range(40)))
    assert len({result.facts[0].id for result in results}) == 1
    assert sorted(result.facts[0].outcome for result in results) == ["created"] + ["updated"] * 39
    (fact,) = mem.mem_facts(USER)
    assert fact.revision_count == 40
    (newest,) = fact.source_ids
    now, before = sources(mem)
    assert (now, sorted([newest, *before])) == ([newest], sorted(result.id for result in results))
    row = mem.mem_get_observation(USER, newest)
    assert row
    assert row.topic_key
    assert fact.content == f"Lives in city {row.topic_key[1:]}."
    assert mem.mem_stats(USER)["observations"] == 41


INVALID: dict[str, tuple[Callable[[ILabMemory], object], str]] = {
    "a string": (lambda mem: save_with(mem, "no"), "facts[0] must be a NewFact"),
    "a set": (lambda mem: save_with(mem, set()), "facts must be a list of NewFact"),
    "too many": (lambda mem: save_with(mem, [name("Ann")] * 101), "facts must have at most 100 items"),
    "type": (
        lambda mem: save_with(mem, [name("Ann"), home("Rome", type="discovery")]),
        "facts[1].type must be one of profile, preference, decision, pattern",
    ),
    "title": (lambda mem: save_with(mem, [home("Rome", title=" ")]), "facts[0].title must not be blank"),
    "content": (lambda mem: save_with(mem, [home("", content="\0x")]), "facts[0].content must not contain NUL"),
    "redacted": (
        lambda mem: save_with(mem, [home("", content="<private/>")]),
        "facts[0].content must not be blank after redaction",
    ),
    "key": (
        lambda mem: save_with(mem, [home("Rome", topic_key="k" * 257)]),
        "facts[0].topic_key must be at most 256 characters",
    ),
    "repeated key": (
        lambda mem: save_with(mem, [home("Rome"), home("Paris")]),
        "facts[1].topic_key must not be that of the observation or of another fact",
    ),
    "key of the turn": (
        lambda mem: save_with(mem, [home("Rome", topic_key="t1")]),
        "facts[0].topic_key must not be that of the observation or of another fact",
    ),
    "expiry of a fact": (
        lambda mem: save_with(mem, [home("Rome", expire_time=datetime(2026, 1, 1))]),  # noqa: DTZ001 - without a zone
        "facts[0].expire_time must be a datetime with a time zone",
    ),
    "pinned": (
        lambda mem: mem.mem_save(USER, "c", type="profile", title="t", pinned=1),  # type: ignore[arg-type]
        "pinned must be True or False",
    ),
    "expiry": (
        lambda mem: mem.mem_save(USER, "c", type="profile", title="t", expire_time="soon"),  # type: ignore[arg-type]
        "expire_time must be a datetime with a time zone",
    ),
    "about": (lambda mem: mem.mem_save(USER, "c", type="profile", title="t", about=" "), "about must not be blank"),
    "nothing to update": (
        lambda mem: mem.mem_update(USER, 1),
        "title, content, type, pinned or expire_time must be given",
    ),
    "pinned update": (
        lambda mem: mem.mem_update(USER, 1, pinned=0),  # type: ignore[arg-type]
        "pinned must be True or False",
    ),
    "expiry update": (
        lambda mem: mem.mem_update(USER, 1, expire_time="x"),  # type: ignore[arg-type]
        "expire_time must be a datetime with a time zone",
    ),
    "limit": (lambda mem: mem.mem_facts(USER, limit=0), "limit must be an integer of at least 1"),
    "types": (lambda mem: mem.mem_facts(USER, types="profile"), "types must be a list of strings"),
    "before": (
        lambda mem: mem.mem_facts(USER, before=("x", 1)),  # type: ignore[arg-type]
        "before must be pinned, a time and an id",
    ),
    "time of before": (
        lambda mem: mem.mem_facts(USER, before=(True, "x", 1)),
        "before must contain an ISO 8601 time with a time zone",
    ),
    "limit of about": (lambda mem: mem.mem_about(USER, limit=0), "limit must be an integer of at least 1"),
    "limit of expire": (lambda mem: mem.mem_expire(limit=0), "limit must be an integer of at least 1"),
    "retention": (
        lambda mem: mem.mem_expire(retention={"": -timedelta(1)}),
        "retention must be a timedelta of at least 0, or a mapping of types to them",
    ),
    "type of retention": (
        lambda mem: mem.mem_expire(retention={"\0": timedelta(1)}),
        "retention must not contain NUL",
    ),
    "sources": (
        lambda mem: mem.mem_import(USER, [
            Observation(id=1, session_id="s", user_id=USER, type="t", title="t", content="c", created_at=text(EPOCH),
                        updated_at=text(EPOCH), source_ids=[0]),
        ]),
        "source_ids must contain integers greater than 0",
    ),
}  # fmt: skip


def save_with(mem: ILabMemory, facts: object) -> object:
    return mem.mem_save(USER, "c", type="discovery", title="t", topic_key="t1", facts=facts)  # type: ignore[arg-type]


@cases("case", INVALID)
def test_an_invalid_argument_is_named(case: str) -> None:
    call, message = INVALID[case]
    with ILabMemory.from_path(":memory:") as mem:
        with pytest.raises(ValueError) as raised:  # noqa: PT011 - compared below
            call(mem)
        assert str(raised.value) == message
        assert mem.mem_list(USER) == []
