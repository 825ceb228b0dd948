"""One observation as a line of a list, with a snippet of its content. Pure."""

from ilab_memory.core.models import ObservationCompact
from ilab_memory.core.store import Preview

#: A snippet has about 100 tokens (documented contract), of four characters.
SNIPPET_CHARACTERS = 400
#: Characters of the content that a `Preview` needs: one more than a snippet shows whether it has to be cut.
PREVIEW_CHARACTERS = SNIPPET_CHARACTERS + 1


def compact(row: Preview, score: float) -> ObservationCompact:
    """Return *row* with its score and a snippet."""
    # Faster than model_construct, which goes through the fields in Python.
    return ObservationCompact(
        id=row.id,
        type=row.type,
        title=row.title,
        topic_key=row.topic_key,
        score=score,
        snippet=snippet(row.content),
        updated_at=row.updated_at,
    )


def snippet(content: str) -> str:
    """Return the beginning of *content*, cut at the last space if that is near the end."""
    if len(content) <= SNIPPET_CHARACTERS:
        return content
    cut = content[: SNIPPET_CHARACTERS - 3]
    head, space, last = cut.rpartition(" ")
    return (head if space and len(last) < SNIPPET_CHARACTERS // 10 else cut) + "..."
