"""Marks of memories that hold no longer because the user said something newer about them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ilab_chat_service.memory.turn_codec import ASSISTANT
from ilab_chat_service.prompt import EARLIER
from ilab_chat_service.statements.outdated import outdated
from ilab_chat_service.statements.sentences import sentences_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ilab_chat_service.values import Context, Recalled

#: Between the message and the reply of a turn in a search hit, which has them in one line.
SEPARATOR = f" {ASSISTANT.lstrip()}"


def with_earlier(context: Context) -> Context:
    """Return *context* with a mark on the facts, statements and search hits that a newer one of them replaces.

    Search hits mark no fact or statement: the beginning of the prompt must not change with what is found for a message.
    """
    known = [(each, each.snippet) for each in (*context.facts, *context.statements) if not each.pinned]
    hits = (*context.found, *context.related)
    said = {id(hit): statements_of(hit) for hit in hits if not hit.is_earlier}
    replaced = replaced_of(known)
    heard = [(hit, sentence) for hit in hits for sentence in said.get(id(hit), ())]
    replaced_hits = replaced_of([*known, *heard]) if heard else set()
    if not (replaced or replaced_hits):
        return context
    return replace(
        context,
        facts=tuple(marked(each, replaced) for each in context.facts),
        statements=tuple(marked(each, replaced) for each in context.statements),
        found=tuple(marked_hit(each, said.get(id(each), ()), replaced_hits) for each in context.found),
        related=tuple(marked_hit(each, said.get(id(each), ()), replaced_hits) for each in context.related),
    )


def replaced_of(said: Iterable[tuple[Recalled, str]]) -> set[tuple[int, str]]:
    """Return the identities of those of the memories, each with what it says, that a newer one replaces."""
    ordered = sorted(said, key=lambda each: (each[0].updated_at, each[0].observation_id))
    found = (ordered[number] for number in outdated([text for _, text in ordered]))
    return {(id(memory), text) for memory, text in found}


def marked(memory: Recalled, replaced: set[tuple[int, str]]) -> Recalled:
    """Return *memory*, marked if what it says is replaced."""
    return replace(memory, is_earlier=True) if (id(memory), memory.snippet) in replaced else memory


def marked_hit(hit: Recalled, sentences: Sequence[str], replaced: set[tuple[int, str]]) -> Recalled:
    """Return *hit*, marked if all that it says is replaced, or with a mark behind the sentences that are."""
    earlier = [each for each in sentences if (id(hit), each) in replaced]
    if earlier and len(earlier) == len(sentences):
        return replace(hit, is_earlier=True)
    snippet = hit.snippet
    for each in earlier:
        snippet = snippet.replace(each, each + EARLIER, 1)
    return replace(hit, snippet=snippet) if earlier else hit


def statements_of(hit: Recalled) -> list[str]:
    """Return the sentences of a search hit that the user said, without questions."""
    return [each.text for each in sentences_of(hit.snippet.partition(SEPARATOR)[0]) if not each.asks]
