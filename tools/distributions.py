"""Check the built distributions: licences, links and classifiers in each, and one version for all.

python tools/distributions.py FOLDER [VERSION]
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from email.message import Message

NAMES = {"ilab_chat", "ilab_chat_gateway", "ilab_chat_service", "ilab_memory"}
#: Fields of the metadata that each distribution has.
FIELDS = (
    "Author-Email",
    "Description-Content-Type",
    "License-Expression",
    "License-File",
    "Project-URL",
    "Requires-Python",
)
PYTHONS = tuple(f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 15))


def main(arguments: Sequence[str]) -> int:
    """Print what is wrong in the folder; return 1 if anything is."""
    folder, *version = arguments
    found = list(problems(Path(folder), version[0] if version else ""))
    sys.stderr.writelines(f"{problem}\n" for problem in found)
    return int(bool(found))


def problems(folder: Path, version: str) -> Iterator[str]:
    """Yield what is wrong with the distributions in *folder*. *version*: the one that all must have, or empty."""
    files = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    expected = sorted(f"{name}{suffix}" for name in NAMES for suffix in (".tar.gz", ".whl"))
    if sorted(f"{file.name.partition('-')[0]}{suffix(file)}" for file in files) != expected:
        yield f"{folder}: not one wheel and one sdist of each of {', '.join(sorted(NAMES))}"
    versions = set()
    for file in files:
        names, metadata = contents(file)
        versions.add(metadata["Version"])
        yield from (f"{file.name}: no {field}" for field in FIELDS if not metadata[field])
        yield from (f"{file.name}: no {each}" for each in PYTHONS if each not in metadata.get_all("Classifier", []))
        for licence in metadata.get_all("License-File", []):
            if not any(name.endswith(f"/{licence}") for name in names):
                yield f"{file.name}: {licence} is missing"
    if len(versions) > 1 or (version and versions != {version}):
        yield f"{folder}: the versions are {', '.join(sorted(versions))}{version and f', not {version}'}"


def suffix(file: Path) -> str:
    """Return the suffix that tells the kind of distribution."""
    return ".whl" if file.suffix == ".whl" else ".tar.gz"


def contents(file: Path) -> tuple[list[str], Message]:
    """Return the names in a distribution, and its metadata."""
    parse = HeaderParser().parsestr
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            names = wheel.namelist()
            [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
            return names, parse(wheel.read(metadata).decode())
    with tarfile.open(file) as sdist:
        names = sdist.getnames()
        member = sdist.extractfile(f"{file.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert member  # noqa: S101 - each sdist has one
        return names, parse(member.read().decode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
