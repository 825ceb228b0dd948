"""The lines of a conversation: messages, and commands that begin with a slash and never reach the model."""

import difflib
import uuid
from collections.abc import Callable
from typing import Final

from ilab_chat.cli import memory_common, notes, output
from ilab_chat.sync import ChatClient
from ilab_chat.v1.chat_pb2 import ChatResponse

COMMANDS: Final = {
    "/help": "list these commands",
    "/why": "list the memories that entered the last prompt",
    "/facts": "list the facts about you",
    "/new": "begin a new conversation",
    "/forget": "erase everything about you, after a confirmation",
    "/quit": "leave, as Ctrl-D does",
}


class Conversation:
    """A conversation of one user.

    Args:
        client: calls the memory.
        user_id: the user.
        conversation_id: the conversation to begin with.
        answer: sends a message in a conversation, prints the answer and returns it.
    """

    def __init__(
        self, client: ChatClient, user_id: str, conversation_id: str, answer: Callable[[str, str], ChatResponse]
    ) -> None:
        self._client = client
        self._user_id = user_id
        self._conversation_id = conversation_id
        self._answer = answer
        self._last: ChatResponse | None = None

    def take(self, line: str) -> None:
        """Run a command, or send a message.

        Raises:
            ChatError: a call did not succeed.
            CommandError: an erasure was not confirmed.
            EOFError: the user leaves.
        """
        if not line.startswith("/"):
            self._last = self._answer(line, self._conversation_id)
            return
        match line.strip():
            case "/help":
                output.write("".join(f"{name:<9} {purpose}\n" for name, purpose in COMMANDS.items()))
            case "/why":
                output.write(notes.why(self._last))
            case "/facts":
                facts = list(self._client.memory.list_facts(self._user_id))
                output.write("".join(f"{fact.content} ({fact.type})\n" for fact in facts) or "No facts.\n")
            case "/new":
                self._conversation_id, self._last = uuid.uuid4().hex, None
                output.write("A new conversation. Facts and earlier turns are still remembered.\n")
            case "/forget":
                memory_common.confirm(
                    f"This erases everything about {self._user_id}. Type the user id to confirm: ",
                    self._user_id,
                    "user id",
                )
                erased = self._client.memory.forget(self._user_id)
                self._last = None
                output.write(f"Erased {memory_common.counted(erased, 'observation')}.\n")
            case "/quit":
                raise EOFError
            case other:
                name = other.split()[0]
                close = difflib.get_close_matches(name, COMMANDS, 1)
                hint = f"did you mean {close[0]}?" if close else "/help lists the commands"
                output.complain(f"there is no command {name}: {hint}")
