"""Environment variables of the command: which it reads, and which of them may be misspelt."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

ADDRESS: Final = "ILAB_CHAT_ADDRESS"
#: Options can be seen in the list of processes; a token comes from here or from a file.
TOKEN: Final = "ILAB_CHAT_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE: Final = "ILAB_CHAT_TOKEN_FILE"  # noqa: S105 - the same
OWN: Final = (ADDRESS, TOKEN, TOKEN_FILE)

PREFIX: Final = "ILAB_"
PREFIXES: Final = ("ILAB_CHAT_", "ILAB_MEMORY_", PREFIX)
#: How similar a name is that counts as misspelt, 0 to 1. The same shell may have settings of the server, whose names
#: the client does not know.
SIMILAR: Final = 0.75
#: Settings of the server and of `ilab-memory` that are as similar.
OTHERS: Final = frozenset({"ILAB_CHAT_AUTH_TOKENS_FILE", "ILAB_MEMORY_TOKEN"})


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each variable that the command does not read, with the one of its own that is meant.

    Args:
        environ: environment variables. Their values are not looked at.
    """
    ends = {_end(name): name for name in OWN}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in OWN and name not in OTHERS:
            for meant in difflib.get_close_matches(_end(name), ends, 1, SIMILAR):
                yield name, ends[meant]


def _end(name: str) -> str:
    """Return *name* without its prefix, which would make all names similar."""
    return next(name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix))
