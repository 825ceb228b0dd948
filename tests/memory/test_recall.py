"""`mem_recall`: what enters a prompt, on every store. The numbers of cases are those of the list of expectations."""

from itertools import permutations
from pathlib import Path

import pytest

from batch import cases
from ilab_memory import Config, ILabMemory, RecallHit
from ilab_memory.recall.passage import Finder
from ilab_memory.stores.sqlite import SQLiteStore
from memory.recall_pairs import FOUND, LIVES, NOTHING
from memory.support import Clock, recalled, say

GREETINGS = ["yo", "go on", "ok next", "ありがとうございます", "안녕하세요", "Hola, ¿qué tal?", "Guten Morgen!"]


def test_a_hit_has_the_fields_of_its_row_and_an_absolute_score(mem: ILabMemory) -> None:
    (row,) = say(mem, "My partner's name is Ilse.")
    say(mem, "hm, let me think", "ok", "The ferry leaves at nine.")
    (hit,) = mem.mem_recall("alice", "Who is my partner?")
    assert hit == RecallHit(
        id=row,
        type="discovery",
        title="Turn: My partner's name is Ilse.",
        passage="My partner's name is Ilse.",
        score=hit.score,
        updated_at=hit.updated_at,
        is_earlier=False,
    )
    assert 0.9 < hit.score <= 1.0
    assert mem.mem_recall("bob", "Who is my partner?") == []


def test_a_score_does_not_depend_on_the_number_of_other_rows(mem: ILabMemory) -> None:
    say(mem, "My sister plays the cello in Turin.")
    (alone,) = mem.mem_recall("alice", "Where does my sister play the trumpet?")
    say(mem, *(f"Note {number} about nothing in particular" for number in range(60)))
    (among,) = mem.mem_recall("alice", "Where does my sister play the trumpet?")
    assert among.score == pytest.approx(alone.score, abs=0.1)


def test_case_7_the_passage_is_the_part_that_matches(mem: ILabMemory) -> None:
    say(mem, "Nobody reads the minutes of the meeting. " * 48 + "The spare key is under the blue flowerpot.")
    (passage,) = recalled(mem, "Where is my spare key?")
    assert "The spare key is under the blue flowerpot." in passage
    assert len(passage) <= 310


def test_a_passage_far_from_the_beginning_is_found(mem: ILabMemory) -> None:
    say(mem, "Lorem ipsum dolor sit amet. " * 1500 + "The spare key is under the blue flowerpot. " + "Amet sit. " * 900)
    (passage,) = recalled(mem, "Where is my spare key?")
    assert "under the blue flowerpot" in passage


def test_the_worth_of_a_passage_does_not_depend_on_the_order_of_its_terms() -> None:
    shares = {"spare": 0.1, "key": 0.2, "flowerpot": 0.3, "blue": 0.4}
    worth = Finder(shares, {}).worth
    assert len({worth(order) for order in permutations(shares)}) == 1


def test_a_long_text_without_sentences_is_cut_around_the_terms(mem: ILabMemory) -> None:
    say(mem, "lorem ipsum " * 150 + "flowerpot key " + "dolor sit " * 150)
    (passage,) = recalled(mem, "Where is my flowerpot?")
    assert "flowerpot" in passage
    assert passage.startswith("... ")
    assert passage.endswith(" ...")
    assert len(passage) <= 310


def test_case_8_a_question_takes_at_most_one_place_after_the_statement(mem: ILabMemory) -> None:
    say(mem, "My flight to Oslo is on Friday at 7:40.")
    say(mem, *(f"When does my flight leave{end}" for end in ("?", "??", " again?", ", please?", " exactly?")))
    found = recalled(mem, "When does my flight leave?")
    assert found[0] == "My flight to Oslo is on Friday at 7:40."
    assert len(found) <= 2


@pytest.mark.parametrize("message", ["What is the capital of Peru?", "Which wooden spoon is best?"])
def test_cases_9_and_10_one_word_of_a_question_about_the_world_is_not_enough(mem: ILabMemory, message: str) -> None:
    say(mem, "What is the capital of Mongolia?", "How do I remove coffee stains?", "Write a haiku.")
    say(mem, "My cousin paints wooden boats")
    assert recalled(mem, message) == []


def test_case_11_neighbours_are_not_hits(mem: ILabMemory) -> None:
    say(mem, "hm, let me think", "My partner's name is Ilse.", "ok", "fine")
    assert recalled(mem, "Who is my partner?") == ["My partner's name is Ilse."]


def test_neighbours_lift_a_row_that_matches_by_itself(mem: ILabMemory) -> None:
    for text in (
        "Priya: Do you have any animals at home?",
        "Tomas: Yes, Biscuit keeps me company.",
        "Tomas: The weather is strange.",
        "Priya: Bye then.",
        "Tomas: I like trains.",
    ):
        mem.mem_save("alice", text, type="discovery", title=text[:60])
    assert "Tomas: Yes, Biscuit keeps me company." in recalled(mem, "Which animals does Tomas have at home?")
    assert "Priya: Bye then." not in recalled(mem, "Which animals does Tomas have at home?")


@pytest.mark.parametrize("message", GREETINGS)
def test_case_12_greetings_find_nothing(mem: ILabMemory, message: str) -> None:
    say(mem, *GREETINGS, "My partner's name is Ilse.", "Tell me how the tides work")
    assert recalled(mem, message) == []


def test_case_16_a_claim_of_the_assistant_is_not_a_memory_of_the_user(mem: ILabMemory) -> None:
    say(mem, "Suggest a dinner", reply="Since you are vegetarian and have two kids, try lasagna.")
    assert recalled(mem, "Am I vegetarian?") == []
    assert recalled(mem, "Do I have kids?") == []
    say(mem, "I am not vegetarian, I eat fish.")
    assert recalled(mem, "Am I vegetarian?") == ["I am not vegetarian, I eat fish."]


def test_a_reply_is_found_and_labelled_if_it_is_asked_for(mem: ILabMemory) -> None:
    say(mem, "I want a quiet keyboard", reply="Many people like the Murmur 75 because its switches are dampened.")
    (passage,) = recalled(mem, "What did you say about dampened switches?")
    assert passage == (
        "I want a quiet keyboard Assistant: Many people like the Murmur 75 because its switches are dampened."
    )
    assert recalled(mem, "Which quiet keyboard did I want?") == ["I want a quiet keyboard"]


def test_a_match_in_the_reply_scores_clearly_lower(mem: ILabMemory) -> None:
    said, replied = (
        say(mem, "The Murmur keyboard arrived.")[0],
        say(mem, "hello there", reply="The Murmur keyboard is nice.")[0],
    )
    scores = {hit.id: hit.score for hit in mem.mem_recall("alice", "Did you say something about the Murmur keyboard?")}
    assert scores[replied] < scores[said] - 0.1


def test_case_17_how_many_gets_the_whole_list(mem: ILabMemory) -> None:
    say(
        mem,
        *(f"I read the book {title}." for title in "Dune Emma Piranesi Beloved Middlemarch Ulysses Solaris".split()),
    )
    assert len(recalled(mem, "How many books did I read?")) == 7
    say(mem, *(f"I read the book number {number} of the series." for number in range(30)))
    assert len(recalled(mem, "List all books that I read")) == 20
    assert len(recalled(mem, "Did I read a book?")) == 10
    assert len(recalled(mem, "Did I read a book?", limit=2)) == 2


@pytest.mark.parametrize("message", ["Who is May?", "who is may?"])
def test_case_18_a_name_that_is_also_a_function_word_is_found(mem: ILabMemory, message: str) -> None:
    say(mem, "May is my best friend.", "It may rain tomorrow.", "Anyone who may come is welcome.")
    assert recalled(mem, message) == ["May is my best friend."]


def test_case_20_a_follow_up_question_takes_its_subject_from_the_message_before(mem: ILabMemory) -> None:
    say(mem, "Our budget for Slovenia is 1,200 euros.", "I live in Hamburg.", "We plan a week in Slovenia.")
    assert recalled(mem, "How much can we spend on it?") == []
    found = recalled(mem, "How much can we spend on it?", previous="We plan a week in Slovenia.")
    assert found == ["Our budget for Slovenia is 1,200 euros."]
    assert recalled(mem, "Where do I live?", previous="We plan a week in Slovenia.") == ["I live in Hamburg."]
    assert recalled(mem, "ok, great", previous="We plan a week in Slovenia.") == []


def test_relevance_outweighs_recency(mem: ILabMemory, clock: Clock) -> None:
    say(mem, "The insurance number of my bicycle is 7316.")
    clock.forward(days=400)
    say(mem, *(f"I rode my bicycle {number} miles" for number in range(3, 9)))
    assert (
        recalled(mem, "What is the insurance number of my bicycle?")[0] == "The insurance number of my bicycle is 7316."
    )


def test_recency_decides_between_equal_rows(mem: ILabMemory, clock: Clock) -> None:
    say(mem, "My bicycle is red.")
    clock.forward(days=90)
    say(mem, "My bicycle is blue.")
    assert recalled(mem, "What is my bicycle like?") == ["My bicycle is blue.", "My bicycle is red."]


def test_repeated_rows_collapse_to_the_newest(mem: ILabMemory, clock: Clock) -> None:
    say(mem, "My bicycle is red.")
    clock.forward(days=1)
    say(mem, "my bicycle is  red")
    clock.forward(hours=1)
    (newest,) = say(mem, "My bicycle is RED!")
    (hit,) = mem.mem_recall("alice", "What colour is my bicycle?")
    assert hit.id == newest


def test_types_filter_the_hits(mem: ILabMemory) -> None:
    mem.mem_save("alice", "Allergic to peanuts.", type="profile", title="Diet")
    mem.mem_save("alice", "Peanuts are cheap.", type="discovery", title="Market")
    assert {hit.type for hit in mem.mem_recall("alice", "What about peanuts?")} == {"profile", "discovery"}
    assert [hit.title for hit in mem.mem_recall("alice", "What about peanuts?", types=["profile"])] == ["Diet"]
    assert mem.mem_recall("alice", "What about peanuts?", types=["unknown"]) == []


def test_a_title_counts_like_the_words_of_the_user(mem: ILabMemory) -> None:
    mem.mem_save("alice", "Nine in the evening at the latest.", type="preference", title="Dinner")
    assert recalled(mem, "When do I want dinner?") == ["Nine in the evening at the latest."]


@cases("options", [{"limit": 0}, {"limit": True}, {"types": "profile"}, {"previous": " "}])
def test_invalid_arguments_are_value_errors(mem: ILabMemory, options: dict[str, int | str]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        mem.mem_recall("alice", "tea", **options)  # type: ignore[arg-type]


@cases("message", ["", " \n", "a\0b", "\ud800"])
def test_an_invalid_message_is_a_value_error(mem: ILabMemory, message: str) -> None:
    with pytest.raises(ValueError, match="message"):
        mem.mem_recall("alice", message)


@cases("message", ['" OR 1=1 --', "NEAR(a b)", "*", "(((", "🎉", "?" * 9000, "ß" * 5000, "-" * 99, "\U0001d7d8" * 50])
def test_no_message_raises(mem: ILabMemory, message: str) -> None:
    say(mem, "plain text", message)
    assert isinstance(mem.mem_recall("alice", message, previous=message), list)


class EarlierStore(SQLiteStore):
    """A store that knows which observations are earlier statements."""

    earlier: frozenset[int] = frozenset()

    def earlier_sources(self, user_id: str, observation_ids: object) -> frozenset[int]:  # noqa: ARG002 - the store's signature
        return self.earlier if user_id == "alice" else frozenset()


def test_an_earlier_statement_is_marked_and_comes_last(tmp_path: Path) -> None:
    store = EarlierStore(tmp_path / "memory.db")
    with ILabMemory(store, Config()) as mem:
        _, hamburg = say(mem, "I live in Lisbon.", "I live in Hamburg.")
        assert [hit.passage for hit in mem.mem_recall("alice", "Where do I live?", limit=1)] == ["I live in Hamburg."]
        store.earlier = frozenset({hamburg})
        hits = mem.mem_recall("alice", "Where do I live?")
    assert [(hit.passage, hit.is_earlier) for hit in hits] == [
        ("I live in Lisbon.", False),
        ("I live in Hamburg.", True),
    ]


def test_a_question_in_the_hand_written_pairs_finds_its_answer_and_others_nothing() -> None:
    """Measured on both halves; see `recall_pairs`."""
    with ILabMemory.from_path(":memory:", Config(durability="normal")) as mem:
        for language, rows in LIVES.items():
            say(mem, *rows, reply="I see. Is there anything else that you need help with?", user_id=language)
        for half in (0, 1):
            found = [
                any(hit.passage.startswith(answer) for hit in mem.mem_recall(language, question))
                for language, question, answer in FOUND[half::2]
            ]
            assert sum(found) >= 0.85 * len(found)
            junk = [message for language, message in NOTHING[half::2] if mem.mem_recall(language, message)]
            assert len(junk) <= 0.1 * len(NOTHING[half::2]), junk


def test_hostile_messages_and_rows_do_not_take_quadratic_time(tmp_path: Path) -> None:
    """With quadratic work, one of these calls would exceed the timeout of a test."""
    with ILabMemory.from_path(tmp_path / "memory.db", Config(durability="normal")) as mem:
        say(mem, *(("a.\n" * 20_000) + f"tea {number}" for number in range(8)))
        say(mem, "tea " * 50_000, "tea? " * 50_000, "t" * 200_000, "A-b-" * 50_000)
        for message in (
            "tea a " * 2000,
            "x" * 8192,
            "did you " * 1000,
            "A b C d " * 1000,
            "May " * 2000,
            "我在" * 4000,
        ):
            assert len(mem.mem_recall("alice", message, previous=message)) <= 20


def test_frequent_words_find_the_same_rows_as_rare_ones(mem: ILabMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    cities = ("Berlin", "Lisbon", "Oslo", "Quito", "Turin")
    say(mem, *(f"My sister called from {cities[number % 5]} about letter {number}." for number in range(60)))
    say(mem, "My sister lost her umbrella in Oslo.", "My brother keeps the umbrella.", "It rained.")
    say(mem, *(f"My sister called from {cities[number % 4]} about parcel {number}." for number in range(40)))
    questions = ("Where did my sister lose her umbrella?", "Did my sister call from Turin?", "What did my sister do?")
    exact = [recalled(mem, question) for question in questions]
    assert exact[0][0] == "My sister lost her umbrella in Oslo."
    assert all("Turin" in hit for hit in exact[1])
    for most in (30, 10, 0):
        monkeypatch.setattr("ilab_memory.recall.coverage.MOST_EXACT", most)
        found = [recalled(mem, question) for question in questions]
        assert found[0][0] == exact[0][0]
        assert found[1:] == exact[1:]


def test_rows_read_and_results_are_limited(mem: ILabMemory) -> None:
    say(mem, *(f"tea number {number} tastes like tea" for number in range(100)))
    assert len(recalled(mem, "What is my tea?")) == 10
    assert len(recalled(mem, "What is my tea?", limit=50)) == 50


def test_the_hits_come_with_facts_and_summaries(mem: ILabMemory) -> None:
    mem.mem_save(
        "alice", "User: We plan a week in Slovenia.\nAssistant: Nice.", type="discovery", title="Turn: We plan"
    )
    fact = mem.mem_save("alice", "Allergic to peanuts.", type="profile", title="Diet", topic_key="diet")
    mem.mem_save("bob", "Allergic to cats.", type="profile", title="Pets", topic_key="pets")
    mem.mem_session_end("alice", summary="Chose Bled.")
    found = mem.mem_recall("alice", "What did we plan for Slovenia?")
    assert found.hits == [*found]
    assert "Slovenia" in found.hits[0].passage
    assert [each.id for each in found.facts] == [fact.id]
    assert [each.summary for each in found.summaries] == ["Chose Bled."]
    assert mem.mem_recall("alice", "hello").facts == found.facts
    bare = mem.mem_recall("alice", "What did we plan for Slovenia?", hits_only=True)
    assert (bare, bare.facts, bare.summaries) == (found, (), ())
    typed = mem.mem_recall("alice", "What did we plan for Slovenia?", types=["discovery"])
    assert (typed, typed.facts, typed.summaries) == (found, (), ())
    assert mem.mem_recall("alice", "Slovenia?", types=["profile"]).facts == found.facts
