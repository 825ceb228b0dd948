"""Parameters of statements with numbered placeholders, such as `?2`.

Early versions of Python 3.12 take them for names, and warn if the parameters are a sequence:
https://github.com/python/cpython/issues/101693

In other versions they are a sequence: the driver releases the GIL once for each parameter that it binds by name, and
reacquiring it from a busy thread costs more than the binding.
"""

import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]

#: Names of the placeholders from the first on: without the question mark.
_NAMES = tuple(str(number) for number in range(1, 100))


class NumberedConnection(sqlite3.Connection):
    """A connection whose statements may have numbered placeholders and sequences of parameters."""

    def execute(self, statement: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """See `sqlite3.Connection.execute`."""
        return super().execute(statement, by_number(parameters) if "?1" in statement else parameters)

    def executemany(self, statement: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        """See `sqlite3.Connection.executemany`."""
        return super().executemany(statement, map(by_number, rows) if "?1" in statement else rows)


if sys.version_info[:2] == (3, 12):
    Connection: TypeAlias = NumberedConnection
else:
    Connection: TypeAlias = sqlite3.Connection


def by_number(parameters: Parameters) -> Mapping[str, Any]:
    """Return *parameters* by the names of their numbered placeholders."""
    if isinstance(parameters, Mapping):
        return parameters
    return dict(zip(_NAMES, parameters, strict=False))
