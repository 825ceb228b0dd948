"""An embedder for tests: words of one concept are near each other, in five languages. Every text has its own bytes."""

import hashlib
import re
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from ilab_memory.recall import anchors

#: Words of one concept have the same number.
CONCEPTS = {
    word: number
    for number, words in enumerate(
        (
            "allergic peanuts nuts food eat meals allergique arachides manger allergisch erdnüsse essen 花生 吃",
            "pet beagle dog cat animals chien chat hund katze tier 狗 宠物",
            "joiner profession work job carpenter métier menuisier beruf tischler",
            "wheelchair stairs barrier rooms fauteuil rollstuhl treppen",
            "painted fence green today",
            "anniversary wedding gift roses mariage hochzeit geschenk",
        )
    )
    for word in words.split()
}
#: The concept of texts without such words.
OTHER = 20
DIMENSIONS = 64


#: Sentences that each embedder is asked for once.
ANCHORS = {*anchors.OF_USER, *anchors.OF_USER.values(), *anchors.OF_WORLD, *anchors.SMALL_TALK}


class Concepts:
    """Keeps what it embeds in `texts`, without the anchors."""

    dimensions = DIMENSIONS

    def __init__(self, name: str = "concepts-1") -> None:
        self.id = name
        self.texts: list[str] = []

    def embed(self, text: str) -> Collection[float]:
        if text not in ANCHORS:
            self.texts.append(text)
        return vector(text, self.id)


def vector(text: str, model: str = "concepts-1") -> Sequence[float]:
    words = re.findall(r"[^\W\d_]+", text.lower())
    # Each model has its own dimensions.
    shift = len(model) + int(model[-1])
    total = 0.2 * _noise(text)
    for concept in [CONCEPTS[word] for word in words if word in CONCEPTS] or [OTHER]:
        total[(concept + shift) % DIMENSIONS] += 1
    values: list[float] = total.tolist()
    return values


def _noise(text: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    drawn = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return drawn / np.linalg.norm(drawn)
