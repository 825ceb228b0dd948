"""What the log says of a store that failed."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ilab_chat_service.failures import Cause


def storage_cause(error: BaseException | None, hint: str = "") -> Cause:
    """Return the code of a driver's or the system's error, such as SQLITE_FULL, 53300 or ENOSPC, and a *hint* of ours.

    Never the driver's own text, which may quote rows.
    """
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    if code is None and isinstance(error, OSError) and error.errno:
        code = errno.errorcode.get(error.errno)
    found = {"memory.error_code": code or "", "memory.error": hint or (type(error).__name__ if error else "")}
    return {name: value for name, value in found.items() if value}
