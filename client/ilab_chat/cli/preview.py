"""`ilab-chat preview`: the prompt that a chat call would send to the model."""

import argparse
from typing import TYPE_CHECKING

from ilab_chat._calls import DEFAULT_TIMEOUT
from ilab_chat.cli import options, output, request
from ilab_chat.cli.connection import connect
from ilab_chat.options import enum_name
from ilab_chat.v1.chat_pb2 import MemorySource, PreviewPromptResponse, PromptRole

if TYPE_CHECKING:
    from ilab_chat.cli.options import Commands

EXAMPLES = """\
examples:
  ilab-chat preview --user alice "What is my name?"
  ilab-chat preview --user alice --context huts.txt --json "When does it open?" | jq .tokens
"""


def add_parser(commands: "Commands") -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "preview",
        help="show the prompt for a message, without asking a model",
        description="Show the prompt that `chat` would send to the model. Asks no model and writes nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    request.add_message(parser, "user whose memory is read (required)")
    options.add_connection(parser, DEFAULT_TIMEOUT)
    parser.add_argument("--json", action="store_true", help="print the preview as one JSON object")
    request.add_memory(parser, "off: build the prompt without memory; the others: with memory")
    request.add_prompt(parser)
    request.add_generation(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the prompt."""
    message = request.read_message(arguments.message)
    if message is None:
        raise output.CommandError(
            "there is no message: pass one as an argument or on standard input", output.EXIT_USAGE
        )
    fields = request.fields_of(arguments)
    with connect(arguments) as client:
        preview = client.preview_prompt(arguments.user, message, **fields)
    if arguments.json:
        output.write_json(preview)
    else:
        write(preview)
    return 0


def write(preview: PreviewPromptResponse) -> None:
    """Print the messages, the memories and the estimated tokens."""
    for message in preview.messages:
        output.write_heading(f"{enum_name(PromptRole, message.role)}:")
        output.write(f"{message.content}\n\n")
    output.write_heading("memories:")
    for memory in preview.memories:
        source = enum_name(MemorySource, memory.source)
        text = (
            f"{memory.title}: {memory.snippet}" if memory.title and memory.snippet else memory.title or memory.snippet
        )
        output.write(f"{source} {memory.score:.2f} ({memory.type}) {text}\n")
    output.write_heading("estimated tokens:")
    counted = [f"{field.name} {getattr(preview.tokens, field.name)}" for field in preview.tokens.DESCRIPTOR.fields]
    output.write(f"{', '.join(counted)}\n")
    output.write(f"model {preview.model}, documents {preview.included_documents}\n")
