"""The programs of examples/ in other languages: what each needs, how it is built, how it is run."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contract.process import BIN, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: C++, Java and Ruby stubs must come from the protoc of the installed runtime.
DEBIAN_PROTOC = "/usr/bin/protoc"
GO_SOURCES = "/usr/share/gocode/src"
NODE_MODULES = str(ROOT / "tests/contract/node/node_modules")


@dataclass(frozen=True, kw_only=True)
class Language:
    """A folder of examples/ with a program and a `build.sh`."""

    name: str
    needs: tuple[str, ...] = ()
    """Commands and files. Without one of them, the language's tests are skipped."""
    protoc: str = "protoc"
    command: tuple[str, ...]
    """`{built}` stands for the folder that `build.sh` has written to."""
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> Path:
        return ROOT / "examples" / self.name

    def environment(self, built: Path) -> dict[str, str]:
        variables = {name: value.format(built=built) for name, value in self.variables.items()}
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path, "PROTOC": self.protoc} | variables


LANGUAGES = (
    Language(
        name="cpp",
        needs=("g++", "pkg-config", "grpc_cpp_plugin", DEBIAN_PROTOC, "/usr/include/grpcpp/grpcpp.h"),
        protoc=DEBIAN_PROTOC,
        command=("{built}/chat",),
    ),
    Language(
        name="go",
        needs=(
            "go",
            "protoc-gen-go",
            "protoc-gen-go-grpc",
            f"{GO_SOURCES}/google.golang.org/grpc/clientconn.go",
            # Version 1.5 has it. With 1.3, which Debian installs by default, current stubs panic.
            f"{GO_SOURCES}/github.com/golang/protobuf/proto/registry.go",
        ),
        command=("{built}/chat",),
        variables={"GRPC_GO_RETRY": "on"},  # the default since grpc-go 1.40
    ),
    Language(
        name="grpclib",
        command=(sys.executable, str(ROOT / "examples/grpclib/chat.py")),
        variables={"PYTHONPATH": "{built}"},
    ),
    Language(
        name="java",
        needs=(
            "java",
            "javac",
            "grpc_java_plugin",
            DEBIAN_PROTOC,
            *(
                f"/usr/share/java/{jar}.jar"
                for jar in ("grpc-netty", "netty-codec-http2", "perfmark-api", "geronimo-annotation-1.3-spec")
            ),
        ),
        protoc=DEBIAN_PROTOC,
        # Without the optimizing compiler it starts faster.
        command=("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", "{built}/chat.jar"),
    ),
    Language(
        name="node",
        command=(str(BIN / "node"), "{built}/chat.js"),
        variables={"NODE_PATH": NODE_MODULES},
    ),
    Language(
        name="ruby",
        needs=("ruby", "grpc_ruby_plugin", DEBIAN_PROTOC, "/usr/share/doc/ruby-grpc"),
        protoc=DEBIAN_PROTOC,
        command=("ruby", "-I{built}", str(ROOT / "examples/ruby/chat.rb")),
    ),
)


@dataclass(frozen=True)
class Program:
    """A built program and the server that it calls."""

    language: Language
    built: Path
    address: str

    @property
    def user_id(self) -> str:
        return f"example-{self.language.name}"

    def __call__(self, command: str) -> list[str]:
        """Run one of the program's commands; return the lines that it printed."""
        run = subprocess.run(
            [*(part.format(built=self.built) for part in self.language.command), command],
            env=self.language.environment(self.built) | {"ILAB_CHAT_ADDRESS": self.address},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout.splitlines()


def build(language: Language, directory: Path) -> Path:
    """Build the program in a folder of *directory*, unless it was built there from the same sources."""
    for need in language.needs:
        if shutil.which(need) is None and not Path(need).exists():
            pytest.skip(f"{need} is not installed: .ci/run lists the packages")
    built = directory / language.name
    digest = digest_of(language)
    stamp = built / "built-from"
    with (directory / f"{language.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the test processes share the folder
        if not (stamp.exists() and stamp.read_text() == digest):
            shutil.rmtree(built, ignore_errors=True)
            built.mkdir()
            compiled = subprocess.run(
                ["sh", language.sources / "build.sh", built],
                env=language.environment(built),
                capture_output=True,
                text=True,
                check=False,
            )
            assert compiled.returncode == 0, compiled.stdout + compiled.stderr
            stamp.write_text(digest)
    return built


def digest_of(language: Language) -> str:
    """Return a digest of the program, the contract and the tools that it is built with."""
    digest = hashlib.sha256()
    for path in inputs(language):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    for need in (language.protoc, *language.needs):
        tool = Path(shutil.which(need, path=language.environment(ROOT)["PATH"]) or need).resolve()
        digest.update(f"{tool} {tool.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def inputs(language: Language) -> Iterator[Path]:
    for folder in (language.sources, ROOT / "protos"):
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
