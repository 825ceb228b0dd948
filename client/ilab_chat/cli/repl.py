"""A conversation in the terminal. Needs prompt_toolkit, from the extra `cli`."""

from collections.abc import Callable

from ilab_chat.cli import output
from ilab_chat.errors import ChatError


def run(take: Callable[[str], None], address: str, user_id: str) -> int:
    """Read lines and hand each to *take*, until Ctrl-D or until it raises EOFError.

    Typed lines are kept in memory for the arrow keys only.

    Ctrl-C drops the line that is being typed, or cancels the answer that is being written; the conversation goes on. On
    an empty line it says how to leave, and a second one leaves.

    Raises:
        CommandError: prompt_toolkit is not installed.
    """
    try:
        from prompt_toolkit import PromptSession  # noqa: PLC0415 - from an optional extra
        from prompt_toolkit.history import InMemoryHistory  # noqa: PLC0415
        from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent  # noqa: PLC0415
    except ImportError:
        raise output.missing_extra("a conversation") from None
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    session: PromptSession[str] = PromptSession(history=InMemoryHistory(), key_bindings=keys)
    output.write(f"Talking to {address} as {user_id}. Ctrl-C stops an answer, Ctrl-D leaves, arrow keys recall,\n")
    output.write("Alt-Enter starts another line. /help lists the commands.\n")
    while True:
        try:
            line = read_line(lambda: session.prompt(f"{user_id}> "), lambda: session.default_buffer.text)
            if line is None:
                return output.EXIT_INTERRUPTED
            if line.strip():
                take(line)
        except EOFError:
            return 0
        except KeyboardInterrupt:
            continue
        except ChatError as error:
            output.report(error, address)
        except output.CommandError as error:
            output.complain(str(error))


def read_line(prompt: Callable[[], str], typed: Callable[[], str]) -> str | None:
    """Return the line that *prompt* reads, or None after two Ctrl-C on an empty line. *typed*: what was typed."""
    is_leaving = False
    while True:
        try:
            return prompt()
        except KeyboardInterrupt:
            if typed():
                is_leaving = False
                continue
            if is_leaving:
                return None
            is_leaving = True
            output.write("Ctrl-C again leaves.\n")
