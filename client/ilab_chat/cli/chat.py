"""`ilab-chat chat`: one message, or a conversation."""

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilab_chat._calls import DEFAULT_TIMEOUT
from ilab_chat.cli import options, output, repl
from ilab_chat.cli.connection import connect
from ilab_chat.sync import ChatClient, ChatStream
from ilab_chat.v1.chat_pb2 import FinishReason, GenerationOptions, MemoryMode, TurnRetention

if TYPE_CHECKING:
    from ilab_chat.cli.options import Commands

EXAMPLES = """\
examples:
  ilab-chat chat --user alice "What is my name?"
  ilab-chat chat --user alice --memory-mode off --temperature 0 "What is a mesh?"
  ilab-chat chat --user alice - < question.txt
"""

MEMORY_MODES = {"read-write": MemoryMode.MEMORY_MODE_READ_WRITE, "read-only": MemoryMode.MEMORY_MODE_READ_ONLY}
MEMORY_MODES |= {"off": MemoryMode.MEMORY_MODE_OFF}
TURN_RETENTIONS = {
    "every-turn": TurnRetention.TURN_RETENTION_EVERY_TURN,
    "latest-only": TurnRetention.TURN_RETENTION_LATEST_ONLY,
}

CUT_SHORT = {
    FinishReason.FINISH_REASON_LENGTH: "the reply was cut: it reached the limit of output tokens",
    FinishReason.FINISH_REASON_CONTENT_FILTER: "the reply was cut: a content filter withheld the rest",
}


def add_parser(commands: "Commands") -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "chat",
        help="send a message, or hold a conversation",
        description="Send one message and print the answer while it is written. Without a message: a conversation.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "message",
        nargs="*",
        metavar="MESSAGE",
        help="what to say; - reads it from standard input, and so does no MESSAGE where that is not a terminal",
    )
    parser.add_argument("--user", required=True, metavar="ID", help="whose memory is read and written (required)")
    options.add_connection(parser, DEFAULT_TIMEOUT)
    parser.add_argument("--json", action="store_true", help="print each answer as one JSON object, when it is complete")
    parser.add_argument("--request-id", metavar="ID", help="identifies the call: a repeat is answered, not done twice")
    memory = parser.add_argument_group("memory")
    memory.add_argument("--memory-mode", choices=MEMORY_MODES, help="(default: read-write)")
    memory.add_argument("--turn-retention", choices=TURN_RETENTIONS, help="(default: every-turn)")
    add_generation(parser.add_argument_group("generation (default of each: the server's)"))


def add_generation(group: argparse._ArgumentGroup) -> None:
    """Add one option for each field of GenerationOptions."""
    group.add_argument("--model", metavar="NAME", help="which model answers")
    group.add_argument("--temperature", type=float, metavar="T", help="sampling temperature, 0 to 2")
    group.add_argument("--top-p", type=float, metavar="P", help="share of probability mass considered, up to 1")
    group.add_argument("--max-output-tokens", type=options.int32, metavar="N", help="longest reply")
    group.add_argument(
        "--stop", dest="stop_sequences", action="append", metavar="TEXT", help="text that ends the reply; up to 4 times"
    )
    group.add_argument("--seed", type=options.int32, metavar="N", help="seed for sampling")


def run(arguments: argparse.Namespace) -> int:
    """Answer the message, or converse when there is none."""
    message = read_message(arguments.message)
    asked = Asked.from_arguments(arguments)
    with connect(arguments) as client:
        if message is not None:
            asked.answer(client, message, arguments.request_id)
            return 0
        if arguments.request_id:
            raise output.CommandError("--request-id belongs to one message: give that too", 2)
        return repl.run(lambda line: asked.answer(client, line), arguments.address, arguments.user)


def read_message(words: list[str]) -> str | None:
    """Return what to say, None for a conversation: there is no message, and standard input is a terminal."""
    if words and words != ["-"]:
        return " ".join(words)
    if not words and sys.stdin is not None and sys.stdin.isatty():
        return None
    if sys.stdin is None:
        raise output.CommandError("there is no message and no standard input", 2)
    try:
        message = sys.stdin.buffer.read().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise output.CommandError("standard input is not UTF-8 text", 2) from None
    if not message:
        raise output.CommandError("there is no message: give one as an argument or on standard input", 2)
    return message


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say about every message of this run."""

    user_id: str
    generation: GenerationOptions | None
    memory_mode: MemoryMode.ValueType
    turn_retention: TurnRetention.ValueType
    as_json: bool

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "Asked":
        """Read the options that were given; the others are left to the server."""
        fields = ("model", "temperature", "top_p", "max_output_tokens", "stop_sequences", "seed")
        given = {name: value for name in fields if (value := getattr(arguments, name)) is not None}
        return cls(
            user_id=arguments.user,
            generation=GenerationOptions(**given) if given else None,
            memory_mode=MEMORY_MODES.get(arguments.memory_mode, MemoryMode.MEMORY_MODE_UNSPECIFIED),
            turn_retention=TURN_RETENTIONS.get(arguments.turn_retention, TurnRetention.TURN_RETENTION_UNSPECIFIED),
            as_json=arguments.json,
        )

    def answer(self, client: ChatClient, message: str, request_id: str | None = None) -> None:
        """Send *message* and print the answer. An interrupt cancels the call.

        Raises:
            ChatError: the call did not succeed; what had arrived is printed.
        """
        with client.stream_chat(
            self.user_id,
            message,
            request_id=request_id,
            generation=self.generation,
            memory_mode=self.memory_mode,
            turn_retention=self.turn_retention,
        ) as stream:
            if self.as_json:
                print_json(stream)
            else:
                print_text(stream)


def print_json(stream: ChatStream) -> None:
    """Print the finished answer as one line."""
    for _ in stream:
        pass
    output.write_json(stream.response)


def print_text(stream: ChatStream) -> None:
    """Print each piece when it arrives, and end the line whatever happens."""
    last = "\n"
    try:
        for text in stream.text:
            output.write(text)
            last = text
    finally:
        if not last.endswith("\n"):
            output.write("\n")
    if note := CUT_SHORT.get(stream.response.finish_reason):
        output.complain(note)
