"""Files that the commands read and write."""

import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ilab_chat.cli import output


def read_text(name: str) -> str:
    """Return the text of the file *name*.

    Raises:
        CommandError: it cannot be read, or is not UTF-8.
    """
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise unreadable(error) from None
    except UnicodeDecodeError:
        raise output.CommandError(f"{name} is not UTF-8 text", output.EXIT_USAGE) from None


def unreadable(error: OSError) -> output.CommandError:
    """Return the failure of a run whose file cannot be read."""
    return output.CommandError(f"cannot read {error.filename}: {error.strerror}", output.EXIT_USAGE)


def replace(name: str, lines: Iterable[str]) -> None:
    """Write *lines* to the file *name*, readable by its owner only. Until all are on disk, what it held stays.

    A device or a pipe is written to as it is.

    Raises:
        CommandError: the file cannot be written.
    """
    if _is_special(name):
        _write_through(name, lines)
        return
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


def _is_special(name: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(name).st_mode)  # noqa: PTH116 - Path would resolve /dev/stdout to a missing name
    except OSError:
        return False


def _write_through(name: str, lines: Iterable[str]) -> None:
    try:
        with open(name, "w", encoding="utf-8") as file:  # noqa: PTH123 - the same
            file.writelines(lines)
    except OSError as error:
        raise _unwritable(name, error) from None


def _unwritable(name: str, error: OSError) -> output.CommandError:
    return output.CommandError(f"cannot write {name}: {error.strerror}", output.EXIT_FAILED)
