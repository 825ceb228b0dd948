"""Move all users from one memory to another, through a file of JSON lines. See docs/upgrade.md.

    python tools/move_memory.py export memory.db > users.jsonl
    python tools/move_memory.py import new.db < users.jsonl

A memory is a SQLite file, or the URL of a PostgreSQL database. Stop its servers first. The program uses the
`ilab_memory` that Python finds, and only what every version of it has: export with the version that wrote the memory,
and import with the version that is to read it. An import ends with a comparison: all items of the file must be in the
memory. It may be repeated: what the memory already has is skipped. It names the fields that its version does not have,
and drops them.

The file contains the users' data: keep its mode (umask 077), and delete it when it is not needed any more.

Exit code: 0 all items were moved, 1 the memory differs from the file, 2 the memory or the file cannot be used.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections import Counter
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ilab_memory import ILabMemory, Observation, Session, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXIT_OK, EXIT_DIFFERENT, EXIT_FAILED = 0, 1, 2

#: Fields that an import does not keep: ids are new. The hash follows from the content.
NOT_KEPT = {"id", "session_id", "user_id", "normalized_hash", "source_ids", "earlier_source_ids"}


def main() -> int:
    """Run the command line and return its exit code."""
    description = (__doc__ or "").replace("See docs/upgrade.md.", "").strip()
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "action", choices=["export", "import"], help="export to standard output, or import from standard input"
    )
    parser.add_argument("memory", metavar="MEMORY", help="SQLite file, or postgresql://...")
    options = parser.parse_args()
    try:
        if options.action == "export":
            return export(options.memory)
        return import_(options.memory)
    except (StorageError, OSError, sqlite3.Error) as error:
        complain(str(error))
    except (ValueError, TypeError, LookupError):
        # Its text may quote the user's.
        complain("the input is not what `export` writes")
    return EXIT_FAILED


def export(memory: str) -> int:
    """Write a line for each session and observation of all users to standard output."""
    users = users_of(memory)
    items = 0
    with opened(memory) as mem:
        for user_id in users:
            for item in mem.mem_export(user_id):
                kind = "session" if isinstance(item, Session) else "observation"
                sys.stdout.write(json.dumps({"user_id": user_id, kind: item.model_dump(mode="json")}) + "\n")
                items += 1
    sys.stdout.flush()
    complain(f"exported {items} items of {len(users)} users")
    return EXIT_OK


def import_(memory: str) -> int:
    """Import what `export` wrote from standard input, then compare each user."""
    users = items = different = 0
    dropped: Counter[str] = Counter()
    with opened(memory) as mem:
        lines = map(json.loads, sys.stdin)
        for user_id, group in groupby(lines, key=lambda line: line["user_id"]):
            read = Contents()
            mem.mem_import(user_id, read.counted(items_of(group, dropped)))
            found = Contents()
            for _ in found.counted(mem.mem_export(user_id)):
                pass
            users, items = users + 1, items + read.counts.total()
            different += (read.counts - found.counts).total()
    for field, times in sorted(dropped.items()):
        complain(f"this version does not have the field {field}: dropped from {times} items")
    complain(f"imported {items} items of {users} users; {different} are missing or differ")
    return EXIT_DIFFERENT if different else EXIT_OK


def items_of(lines: Iterable[dict[str, Any]], dropped: Counter[str]) -> Iterator[Session | Observation]:
    """Yield the items of *lines*. Count in *dropped* the fields that this version does not have."""
    for line in lines:
        kind, fields = (Session, line["session"]) if "session" in line else (Observation, line["observation"])
        dropped.update(name for name in fields.keys() - kind.model_fields.keys() if fields[name])
        yield kind(**fields)


class Contents:
    """Counts the items of a user by what an import keeps of them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._sessions: dict[str, tuple[str, str]] = {}

    def counted(self, items: Iterable[Session | Observation]) -> Iterator[Session | Observation]:
        """Yield the *items* of a user, counted."""
        for item in items:
            if isinstance(item, Session):
                self._sessions[item.id] = (item.started_at, item.conversation_id)
                place = self._sessions[item.id]
            else:
                place = self._sessions[item.session_id]
            kept = item.model_dump(mode="json", exclude=NOT_KEPT)
            self.counts[json.dumps([place, kept], sort_keys=True)] += 1
            yield item


def opened(memory: str) -> ILabMemory:
    """Open a memory."""
    return ILabMemory.from_url(memory) if is_url(memory) else ILabMemory.from_path(memory)


def users_of(memory: str) -> list[str]:
    """Return the ids of all users."""
    if is_url(memory):
        import psycopg  # noqa: PLC0415 - an optional extra

        with psycopg.connect(memory) as database:
            return [user for (user,) in database.execute("SELECT user_id FROM ilab_memory.users ORDER BY user_id")]
    file = Path(memory).absolute()
    if not file.is_file():
        raise FileNotFoundError(f"{memory} does not exist")
    with closing(sqlite3.connect(f"file://{quote(str(file))}?mode=ro", uri=True)) as connection:
        # A user who is being erased has no id any more.
        users = connection.execute("SELECT user_id FROM users WHERE user_id IS NOT NULL ORDER BY key")
        return [user for (user,) in users]


def is_url(memory: str) -> bool:
    """Whether *memory* is the URL of a database."""
    return memory.startswith(("postgresql://", "postgres://"))


def complain(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"move_memory: {' '.join(text.split())}\n")


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        raise SystemExit(main())
