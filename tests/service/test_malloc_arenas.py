"""The arenas of glibc's malloc, as `malloc_info` reports them."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Eight threads allocate at the same time, and the heaps of malloc are printed.
PROGRAM = """
import ctypes, sys, tempfile, threading
from ilab_chat_service.malloc_arenas import limit_arenas

if "limited" in sys.argv:
    limit_arenas()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
both = threading.Barrier(8)

def allocate():
    both.wait()
    for _ in range(50):
        libc.malloc(1000)
    both.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
with tempfile.TemporaryFile() as file:
    stream = ctypes.c_void_p(libc.fdopen(file.fileno(), b"w"))
    libc.malloc_info(0, stream)
    libc.fflush(stream)
    file.seek(0)
    print(file.read().count(b"<heap nr="))
"""


def heaps(*arguments: str) -> int:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is about glibc")
def test_threads_share_two_arenas() -> None:
    assert heaps("limited") <= 2 < heaps()
