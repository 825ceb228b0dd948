"""`ilab-chat memory`: look into what is remembered of a user, carry it away, erase it."""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from ilab_chat._calls import DEFAULT_TIMEOUT
from ilab_chat.cli import files, options, output, table
from ilab_chat.cli.connection import connect
from ilab_chat.sync import ChatClient
from ilab_chat.v1.memory_pb2 import (
    ExportUserResponse,
    ForgetUserResponse,
    GetTimelineResponse,
    Observation,
    SearchObservationsResponse,
    Session,
)

if TYPE_CHECKING:
    from ilab_chat.cli.options import Commands

EXAMPLES = """\
examples:
  ilab-chat memory search --user alice "what does she like?"
  ilab-chat memory search --user alice --type preference --limit 3 hiking
  ilab-chat memory timeline --user alice 7
  ilab-chat memory stats --user alice
  ilab-chat memory export --user alice --output alice.jsonl
  ilab-chat memory forget --user alice

On a terminal an answer is a table; in a pipe, or with --json, one JSON object with the contract's names.
"""


def add_parser(commands: "Commands") -> None:
    """Add the command, its own commands and their options."""
    parser = commands.add_parser(
        "memory",
        help="look into what is remembered, carry it away, erase it",
        description="Look into what is remembered of a user, carry it away, or erase it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    searching = add_command(own, "search", search, "find what answers a query best", 'search --user alice "hiking"')
    searching.add_argument("query", nargs="+", metavar="QUERY", help="plain language; it has no operators")
    searching.add_argument("--limit", type=options.int32, metavar="N", help="most results, up to 100 (default: 10)")
    searching.add_argument("--type", action="append", default=[], metavar="T", help="only this type; may be repeated")
    searching.add_argument("--not-type", action="append", default=[], metavar="T", help="not this type; the same")

    looking = add_command(
        own, "timeline", timeline, "show what happened around an observation", "timeline --user alice 7"
    )
    looking.add_argument("observation_id", type=options.int64, metavar="ID", help="the observation in the middle")

    add_command(own, "stats", stats, "show how much is remembered", "stats --user alice")

    exporting = add_command(
        own, "export", export, "write everything as JSON Lines", "export --user alice --output alice.jsonl", timeout=0
    )
    exporting.add_argument(
        "--output",
        metavar="FILE",
        help="write to this file, which is replaced when all has arrived (default: standard output)",
    )

    forgetting = add_command(own, "forget", forget, "erase everything of a user, for good", "forget --user alice")
    forgetting.add_argument("--yes", action="store_true", help="do not ask; needed where nobody can be asked")


def add_command(
    commands: "Commands",
    name: str,
    run: Callable[[argparse.Namespace], int],
    purpose: str,
    example: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
) -> argparse.ArgumentParser:
    """Add a command with what all of them have."""
    parser = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=f"example:\n  ilab-chat memory {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--user", required=True, metavar="ID", help="whose memory it is (required)")
    options.add_connection(parser, timeout)
    if name != "export":
        parser.add_argument("--json", action="store_true", help="print one JSON object, as in a pipe")
    return parser


def for_people(arguments: argparse.Namespace) -> bool:
    """Say whether the answer is a table and not JSON."""
    return sys.stdout.isatty() and not arguments.json


def search(arguments: argparse.Namespace) -> int:
    """Print what was found, best first."""
    with connect(arguments) as client:
        found = client.memory.search(
            arguments.user,
            " ".join(arguments.query),
            limit=arguments.limit,
            types=arguments.type,
            types_exclude=arguments.not_type,
        )
    if not for_people(arguments):
        output.write_json(SearchObservationsResponse(observations=found))
    elif found:
        print_table(
            ("id", "updated", "type", "score", "title"),
            [(str(each.id), date(each.update_time), each.type, f"{each.score:.2f}", each.title) for each in found],
        )
    else:
        output.write("Nothing found.\n")
    return 0


def timeline(arguments: argparse.Namespace) -> int:
    """Print an observation and its neighbours, oldest first.

    Raises:
        CommandError: the user has no observation of this id.
    """
    with connect(arguments) as client:
        seen = client.memory.timeline(arguments.user, arguments.observation_id)
    if not seen:
        raise output.CommandError(f"the user has no observation {arguments.observation_id}", 1)
    if not for_people(arguments):
        output.write_json(GetTimelineResponse(observations=seen))
        return 0
    print_table(
        ("", "id", "created", "type", "title"),
        [
            (mark(each, arguments.observation_id), str(each.id), date(each.create_time), each.type, each.title)
            for each in seen
        ],
    )
    return 0


def stats(arguments: argparse.Namespace) -> int:
    """Print how many observations and sessions there are."""
    with connect(arguments) as client:
        held = client.memory.stats(arguments.user)
    if for_people(arguments):
        output.write(f"observations  {held.observations}\nsessions      {held.sessions}\n")
    else:
        output.write_json(held)
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write everything of the user, a JSON object a line."""
    with connect(arguments) as client, client.memory.export(arguments.user) as items:
        if arguments.output is None:
            for item in items:
                output.write_json(exported(item))
        else:
            files.replace(arguments.output, (output.json_line(exported(item)) for item in items))
    return 0


def forget(arguments: argparse.Namespace) -> int:
    """Erase everything of the user and print how many observations that were.

    Raises:
        CommandError: nobody has confirmed it.
    """
    with connect(arguments) as client:
        if not arguments.yes:
            confirm(client, arguments.user)
        erased = client.memory.forget(arguments.user)
    if for_people(arguments):
        output.write(f"Erased {counted(erased, 'observation')}.\n")
    else:
        output.write_json(ForgetUserResponse(observations=erased))
    return 0


def confirm(client: ChatClient, user_id: str) -> None:
    """Have the user id typed.

    Raises:
        CommandError: standard input is no terminal, or something else was typed.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise output.CommandError("nothing was erased: standard input is no terminal to confirm on; --yes confirms", 2)
    held = client.memory.stats(user_id)
    what = f"{counted(held.observations, 'observation')} and {counted(held.sessions, 'session')}"
    output.ask(f"This erases {what} for good. Type the user id to go on: ")
    try:
        typed = sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        typed = ""
    if typed != user_id:
        raise output.CommandError("nothing was erased: that is not the user id", 1)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table that is as wide as the terminal at most."""
    head, *lines = table.lines(heads, list(rows), shutil.get_terminal_size().columns)
    output.write_heading(head)
    output.write("".join(f"{line}\n" for line in lines))


def exported(item: Session | Observation) -> ExportUserResponse:
    """Return the line of an export that *item* is."""
    if isinstance(item, Session):
        return ExportUserResponse(session=item)
    return ExportUserResponse(observation=item)


def mark(each: Observation, asked: int) -> str:
    """Return what stands before an observation: a mark for the one that was asked for."""
    return ">" if each.id == asked else ""


def date(moment: Timestamp) -> str:
    """Return *moment* as a clock on this machine's wall shows it."""
    return f"{moment.ToDatetime(UTC).astimezone():%Y-%m-%d %H:%M}"


def counted(number: int, noun: str) -> str:
    """Return "1 session", "2 sessions"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
