"""What the library raises beside ValueError (bad argument), LookupError (no active session), RuntimeError (closed)."""


class StorageError(RuntimeError):
    """The store could not do what was asked. Nothing of the operation is stored; the call may be repeated.

    The message names the operation and the kind of failure, never a user, a title, a query or any other content.
    """
