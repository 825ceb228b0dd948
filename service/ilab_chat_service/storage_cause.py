"""Log fields that explain the failure of a store."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ilab_chat_service.failures import Cause


def storage_cause(error: BaseException | None, hint: str = "") -> Cause:
    """Return the error code (such as SQLITE_FULL, 53300 or ENOSPC) of *error*, and *hint* or its type.

    Never the driver's text, which may quote rows. *hint* must be our own text.
    """
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    if code is None and isinstance(error, OSError) and error.errno:
        code = errno.errorcode.get(error.errno)
    found = {"memory.error_code": code or "", "memory.error": hint or (type(error).__name__ if error else "")}
    return {name: value for name, value in found.items() if value}
