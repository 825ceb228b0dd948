"""`ilab-chat memory`: look into what is remembered of a user, change it, move it, erase it."""

import argparse
from itertools import islice
from typing import TYPE_CHECKING

from ilab_chat.cli import memory_changes, options, output
from ilab_chat.cli.connection import connect
from ilab_chat.cli.memory_common import (
    add_command,
    add_limit,
    add_list_options,
    add_observation,
    add_types,
    date,
    for_people,
    missing,
    print_table,
    rows_per_page,
)
from ilab_chat.v1.memory_pb2 import (
    GetObservationResponse,
    GetTimelineResponse,
    ListFactsResponse,
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
  ilab-chat memory facts --user alice
  ilab-chat memory list --user alice --type decision
  ilab-chat memory show --user alice ID
  ilab-chat memory sessions --user alice
  ilab-chat memory timeline --user alice ID
  ilab-chat memory stats --user alice
  ilab-chat memory save --user alice --type preference --title "Tea" "She likes green tea."
  ilab-chat memory edit --user alice ID --title "Travel"
  ilab-chat memory delete --user alice ID
  ilab-chat memory export --user alice --output alice.jsonl
  ilab-chat memory import --user alice alice.jsonl
  ilab-chat memory forget --user alice

The output is a table on a terminal. In a pipe, or with --json, it is one JSON object with the field names of the API.
export writes one JSON object per line.
"""


def add_parser(commands: "Commands") -> None:
    """Add the command, its own commands and their options."""
    parser = commands.add_parser(
        "memory",
        help="view, change, export, import or erase a user's memory",
        description="View, change, export, import or erase a user's memory. It consists of observations: turns, facts "
        "and summaries.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    searching = add_command(
        own, "search", search, "search observations, best match first", 'search --user alice "hiking"'
    )
    searching.add_argument("query", nargs="+", metavar="QUERY", help="search text in plain language, without operators")
    searching.add_argument(
        "--limit", type=options.natural, metavar="N", help="maximum number of results, up to 100 (default: 10)"
    )
    add_types(searching)
    searching.add_argument(
        "--not-type", action="append", default=[], metavar="TYPE", help="exclude this type; repeatable"
    )

    facts = add_command(
        own,
        "facts",
        list_facts,
        "list the current facts about the user, in the order in which prompts take them",
        "facts --user alice",
    )
    add_types(facts)
    add_limit(facts)

    listing = add_command(
        own,
        "list",
        list_observations,
        "list observations, most recently changed first",
        "list --user alice --type decision",
    )
    add_types(listing)
    add_list_options(listing)

    sessions = add_command(own, "sessions", list_sessions, "list sessions, newest first", "sessions --user alice")
    add_list_options(sessions)

    showing = add_command(own, "show", show, "show the full text of an observation", "show --user alice ID")
    add_observation(showing, "the observation")

    looking = add_command(
        own, "timeline", timeline, "show the observations before and after one", "timeline --user alice ID"
    )
    add_observation(looking, "the observation in the middle")

    add_command(
        own, "stats", stats, "count the observations by type, with their first and last times", "stats --user alice"
    )

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


def list_facts(arguments: argparse.Namespace) -> int:
    """Print facts, pinned ones first, then the last changed."""
    with connect(arguments) as client:
        rows = client.memory.list_facts(arguments.user, types=arguments.type, page_size=rows_per_page(arguments.limit))
        found = list(islice(rows, arguments.limit or None))
    if not for_people(arguments):
        output.write_json(ListFactsResponse(facts=found))
    elif found:
        print_table(
            ("id", "updated", "type", "pinned", "title", "content"),
            [
                (
                    str(each.observation_id),
                    date(each.update_time),
                    each.type,
                    "yes" if each.pinned else "",
                    each.title,
                    each.content,
                )
                for each in found
            ],
        )
    else:
        output.write("No facts.\n")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print an observation.

    Raises:
        CommandError: the user does not have it.
    """
    with connect(arguments) as client, missing(arguments.observation_id):
        found = client.memory.get(arguments.user, arguments.observation_id)
    if not for_people(arguments):
        output.write_json(GetObservationResponse(observation=found))
        return 0
    heads = {
        "type": found.type,
        "title": found.title,
        "key": found.topic_key,
        "pinned": "yes" if found.pinned else "",
        "created": date(found.create_time),
        "updated": date(found.update_time),
        "expires": date(found.expire_time) if found.HasField("expire_time") else "",
        "derived from": ", ".join(map(str, found.source_observation_ids)),
    }
    for name, value in heads.items():
        if value:
            output.write(f"{name:<13} {value}\n")
    output.write(f"\n{found.content}\n")
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
        raise output.CommandError(f"the user has no observation {arguments.observation_id}", output.EXIT_FAILED)
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
    """Print how much there is: in all and by type, the first and the last."""
    with connect(arguments) as client:
        held = client.memory.stats(arguments.user, by_type=True)
    if not for_people(arguments):
        output.write_json(held)
        return 0
    output.write(f"observations  {held.observations:,}\nsessions      {held.sessions:,}\n")
    if held.types:
        output.write(f"facts         {held.facts:,}\ntext          {size(held.text_bytes)}\n")
        output.write(f"first         {date(held.first_time)}\nlast          {date(held.last_time)}\n\n")
        print_table(
            ("type", "observations", "text", "first", "last"),
            [
                (
                    each.type,
                    str(each.observations),
                    size(each.text_bytes),
                    date(each.first_time),
                    date(each.last_time),
                )
                for each in held.types
            ],
        )
    return 0


def size(count: int) -> str:
    """Return a number of bytes for people."""
    number, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004 - the factor between the units
            break
        number, unit = number / 1000, larger
    return f"{count} B" if unit == "B" else f"{number:.1f} {unit}"


def mark(each: Observation, asked: int) -> str:
    """Return what a timeline shows before an observation: a mark for the one that was asked for."""
    return ">" if each.id == asked else ""


def ended(each: Session) -> str:
    """Return when a session ended, or that it is active."""
    return "active" if each.state == SessionState.SESSION_STATE_ACTIVE else date(each.end_time)
