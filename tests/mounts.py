"""Small file systems of their own, for tests of full and read-only disks. Skipped where mounting is not allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Small enough to fill in no time. btrfs needs more than that to exist.
MEGABYTES = {"ext4": 16, "btrfs": 128, "tmpfs": 16}
#: ext4 with blocks of 1 KiB allocates a quarter of a page where SQLite writes the last byte of one.
MAKE = {"ext4": ("mkfs.ext4", "-q", "-b", "1024", "-m", "0"), "btrfs": ("mkfs.btrfs", "-q", "--mixed")}


@contextmanager
def mounted(kind: str, place: Path) -> Iterator[Path]:
    """Mount a new file system of *kind* (ext4, btrfs or tmpfs) under *place*, and yield its root."""
    folder = place / kind
    folder.mkdir()
    size = MEGABYTES[kind]
    if kind == "tmpfs":
        mount: tuple[str | Path, ...] = ("mount", "-t", kind, "-o", f"size={size}M", kind, folder)
    else:
        image = place / f"{kind}.img"
        with image.open("wb") as file:
            file.truncate(size * 1024 * 1024)
        run_or_skip((*MAKE[kind], image))
        mount = ("mount", "-o", "loop", image, folder)
    run_or_skip(mount)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


def run_or_skip(command: Sequence[str | Path]) -> None:
    """Run *command*, or skip the test where it is missing or not allowed."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which(str(command[0])):
        pytest.skip(f"{command[0]} needs Linux, root and its package")
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"{command[0]}: {ended.stderr.strip()}")


def fill(folder: Path) -> Path:
    """Write a file into *folder* until not one byte more fits; return it."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 4096, 1024, 1):
            try:
                while True:
                    file.write(b"x" * size)
                    os.fsync(file.fileno())
            except OSError:
                continue
    return path
