"""Small talk, follow-up questions and complete lists in 13 languages."""

# ruff: noqa: RUF001 - letters and signs of other scripts look like Latin ones

import pytest

from ilab_memory import Config, ILabMemory
from memory.small_talk import FOUND, LIVES, NOTHING
from memory.support import recalled, say

#: Language, what was said, the message before, and a question that refers to it.
FOLLOW_UPS = [
    (
        "de",
        "Unser Budget für Slowenien ist 1200 Euro.",
        "Wir planen eine Woche in Slowenien.",
        "Wie viel können wir dafür ausgeben?",
    ),
    (
        "es",
        "Nuestro presupuesto para Eslovenia es de 1200 euros.",
        "Planeamos una semana en Eslovenia.",
        "¿Cuánto podemos gastar en eso?",
    ),
    (
        "fr",
        "Notre budget pour la Slovénie est de 1200 euros.",
        "Nous prévoyons une semaine en Slovénie.",
        "Combien pouvons-nous y dépenser ?",
    ),
    (
        "pt",
        "Nosso orçamento para a Eslovénia é de 1200 euros.",
        "Planejamos uma semana na Eslovénia.",
        "Quanto podemos gastar nisso?",
    ),
    (
        "it",
        "Il nostro budget per la Slovenia è di 1200 euro.",
        "Pianifichiamo una settimana in Slovenia.",
        "Quanto possiamo spendere lì?",
    ),
    (
        "nl",
        "Ons budget voor Slovenië is 1200 euro.",
        "We plannen een week in Slovenië.",
        "Hoeveel kunnen we daar uitgeven?",
    ),
    ("pl", "Nasz budżet na Słowenię to 1200 euro.", "Planujemy wyjazd na Słowenię.", "Ile możemy tam wydać?"),
    ("ru", "Наш бюджет на Словению 1200 евро.", "Мы едем на неделю в Словению.", "Сколько мы можем там потратить?"),
    ("tr", "Slovenya bütçemiz 1200 avro.", "Slovenya için bir hafta planlıyoruz.", "Orada ne kadar harcayabiliriz?"),
    ("zh", "我们去斯洛文尼亚的预算是1200欧元。", "我们计划去斯洛文尼亚玩一周。", "在那里可以花多少钱？"),
    ("ja", "スロベニアの予算は1200ユーロです。", "スロベニアで一週間過ごす予定です。", "そこでいくら使えますか？"),
    ("ko", "슬로베니아 예산은 1200유로예요.", "슬로베니아에서 일주일 보낼 계획이에요.", "거기서 얼마나 쓸 수 있어요?"),
]

#: By language: what is said of each book, and a question about all.
COUNTS = {
    "de": ("Ich habe das Buch {} gelesen.", "Wie viele Bücher habe ich gelesen?"),
    "es": ("Leí el libro {}.", "¿Cuántos libros leí?"),
    "fr": ("J'ai lu le livre {}.", "Combien de livres ai-je lus ?"),
    "pt": ("Li o livro {}.", "Quantos livros eu li?"),
    "it": ("Ho letto il libro {}.", "Quanti libri ho letto?"),
    "nl": ("Ik heb het boek {} gelezen.", "Hoeveel boeken heb ik gelezen?"),
    "pl": ("Przeczytałem książkę {}.", "Ile książek przeczytałem?"),
    "ru": ("Я прочитал книгу {}.", "Сколько книг я прочитал?"),
    "tr": ("{} kitabını okudum.", "Kaç kitap okudum?"),
    "zh": ("我读了《{}》这本书。", "我读了多少本书？"),
    "ja": ("{}という本を読みました。", "本を何冊読みましたか？"),
    "ko": ("{} 책을 읽었어요.", "책을 몇 권 읽었어요?"),
}


def test_small_talk_and_questions_about_the_world_find_nothing_and_others_their_answer() -> None:
    with ILabMemory.from_path(":memory:", Config(durability="normal")) as mem:
        for language, rows in LIVES.items():
            say(mem, *rows, reply="I see.", user_id=language)
        assert [each for each in NOTHING if mem.mem_recall(*each)] == []
        missed = [
            (language, question)
            for language, question, answer in FOUND
            if not any(hit.passage.startswith(answer) for hit in mem.mem_recall(language, question))
        ]
        assert missed == []


@pytest.mark.parametrize(("language", "said", "before", "question"), FOLLOW_UPS)
def test_a_follow_up_takes_its_subject_from_the_message_before(
    mem: ILabMemory, language: str, said: str, before: str, question: str
) -> None:
    say(mem, said, before)
    assert recalled(mem, question, previous=before)[:1] == [said], language


@pytest.mark.parametrize("language", COUNTS)
def test_a_question_for_a_number_gets_the_whole_list(mem: ILabMemory, language: str) -> None:
    statement, question = COUNTS[language]
    titles = "Dune Emma Piranesi Beloved Middlemarch Ulysses Solaris Momo"
    say(mem, *(statement.format(title) for title in titles.split()))
    assert len(recalled(mem, question)) == 8
