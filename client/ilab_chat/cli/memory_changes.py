"""The commands of `ilab-chat memory` that change, move or erase what is remembered."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from google.protobuf import json_format

from ilab_chat.cli import files, options, output
from ilab_chat.cli.connection import connect
from ilab_chat.cli.memory_common import (
    add_command,
    add_observation,
    check_terminal,
    confirm,
    counted,
    for_people,
    missing,
)
from ilab_chat.v1.memory_pb2 import (
    DeleteObservationResponse,
    ExportUserResponse,
    ForgetUserResponse,
    Observation,
    SaveObservationResponse,
    SaveOutcome,
    Session,
    UpdateObservationResponse,
)

if TYPE_CHECKING:
    from ilab_chat.cli.options import Commands


SAVED = {
    SaveOutcome.SAVE_OUTCOME_UNSPECIFIED: "Stored",
    SaveOutcome.SAVE_OUTCOME_CREATED: "Created",
    SaveOutcome.SAVE_OUTCOME_UPDATED: "Updated",
    SaveOutcome.SAVE_OUTCOME_DEDUPED: "Already there:",
}


def add_parsers(commands: "Commands") -> None:
    """Add the commands and their options."""
    saving = add_command(
        commands,
        "save",
        save,
        "store an observation",
        'save --user alice --type preference --title "Tea" "She likes green tea."',
    )
    saving.add_argument("content", metavar="TEXT", help="the text to remember")
    saving.add_argument(
        "--type",
        required=True,
        metavar="TYPE",
        help="profile, preference, decision or pattern for a fact; or discovery (required)",
    )
    saving.add_argument("--title", required=True, metavar="TEXT", help="one-line title (required)")
    saving.add_argument("--key", metavar="KEY", help="topic key; replaces the observation that has this key")
    saving.add_argument("--pin", action="store_true", help="put the fact first in every prompt")
    saving.add_argument("--expires", type=options.moment, metavar="TIME", help="expiry time, such as 2027-01-31")
    saving.add_argument(
        "--conversation", default="", metavar="ID", help="conversation (default: the user's default one)"
    )

    editing = add_command(commands, "edit", edit, "change an observation", 'edit --user alice ID --title "Travel"')
    add_observation(editing, "the observation")
    editing.add_argument("--title", metavar="TEXT", help="new title")
    editing.add_argument("--content", metavar="TEXT", help="new content")
    editing.add_argument("--type", metavar="TYPE", help="new type")
    editing.add_argument(
        "--pin",
        action=argparse.BooleanOptionalAction,
        help="put the fact first in every prompt; --no-pin undoes it",
    )
    editing.add_argument("--expires", type=options.moment_or_never, metavar="TIME", help="new expiry time, or `never`")

    deleting = add_command(
        commands, "delete", delete, "erase an observation permanently", "delete --user alice ID", timeout=0
    )
    add_observation(deleting, "the observation")
    add_yes(deleting)

    exporting = add_command(
        commands,
        "export",
        export,
        "write everything as JSON Lines",
        "export --user alice --output alice.jsonl",
        timeout=0,
    )
    exporting.add_argument(
        "--output",
        metavar="FILE",
        help="write to this file, which is replaced once the export is complete (default: standard output)",
    )

    importing = add_command(
        commands,
        "import",
        import_file,
        "add the items of an export and skip those that exist",
        "import --user alice alice.jsonl",
        timeout=0,
    )
    importing.add_argument("file", metavar="FILE", help="file that `export` wrote; - for standard input")

    forgetting = add_command(
        commands, "forget", forget, "erase all data of a user permanently", "forget --user alice", timeout=0
    )
    add_yes(forgetting)


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add the option that confirms."""
    parser.add_argument(
        "--yes", action="store_true", help="skip the confirmation (required when stdin is not a terminal)"
    )


def save(arguments: argparse.Namespace) -> int:
    """Store an observation and print how."""
    with connect(arguments) as client:
        result = client.memory.save(
            arguments.user,
            arguments.content,
            type=arguments.type,
            title=arguments.title,
            topic_key=arguments.key,
            pinned=arguments.pin,
            expire_time=arguments.expires,
            conversation_id=arguments.conversation,
        )
    if for_people(arguments):
        output.write(f"{SAVED[result.outcome]} observation {result.id}.\n")
    else:
        output.write_json(SaveObservationResponse(result=result))
    return 0


def edit(arguments: argparse.Namespace) -> int:
    """Change an observation and print how it was stored.

    Raises:
        CommandError: nothing to change is given, or the user does not have the observation.
    """
    given = (arguments.title, arguments.content, arguments.type, arguments.pin, arguments.expires)
    if all(value is None for value in given):
        raise output.CommandError(
            "edit needs --title, --content, --type, --pin, --no-pin or --expires", output.EXIT_USAGE
        )
    with connect(arguments) as client, missing(arguments.observation_id):
        result = client.memory.update(
            arguments.user,
            arguments.observation_id,
            title=arguments.title,
            content=arguments.content,
            type=arguments.type,
            pinned=arguments.pin,
            expire_time=arguments.expires,
        )
    if not for_people(arguments):
        output.write_json(UpdateObservationResponse(result=result))
    elif result.outcome == SaveOutcome.SAVE_OUTCOME_DEDUPED:
        output.write(f"Observation {result.id} has these values already.\n")
    else:
        output.write(f"Updated observation {result.id}.\n")
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Erase an observation.

    Raises:
        CommandError: nobody has confirmed it, or the user does not have the observation.
    """
    named = arguments.observation_id
    with connect(arguments) as client, missing(named):
        if not arguments.yes:
            check_terminal()
            found = client.memory.get(arguments.user, named)
            question = f'This erases "{found.title}" for good. Type {named} to go on: '
            confirm(question, str(named), "id of the observation")
        client.memory.delete(arguments.user, named)
    if for_people(arguments):
        output.write(f"Erased observation {named}.\n")
    else:
        output.write_json(DeleteObservationResponse())
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write everything of the user, a JSON object per line."""
    with connect(arguments) as client, client.memory.export(arguments.user, timeout=arguments.timeout) as items:
        if arguments.output is None:
            for item in items:
                output.write_json(exported(item))
        else:
            with output.Progress("Exported") as progress:
                lines = (output.json_line(exported(item)) for item in items)
                files.replace(arguments.output, progress.counting(lines))
    return 0


def import_file(arguments: argparse.Namespace) -> int:
    """Add the items of a file and print how many were new.

    Raises:
        CommandError: the file cannot be read, or is not an export.
    """
    with opened(arguments.file) as lines, connect(arguments) as client, output.Progress("Sent") as progress:
        added = client.memory.import_items(arguments.user, progress.counting(items_in(lines)))
    if for_people(arguments):
        output.write(f"Added {counted(added.sessions, 'session')} and {counted(added.observations, 'observation')}.\n")
    else:
        output.write_json(added)
    return 0


def forget(arguments: argparse.Namespace) -> int:
    """Erase everything of the user and print how many observations that were.

    Raises:
        CommandError: nobody has confirmed it.
    """
    with connect(arguments) as client:
        if not arguments.yes:
            check_terminal()
            held = client.memory.stats(arguments.user)
            what = f"{counted(held.observations, 'observation')} and {counted(held.sessions, 'session')}"
            question = f"This erases {what} for good. Type the user id to go on: "
            confirm(question, arguments.user, "user id")
        erased = client.memory.forget(arguments.user)
    if for_people(arguments):
        output.write(f"Erased {counted(erased, 'observation')}.\n")
    else:
        output.write_json(ForgetUserResponse(observations=erased))
    return 0


def exported(item: Session | Observation) -> ExportUserResponse:
    """Return the line of an export that *item* is."""
    if isinstance(item, Session):
        return ExportUserResponse(session=item)
    return ExportUserResponse(observation=item)


def items_in(lines: Iterable[str]) -> Iterator[Session | Observation]:
    """Yield the items of an export.

    Raises:
        CommandError: a line is not an item.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            read = json_format.Parse(line, ExportUserResponse(), ignore_unknown_fields=True)
        except json_format.ParseError:
            raise output.CommandError(f"line {number} is not an item of an export", output.EXIT_USAGE) from None
        if read.HasField("session"):
            yield read.session
        elif read.HasField("observation"):
            yield read.observation


@contextmanager
def opened(name: str) -> Iterator[TextIO]:
    """Open a file for reading; `-` is standard input.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        if name == "-":
            yield sys.stdin
        else:
            with open(name, encoding="utf-8") as file:  # noqa: PTH123 - Path would resolve /dev/stdin to a missing name
                yield file
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise output.CommandError(f"cannot read {name}: {why}", output.EXIT_USAGE) from None
