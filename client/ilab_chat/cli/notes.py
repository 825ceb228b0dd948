"""Memory in an answer, for people: the notes under it, and the list of `/why`."""

from collections.abc import Iterator

from ilab_chat.cli import output
from ilab_chat.cli.memory_common import counted, date
from ilab_chat.options import enum_name
from ilab_chat.v1.chat_pb2 import ChatResponse, HydratedMemory, MemorySource

#: Memories that the notes under an answer name. `/why` lists all.
NAMED = 3


def write_notes(response: ChatResponse) -> None:
    """Write to a terminal, dimmed, which memories entered the prompt and which facts were remembered."""
    for line in notes(response):
        output.write_dimmed(line)


def notes(response: ChatResponse) -> Iterator[str]:
    """Yield the notes under an answer."""
    told = [memory for memory in response.memories if memory.source != MemorySource.MEMORY_SOURCE_TURN]
    for memory in told[:NAMED]:
        yield f"in the prompt: {described(memory)}"
    if len(told) > NAMED:
        yield f"in the prompt: {len(told) - NAMED} more"
    if turns := len(response.memories) - len(told):
        yield f"in the prompt: {counted(turns, 'earlier turn')}"
    for fact in response.remembered:
        yield f"remembered: {fact.content} ({fact.type})"
    if response.forgotten_observation_id:
        # The response does not say whether it was a turn, a fact or many of both.
        yield "forgotten: what you asked to forget"


def described(memory: HydratedMemory) -> str:
    """Return the text of a memory, why it entered the prompt, and when it was last changed."""
    text = memory.snippet or memory.title or f"turn {memory.observation_id}"
    return f"{text} ({enum_name(MemorySource, memory.source)}, {date(memory.update_time)})"


def why(response: ChatResponse | None) -> str:
    """Return every memory that entered the prompt of an answer, one per line."""
    if response is None:
        return "There is no answer yet.\n"
    if not response.memories:
        return "No memory entered the prompt.\n"
    return "".join(f"{described(memory)}\n" for memory in response.memories)
