"""Part 1 and 2 of the contract: searching."""

# ruff: noqa: RUF001 - letters of other alphabets look like Latin ones

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch import cases
from ilab_memory import ILabMemory, Store
from ilab_memory.core.store import Matches
from ilab_memory.recall import equivalent_terms, mem_search
from ilab_memory.recall.equivalent_terms import FEW_ROWS
from ilab_memory.stores.postgres import search_statements
from memory.support import EPOCH, Clock

ANY_TEXT = st.text(st.characters(codec=None), max_size=50)
HOSTILE = [
    *('"', '""', "'", "a AND b", "NOT a", "a OR", "NEAR(a b, 2)", "title : a", "{title said} : tea", "a*", "^tea"),
    *("tea -green", "(", ")", "a + b", "-", "--", "; DROP TABLE users", "%", "_", "\\", "%%%", "___", "\\%_"),
    *("🎉", "🎉🎉🎉🎉", "tea" * 11_000, "a b " * 8_000, "\u202e abc", "\ufb01 \ufb02", "I\u0307", "ẞ", "१२३"),
]


def save(mem: ILabMemory, *contents: str, user_id: str = "alice", **changes: Any) -> list[int]:
    arguments: dict[str, Any] = {"type": "discovery", "title": "note", **changes}
    return [mem.mem_save(user_id, content, **arguments).id for content in contents]


def found(mem: ILabMemory, query: str, user_id: str = "alice", **changes: Any) -> list[int]:
    return [row.id for row in mem.mem_search(user_id, query, **changes)]


def test_a_natural_question_finds_rows_that_share_some_words(mem: ILabMemory) -> None:
    tea, _ = save(mem, "Ann: I drink green tea every morning", "Ben: the weather is dreadful today")
    assert found(mem, "What kind of tea does Ann like to have?")[0] == tea


@pytest.mark.parametrize(
    ("query", "answer", "other"),
    [
        ("Wo ist mein Schlüssel?", "Der Schlüssel liegt in Köln", "Wo mein Bruder ist"),
        ("¿Dónde está mi llave?", "La llave de Ana", "Donde está mi hermano"),
        ("Où est ma clé ?", "La clé de Zoé", "Où est ma tante"),
        ("Где мой ключ?", "Ключ у Анны", "Где мой брат"),
    ],
)
def test_stop_words_of_other_languages_do_not_outweigh_the_subject(
    mem: ILabMemory, query: str, answer: str, other: str
) -> None:
    row, *_ = save(mem, answer, *("tea" for _ in range(20)), other)
    assert found(mem, query)[0] == row


@pytest.mark.parametrize("query", ["Wo ist er?", "The door is over the wall", "¿Qué es esto?"])
def test_a_query_of_stop_words_is_looked_up_and_english_words_are_not_those_of_others(
    mem: ILabMemory, query: str
) -> None:
    row, _ = save(mem, query, "green tea")
    assert found(mem, query)[0] == row
    assert bool(found(mem, "Is the door there?")) == ("door" in query)


def test_word_forms_and_accents_do_not_matter(mem: ILabMemory) -> None:
    (bought,) = save(mem, "Buys two bicycles at the café")
    for query in ("buying", "bicycle", "CAFE"):
        assert found(mem, query) == [bought], query


def test_the_title_is_searched_too(mem: ILabMemory) -> None:
    (row,) = save(mem, "no sugar", title="Tea preference")
    assert found(mem, "tea") == [row]


def test_a_row_is_found_by_the_words_of_its_neighbours(mem: ILabMemory) -> None:
    before, answer, after = save(mem, "Ann: where were you on holidays?", "Ben: in Norway, by train", "Ann: lovely")
    save(mem, "Ben: unrelated one", "Ann: unrelated two", "Ben: unrelated three")
    assert found(mem, "holidays")[0] == before
    assert set(found(mem, "holidays")) == {before, answer, after}


def test_neighbours_belong_to_the_same_session(mem: ILabMemory) -> None:
    (asked,) = save(mem, "where did you spend the holidays?")
    mem.mem_session_end("alice", summary="x")
    save(mem, "in Norway")
    assert found(mem, "holidays") == [asked]


def test_a_row_that_contains_the_word_ranks_before_its_neighbours(mem: ILabMemory) -> None:
    first, second, third = save(mem, "one thing", "the violin lesson", "another thing")
    assert found(mem, "violin")[0] == second
    assert set(found(mem, "violin")) == {first, second, third}


def test_words_of_the_user_weigh_more_than_the_reply(mem: ILabMemory, clock: Clock) -> None:
    save(mem, "User: hello there\nAssistant: Have you thought of pottery classes?")
    mem.mem_session_end("alice", summary="x")
    (said,) = save(mem, "User: I signed up for pottery classes\nAssistant: Nice.")
    assert found(mem, "pottery classes")[0] == said


def test_words_deep_in_a_long_reply_are_still_found(mem: ILabMemory) -> None:
    (row,) = save(mem, "User: plan?\nAssistant: " + "filler " * 500 + "zebra")
    assert found(mem, "zebra") == [row]


@pytest.mark.parametrize(
    ("content", "query"),
    [
        ("我最喜欢的城市是杭州", "杭州"),
        ("我最喜欢的城市是杭州", "城市"),
        ("我最喜欢的城市是杭州", "杭"),
        ("昨日は東京タワーに行きました", "東京タワー"),
        ("ฉันชอบกินส้มตำมาก", "ส้มตำ"),
        ("나는 서울에서 살아요", "서울"),
        ("मुझे चाय पसंद है", "चाय"),
        ("C# and Go", "C#"),
        ("party 🎉 tonight", "🎉"),
        ("100% sure", "0%"),
        ("snake_case", "e_"),
    ],
)
def test_scripts_without_spaces_and_short_queries_are_found_by_substring(
    mem: ILabMemory, content: str, query: str
) -> None:
    (row,) = save(mem, content)
    save(mem, "something else entirely", user_id="bob")
    mem.mem_session_end("alice", summary="x")
    save(mem, "unrelated")
    assert found(mem, query) == [row]


@pytest.mark.parametrize("query", ["%", "_", "\\", "%_", "zz"])
def test_wildcards_are_plain_characters(mem: ILabMemory, query: str) -> None:
    save(mem, "plain text")
    assert found(mem, query) == []


def test_a_query_without_a_hit_in_the_index_is_found_as_a_substring(mem: ILabMemory) -> None:
    (row,) = save(mem, "see https://example.org/a?b=c&d")
    assert found(mem, "ample.org") == [row]


@cases("query", ["", " \n\t", "a\0b", "\ud800", "a\udc00"])
def test_an_invalid_query_is_a_value_error(mem: ILabMemory, query: str) -> None:
    with pytest.raises(ValueError, match="query"):
        mem.mem_search("alice", query)


@cases("query", HOSTILE)
def test_no_query_is_syntax(mem: ILabMemory, query: str) -> None:
    save(mem, "green tea", "a b c")
    mem.mem_search("alice", query)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=ANY_TEXT)
def test_any_query_works_or_is_a_value_error(mem: ILabMemory, query: str) -> None:
    with suppress(ValueError):
        mem.mem_search("alice", query)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip))
def test_any_content_finds_itself(mem: ILabMemory, content: str) -> None:
    (row,) = save(mem, content)
    snippets = {result.id: result.snippet for result in mem.mem_search("alice", content, limit=1000)}
    assert snippets[row] == content or len(content) > 400


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_1_is_rejected(mem: ILabMemory, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        mem.mem_search("alice", "tea", limit=limit)


def test_the_default_limit_is_10(mem: ILabMemory) -> None:
    save(mem, *(f"tea number {number}" for number in range(15)))
    assert len(found(mem, "tea")) == 10
    assert len(found(mem, "tea", limit=3)) == 3
    assert len(found(mem, "tea", limit=10**30)) == 15


def test_types_filter(mem: ILabMemory) -> None:
    (discovery,) = save(mem, "tea one")
    (profile,) = save(mem, "tea two", type="profile")
    assert found(mem, "tea", types=["profile"]) == [profile]
    assert found(mem, "tea", types_exclude=["profile", "nonsense"]) == [discovery]
    assert set(found(mem, "tea", types_exclude=[])) == {discovery, profile}
    assert found(mem, "tea", types=[]) == found(mem, "tea", types=["nonsense"]) == []
    assert found(mem, "te", types=["profile"]) == [profile]
    with pytest.raises(ValueError, match="types"):
        mem.mem_search("alice", "tea", types=["profile"], types_exclude=["decision"])


def test_the_best_row_has_rank_1_and_the_score_is_search_score(mem: ILabMemory, clock: Clock) -> None:
    save(mem, "tea", type="profile")
    mem.mem_session_end("alice", summary="x")
    clock.forward(days=30)
    (row,) = mem.mem_search("alice", "tea")
    assert row.score == pytest.approx(0.60 + 0.25 * 0.5 + 0.15 * 0.1)


def test_ranks_are_relative_to_the_filtered_rows(mem: ILabMemory) -> None:
    save(mem, "tea tea tea")
    save(mem, "a cup of tea, or of something else", type="profile")
    (row,) = mem.mem_search("alice", "tea", types=["profile"])
    assert row.score == pytest.approx(0.60 + 0.25 + 0.15 * 0.1)


def test_ties_of_scores_are_ordered_by_newer_then_higher_id(mem: ILabMemory, clock: Clock) -> None:
    ids = []
    for number in range(4):
        ids += save(mem, "zz tea", title=f"t{number}")
    assert found(mem, "zz") == ids[::-1]
    # In the future recency is 1 for both: only updated_at tells them apart.
    clock.forward(days=1)
    (later,) = save(mem, "zz tea", title="later")
    clock.forward(days=-1)
    assert found(mem, "zz")[0] == later


def test_an_updated_row_is_found_by_its_new_words_only(mem: ILabMemory) -> None:
    (row,) = save(mem, "the old violin", topic_key="k")
    save(mem, "the new trumpet", topic_key="k")
    assert found(mem, "violin") == []
    assert found(mem, "trumpet") == [row]


def test_a_snippet_is_the_beginning_of_the_content(mem: ILabMemory) -> None:
    save(mem, "tea " + "word " * 300)
    (row,) = mem.mem_search("alice", "tea")
    assert row.snippet.startswith("tea word")
    assert row.snippet.endswith("...")
    assert len(row.snippet) <= 400


def test_users_see_only_their_own(mem: ILabMemory) -> None:
    save(mem, "my secret garden", user_id="bob")
    (own,) = save(mem, "my vegetable garden")
    assert found(mem, "secret garden") == [own]
    assert found(mem, "ga") == [own]
    assert found(mem, "garden", user_id="carol") == []


def test_another_users_rows_do_not_change_a_score(mem: ILabMemory) -> None:
    save(mem, "green tea", "black coffee")
    alone = [row.score for row in mem.mem_search("alice", "green tea")]
    save(mem, *(f"tea {number}" for number in range(50)), user_id="bob")
    assert [row.score for row in mem.mem_search("alice", "green tea")] == alone


def test_a_lower_limit_returns_the_best_of_more(mem: ILabMemory, clock: Clock) -> None:
    words = ["tea", "milk", "rain", "tea tea", "music"]
    for number in range(120):
        save(mem, f"{words[number % 5]} {words[number % 3]} {'and so on ' * (number % 7)}{number}")
        clock.forward(days=number % 4)
    everything = mem.mem_search("alice", "tea or milk", limit=1000)
    assert len(everything) > 50
    for limit in (1, 2, 10, 40):
        assert mem.mem_search("alice", "tea or milk", limit=limit) == everything[:limit]


def matches(store: Store, terms: Sequence[str], *, most_places: int = 1000, most_rows: int = 1000) -> Matches:
    return store.matches("alice", terms, most_places=most_places, most_rows=most_rows, preview_characters=20, now=EPOCH)


def test_few_rows_are_read_at_once_with_the_same_result(mem: ILabMemory, store: Store) -> None:
    for number in range(7):
        save(
            mem, f"User: tea and milk {number}\nAssistant: {'more tea ' * number}", title="tea", topic_key=f"k{number}"
        )
    save(mem, "User: only milk\nAssistant: and more", topic_key="k3")
    mem.mem_save("bob", "tea", type="discovery", title="t")
    terms = ["milk", "coffe", "tea"]
    few = matches(store, terms, most_places=7 * len(terms), most_rows=7)
    many = matches(store, terms, most_places=7 * len(terms) - 1, most_rows=6)
    assert few.statistics == many.statistics
    assert dict(few.statistics.frequencies) == {"milk": 7, "tea": 6}
    assert few.postings is not None
    assert {term: sorted(places) for term, places in few.postings.items()} == {
        term: sorted(places) for term, places in store.postings("alice", terms).items()
    }
    assert {number for number, _, _ in few.postings["tea"]} == {1, 2, 3, 5, 6, 7}
    assert few.postings["coffe"] == []
    documents = store.documents("alice", range(100), now=EPOCH)
    assert few.rows == {
        number: (documents[number], preview)
        for number, preview in store.previews("alice", range(100), characters=20).items()
    }
    assert len(documents) == 7
    assert many.postings is None
    assert many.rows is None


def test_the_newest_rows_with_a_term_are_found_by_who_said_it(mem: ILabMemory, store: Store) -> None:
    for number in range(9):
        save(mem, f"User: tea {number}\nAssistant: {'milk ' if number % 2 else ''}and more", topic_key=f"k{number}")
    save(mem, f"User: no\nAssistant: {'and on ' * 90}milk")
    save(mem, "User: rain\nAssistant: rain", title="tea", topic_key="k0")
    mem.mem_save("bob", "tea milk", type="discovery", title="t")
    said = store.newest_with("alice", ["milk", "tea", "rain", "coffe"], in_reply=False, most=3)
    assert {term: list(numbers) for term, numbers in said.items()} == {
        "milk": [], "tea": [11, 9, 8], "rain": [11], "coffe": [],
    }  # fmt: skip
    replied = store.newest_with("alice", ["milk", "tea", "rain"], in_reply=True, most=3)
    assert {term: list(numbers) for term, numbers in replied.items()} == {"milk": [10, 8, 6], "tea": [], "rain": [11]}
    assert list(store.newest_with("nobody", ["tea"], in_reply=False, most=3)["tea"]) == []


def test_the_newest_rows_with_a_term_are_found_behind_those_that_are_walked(
    mem: ILabMemory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_statements, "NEWEST_WITH", search_statements.newest_with(2))
    for number in range(9):
        save(mem, f"tea {number}" if number != 7 else "rain", topic_key=f"k{number}")
    found = store.newest_with("alice", ["tea", "rain", "milk"], in_reply=False, most=3)
    assert {term: list(numbers) for term, numbers in found.items()} == {"tea": [9, 7, 6], "rain": [8], "milk": []}


def test_frequencies_are_counted_as_far_as_is_asked(mem: ILabMemory, store: Store) -> None:
    for number in range(9):
        save(mem, f"tea {number}" + " milk" * (number < 4))
    found = store.matches(
        "alice",
        ["tea", "milk", "coffe"],
        most_places=0,
        most_rows=0,
        preview_characters=20,
        now=EPOCH,
        most_frequency=5,
    ).statistics.frequencies
    assert found["milk"] == 4
    assert 5 <= found["tea"] <= 9
    assert "coffe" not in found


def test_an_unknown_user_has_no_matches(store: Store) -> None:
    assert matches(store, ["tea"]) == ((0, (0, 0, 0, 0), {}), {}, {})
    assert dict(store.postings("alice", ["tea"])) in ({"tea": ()}, {"tea": []})


@pytest.mark.parametrize("rows", [FEW_ROWS, FEW_ROWS + 1])
def test_few_rows_are_ranked_like_many(
    mem: ILabMemory, clock: Clock, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    words = ["tea", "milk", "rain", "tea tea", "music", "User: tea\nAssistant: milk"]
    for number in range(rows):
        save(mem, f"{words[number % 6]} {words[number % 5]} {'and so on ' * (number % 7)}{number}")
        clock.forward(days=number % 4)
    found = mem.mem_search("alice", "tea or milk", types_exclude=["pattern"])
    assert len(found) == 10
    for few in (0, rows):
        monkeypatch.setattr(equivalent_terms, "FEW_ROWS", few)
        assert mem.mem_search("alice", "tea or milk", types_exclude=["pattern"]) == found


def test_the_field_lengths_for_ranking_match_the_rows(mem: ILabMemory, store: Store) -> None:
    for number in range(12):
        content = f"User: {'said ' * number}x\nAssistant: {'reply ' * number * 20}y"
        save(mem, content, title="a title", topic_key=f"k{number % 5}")
    statistics = matches(store, ["x"]).statistics
    documents = store.documents("alice", range(100), now=EPOCH).values()
    assert statistics.observations == len(documents) == statistics.frequencies["x"] == 5
    sums = [sum(lengths) for lengths in zip(*(document[-4:] for document in documents), strict=True)]
    assert list(statistics.field_lengths) == sums


@pytest.mark.parametrize("query", ["😀" * 13_000, "%" * 26_000, "ж" * 26_000, "漢" * 20_000, "!" * 32_767 + "?"])
def test_a_long_query_without_known_terms_finds_nothing_quickly(mem: ILabMemory, query: str) -> None:
    mem.mem_save("alice", "!" * 100_000, type="discovery", title="loud")
    assert mem.mem_search("alice", query) == []


def test_the_longest_query_of_a_substring_search(mem: ILabMemory) -> None:
    mem.mem_save("alice", "!" * 300, type="discovery", title="loud")
    assert len(mem.mem_search("alice", "!" * 256)) == 1
    assert mem.mem_search("alice", "!" * 257) == []


def test_hyphenated_words_are_found_by_their_parts_and_as_one(mem: ILabMemory) -> None:
    contents = ["Her e-mail has changed", "Wrote an email", "A walk in the well-kept park"]
    for content in contents:
        mem.mem_save("alice", content, type="discovery", title="t")
        mem.mem_session_end("alice", summary="No row has a neighbour.")

    def found(query: str) -> list[str]:
        return sorted(row.snippet for row in mem.mem_search("alice", query))

    for query in ("email", "e-mail", "E\u2010Mails"):
        assert found(query) == contents[:2]
    assert found("kept") == found("wellkept") == contents[2:]


@pytest.mark.parametrize("bad", ["a\0", "a\ud800"])
def test_a_filter_that_cannot_be_stored_text_is_rejected_with_its_name(mem: ILabMemory, bad: str) -> None:
    calls: dict[str, Callable[[], object]] = {
        "types": lambda: mem.mem_search("alice", "tea", types=[bad]),
        "types_exclude": lambda: mem.mem_search("alice", "tea", types_exclude=["profile", bad]),
        "key_prefixes": lambda: mem.mem_recent("alice", "s", key_prefixes=["k", bad]),
        "types ": lambda: mem.mem_list("alice", types={bad}),
    }
    for argument, call in calls.items():
        with pytest.raises(ValueError, match=rf"^{argument.strip()} must not contain"):
            call()


@cases("types", [5, "profile", ["profile", 5], [None], 0])
@cases("argument", ["types", "types_exclude"])
def test_types_that_are_not_a_list_of_strings_are_a_value_error(mem: ILabMemory, argument: str, types: Any) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must be a list of strings$"):
        mem.mem_search("alice", "tea", **{argument: types})


def test_a_substring_is_found_after_a_repetition_of_its_beginning(mem: ILabMemory) -> None:
    """LIKE took 6 seconds for 20 MiB of this."""
    for number in range(3):
        saved = mem.mem_save("alice", f"{'-' * 1_000_000}!{'?' * number}.", type="discovery", title="t").id
    assert [row.id for row in mem.mem_search("alice", "-" * 250 + "!??.")] == [saved]
    assert mem.mem_search("alice", "-" * 250 + "!???") == []


def test_a_substring_search_reads_only_the_newest_text(
    mem: ILabMemory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12,000 rows of 1 MB were once read by every search that found nothing."""
    monkeypatch.setattr(mem_search, "SEARCHED_CHARACTERS", 1000)
    old, *_, new = save(mem, "a zq old", "x" * 600, "y" * 600, "a zq new")
    assert found(mem, "zq") == [new]
    assert found(mem, "zq", types=["discovery"]) == [new]
    every = {"most_characters": 2000}
    assert store.containing("alice", "zq", at_most=2, **every) == [4, 1]
    assert store.containing("alice", "zq", at_most=1, **every) == [4]
    monkeypatch.setattr(mem_search, "SEARCHED_CHARACTERS", 2000)
    assert found(mem, "zq") == [new, old]


def test_the_end_of_a_long_text_is_found_as_a_substring(mem: ILabMemory) -> None:
    """Its words are not in the index, whose cost for each save is bounded."""
    (row,) = save(mem, "first " * 20_000 + "marmoset")
    assert found(mem, "first") == [row]
    assert found(mem, "marmoset") == [row]
    # In another session: words of neighbours count too.
    mem.mem_session_end("alice", summary="s")
    save(mem, "a marmoset")
    assert row not in found(mem, "marmoset")
