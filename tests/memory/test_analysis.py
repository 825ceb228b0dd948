import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import cases
from ilab_memory.recall import analysis, normalization, text_language
from ilab_memory.recall.analysis import (
    INDEXED_CHARACTERS,
    MOST_OCCURRENCES,
    REPLY_WORDS,
    STEMMERS,
    fields,
    forms,
    stem,
    terms,
)
from ilab_memory.recall.mem_search import query_terms
from ilab_memory.recall.message_query import MAX_TERMS, QUERY_CHARACTERS

WORDS = """
    abandoned abilities adoption agencies allowance analogous apologies argued babies baked beginning bicycles
    bowling called caresses celebrations climbing communism conditional considered controlling conformably daily
    decisiveness defensible dependent differently digitizer effective electrical engineering falling feed feudalism
    filing fizzed formalize formative goodness happy hesitancy hissing hopefulness hopping hopping inference
    irritant motoring national operator oscillate plastered playing ponies predication probate radically rational
    relational replacement revival roller running sensibility sized sky tanned triplicate troubled valency
    vietnamization vileness
"""


#: Forms of one word, by language, that a search must not tell apart.
FORMS = {
    "English": "connection connections connected; bicycle bicycles; run running runs; happy happiness",
    "Russian": "книга книгу книги книгах; красный красная красного; сестра сестрой; город городе; зелёный зеленого",
    "Ukrainian": "робота роботу; сестра сестрою; червоний червона; улюблений улюблену",
    "Greek": "γάτα γάτες; δουλειά δουλειές; πόλη πόλεις; κόκκινος κόκκινη; γιατρός γιατρό",
    "Arabic": "كتاب الكتاب كتابي; مدينة المدينة; معلم المعلمون; عمل العمل",
}


#: The same of texts in Latin letters, by the name of the language.
LATIN_FORMS = {
    "de": "Birnbaum Birnbäume; Wohnung Wohnungen; Schlüssel Schlüsseln; Kind Kinder Kindern; Schuh Schuhe",
    "es": "camisa camisas; profesor profesores; sobrina sobrinas; reunión reuniones",
    "fr": "cousine cousines; cheval chevaux; chaussure chaussures; examen examens",
    "it": "camicia camicie; cugino cugini; esame esami; gatto gatti",
    "nl": "broer broers; konijn konijnen; kat katten; sleutel sleutels",
    "pl": "koszula koszule; klucz klucze",
    "pt": "camisa camisas; romance romances; pintor pintores; vizinho vizinhos",
    "sv": "granne grannar; katt katter",
    "tr": "köpek köpekler",
}
SENTENCES = {
    "de": "Das habe ich mit meinem {} gemacht.",
    "es": "Eso lo hice con mi {}.",
    "fr": "Je l'ai fait avec mon {}.",
    "it": "Questo l'ho fatto con il mio {}.",
    "nl": "Dat heb ik met mijn {} gedaan.",
    "pl": "Moje {} jest dla mnie.",
    "pt": "Fiz isso com o meu {}.",
    "sv": "Det gjorde jag med min {}.",
    "tr": "Benim {} daha iyi, ama bu değil.",
}


@cases(
    ("language", "said", "asked"),
    [
        (language, said, asked)
        for language, groups in LATIN_FORMS.items()
        for group in groups.split("; ")
        for said in group.split()
        for asked in group.split()
    ],
)
def test_forms_of_a_word_meet_whatever_the_language_of_the_query(language: str, said: str, asked: str) -> None:
    """A query may be this word alone, so that nothing tells its language."""
    indexed = fields("", SENTENCES[language].format(said)).said
    (term,) = terms(asked)
    assert not {term, *forms(asked, [term], most=100).get(term, ())}.isdisjoint(indexed)


@given(st.text(alphabet="abeinostäñçğł", min_size=1, max_size=12), st.sampled_from(sorted(SENTENCES)))
def test_a_word_finds_itself_whatever_the_language_of_its_text(word: str, language: str) -> None:
    for sentence in (SENTENCES[language].format(word), word):
        for term in terms(word):
            assert not {term, *forms(word, [term], most=100).get(term, ())}.isdisjoint(fields("", sentence).said)


def test_english_texts_have_english_stems_only() -> None:
    assert (
        fields("", "The university plans to plane the planes.").said == "the universiti plan to plane the plane".split()
    )


def test_the_reply_has_a_language_of_its_own() -> None:
    split = fields(
        "", "User: What are the twins called in German?\nAssistant: Das sind die Zwillinge, und sie sind von hier."
    )
    assert split.said == "what are the twin call in german".split()
    assert split.reply[3] == "~zwilling"


def test_few_foreign_words_in_an_english_text_are_english() -> None:
    assert "~" not in "".join(fields("", "We ate a crème brûlée at the Café de la Paix in Paris.").said)


@cases("words", [words for group in FORMS.values() for words in group.split("; ")])
def test_forms_of_a_word_have_one_stem(words: str) -> None:
    assert len({stem for form in words.split() for stem in terms(form)}) == 1


def test_words_of_different_meaning_have_different_stems() -> None:
    words = "university universal news new книга книжка город огород γάτα γάμος كتاب مكتب".split()
    assert len({stem for word in words for stem in terms(word)}) == len(words)


def test_each_thread_has_its_own_stemmers() -> None:
    with ThreadPoolExecutor(1) as other:
        assert other.submit(STEMMERS.of, "english").result() is not STEMMERS.of("english")
    assert STEMMERS.of("english") is STEMMERS.of("english")


def test_a_word_of_another_script_is_its_own_stem() -> None:
    assert stem("שלום") == "שלום"
    assert terms("naïveté") == terms("naivete")


@cases(
    ("text", "expected"),
    [
        ("Caroline's dog, I'll say, isn't O'Brien\u2019s", ["carolin", "dog", "i", "say", "isn", "o", "brien"]),
        ("10,000 steps on the 7th for 3.50", ["10000", "step", "on", "the", "7", "for", "3.50"]),
        ("Crème BRÛLÉE, Straße", ["creme", "brule", "strass"]),
        ("snake_case C++ 21st1", ["snake", "case", "c", "21st1"]),
        ("机器学习", ["机器", "器学", "学习"]),
        ("東京タワー at night", ["東京", "京タ", "タワ", "ワー", "at", "night"]),
        ("我", ["我"]),
        ("🎉 !?", []),
        ("My e-mail's co\u2010worker", ["my", "e", "mail", "email", "co", "worker", "cowork"]),
        ("a well-thought-out plan", ["a", "well", "thought", "out", "wellthoughtout", "plan"]),
        ("2026-01-02, a-b-c-d, x-ray-1, --x--", ["2026", "01", "02", "a", "b", "c", "d", "x", "ray", "1", "x"]),
        ("crème-brûlée", ["creme", "brule", "cremebrule"]),
    ],
)
def test_terms_of(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@given(st.text())
def test_terms_are_lower_case_words(text: str) -> None:
    for term in terms(text):
        assert term
        assert not any(
            character.isascii() and not (character.islower() or character.isdigit() or character == ".")
            for character in term
        )


def test_a_long_word_is_truncated() -> None:
    assert terms("x" * 1000) == ["x" * 64]


def test_a_turn_is_split_into_its_two_sides_and_its_title_is_dropped() -> None:
    content = "User: I like tea\nAssistant: " + "good " * (REPLY_WORDS + 5)
    split = fields("Turn: I like tea", content)
    assert split.title == []
    assert split.said == ["i", "like", "tea"]
    assert split.reply == ["good"] * REPLY_WORDS
    assert split.tail == ["good"] * 5


@pytest.mark.parametrize("title", ["Turn: Can you book a table for Fri", "Can you", "can you book a TABLE"])
def test_a_title_that_is_an_excerpt_of_the_content_is_dropped(title: str) -> None:
    assert fields(title, "User: Can you book a table for Friday?\nAssistant: Yes.").title == []
    assert fields("Dinner", "Dinner is at eight").title == []
    assert fields("Turn: my e-ma", "User: my e-mail\nAssistant: Yes.").title == []


def test_content_that_is_not_a_turn_is_one_field_and_its_title_another() -> None:
    split = fields("Tea preference", "Ann: green, no sugar")
    assert split.title == ["tea", "prefer"]
    assert split.said == ["ann", "green", "no", "sugar"]
    assert split.reply == split.tail == []


def test_a_query_loses_its_stop_words() -> None:
    assert query_terms("Can you tell me what the name of my dog is?") == ["name", "dog"]


def test_a_query_of_stop_words_keeps_them() -> None:
    assert query_terms("what is that") == ["what", "is", "that"]
    assert query_terms("?!") == []


def test_only_the_beginning_of_a_long_query_counts() -> None:
    assert query_terms("tea " * QUERY_CHARACTERS + "milk") == ["tea"]


def test_a_query_has_a_bounded_number_of_terms() -> None:
    assert len(query_terms(" ".join(f"w{number}" for number in range(100)))) == MAX_TERMS


def test_few_occurrences_of_a_term_in_a_field_are_indexed() -> None:
    many = "tea " * 1000
    split = fields(many, f"User: milk {many} sugar\nAssistant: {many}" + "cake " * 1000)
    assert split.title == ["tea"] * MOST_OCCURRENCES
    assert split.reply == ["tea"] * REPLY_WORDS
    assert split.said == ["milk", *["tea"] * MOST_OCCURRENCES, "sugar"]
    assert split.tail == ["tea"] * MOST_OCCURRENCES + ["cake"] * MOST_OCCURRENCES


def test_index_terms_have_not_changed() -> None:
    """If this fails, existing indexes are stale: raise `schema.VERSION`, rebuild the index, then update the digest."""
    turn = f"User: {WORDS}\nAssistant: {WORDS * 3}"
    samples = ["Caroline's 10,000 cafés were bought on the 7th", "我喜欢 東京タワー ฉันชอบ", "an e-mail", turn]
    samples += [sentence.format(word) for name, sentence in SENTENCES.items() for word in LATIN_FORMS[name].split()]
    samples += [f"{word} {word}" for words in text_language.FREQUENT.values() for word in words.split()]
    indexed = repr([fields(title, content) for title in ("A title", "Turn: abandoned") for content in samples])
    assert hashlib.sha256(indexed.encode()).hexdigest()[:16] == "0e1c468bf01b5cf1"


def test_many_empty_lines_take_linear_time() -> None:
    """32,767 line ends once took two seconds. A quadratic split of a million would exceed the timeout."""
    assert fields("t", "User: " + "\n" * 1_000_000 + "x\nAssistant: tea", most=2**21).reply == ["tea"]


def test_the_index_bound_applies_before_and_after_folding() -> None:
    assert terms("a " * INDEXED_CHARACTERS) == ["a"] * (INDEXED_CHARACTERS // 2)
    # One ligature of 18 letters in four words.
    assert len(terms("\ufdfa " * INDEXED_CHARACTERS)) <= INDEXED_CHARACTERS // 2
    assert sum(map(len, fields("t", "User: hi\nAssistant: " + "b c " * INDEXED_CHARACTERS))) <= INDEXED_CHARACTERS


@pytest.mark.parametrize("shape", ["a ", "a-b-c ", "机", "\ufdfa ", "\U0001f469\u200d", "x", "\u202e", "a\u0300"])
def test_the_work_for_a_long_text_is_bounded(monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    normalized: list[int] = []
    normalize = normalization.normalize

    def counted(form: Literal["NFC", "NFKD"], text: str) -> str:
        normalized.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(analysis, "normalize", counted)
    found = terms(shape * (1_048_576 // len(shape)))
    assert len(found) <= 2 * INDEXED_CHARACTERS
    # Before and after compatibility decomposition, which makes 18 characters of one at most.
    assert sum(normalized) <= (1 + 18) * INDEXED_CHARACTERS
