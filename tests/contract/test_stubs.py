"""The contract in other languages: protoc generates its stubs, and the language's compiler accepts them.

protoc comes with the development environment. The generators of services, and compilers, are Debian packages that
.ci/run installs; a test is skipped where one is missing.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contract.process import ROOT
from ilab_chat.v1 import chat_pb2, memory_pb2

CONTRACT = sorted(f"ilab_chat/v1/{path.name}" for path in (ROOT / "protos/ilab_chat/v1").glob("*.proto"))
OF_GOOGLE = ["google/rpc/error_details.proto", "google/rpc/status.proto"]
PROTOC = str(Path(sys.executable).with_name("protoc"))
INCLUDES = [f"-I{ROOT}/protos"]

LANGUAGES = ("cpp", "csharp", "java", "kotlin", "objc", "php", "ruby")
SERVICE_PLUGINS = ("grpc_cpp_plugin", "grpc_php_plugin", "grpc_java_plugin", "grpc_ruby_plugin")

MESSAGES = {*chat_pb2.DESCRIPTOR.message_types_by_name, *memory_pb2.DESCRIPTOR.message_types_by_name}
ERROR_DETAILS = {"ErrorInfo", "BadRequest", "RetryInfo", "Status"}
SERVICES = {"ChatService", "MemoryService"}

JAVA_RUNTIME = Path("/usr/share/java/protobuf.jar")
CPP_HEADERS = Path("/usr/include/grpcpp/grpcpp.h")


def run(*command: str | Path) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def generate(*options: str, protos: list[str], protoc: str = PROTOC) -> None:
    run(protoc, *INCLUDES, *options, *protos)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: .ci/run lists the packages")
    return found


def text_of(directory: Path) -> str:
    """Return the generated files and their names as one text."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return "\n".join(f"{path}\n{path.read_text(encoding='latin-1')}" for path in files)


def missing(names: set[str], text: str) -> set[str]:
    return {name for name in names if name not in text}


@pytest.mark.parametrize("language", LANGUAGES)
def test_messages_generate(language: str, tmp_path: Path) -> None:
    generate(f"--{language}_out={tmp_path}", protos=CONTRACT + OF_GOOGLE)
    assert missing(MESSAGES | ERROR_DETAILS, text_of(tmp_path)) == set()


@pytest.mark.parametrize("plugin", SERVICE_PLUGINS)
def test_services_generate(plugin: str, tmp_path: Path) -> None:
    generate(f"--plugin=protoc-gen-grpc={tool(plugin)}", f"--grpc_out={tmp_path}", protos=CONTRACT)
    assert missing(SERVICES, text_of(tmp_path)) == set()


def test_go_generates(tmp_path: Path) -> None:
    tool("protoc-gen-go-grpc")
    tool("protoc-gen-go")
    generate(f"--go_out={tmp_path}", f"--go-grpc_out={tmp_path}", protos=CONTRACT)
    assert missing(MESSAGES | SERVICES, text_of(tmp_path)) == set()


def test_ruby_accepts_its_stubs(tmp_path: Path) -> None:
    ruby = tool("ruby")
    generate(f"--ruby_out={tmp_path}", protos=CONTRACT + OF_GOOGLE)
    for path in tmp_path.rglob("*.rb"):
        run(ruby, "-c", path)


def test_php_accepts_its_stubs(tmp_path: Path) -> None:
    php = tool("php")
    generate(f"--php_out={tmp_path}", protos=CONTRACT + OF_GOOGLE)
    for path in tmp_path.rglob("*.php"):
        run(php, "-l", path)


def test_java_compiles_its_stubs(tmp_path: Path) -> None:
    javac, protoc = tool("javac"), debian_protoc(JAVA_RUNTIME)
    generate(f"--java_out={tmp_path}", protos=CONTRACT, protoc=protoc)
    # The second compiler of the virtual machine takes more CPU than it saves.
    options = ("-J-XX:TieredStopAtLevel=1", "-nowarn", "-proc:none", "-cp", JAVA_RUNTIME)
    run(javac, *options, "-d", tmp_path / "classes", *tmp_path.rglob("*.java"))


def test_cpp_compiles_its_stubs(tmp_path: Path) -> None:
    compiler, plugin, protoc = tool("g++"), tool("grpc_cpp_plugin"), debian_protoc(CPP_HEADERS)
    generate(f"--cpp_out={tmp_path}", protos=CONTRACT, protoc=protoc)
    generate(f"--plugin=protoc-gen-grpc={plugin}", f"--grpc_out={tmp_path}", protos=CONTRACT, protoc=protoc)
    # One file that includes all headers: most of what is compiled is gRPC's own.
    source = tmp_path / "all.cc"
    source.write_text("".join(f'#include "{path}"\n' for path in tmp_path.rglob("*.pb.h")))
    run(compiler, "-fsyntax-only", f"-I{tmp_path}", source)


def debian_protoc(runtime: Path) -> str:
    """Return Debian's protoc: generated Java and C++ only compile with the runtime of their own version."""
    if not (runtime.exists() and Path("/usr/bin/protoc").exists()):
        pytest.skip(f"protoc or {runtime} is not installed: .ci/run lists the packages")
    return "/usr/bin/protoc"
