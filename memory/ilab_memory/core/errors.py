"""Errors of the storage. Others: ValueError (bad argument), LookupError (no active session), RuntimeError (closed)."""

from typing import NoReturn


class StorageError(RuntimeError):
    """The storage failed. Nothing of the operation is stored; the call can be repeated.

    The message names the operation and the kind of failure, never a user, a title, a query or any other content.
    """


class StorageDamaged(StorageError):
    """The database is damaged: another program changed it, or the disk lost data.

    Any call may raise this, and repeating it does not help. Run `ilab-memory check` to see what is damaged, then
    restore a backup.
    """


def raise_closed() -> NoReturn:
    """Raise what every call of a closed memory raises."""
    raise RuntimeError("the memory is closed")
