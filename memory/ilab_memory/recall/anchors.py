"""The scale of an embedder, and kinds of texts, by its vectors of known sentences. Needs numpy.

Each embedder has its own scale: unrelated texts have a cosine of 0.1 with one, of 0.7 with another. So it embeds these
sentences once. Its scale is how near questions are to their answers and to other answers. The kind of a message is that
of the sentences near it: no list of words is needed, and it works in all languages of the embedder.

An embedder whose vectors do not tell the sentences apart is used without them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ilab_memory.recall.vectors import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Questions of users about themselves, each with an answer.
OF_USER = {
    "What car do I drive?": "I have an old red Volvo.",
    "What is my job?": "I work as a nurse at the hospital.",
    "Where do I live?": "My flat is in the centre of Lisbon.",
    "Who is my boss?": "My manager is called Margaret.",
    "When is my appointment?": "The dentist expects me on Tuesday at nine.",
    "What am I allergic to?": "Peanuts make me sick.",
    "Which sport do I play?": "I go rowing every Sunday.",
    "Do I have any children?": "My daughter is six years old.",
    "What music do I like?": "I listen to jazz all day.",
    "How old am I?": "I was born in 1985.",
    "When are we going on holiday?": "We fly to Crete in August.",
    "What is the name of my dog?": "Our puppy is called Biscuit.",
    "Which language am I learning?": "I take lessons in Korean.",
    "What should I not eat?": "I can't stand mushrooms.",
    "Where did I put the keys?": "The keys are in the kitchen drawer.",
    "How much did we pay for the house?": "Our house cost us 300,000 euros.",
    "Which book am I reading?": "I have just started a novel by Tolstoy.",
    "What am I afraid of?": "Spiders terrify me.",
    "Should I take a plane?": "Flying makes me nervous.",
    "What is my hobby?": "I collect stamps in my free time.",
}
#: Questions and requests about the world, not about the user.
OF_WORLD = (
    "What is the capital of France?",
    "How does a car engine work?",
    "Who wrote Hamlet?",
    "Why is the sky blue?",
    "How tall is Mount Everest?",
    "What does photosynthesis mean?",
    "When did the Roman Empire fall?",
    "Translate this sentence into German.",
    "Write a short poem about the sea.",
    "How many continents are there?",
    "What is the best way to boil an egg?",
    "Which planet is the largest?",
    "Explain how vaccines work.",
    "Who won the World Cup in 1998?",
    "What is the difference between a frog and a toad?",
    "How do I remove a wine stain?",
    "Write a function that sorts a list.",
    "Who painted the Mona Lisa?",
    "What is the meaning of irony?",
    "Why do cats purr?",
)
SMALL_TALK = (
    "Hello!",
    "Hi there, how are you today?",
    "Good morning!",
    "Good evening, how is it going?",
    "Good night, sleep well.",
    "Goodbye, see you tomorrow.",
    "Thank you very much, that was helpful.",
    "Thanks a lot!",
    "You are welcome.",
    "I'm fine, thanks, and you?",
    "Yes.",
    "Okay, let's do that.",
    "That sounds great.",
    "Good idea.",
    "Sure, no problem.",
    "I see.",
    "Sorry about that.",
    "Have a nice weekend!",
    "Please continue.",
    "What's up?",
    "Great, perfect!",
    "Haha, very funny.",
    "Can you say that again?",
    "Tell me more.",
)
#: Mean cosine of a question of OF_USER with other answers and with its own, in the scale of the floors of `meaning`:
#: that of the local encoder.
UNRELATED, RELATED = 0.089, 0.359
#: Minimum share of the sentences whose kind an embedder must tell.
TOLD_APART = 0.9
#: Part of the way from questions to their answers by which a question about its user is moved. Both have directions of
#: their own: without it, the nearest rows are those that are worded like questions.
TOWARDS_ANSWERS = 0.5
#: `Reading.of_user` from which on it is moved so far.
WHOLE_WAY = 0.3
#: Minimum cosine with a sentence of small talk for a text to be small talk.
LIKE_SMALL_TALK = 0.45
#: Standard errors by which questions must be nearer to their answers than to others.
SIGNIFICANT = 3.0
#: Largest mean cosine of unrelated texts. Beyond it, all vectors are alike, and cosines say nothing.
MOST_ALIKE = 0.98


class Reading(NamedTuple):
    """The kind of a text, by its vector."""

    of_user: float | None = None
    """Whether a question is about its user, 1, or about the world, -1, and all between. None: unknown."""
    small_talk: float = 0.0
    """How near it is to small talk, in the scale of the floors."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """How to read the vectors of one embedder."""

    unrelated: float = UNRELATED
    """Mean cosine of two texts that have nothing in common."""
    factor: float = 1.0
    """Factor of the difference to it."""
    axis: "NDArray[np.float32] | None" = None
    """The direction from OF_WORLD to OF_USER, so long that the difference of both is 2."""
    middle: float = 0.0
    """The place between both on the axis."""
    small_talk: "NDArray[np.float32] | None" = None
    to_answers: "NDArray[np.float32] | None" = None
    """The way from the mean of the questions of OF_USER to that of their answers."""

    @classmethod
    def of(cls, embed: Callable[[str], Collection[float]]) -> "Anchors":
        """Return the anchors of an embedder.

        Raises:
            EmbedderUnavailable: by *embed*. Call it again later.
        """
        kinds = (tuple(OF_USER), tuple(OF_USER.values()), OF_WORLD, SMALL_TALK)
        try:
            questions, answers, world, talk = (np.stack([unit(embed(text)) for text in texts]) for texts in kinds)
        except ValueError:
            # It rejects some of them.
            return cls()
        unrelated, factor = _scale(questions @ answers.T)
        if unrelated > MOST_ALIKE:
            return cls()
        axis, middle = _axis(questions, world)
        to_answers = answers.mean(axis=0) - questions.mean(axis=0)
        scaled = cls(unrelated, factor, axis, middle, talk, to_answers)
        others = np.concatenate([questions, answers, world])
        told = [scaled.read(vector).small_talk < LIKE_SMALL_TALK for vector in others]
        return scaled if np.mean(told) >= TOLD_APART else replace(scaled, small_talk=None)

    def scaled(self, cosine: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Return cosines in the scale of the floors."""
        if self.factor == 1.0 and self.unrelated == UNRELATED:
            return cosine
        return (cosine - np.float32(self.unrelated)) * np.float32(self.factor) + np.float32(UNRELATED)

    def moved(self, vector: Collection[float], reading: Reading) -> Collection[float]:
        """Return the *vector* of a question, moved towards answers if its *reading* says that it is of its user."""
        if self.to_answers is None or reading.of_user is None or reading.of_user <= 0:
            return vector
        part = TOWARDS_ANSWERS * min(1.0, reading.of_user / WHOLE_WAY)
        moved: NDArray[np.float32] = unit(vector) + np.float32(part) * self.to_answers
        return moved

    def read(self, vector: Collection[float]) -> Reading:
        """Return the kind of the text with this *vector*."""
        values = unit(vector)
        of_user = None if self.axis is None else float(values @ self.axis) - self.middle
        near = np.zeros(1, dtype=np.float32) if self.small_talk is None else self.scaled(self.small_talk @ values)
        return Reading(of_user, float(near.max()))


def _scale(cosines: "NDArray[np.float32]") -> tuple[float, float]:
    """Return the mean cosine of unrelated texts, and the factor of the scale. *cosines*: of questions with answers."""
    own = np.diagonal(cosines)
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    unrelated, related = float(others.mean()), float(own.mean())
    error = float(np.sqrt(own.var() / len(own) + others.var() / len(own)))
    if related - unrelated > max(SIGNIFICANT * error, 1e-3):
        return unrelated, (RELATED - UNRELATED) / (related - unrelated)
    # All that is known is that a text has a cosine of 1 with itself.
    return unrelated, (1 - UNRELATED) / max(1 - unrelated, 1 - MOST_ALIKE)


def _axis(user: "NDArray[np.float32]", world: "NDArray[np.float32]") -> "tuple[NDArray[np.float32] | None, float]":
    """Return the axis and its middle. None: without a sentence, the others do not tell its kind."""
    sums = user.sum(axis=0), world.sum(axis=0)
    right = [_side(vector, (sums[0] - vector) / (len(user) - 1), sums[1] / len(world)) > 0 for vector in user]
    right += [_side(vector, sums[0] / len(user), (sums[1] - vector) / (len(world) - 1)) < 0 for vector in world]
    if np.mean(right) < TOLD_APART:
        return None, 0.0
    means = sums[0] / len(user), sums[1] / len(world)
    difference = means[0] - means[1]
    axis = difference * np.float32(2 / np.vecdot(difference, difference))
    return axis, float((means[0] + means[1]) @ axis) / 2


def _side(vector: "NDArray[np.float32]", user: "NDArray[np.float32]", world: "NDArray[np.float32]") -> float:
    return float(np.vecdot(vector - (user + world) / 2, user - world))
