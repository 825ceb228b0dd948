"""Simulate a slow disk by delaying every sync of a process. Needs a C compiler."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static int slow(const char *name, int fd) {
    usleep(atoi(getenv("BENCH_SYNC_US")));
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fsync(int fd) { return slow("fsync", fd); }
int fdatasync(int fd) { return slow("fdatasync", fd); }
"""


def slow_syncs(milliseconds: float, folder: Path) -> Mapping[str, str]:
    """Return environment variables that delay each sync of a process by *milliseconds*. The library is in *folder*."""
    source, library = folder / "slow_syncs.c", folder / "slow_syncs.so"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "BENCH_SYNC_US": str(round(milliseconds * 1000))}
