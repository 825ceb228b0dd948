"""What the library raises beside ValueError (bad argument), LookupError (no active session), RuntimeError (closed)."""


class StorageError(RuntimeError):
    """The store could not do what was asked. Nothing of the operation is stored; the call may be repeated.

    The message names the operation and the kind of failure, never a user, a title, a query or any other content.
    """


class StorageDamaged(StorageError):
    """The database is damaged: it was changed by something else than the database, or its disk lost what was written.

    Every call may raise it, and a repetition does not help. Restore a backup; `ilab-memory check` says what is damaged.
    """
