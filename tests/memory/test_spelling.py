"""Misspelled words and ids that are written differently find what was meant, on every store."""

import pytest

from ilab_memory import ILabMemory
from memory.support import recalled, say

CABIN = "The order is A-4471-XZ, the password of the cabin is heron."


@pytest.mark.parametrize(
    "message",
    ["A4471XZ?", "a-4471-xz", "order A4471-XZ", "teh pasword of the cabbin", "What is the passwrod of the cabin?"],
)
def test_case_19_a_misspelled_word_or_another_form_of_an_id_finds_the_row(mem: ILabMemory, message: str) -> None:
    say(mem, CABIN, "I live in Hamburg.", "The boat needs paint.")
    assert recalled(mem, message) == [CABIN]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("My ticket is K7Q-2291.", "What was K7Q2291 about?"),
        ("My ticket is K7Q2291.", "What was K7Q-2291 about?"),
        ("The wifi is FRITZ7590.", "fritz 7590"),
        ("The parcel is 00340434161094042557.", "Which parcel is 0034 0434 1610 9404 2557?"),
        ("My restaurant is called Mira.", "my restarant"),
        ("I am vegetarian since May.", "Am I vegitarian?"),
        ("My appointment is on Friday.", "When is my appointmnet?"),
        ("My grammar book is blue.", "Which colour is my grammer book?"),
        ("Mein Geburtstag ist am 3. Mai.", "Wann ist mein Gebrutstag?"),
        ("Моя собака любит сыр.", "Что любит моя сабака?"),
    ],
)
def test_one_wrong_letter_or_another_hyphen_finds_the_row(mem: ILabMemory, said: str, message: str) -> None:
    say(mem, said, "The weather is strange.")
    assert recalled(mem, message) == [said]


@pytest.mark.parametrize(
    "message", ["A9971XZ?", "teh pasword", "What is the capitol of Peru?", "xqzt wvbn", "12-34", "B-1"]
)
def test_other_words_and_ids_find_nothing(mem: ILabMemory, message: str) -> None:
    say(mem, "The order is A-4471-XZ.", "I live in Hamburg.", "My cousin paints wooden boats.")
    assert recalled(mem, message) == []


def test_a_short_name_is_not_taken_for_a_word_with_other_letters(mem: ILabMemory) -> None:
    say(mem, "Even the neighbours heard it.", "Joan paints boats.")
    assert recalled(mem, "What did Evan buy?") == []
    assert recalled(mem, "What does Jaon paint?") == ["Joan paints boats."]


def test_an_id_in_a_text_without_spaces_is_found_in_another_form(mem: ILabMemory) -> None:
    say(mem, "新しい液タブの請求書番号は INV-3081-Q です。", "五月に引っ越します。")
    assert len(recalled(mem, "INV3081Qって何だっけ")) == 1


def test_a_word_that_the_user_said_is_not_corrected(mem: ILabMemory) -> None:
    say(mem, "I sold the boat.", "I wear a boot.")
    assert recalled(mem, "Where is my boot?") == ["I wear a boot."]


def test_many_and_long_words_look_up_a_bounded_number_of_terms(mem: ILabMemory) -> None:
    say(mem, "plain text")
    for message in (
        "qwrtz " * 15,
        # Of a size that a quadratic algorithm does not finish before the timeout.
        "q" * 400_000,
        "\u0436" * 400_000,
        " ".join(map(str, range(100_000, 160_000))),
        " ".join("abcdefghij"[n:] + "klmnopqrst" for n in range(10)),
        "a1-" * 2000,
    ):
        assert recalled(mem, message) == []
