"""Files that the commands write."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ilab_chat.cli import output


def replace(name: str, lines: Iterable[str]) -> None:
    """Write *lines* to the file *name*, readable by its owner only. Until all are on disk, what it held stays.

    Raises:
        CommandError: the file cannot be written.
    """
    path = Path(name).resolve()  # a link keeps pointing to the file that is replaced
    try:
        descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(name, error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            for line in lines:
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        Path(made).replace(path)
    except BaseException as error:
        Path(made).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(name, error) from None
        raise


def _unwritable(name: str, error: OSError) -> output.CommandError:
    return output.CommandError(f"cannot write {name}: {error.strerror}", 1)
