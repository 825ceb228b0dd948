"""`ilab-chat chat`: one message, or a conversation."""

import argparse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ilab_chat.cli import memory_common, notes, options, output, repl, request
from ilab_chat.cli.connection import connect
from ilab_chat.cli.conversation import Conversation
from ilab_chat.sync import ChatClient, ChatStream
from ilab_chat.v1.chat_pb2 import ChatResponse, FinishReason, TurnRetention

if TYPE_CHECKING:
    from ilab_chat.cli.options import Commands

EXAMPLES = """\
examples:
  ilab-chat chat --user alice "What is my name?"
  ilab-chat chat --user alice --memory-mode off --temperature 0 "What is a mesh?"
  ilab-chat chat --user alice --context huts.txt "When does the hut open?"
  ilab-chat chat --user alice - < question.txt
"""

TURN_RETENTIONS = {
    "every-turn": TurnRetention.TURN_RETENTION_EVERY_TURN,
    "latest-only": TurnRetention.TURN_RETENTION_LATEST_ONLY,
}

#: Of UTF-8; the service truncates a reply there, at a whole character.
LONGEST_REPLY = 1024 * 1024


def add_parser(commands: "Commands") -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "chat",
        help="send a message, or hold a conversation",
        description="Send one message and print the answer while it arrives. Without a message: start a conversation.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    request.add_message(parser, "user whose memory is read and written (required)")
    options.add_connection(parser, default_timeout=0)
    parser.add_argument("--json", action="store_true", help="print each answer as one JSON object, when it is complete")
    parser.add_argument("--request-id", metavar="ID", help="id of the call: a repeat returns the stored answer")
    memory = request.add_memory(parser, "whether the call reads and writes memory")
    memory.add_argument(
        "--turn-retention",
        choices=TURN_RETENTIONS,
        help="keep every turn, or overwrite the previous `latest-only` turn (default: every-turn)",
    )
    request.add_prompt(parser)
    request.add_generation(parser)


def run(arguments: argparse.Namespace) -> int:
    """Answer the message, or hold a conversation without one."""
    message = request.read_message(arguments.message)
    asked = Asked.from_arguments(arguments)
    with connect(arguments) as client:
        if message is not None:
            asked.answer(client, message, arguments.request_id)
            return 0
        if arguments.request_id:
            raise output.CommandError("--request-id is for a single message: pass a message too", output.EXIT_USAGE)

        def answer(line: str, conversation_id: str) -> ChatResponse:
            return asked.within(conversation_id).answer(client, line)

        talk = Conversation(client, arguments.user, arguments.conversation, answer)
        return repl.run(talk.take, arguments.address, arguments.user)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that apply to every message of this run."""

    user_id: str
    fields: request.Fields
    turn_retention: TurnRetention.ValueType
    as_json: bool
    timeout: float | None

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "Asked":
        """Read the options that were given; the others are left to the server.

        Raises:
            CommandError: a file cannot be read.
        """
        return cls(
            user_id=arguments.user,
            fields=request.fields_of(arguments),
            turn_retention=TURN_RETENTIONS.get(arguments.turn_retention, TurnRetention.TURN_RETENTION_UNSPECIFIED),
            as_json=arguments.json,
            timeout=arguments.timeout,
        )

    def within(self, conversation_id: str) -> "Asked":
        """Return the same options in another conversation."""
        return replace(self, fields={**self.fields, "conversation_id": conversation_id})

    def answer(self, client: ChatClient, message: str, request_id: str | None = None) -> ChatResponse:
        """Send *message*, print the answer and return it. An interrupt cancels the call.

        Raises:
            ChatError: the call did not succeed; what had arrived is printed.
        """
        generation = self.fields["generation"]
        with client.stream_chat(
            self.user_id,
            message,
            request_id=request_id,
            turn_retention=self.turn_retention,
            timeout=self.timeout,
            **self.fields,
        ) as stream:
            if self.as_json:
                print_json(stream)
            else:
                print_text(
                    stream,
                    generation.max_output_tokens if generation and generation.HasField("max_output_tokens") else None,
                )
        return stream.response


def print_json(stream: ChatStream) -> None:
    """Print the finished answer as one line."""
    for _ in stream:
        pass
    output.write_json(stream.response)


def cut_short(response: ChatResponse, limit: int | None) -> str:
    """Return by what a reply was truncated, and what makes it longer; empty: it is whole.

    Args:
        response: the answer.
        limit: the tokens that the caller allowed. None: the server's default.
    """
    if response.finish_reason == FinishReason.FINISH_REASON_CONTENT_FILTER:
        return "the reply was truncated by a content filter"
    if response.finish_reason != FinishReason.FINISH_REASON_LENGTH:
        return ""
    if len(response.reply.encode()) > LONGEST_REPLY - 4:
        return "the reply was truncated at 1 MiB, the maximum"
    tokens = response.usage.output_tokens
    after = f" after {memory_common.counted(tokens, 'token')}" if tokens else ""
    if limit is None:
        return (
            f"the reply was truncated{after}, by the server's default length or the model's context window:"
            " --max-output-tokens N allows N tokens (on the server: defaults.max_output_tokens)"
        )
    if not tokens or tokens >= limit:
        return f"the reply was truncated at --max-output-tokens {limit}: a larger number allows more"
    return (
        f"the reply was truncated{after}, fewer than --max-output-tokens {limit}, by the model's context window or the"
        " server's upper limit, caps.max_output_tokens"
    )


def print_text(stream: ChatStream, limit: int | None) -> None:
    """Print each piece when it arrives, and end the line whatever happens."""
    last = "\n"
    try:
        for text in stream.text:
            output.write(text)
            last = text
    finally:
        if not last.endswith("\n"):
            output.write("\n")
    if note := cut_short(stream.response, limit):
        output.complain(note)
    notes.write_notes(stream.response)
