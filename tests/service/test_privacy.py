from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import cases
from ilab_chat_service.privacy.east_asian_names import EastAsianNames
from ilab_chat_service.privacy.leak_redaction import quotes_of, redact, redact_leaks
from ilab_chat_service.privacy.patterns import Patterns
from ilab_chat_service.privacy.text import MIN_MATCH, SLICE_CHARACTERS, Skeleton
from ilab_chat_service.privacy.words import MIN_STEM, MIN_TRUNCATED_STEM, Vocabulary
from ilab_memory.redaction import REDACTED


def stored_reply(private: str, reply: str, public: str = "Note this") -> str:
    return redact_leaks(reply, f"{public}: <private>{private}</private>")


CARD = "My card is 4111 1111 1111 1111, pin 9876"


@cases(
    ("private", "reply", "stored"),
    [
        ("sk-ab12-cd34", "Your key is sk-ab12-cd34.", "Your key is [REDACTED]."),
        ("sk-ab12-cd34", "IT IS SK-AB12-CD34!", "IT IS [REDACTED]!"),
        ("my password is hunter2", "I will remember hunter2.", "I will remember [REDACTED]."),
        ("my password is hunter2", "My  password\nis hunter2, got it.", "[REDACTED], got it."),
        ("4711", "The PIN is 4711.", "The PIN is [REDACTED]."),
        ("123", "_123_ but not x123x", "_[REDACTED]_ but not x123x"),
        ("my pin is 4921 ok", "**_4921_**", "**_[REDACTED]_**"),
        ("my pin is 4921 ok", "您的代码是4921吗", "您的代码是[REDACTED]吗"),
        ("5555 4444 3333 2222", "5555444433332222", "[REDACTED]"),
        ("5555444433332222", "5555 4444-3333\u200b2222", "[REDACTED]"),
        ("555-12-3456", "555123456", "[REDACTED]"),
        ("p<x9Kqqq>q", "p<x9Kqqq>q", "[REDACTED]"),
        ("pass <hunter2xyz>", "<hunter2xyz>", "<[REDACTED]>"),
        ("Alice <alice@secret.org> there", "alice@secret.org", "[REDACTED]@[REDACTED].[REDACTED]"),
        # Numbers in any grouping.
        *((CARD, each, "[REDACTED]") for each in ("4111-1111-1111-1111", "4111111111111111", "41 11.11/11", "PIN9876")),
        (CARD, "It ends in 11-11; pin: 98 76.", "It ends in [REDACTED]; [REDACTED]: [REDACTED]."),
        (CARD, "19876 or 98765, then 4111 and 11111 ok", "19876 or 98765, then [REDACTED] and 11111 ok"),
        (
            "5555444433334242",
            "The card that ends in 4242, not 5555 ok",
            "The card that ends in [REDACTED], not 5555 ok",
        ),
        ("+49 170 1234567", "0170/123 45-67", "0[REDACTED]"),
        ("+49 170 1234567", "\uff11\uff17\uff10 \u0661\u0662\u0663\u0664\u0665\u0666\u0667", "[REDACTED]"),
        ("born in 1990", "1990, 199 0, 11990, 19901 and 1 990", "[REDACTED], [REDACTED], 11990, 19901 and [REDACTED]"),
        # Codes.
        (
            "my key is sk-ab12-cd34 ok",
            "SKAB12CD34, ab12 cd34, xskab12cd34",
            "[REDACTED], [REDACTED] [REDACTED], x[REDACTED]",
        ),
        ("the plate AB 123 CD is mine", "AB123CD or ab-12/3cd", "[REDACTED] or [REDACTED]"),
        ("iban de89370400440532013000", "DE89 3704 0044 0532 0130 00", "[REDACTED]"),
        ("door 12ab", "12-AB, 312abx", "[REDACTED], 312abx"),
        # Names and words.
        ("My name is Will May.", "Hi Will May! Will you? You may.", "Hi [REDACTED]! Will you? You may."),
        ("My name is Will May.", "WILL  MAY, will.may, WillMay", "[REDACTED], [REDACTED], [REDACTED]"),
        ("i am will may", "Hi Will May, it will may be", "Hi [REDACTED], it will may be"),
        ("It is Will Smith.", "Will Smith will", "[REDACTED] will"),
        ("Anna Maria Schmidt", "AnnaMariaSchmidt, annamaria", "[REDACTED], [REDACTED]"),
        ("project Zorblax", "Zor-blax, z.o.r.b.l.a.x", "[REDACTED], [REDACTED]"),
        ("I will call you at 5", "I will be there. You Can Do It.", "I will be there. You Can Do It."),
        ("DO NOT TELL", "do not", "do not"),
        ("caf\u00e9rouge", "cafe\u0301rouge", "[REDACTED]"),
        ("Stra\u00dfe 7b", "STRASSE 7B", "[REDACTED]"),
        ("\u79d8\u5bc6\u306e\u8a00\u8449", "\u305d\u308c\u306f\u79d8\u5bc6\u306e\u8a00\u8449\u3067\u3059", None),
        ("\u6211\u7684\u5bc6\u7801\u662f\u79d8\u5bc6\u82b1\u56ed", "\u4f60\u7684\u662f\u79d8\u5bc6\u82b1\u56ed", None),
        ("a <private>nested</private> one", "It was nested.", "It was [REDACTED]."),
        ("project Zorblax now", "Zorblaxes", "[REDACTED]"),
        ("sk-proj-AbCdEf123456XYZ", "sk-proj-AbCdEf1234", None),
        ("hunter2pass", "it is hunt", "it is [REDACTED]"),
    ],
)
def test_leaked_private_text_is_redacted(private: str, reply: str, stored: str | None) -> None:
    if stored is None:
        assert REDACTED in stored_reply(private, reply)
        assert not any(part in stored_reply(private, reply) for part in (private, "\u79d8\u5bc6", "AbCdEf"))
    else:
        assert stored_reply(private, reply) == stored


@cases(
    ("private", "reply", "stored"),
    [
        *(
            (private, reply, stored)
            for private in ("\u674e\u5c0f\u660e", "\u6211\u53eb\u674e\u5c0f\u660e\uff0c")
            for reply, stored in (
                ("\u4f60\u597d\uff0c\u5c0f\u660e\uff01", "\u4f60\u597d\uff0c[REDACTED]\uff01"),
                ("\u674e\u5148\u751f\u60a8\u597d", "[REDACTED]\u60a8\u597d"),
                ("\u8001\u674e\uff0c\u738b\u5148\u751f", "[REDACTED]\uff0c\u738b\u5148\u751f"),
            )
        ),
        ("\u6b27\u9633\u5a1c\u5a1c", "\u6b27\u9633\u5973\u58eb", "[REDACTED]"),
        (
            "\u7530\u4e2d\u592a\u90ce\u3067\u3059",
            "\u7530\u4e2d\u3055\u3093\u3068\u592a\u90ce",
            "[REDACTED]\u3068[REDACTED]",
        ),
        (
            "\uae40\ucca0\uc218\uc785\ub2c8\ub2e4",
            "\ucca0\uc218\uac00 \uae40 \uc120\uc0dd",
            "[REDACTED]\uac00 [REDACTED]",
        ),
    ],
)
def test_given_name_and_titled_surname_of_an_east_asian_name_are_redacted(
    private: str, reply: str, stored: str
) -> None:
    assert stored_reply(private, reply, public="") == stored


def test_parts_of_an_east_asian_name_that_are_also_public_are_kept() -> None:
    reply = "\u5c0f\u660e\u548c\u674e\u5148\u751f"
    assert stored_reply("\u674e\u5c0f\u660e", reply, public=reply) == reply


@cases(
    ("private", "reply"),
    [
        ("Pavlova", "P\u0430vlova"),
        ("Pavlova", "\u0420\u0410VL\u041eV\u0410"),
        ("P\u0430vl\u043ev\u0430", "Pavlova"),
        ("Helena Marks", "\u041delena \u039carks"),
        ("Pavlova", "\uff30\uff41\uff56\uff4c\uff4f\uff56\uff41"),
        ("\u041f\u0430\u0432\u043b\u043e\u0432\u0430", "\u041f\u0410\u0412\u041b\u041e\u0412\u0410"),
        ("my code is AB-1234", "\u0410\u04121234"),
    ],
)
def test_letters_of_another_script_that_look_the_same_are_the_same(private: str, reply: str) -> None:
    assert stored_reply(private, f"Hello {reply}!", public="") == f"Hello {REDACTED}!"


def test_attributes_of_a_tag_are_private() -> None:
    assert redact_leaks("It is XYZZY.", '<private note="XYZZY">x</private>') == "It is [REDACTED]."


def test_public_words_and_function_words_are_kept() -> None:
    stored = stored_reply("my dog and Bello", "Your dog Rex is a good dog and Bello too.", public="My dog Rex")
    assert stored == "Your dog Rex is a good dog and [REDACTED] too."


def test_reply_to_a_message_without_private_text_is_kept() -> None:
    assert redact_leaks("Your dog.", "My dog") == "Your dog."


def test_numbers_codes_and_names_that_are_also_public_are_kept() -> None:
    public = "My order is 123456, code ab-1234, in 2024, for Will May"
    private = "order 123456 code AB-1234 of 2024 for Will May is a gift"
    assert (
        stored_reply(private, "123 456, AB1234, 20 24, Will May", public=public) == "123 456, AB1234, 20 24, Will May"
    )


@given(
    st.from_regex(r"[0-9]{6,16}", fullmatch=True),
    st.lists(st.sampled_from(["", " ", "-", "/", "\n", ". "]), min_size=16),
)
def test_private_number_is_found_in_any_grouping(number: str, separators: list[str]) -> None:
    grouped = "".join(f"{digit}{separator}" for digit, separator in zip(number, separators, strict=False))
    stored = stored_reply(f"my number is {number} ok", f"Your number: {grouped}is fine", public="")
    assert not re.search("[0-9]", stored)


@given(
    st.text(min_size=4).filter(lambda text: "<" not in text and sum(map(str.isalnum, text)) >= 4), st.text(), st.text()
)
def test_verbatim_private_text_is_always_redacted(private: str, before: str, after: str) -> None:
    assert private not in stored_reply(private, f"{before} {private} {after}", public="")


@given(st.text(), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted)))
def test_overlapping_spans_are_joined(text: str, spans: list[list[int]]) -> None:
    inside = {index for start, end in spans for index in range(start, min(end, len(text)))}
    kept = "".join(character for index, character in enumerate(text) if index not in inside)
    clipped = [(start, min(end, len(text))) for start, end in spans if start < min(end, len(text))]
    assert redact(text, sorted(clipped)).replace(REDACTED, "") == kept.replace(REDACTED, "")


@pytest.mark.slow
def test_repetitive_text_takes_linear_time() -> None:
    """Sixty thousand repeated words once took twelve seconds with the GIL locked. The test's timeout bounds it."""
    private = "a " * 16_300 + "b"
    assert redact_leaks("a " * 500_000, f"<private>{private}</private>").startswith("a ")


@pytest.mark.slow
def test_overlapping_private_texts_take_linear_time_and_memory() -> None:
    """This once took 170 s and 4 GB: each text was searched for separately and each match was stored."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    private = [letters[start:end] for start in range(36) for end in range(start + 4, 37)]
    message = "".join(f"<private>{text}</private>" for text in private)
    reply = letters * 3_000
    tracemalloc.start()
    try:
        assert redact_leaks(reply, message) == REDACTED
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 600 * (len(message) + len(reply))


def test_automaton_takes_the_steps_of_a_repetitive_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = Patterns.of(f"{number}abcdefghij"[-12:] for number in range(800))
    taken = 0
    step = Patterns._step

    def counted(self: Patterns, state: int, character: int) -> int:
        nonlocal taken
        taken += 1
        return step(self, state, character)

    monkeypatch.setattr(Patterns, "_step", counted)
    assert len(list(patterns.found("7abcdefghij" * 10_000))) == 10_000
    assert taken < 100


def test_skeleton_of_a_long_text_is_that_of_its_slices() -> None:
    skeleton = Skeleton.of("A- " * SLICE_CHARACTERS)
    assert skeleton.text == "a" * SLICE_CHARACTERS
    assert list(skeleton.positions) == list(range(0, 3 * SLICE_CHARACTERS, 3))


def test_automaton_has_at_most_one_state_per_character() -> None:
    texts = ["a" * length for length in range(1, 200)]
    assert len(Patterns.of(texts)._failure) == 200
    assert len(list(Patterns.of(texts).found("a" * 1000))) <= 4 * 1000


@given(st.frozensets(st.text("ab", min_size=1, max_size=6), max_size=8), st.text("abc", max_size=40))
def test_automaton_finds_every_pattern(patterns: frozenset[str], text: str) -> None:
    matches = {
        (start, end - 1)
        for start in range(len(text))
        for end in range(start + 1, len(text) + 1)
        if text[start:end] in patterns
    }
    found = list(Patterns.of(patterns).found(text))
    assert set(found) <= matches
    assert {(start, last) for start, last in matches if last - start < MIN_MATCH - 1} <= set(found)
    assert {last: min(match[0] for match in matches if match[1] == last) for _, last in matches} == {
        last: min(match[0] for match in found if match[1] == last) for _, last in found
    }
    assert [last for _, last in found] == sorted(last for _, last in found)


LONG = 8_000


@pytest.mark.timeout(300)  # tracemalloc makes it ten times slower
@pytest.mark.slow
@pytest.mark.parametrize(
    ("private", "reply"),
    [
        ("a" * LONG, f"{'a' * LONG}b " * 3),
        ("\ufdfa" * LONG, "\ufdfa" * LONG * 3),
        (" ".join("a" * length for length in range(4, 240)), "a " * LONG),
        ("1 " * (LONG // 2), "1" * LONG),
        ("Aa 1a " * (LONG // 6), "Aa 1a " * LONG),
    ],
)
def test_long_words_take_linear_time_and_memory(private: str, reply: str) -> None:
    """A set of all prefixes of such a word once took gigabytes, and looking up those of the reply's words minutes."""
    message = f"<private>{private}</private>"
    tracemalloc.start()
    try:
        redact_leaks(reply, message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 600 * (len(message) + len(reply))


LETTERS = st.text("ab", max_size=8)


@given(st.frozensets(LETTERS), LETTERS)
def test_word_matches_truncated_and_inflected(words: frozenset[str], word: str) -> None:
    cut = any(each.startswith(word) for each in words)
    longer = any(word.startswith(each) for each in words if len(each) >= MIN_STEM)
    vocabulary = Vocabulary.of(words)
    assert vocabulary.matches(word) is (word in words or longer or (cut and len(word) >= MIN_STEM))
    assert vocabulary.matches_truncated(word) is (cut and len(word) >= MIN_TRUNCATED_STEM)


@cases(
    ("name", "message"),
    [
        ("hunter2", "hunter2"),
        ("Tell-me-of-my-garden", "tell me of my garden"),
        ("tell-me-of-my-garden-please", "Tell me of my garden in Rome"),
        ("gpt-Zorblax", "My cat is <private>Zorblax</private>"),
        ("gpt-9876", "<private>my pin: 98 76</private>"),
        ("x98-76", "<private>my pin is 9876</private>"),
        ("gpt/zorb.lax", "My cat is <private>zorb-lax</private>"),
        ("v-ann", "<private>I am Ann</private>"),
    ],
)
def test_model_name_that_repeats_the_message_is_quoted(name: str, message: str) -> None:
    assert quotes_of(message)(name, "test-model")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpt-4o-mini-2024-07-18", "Are you gpt-4o, of 2024?"),
        ("gpt-4o-mini-2024-07-18", "<private>I use gpt-4o-mini at work</private>"),
        ("meta-llama/Llama-3.3-70B-Instruct", "Is llama or mistral better?"),
        ("gpt-4o-mini-2024-07-18", "<private>my pin is 9876</private> and it is hot"),
    ],
)
def test_model_name_that_the_message_asks_about_is_not_quoted(name: str, message: str) -> None:
    assert not quotes_of(message)(name, "gpt-4o-mini")


def test_private_text_of_other_texts_is_redacted_unless_the_message_says_it_in_public() -> None:
    unstored = ["<private>code KUMQUAT-88</private>", "The public MARMOT.", "<private>a cat, Zorblax</private>"]
    reply = "KUMQUAT-88, a MARMOT and Zorblax."
    assert redact_leaks(reply, "hi", unstored) == "[REDACTED], a MARMOT and [REDACTED]."
    assert redact_leaks(reply, "I am Zorblax.", unstored) == "[REDACTED], a MARMOT and Zorblax."
    assert redact_leaks("A MARMOT.", "<private>marmot</private>", unstored) == "A [REDACTED]."


def test_only_private_text_of_other_texts_is_quoted() -> None:
    assert quotes_of("hi", ["<private>code KUMQUAT-88</private>"])("gpt-kumquat-88", "gpt")
    assert not quotes_of("hi", ["About gpt-4o-mini-2024-07-18."])("gpt-4o-mini-2024-07-18", "gpt-4o-mini")


def test_public_parts_of_many_east_asian_names_are_looked_up_once() -> None:
    class Public(str):
        __slots__ = ()

        def __contains__(self, _: object) -> bool:
            raise AssertionError("searched once for each name")

    names = EastAsianNames.of(["\u674e" + chr(0x5000 + number) + "\u660e" for number in range(2000)])
    reply = "\u5000\u660e, \u5001\u660e, \u674e\u5148\u751f, \u674e\u6559\u6388"
    assert [reply[slice(*each)] for each in names.given_leaks(reply, Public("\u5000\u660e"))] == ["\u5001\u660e"]
    assert [reply[slice(*each)] for each in names.titled_leaks(reply, Public("\u674e\u5148\u751f"))] == [
        "\u674e\u6559\u6388"
    ]
