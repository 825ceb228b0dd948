"""Marks of memories that hold no longer, or may not, because the user said something newer about the same."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ilab_chat_service.memory.turn_codec import ASSISTANT
from ilab_chat_service.message_statements import read
from ilab_chat_service.message_statements.outdated import replacements, says_much
from ilab_chat_service.message_statements.possibly_outdated import Said, doubts, endings, tells_move
from ilab_chat_service.message_statements.sentences import sentences_of
from ilab_chat_service.prompt_budget import DOUBTED, EARLIER
from ilab_chat_service.values import FACT_KEY, Part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ilab_chat_service.values import Context, Recalled

#: By the topic key of each fact that holds, the ids of the observations that it was derived from.
Sources: TypeAlias = "Mapping[str, Collection[int]]"

#: A memory and what it says: its text, or a sentence of it.
Spoken: TypeAlias = "tuple[Recalled, str]"

#: The titles of facts about where the user lives.
HOME, ADDRESS = "home", "address"
#: Between the message and the reply of a turn in a search hit, which has them in one line.
SEPARATOR = f" {ASSISTANT.lstrip()}"


class Marks(NamedTuple):
    """Identities of the memories that get a mark, each with what it says."""

    replaced: set[tuple[int, str]]
    """It holds no longer."""
    doubted: set[tuple[int, str]]
    """It may hold no longer."""


def with_outdated_marks(context: Context, sources: Sources) -> Context:
    """Return *context* with a mark on the facts, statements and search hits that a newer one replaces or doubts.

    Search hits mark no fact or statement: the beginning of the prompt must not change with what is found for a message.
    """
    known = [(each, each.snippet) for each in (*context.facts, *context.statements) if not each.pinned]
    hits = (*context.found, *context.related)
    said: dict[int, list[str]] = {}
    replaced: set[tuple[int, str]] = set()
    for hit in hits:
        sentences = statements_of(hit)
        gone = [each for each in sentences if hit.is_earlier and states_replaced(each, hit.observation_id, sources)]
        replaced.update((id(hit), each) for each in gone)
        # If it is not known which sentence holds no longer, the whole hit keeps its mark.
        said[id(hit)] = sentences if gone or not hit.is_earlier else []
    marks = marks_of(known, [(hit, sentence) for hit in hits for sentence in said[id(hit)]])
    marks.doubted.update(left_addresses(context.facts))
    marks.replaced.update(replaced)
    return replace(
        context,
        facts=tuple(marked(each, marks) for each in context.facts),
        statements=tuple(marked(each, marks) for each in context.statements),
        found=tuple(marked_hit(each, said[id(each)], marks) for each in context.found),
        related=tuple(marked_hit(each, said[id(each)], marks) for each in context.related),
    )


def states_replaced(text: str, observation_id: int, sources: Sources) -> bool:
    """Return whether *text*, of the observation, states a fact that another one has replaced, see `sources`."""
    keys = (FACT_KEY + fact.topic_key for fact in read(text).facts)
    return any(key in sources and observation_id not in sources[key] for key in keys)


def left_addresses(facts: Sequence[Recalled]) -> Iterator[tuple[int, str]]:
    """Yield the identity of an address with its text, if the user has moved to another town since."""
    home = next((each for each in facts if each.title == HOME), None)
    for each in facts:
        if each.title == ADDRESS and home and home.updated_at > each.updated_at and tells_move(home.snippet):
            yield id(each), each.snippet


def marks_of(known: Sequence[Spoken], heard: Sequence[Spoken]) -> Marks:
    """Return which memories in *known* others of them replace or doubt, and which search hits in *heard*, any."""
    hits = {id(memory) for memory, _ in heard}
    ordered = sorted((*known, *heard), key=lambda each: (each[0].updated_at, each[0].observation_id))
    places = {number for number, (memory, _) in enumerate(ordered) if id(memory) not in hits}
    messages: dict[tuple[bool, int], list[str]] = defaultdict(list)
    for memory, text in ordered:
        messages[id(memory) in hits, memory.observation_id].append(text)
    whole = {key: " ".join(dict.fromkeys(texts)) for key, texts in messages.items()}
    spoken = [Said(text, whole[id(memory) in hits, memory.observation_id]) for memory, text in ordered]

    def chosen(pairs: Iterable[tuple[int, int]]) -> set[tuple[int, str]]:
        olds = (ordered[old] for old, new in pairs if old not in places or new in places)
        return {(id(memory), text) for memory, text in olds}

    texts = [text for _, text in ordered]
    return Marks(chosen(replacements(texts)), chosen([*doubts(spoken, places), *endings(texts)]))


def marked(memory: Recalled, marks: Marks) -> Recalled:
    """Return *memory*, marked if what it says is replaced or in doubt."""
    key = id(memory), memory.snippet
    if key in marks.replaced:
        return replace(memory, is_earlier=True)
    return replace(memory, is_doubted=True) if key in marks.doubted else memory


def marked_hit(hit: Recalled, sentences: Sequence[str], marks: Marks) -> Recalled:
    """Return *hit*, marked if all that it says is replaced or in doubt, or with marks behind some sentences."""
    earlier = [each for each in sentences if (id(hit), each) in marks.replaced]
    maybe = [each for each in sentences if (id(hit), each) in marks.doubted and each not in earlier]
    says_enough = SEPARATOR not in hit.snippet and any(map(says_much, sentences))
    if earlier and len(earlier) == len(sentences):
        return replace(hit, is_earlier=True, parts=tuple(map(Part, sentences)) if says_enough else ())
    if maybe and len(maybe) == len(sentences):
        return replace(hit, is_doubted=True, parts=tuple(map(Part, sentences)) if says_enough else ())
    marks_of_texts = dict.fromkeys(maybe, DOUBTED) | dict.fromkeys(earlier, EARLIER)
    parts = tuple(Part(each, marks_of_texts.get(each, "")) for each in sentences) if says_enough else ()
    snippet = hit.snippet
    for texts, mark in ((earlier, EARLIER), (maybe, DOUBTED)):
        for each in texts:
            snippet = snippet.replace(each, each + mark, 1)
    return replace(hit, snippet=snippet, parts=parts, is_earlier=hit.is_earlier and not earlier)


def statements_of(hit: Recalled) -> list[str]:
    """Return the sentences of a search hit that the user said, without questions."""
    return [each.text for each in sentences_of(hit.snippet.partition(SEPARATOR)[0]) if not each.asks]
