"""Explicit statements: tables of examples in every language, and what holds for any text."""

from __future__ import annotations

import inspect
import re
import sys
import time
import tomllib
import unicodedata
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import cases
from hostile import SHAPES, filled
from ilab_chat_service.message_statements import Fact, Reading, load, read
from ilab_chat_service.message_statements.language import LANGUAGES, Language, alternatives, languages_of
from ilab_chat_service.message_statements.sentences import Sentence
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings

FOLDER = Path(__file__).parent / "message_statements"


pytestmark = pytest.mark.usefixtures("tables")


def examples(name: str) -> list[tuple[str, str, list[str]]]:
    table = tomllib.loads((FOLDER / name).read_text())
    return [(language, message, keys) for language, cases in table.items() for message, keys in cases.items()]


def keys(message: str) -> list[str]:
    return [fact.topic_key for fact in read(message).facts]


@cases(("language", "message", "expected"), examples("examples.toml"))
def test_examples(language: str, message: str, expected: list[str]) -> None:
    assert keys(message) == expected


def test_second_set_has_few_wrong_and_few_missing_facts() -> None:
    right = wrong = missing = 0
    for _, message, expected in examples("second_set.toml"):
        found = keys(message)
        for key in expected:
            # The wording of a free key is not what this test is about.
            same = [each for each in found if each == key or (each.partition("/")[0] == key.partition("/")[0] in FREE)]
            right += bool(same)
            missing += not same
            if same:
                found.remove(same[0])
        wrong += len(found)
    assert right / (right + wrong) >= 0.97
    assert right / (right + missing) >= 0.95


FREE = {"remember", "decision", "style"}


@pytest.mark.slow
@cases("language", LANGUAGES)
def test_every_template_compiles_and_every_key_has_its_blanks(language: Language) -> None:
    for rule in language.rules:
        groups = rule.template.pattern.groupindex
        for blank in re.findall(r"\{(\w+)\}", rule.key):
            assert blank in groups or blank == "x", rule.template.source


def examples_of(language: Language, template: str) -> str:
    """Return the shortest sentence that *template* matches."""
    text = re.sub(r"( ?)\[[^\]]*\]( ?)", lambda found: " " if found[1] and found[2] else "", template)
    text = re.sub(r"\(([^)|]*)[^)]*\)", r"\1", text)
    blanks = {"Name": "Zoltan", "n": "3"}
    text = re.sub(
        r"\{(\w+)\}",
        lambda found: blanks.get(found[1], language.lists[found[1]][0] if found[1] in language.lists else "Zx43"),
        text,
    )
    return text[0].upper() + text[1:]


@pytest.mark.slow
@cases("language", LANGUAGES)
def test_a_message_of_any_template_is_read(language: Language) -> None:
    for rule in language.rules:
        for template in alternatives(re.sub(r"\[[^\]]*\]", "", rule.template.source)):
            sentence = examples_of(language, " ".join(template.split()))
            assert isinstance(read(sentence), Reading)
            assert isinstance(read(f"{sentence} {sentence}"), Reading)


@cases("language", LANGUAGES)
def test_every_template_has_a_word_that_tells_its_language(language: Language) -> None:
    missed = []
    for rule in language.rules:
        sentence = Sentence(examples_of(language, rule.template.source))
        # Japanese without kana looks like Chinese.
        if language not in languages_of(sentence.lower_tokens, sentence.text) and language.code != "ja":
            missed.append(sentence.text)
    assert missed == []


def expanded(phrases: list[str]) -> list[str]:
    """Return what the phrases of a table stand for."""
    return [phrase for each in phrases for phrase in alternatives(each)]


@pytest.mark.slow
@cases("language", LANGUAGES)
def test_every_phrase_about_the_memory_is_understood_alone(language: Language) -> None:
    memory = {section: expanded(phrases) for section, phrases in language.table["memory"].items()}
    colon, stop = ("：", "。") if language.code in {"zh", "ja"} else (": ", ".")
    assert [each for each in memory["forget_last"] if not read(each + stop).forget_last] == []
    also_forgetting = set(memory["forget_last"])
    assert [each for each in memory["opt_out"] if each not in also_forgetting and not read(each + stop).opt_out] == []
    assert [each for each in memory.get("forget_about", ()) if not read(f"{each} Zx 43{stop}").forget_about] == []
    assert [each for each in memory.get("forget_all", ()) if not read(f"{each} Zx 43{stop}").forget_all] == []
    before = " " if language.code == "tr" else ""
    assert [
        each for each in memory.get("forget_about_end", ()) if not read(f"Zx 43{before}{each}{stop}").forget_about
    ] == []
    assert [
        each for each in memory.get("forget_all_end", ()) if not read(f"Zx 43{before}{each}{stop}").forget_all
    ] == []
    for phrase in memory["remember"]:
        assert read(f"{phrase.rstrip(' ,:-：、，')}{colon}Zx 43{stop}").facts, phrase


def test_topics_are_the_same_in_all_languages() -> None:
    topics = {each.code: {rule.key.partition("/")[0] for rule in each.rules} for each in LANGUAGES}
    for code, found in topics.items():
        assert found <= topics["en"], code


@cases(
    ("message", "fact"),
    [
        ("Remember that my  shoe\tsize is 43!", Fact("profile", "size/shoe", "my shoe size is 43!", standing=False)),
        ("Never use emojis.", Fact("preference", "style/emoji", "Never use emojis.", standing=True)),
        (
            "From now on always answer me in Spanish.",
            Fact("preference", "language", "From now on always answer me in Spanish.", standing=True),
        ),
        ("Call me Bob, please.", Fact("preference", "called", "Call me Bob", standing=True)),
        (
            "We decided to sell the car.",
            Fact("decision", "decision/sell-the-car", "We decided to sell the car.", standing=False),
        ),
        ("I'm vegan, what can I cook?", Fact("profile", "diet", "I'm vegan", standing=False)),
        (
            "Não sou mais vegetariana.",
            Fact("profile", "diet", "Não sou mais vegetariana.", standing=False),
        ),
        (
            "My shoe size is 43. No, actually it's 44.",
            Fact("profile", "size/shoe", "My shoe size is 43. No, actually it's 44.", standing=False),
        ),
        (
            "Last year, I moved to Lisbon with my cat.",
            Fact("profile", "home", "Last year, I moved to Lisbon with my cat.", standing=False),
        ),
    ],
)
def test_fact_is_the_users_own_words(message: str, fact: Fact) -> None:
    assert read(message).facts == (fact,)


@pytest.mark.parametrize(
    ("messages", "key"),
    [
        (
            ["I live in Hamburg.", "Ich wohne in Hamburg.", "Vivo en Madrid.", "J'habite à Paris.", "Moro em Lisboa."],
            "home",
        ),
        (["Abito a Roma.", "我住在上海。", "東京に住んでいます。", "Ik woon in Gent.", "Я живу в Москве."], "home"),
        (["I'm vegan.", "Ich bin kein Vegetarier mehr.", "Ya no soy vegetariana.", "Non sono più vegano."], "diet"),
    ],
)
def test_key_is_the_same_in_all_languages(messages: list[str], key: str) -> None:
    assert {each for message in messages for each in keys(message)} == {key}


@cases(
    "message",
    [
        "My dentist appointment is tomorrow.",
        "We plan a week in Slovenia.",
        "I read the book Dune.",
        "My cousin paints wooden boats.",
        "I always take the bus.",
        "My friend is allergic to nuts.",
        "Mein Zahnarzttermin ist morgen.",
        "Ayer fui al dentista con mi hijo.",
        "J'ai réservé un vol pour mardi.",
        "Ontem eu li um livro sobre Lisboa.",
        "Ieri ho visto mia nonna.",
        "我昨天读了《三体》。",
        "昨日、本を読みました。",
        "Gisteren heb ik een boek gelezen.",
        "Вчера я прочитал книгу «Дюна».",
    ],
)
def test_other_statements_go_to_the_pool(message: str) -> None:
    assert read(message) == Reading(pool=(message,))


@cases(
    ("message", "told"),
    [
        ("Isla comes up in hives if she has sesame. Is there hummus without it?", "sesame."),
        ("The boiler man comes on Thursday.", "Thursday."),
        ("Swimming's at half past four. What can they eat in the car?", "half past four."),
        ("Baptiste est pompier, il rentre affamé. Un plat rapide ?", "affamé."),
        ("Frieda hat eine neue Lehrerin. Was schenken wir ihr?", "Lehrerin."),
        ("Lola tiene fiebre desde el lunes. ¿Qué le doy?", "lunes."),
    ],
)
def test_what_a_short_message_tells_before_a_question_goes_to_the_pool(message: str, told: str) -> None:
    [statement] = read(message).pool
    assert statement.endswith(told)


@cases(
    "message",
    [
        "Photosynthesis is amazing.",
        "That's a good one, ha.",
        "Write a poem about foxes. Make it rhyme.",
        "Is it going to rain? The sky is grey.",
    ],
)
def test_what_explains_no_question_and_has_no_day_or_number_is_not_told(message: str) -> None:
    assert read(message) == Reading()


def test_a_long_message_tells_nothing_without_a_word_for_the_user() -> None:
    assert read("The committee met on Monday. " * 12 + "What does that mean?") == Reading()


@cases(
    "message",
    [
        "Oh and please no bullet points, they do my head in.",
        "From now on any recipe you give me should be for two people.",
        "Ab jetzt alle Preise netto angeben, wenn ich dich danach frage.",
        "A partir de ahora las recetas que me des son para dos.",
        "À partir de maintenant, tes recettes sont pour deux.",
    ],
)
def test_instructions_behind_other_words_stand(message: str) -> None:
    [fact] = read(message).facts
    assert fact.standing


def test_a_short_wish_with_please_and_always_stands() -> None:
    for message in (
        "spelling: Australian please, always.",
        "metric units, always please",
        "Kurze Antworten bitte, immer.",
        "respuestas cortas siempre, por favor",
        "Fais-moi des réponses de cinq lignes maximum, je lis dans le tram",
        "give me answers of three sentences max",
    ):
        (fact,) = read(message).facts
        assert fact.standing, message
    for message in ("She always says please.", "I always say please, always.", "Fix this please, it always breaks"):
        assert read(message).facts == (), message


@cases("message", ["From now on I'll send you my drafts on Mondays.", "From now on my sister lives with us."])
def test_what_the_user_does_from_now_on_is_not_an_instruction(message: str) -> None:
    assert not any(fact.standing for fact in read(message).facts)


@cases("message", ["I'm pescatarian now I suppose.", "Ich bin jetzt Vegetarierin, glaube ich."])
def test_an_afterthought_leaves_a_statement_true(message: str) -> None:
    assert [fact.topic_key for fact in read(message).facts] == ["diet"]


def test_a_supposition_is_not_a_fact() -> None:
    assert not read("I suppose I'm vegetarian if you ask my mum.").facts


@cases(
    "message",
    [
        "When does my flight leave?",
        "What is the capital of Peru?",
        "Plan my week.",
        "Tell me a joke.",
        "hm, let me think",
        "I need a recipe for my birthday.",
        "Can you help me with my homework?",
        "If I were rich, I would buy a boat.",
        "Thank you!",
        "ありがとうございます",
        "Hola, ¿qué tal?",
        "I paid [REDACTED] for my car.",
        "> I read the book Dune.",
        "Summarize this: I read the book Dune.",
        "¿Cuándo sale mi vuelo?",
        "Kannst du mir bei meinen Hausaufgaben helfen?",
        "go on",
    ],
)
def test_questions_requests_and_data_say_nothing(message: str) -> None:
    assert read(message) == Reading()


@cases(
    "message",
    [
        "Don't remember this: my salary is 58,000.",
        "My salary is 58,000 (do not store this).",
        "Off the record, I live in Bonn.",
        "Please summarize my letter. Don't store this.",
        "I live in Bonn. Please don't remember this.",
        "dont remember this: i owe anna 4,600 pounds",
        "Don't save any of this anywhere. My salary is 58,000.",
        "Merk dir das nicht: Ich verdiene 58.000 Euro.",
        "Speicher das bitte nirgends. Ich verdiene 58.000 Euro.",
        "No guardes esto: mi sueldo es de 58.000.",
        "Ne retiens pas ça : je gagne 58 000 euros.",
        "Não guarde isso: meu salário é 58.000.",
        "Non salvare questo: il mio stipendio è 58.000.",
        "不要记住这个：我的工资是五万八。",
        "これは覚えないで：給料は500万円です。",
        "Onthoud dit niet: ik verdien 58.000 euro.",
        "Не запоминай это: моя зарплата 58000.",
    ],
)
def test_opt_out_leaves_nothing_else(message: str) -> None:
    assert read(message) == Reading(opt_out=True)


@pytest.mark.parametrize(
    "message",
    [
        "I don't remember this song.",
        "Don't save this money for later.",
        "Why don't you remember this?",
        "Do you store this?",
        "Is this off the record?",
    ],
)
def test_talk_about_remembering_does_not_opt_out(message: str) -> None:
    assert not read(message).opt_out


@cases(
    "message",
    [
        "Forget that.",
        "forget what I just said, please",
        "Please forget that!",
        "Vergiss das (bitte).",
        "Olvida eso.",
        "Oublie ça s'il te plaît.",
        "Esqueça isso.",
        "Dimentica quello che ho appena detto.",
        "忘掉我刚才说的。",
        "それは忘れて。",
        "Vergeet dat maar.",
        "Забудь то, что я только что сказал.",
    ],
)
def test_forget_last(message: str) -> None:
    assert read(message) == Reading(forget_last=True)


@pytest.mark.parametrize(
    "message", ["Forget that I live in Rome, I live in Bonn.", "I forget that a lot.", "Forget me not?"]
)
def test_other_forgetting_is_not_forget_last(message: str) -> None:
    assert not read(message).forget_last


@pytest.mark.parametrize(
    ("message", "topics"),
    [
        ("Forget my address.", ("address",)),
        ("Please forget my birthday.", ("birthday",)),
        ("Vergiss meine Adresse.", ("address",)),
        ("Olvida mi dirección.", ("address",)),
        ("Forget where I live, please.", ("home",)),
        ("Vergiss, wo ich arbeite.", ("work",)),
        ("Olvida dónde vivo.", ("home",)),
        ("Oublie où je travaille.", ("work",)),
        ("Forget my troubles.", ()),
    ],
)
def test_forget_topics(message: str, topics: tuple[str, ...]) -> None:
    assert read(message).forget_topics == topics


def test_last_sentence_of_a_long_message_is_read() -> None:
    message = "It rained. " * 180 + "I'm allergic to nuts."
    assert keys(message) == ["allergy/nuts"]
    assert keys("word " * 4000 + "end. " + "I'm allergic to nuts.") == ["allergy/nuts"]


def test_middle_of_a_long_message_is_not_read() -> None:
    filler = "It rained again. " * 300
    assert read(f"{filler}I live in Bonn. I read a book. {filler}") == Reading()


def test_code_that_reaches_the_end_of_a_long_message_is_not_read() -> None:
    assert keys("Look:\n\n```\n" + "print(1)\n" * 2000 + "# \nI live in Bonn.\n```") == []


TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(
            [
                *(message for _, message, _ in examples("examples.toml")),
                *(message for _, message, _ in examples("second_set.toml")),
                "\n",
                '"',
                "```",
                "[REDACTED]",
                "if",
                "?",
                "\u0301",
                "İ",
            ]
        ),
        max_size=6,
    ).map(" ".join),
)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Remember that I'm allergic to peanuts, please.", "I'm allergic to peanuts"),
        ("Remember that the gate code is 5521, please!", "the gate code is 5521"),
        ("Recuerda que vivo en Sevilla, por favor.", "vivo en Sevilla"),
        ("I love tea, and coffee.", "I love tea, and coffee."),
    ],
)
def test_a_polite_word_at_the_end_is_left_out_of_a_fact(message: str, text: str) -> None:
    assert {fact.text for fact in read(message).facts} == {text}


@given(TEXTS)
def test_any_text_gives_bounded_words_of_the_message(message: str) -> None:
    reading = read(message)
    assert reading == read(message)
    collapsed = " ".join(unicodedata.normalize("NFC", message).split())
    for fact in reading.facts:
        assert fact.text in collapsed
        assert 0 < len(fact.text) <= 300
        assert 0 < len(fact.topic_key) <= 100
        assert not re.search(r"[\sA-Z]", fact.topic_key)
        assert fact.type in {"profile", "preference", "decision"}
        assert "[REDACTED]" not in fact.text
    for text in reading.pool:
        assert text in collapsed
        assert 8 <= len(text) <= 300
        assert "[REDACTED]" not in text


HOSTILE = {
    **SHAPES,
    "facts": "I am allergic to ",
    "facts with commas": "I live in, ",
    "values": "my son is called Tom and ",
    "quotes": "\"I 'm ",
    "parentheses": "(((",
    "question marks": "?",
    "short sentences": "a.b. ",
    "openers": "please ",
    "remember": "remember that ",
    "Chinese facts": "我对花生过敏，",
    "Japanese endings": "です。か",
    "apostrophes": "'a ",
    # Found by a search for costly texts, which joined words of the tables.
    "clauses of many languages": "？tengo diabetes (Tom ist mein x ¡? 我穿三号鞋—i studied 43 ，„mio fratello „",
    "memory in many languages": "şunu hatırla: İz.b. I'm in deinen antworten asking ```)Tom로 I'm 私は",
    "relatives and backquotes": "\nmes neveu s'appellent a mes neveu s'appellent a `mes neveu s'appellent a 반말을 해",
}


@pytest.mark.parametrize("shape", HOSTILE)
@pytest.mark.parametrize("size", [8000, 2**20])
def test_hostile_text_costs_bounded_cpu(shape: str, size: int) -> None:
    message = filled(HOSTILE[shape], size=size)
    # Loads the tables and compiles the expressions.
    read(message)
    start = time.thread_time()
    read(message)
    # Typically 1 to 17 ms: at most 4,000 characters are read. A quadratic expression took 1.6 s.
    assert time.thread_time() - start < 0.2


#: The properties of a language that are made when they are first used, or by `load`.
LAZY = {name for name, made in vars(Language).items() if isinstance(made, cached_property)}


def forget_tables() -> None:
    for language in LANGUAGES:
        for made in LAZY:
            vars(language).pop(made, None)


async def test_tables_are_loaded_before_a_server_serves(settings: Settings) -> None:
    forget_tables()
    async with serving(settings):
        assert [language.code for language in LANGUAGES if not vars(language).keys() >= LAZY] == []


def test_loading_leaves_nothing_of_a_table_to_the_first_message() -> None:
    forget_tables()
    load()
    before = {language.code: {*vars(language)} for language in LANGUAGES}
    for _, message, _ in examples("examples.toml"):
        read(message)
    assert {language.code: {*vars(language)} for language in LANGUAGES} == before


LETTER = "Hello, we have used your devices since May. " + "I have to say that the start was excellent. " * 12


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (f"I can't make sense of this.\n\n{LETTER}\n\nThe part for me is at the end, I must answer by 27 May.", 2),
        (f"customer mail, what do I do?\n\n{LETTER}\n\nit's bad solder, we replace all of them for free", 1),
        (f"Translate this for me.\n\n{LETTER}\n\nI live in Berlin.", 0),
    ],
)
def test_own_words_around_a_pasted_letter_are_read_and_the_letter_is_not(message: str, said: int) -> None:
    found = read(message)
    assert len(found.pool) + len(found.facts) == said
    assert not any("devices" in each or "excellent" in each for each in found.pool)


def test_an_instruction_behind_a_pasted_text_does_not_hold_for_good() -> None:
    instruction = "From now on, always answer with one word."
    assert [each.standing for each in read(instruction).facts] == [True]
    found = read(f"What do you make of this?\n\n{LETTER}\n\n{instruction} My name is Ann.")
    assert [each.topic_key for each in found.facts] == ["name"]


def test_a_long_paragraph_of_the_user_between_short_ones_is_read() -> None:
    story = "I'm Anna and I live in Berlin. " + "The weather here is better than I thought it would be. " * 9
    assert [each.topic_key for each in read(f"Good to meet you!\n\n{story}\n\nCan you help me?").facts] == [
        "name",
        "home",
    ]


@pytest.mark.parametrize("message", ["I know that.", "well im in!", "im saying nothing.", "Ja, das habe ich."])
def test_a_sentence_without_content_is_not_stored(message: str) -> None:
    assert read(message) == Reading()


@cases(
    "message",
    [
        "I'm HIV positive.",
        "I'm O negative.",
        "I'm NHS staff.",
        "I'm B1 in Polish.",
        "I'm DJing on Friday.",
        "Sono Rh negativo.",
    ],
)
def test_an_abbreviation_or_a_word_that_goes_on_is_not_a_name(message: str) -> None:
    assert [fact.topic_key for fact in read(message).facts] == []


@cases("message", ["I'm Rosa.", "I'm Anna van der Berg.", "Hi, I'm JP.", "MY NAME IS ROSA"])
def test_names_are_names(message: str) -> None:
    assert [fact.topic_key for fact in read(message).facts] == ["name"]


@cases(
    "message",
    [
        "Vergiss, was ich dir über Lena erzählt habe.",
        "Vergeet wat ik je over Lena heb verteld.",
        "Scordati quello che ti ho raccontato di Lena.",
    ],
)
def test_the_verb_behind_a_forgotten_subject_is_not_part_of_it(message: str) -> None:
    assert read(message).forget_about == "Lena"


@cases(
    "message",
    [
        "Answer me in English again, please.",
        "You can go back to English now.",
        "Antworte bitte wieder auf Deutsch.",
        "Responde otra vez en español.",
        "Réponds à nouveau en français.",
        "Rispondi di nuovo in italiano.",
        "Responde de novo em português.",
    ],
)
def test_an_instruction_for_a_language_is_taken_back(message: str) -> None:
    assert [(fact.topic_key, fact.standing) for fact in read(message).facts] == [("language", True)]


@cases(
    "message",
    [
        "Oh, please forget that, I shouldn't have said it.",
        "Hmm, forget that please, it's private.",
        "Vergiss das bitte, das war privat.",
        "Olvida eso, no debí decirlo.",
        "Oublie ça, c'est privé.",
        "Per favore dimenticalo, non dovevo dirlo.",
    ],
)
def test_a_request_to_forget_may_have_a_reason(message: str) -> None:
    assert read(message).forget_last


@cases("message", ["Forget that, let's plan Rome instead.", "Forget that. I'm in Rome now."])
def test_a_request_to_forget_that_says_more_erases_nothing(message: str) -> None:
    assert not read(message).forget_last


@cases("asked", ["忘了关于，", "forget that about a, ", "vergiss das mit a, "])
def test_a_request_to_forget_that_is_repeated_hundreds_of_times_is_read_once(asked: str) -> None:
    message = asked * (4_000 // len(asked))
    read(message)  # loads the tables
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 120)
    try:
        assert read(message).facts == ()
    finally:
        sys.setrecursionlimit(limit)
