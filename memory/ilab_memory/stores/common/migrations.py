"""Versions of a schema: which are refused, and what brings one to the newest."""

from collections.abc import Callable, Mapping
from typing import TypeVarTuple

from ilab_memory.core.errors import StorageError

Arguments = TypeVarTuple("Arguments")


def unreleased(way_out: str) -> StorageError:
    """Return the error for a database that was made before the first release. *way_out*: where to import the users."""
    return StorageError(
        "could not open the database: it was made by an unreleased version of ilab-memory; export each user with that"
        f" version, {way_out} (docs/upgrade.md)"
    )


def check_known(version: int, newest: int, oldest: int, way_out: str) -> int:
    """Return *version* of a schema, 0 for an empty database.

    *oldest* is the first version that can be brought to *newest*; *way_out* as in `unreleased`.

    Raises:
        StorageError: it is newer than *newest* or older than *oldest*.
    """
    if 0 < version < oldest:
        raise unreleased(way_out)
    if version > newest:
        raise StorageError(
            f"could not open the database: its schema version {version} is newer than {newest},"
            " the newest that this version of ilab-memory knows"
        )
    return version


def upgrade(
    version: int, newest: int, migrations: Mapping[int, Callable[[*Arguments], None]], *arguments: *Arguments
) -> None:
    """Run the migrations that lead from *version* to *newest*, in order. The caller commits them with the version."""
    for target in sorted(migrations):
        if version < target <= newest:
            migrations[target](*arguments)
