"""Write deploy/requirements.txt and deploy/requirements-build.txt: the packages of the image, with hashes.

    python tools/image_requirements.py

The versions are those of constraints.txt. A wheel is listed if pip chooses it for one of the PYTHONS on one of the
MACHINES; there are no source distributions. No index is named: the hashes are the same on every one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")
#: C libraries that every Debian since 12 has.
PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")

#: Projects of the image, with their extras.
PROJECTS = {"": ("cli",), "memory": (), "service": ("otel", "postgres"), "gateway": ()}

RUNTIME, BUILD = ROOT / "deploy/requirements.txt", ROOT / "deploy/requirements-build.txt"
HEAD = "# Written by `make image-requirements` from constraints.txt.{}\n"


def main() -> int:
    """Write both files."""
    write(RUNTIME, runtime(), " Packages in the image, other than our own.")
    write(BUILD, build(), " Packages that build our own; they are not in the image.")
    return 0


def runtime() -> list[str]:
    """Return the requirements of our packages, those of each other left out."""
    found: set[str] = set()
    wanted = [(project, extra) for project, extras in PROJECTS.items() for extra in ("", *extras)]
    while wanted:
        project, extra = wanted.pop()
        table: dict[str, Any] = table_of(project)["project"]
        for each in table["optional-dependencies"][extra] if extra else table["dependencies"]:
            ours = re.match(r"ilab-(chat|memory)(?:\[(\w+)\])?\b", each)
            if ours is None:
                found.add(each)
            elif ours[2]:
                wanted.append(("memory" if ours[1] == "memory" else "", ours[2]))
    return sorted(found)


def build() -> list[str]:
    """Return the requirements of the builds."""
    return sorted({each for project in PROJECTS for each in table_of(project)["build-system"]["requires"]})


def table_of(project: str) -> dict[str, Any]:
    """Return the pyproject.toml of a project."""
    return tomllib.loads((ROOT / project / "pyproject.toml").read_text())


def write(file: Path, requirements: list[str], about: str) -> None:
    """Write the packages that *requirements* need, one per line, each with its hashes."""
    hashes: dict[str, set[str]] = defaultdict(set)
    for python in PYTHONS:
        for machine in MACHINES:
            for pinned, digest in chosen(requirements, python, machine):
                hashes[pinned].add(digest)
            print(f"{file.name}: Python {python} on {machine}", file=sys.stderr)
    lines = [
        " \\\n".join([pinned, *(f"    --hash=sha256:{digest}" for digest in sorted(digests))])
        for pinned, digests in sorted(hashes.items())
    ]
    file.write_text(HEAD.format(about) + "\n".join(lines) + "\n")


def chosen(requirements: list[str], python: str, machine: str) -> list[tuple[str, str]]:
    """Return the packages that pip chooses, as `name==version`, each with the SHA-256 of its wheel."""
    platforms = [f"--platform={platform}_{machine}" for platform in PLATFORMS]
    with tempfile.TemporaryDirectory() as nowhere:
        report = Path(nowhere, "report.json")
        subprocess.run(  # noqa: S603 - arguments of ours
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *(
                    "--dry-run",
                    "--ignore-installed",
                    "--only-binary=:all:",
                    f"--target={nowhere}",
                    f"--report={report}",
                ),
                *("--constraint", str(ROOT / "constraints.txt"), f"--python-version={python}", *platforms),
                *requirements,
            ],
            check=True,
        )
        return [
            (f"{each['metadata']['name'].lower()}=={each['metadata']['version']}", sha256(each["download_info"]))
            for each in json.loads(report.read_text())["install"]
        ]


def sha256(download: dict[str, dict[str, dict[str, str]]]) -> str:
    """Return the hash of a wheel, as the index names it."""
    return download["archive_info"]["hashes"]["sha256"]


if __name__ == "__main__":
    raise SystemExit(main())
