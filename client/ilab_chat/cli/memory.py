"""`ilab-chat memory`: look into what is remembered of a user, change it, move it, erase it."""

import argparse
from itertools import islice
from typing import TYPE_CHECKING

from ilab_chat.cli import memory_changes, options, output
from ilab_chat.cli.connection import connect
from ilab_chat.cli.memory_common import (
    add_command,
    add_list_options,
    add_observation,
    date,
    for_people,
    print_table,
    rows_per_page,
)
from ilab_chat.v1.memory_pb2 import (
    GetTimelineResponse,
    ListObservationsResponse,
    ListSessionsResponse,
    Observation,
    SearchObservationsResponse,
    Session,
    SessionState,
)

if TYPE_CHECKING:
    from ilab_chat.cli.options import Commands

EXAMPLES = """\
examples:
  ilab-chat memory search --user alice "what does she like?"
  ilab-chat memory search --user alice --type preference --limit 3 hiking
  ilab-chat memory list --user alice --type decision
  ilab-chat memory sessions --user alice
  ilab-chat memory timeline --user alice 7
  ilab-chat memory stats --user alice
  ilab-chat memory update --user alice 7 --title "Travel"
  ilab-chat memory delete --user alice 7
  ilab-chat memory export --user alice --output alice.jsonl
  ilab-chat memory import --user alice alice.jsonl
  ilab-chat memory forget --user alice

On a terminal an answer is a table; in a pipe, or with --json, one JSON object with the contract's names.
"""


def add_parser(commands: "Commands") -> None:
    """Add the command, its own commands and their options."""
    parser = commands.add_parser(
        "memory",
        help="look into what is remembered, change it, move it, erase it",
        description="Look into what is remembered of a user, change it, move it, or erase it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    searching = add_command(own, "search", search, "find what answers a query best", 'search --user alice "hiking"')
    searching.add_argument("query", nargs="+", metavar="QUERY", help="plain language; it has no operators")
    searching.add_argument(
        "--limit", type=options.int32, metavar="N", help="maximum number of results, up to 100 (default: 10)"
    )
    searching.add_argument("--type", action="append", default=[], metavar="T", help="only this type; may be repeated")
    searching.add_argument("--not-type", action="append", default=[], metavar="T", help="not this type; the same")

    listing = add_command(
        own, "list", list_observations, "list observations, the last changed first", "list --user alice --type decision"
    )
    listing.add_argument("--type", action="append", default=[], metavar="T", help="only this type; may be repeated")
    add_list_options(listing)

    sessions = add_command(
        own, "sessions", list_sessions, "list sessions, the last started first", "sessions --user alice"
    )
    add_list_options(sessions)

    looking = add_command(
        own, "timeline", timeline, "show what happened around an observation", "timeline --user alice 7"
    )
    add_observation(looking, "the observation in the middle")

    add_command(own, "stats", stats, "show how much is remembered", "stats --user alice")

    memory_changes.add_parsers(own)


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


def list_observations(arguments: argparse.Namespace) -> int:
    """Print observations, the last changed first."""
    with connect(arguments) as client:
        rows = client.memory.list_observations(
            arguments.user,
            types=arguments.type,
            conversation_id=arguments.conversation,
            page_size=rows_per_page(arguments.limit),
        )
        found = list(islice(rows, arguments.limit or None))
    if not for_people(arguments):
        output.write_json(ListObservationsResponse(observations=found))
    elif found:
        print_table(
            ("id", "updated", "type", "title"),
            [(str(each.id), date(each.update_time), each.type, each.title) for each in found],
        )
    else:
        output.write("Nothing found.\n")
    return 0


def list_sessions(arguments: argparse.Namespace) -> int:
    """Print sessions, the last started first."""
    with connect(arguments) as client:
        rows = client.memory.list_sessions(
            arguments.user, conversation_id=arguments.conversation, page_size=rows_per_page(arguments.limit)
        )
        found = list(islice(rows, arguments.limit or None))
    if not for_people(arguments):
        output.write_json(ListSessionsResponse(sessions=found))
    elif found:
        print_table(
            ("started", "ended", "conversation", "summary"),
            [(date(each.start_time), ended(each), each.conversation_id, each.summary) for each in found],
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


def mark(each: Observation, asked: int) -> str:
    """Return what a timeline shows before an observation: a mark for the one that was asked for."""
    return ">" if each.id == asked else ""


def ended(each: Session) -> str:
    """Return when a session ended, or that it is active."""
    return "active" if each.state == SessionState.SESSION_STATE_ACTIVE else date(each.end_time)
