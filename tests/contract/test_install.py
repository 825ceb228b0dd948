"""The distributions: what their wheels contain, and what installing them in a fresh environment brings."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from contract.process import BIN, ROOT, Served

pytestmark = pytest.mark.timeout(600)  # each environment is made from nothing

CLIENT = {"ilab-chat", "grpcio", "protobuf", "googleapis-common-protos", "types-grpcio", "types-protobuf"}
FOLDERS = {
    "ilab-chat": ROOT,
    "ilab-chat-service": ROOT / "service",
    "ilab-memory": ROOT / "memory",
    "ilab-chat-gateway": ROOT / "gateway",
}
PACKAGES = {
    "ilab-chat": "ilab_chat",
    "ilab-chat-service": "ilab_chat_service",
    "ilab-memory": "ilab_memory",
    "ilab-chat-gateway": "ilab_chat_gateway",
}
COMMANDS = {
    "ilab-chat": "ilab-chat",
    "ilab-chat-service": "ilab-chat-server",
    "ilab-memory": "ilab-memory",
    "ilab-chat-gateway": "ilab-chat-gateway",
}
OF_GRPCIO = {"typing-extensions"}

CALL = """
import asyncio, sys
from ilab_chat import AsyncChatClient, ChatClient

async def stream(target):
    async with AsyncChatClient(target) as client, client.stream_chat("install-aio", "hi") as stream:
        return "".join([text async for text in stream.text]) == stream.response.reply and stream.response.reply

with ChatClient(sys.argv[1]) as client:
    print(client.chat("install-sync", "hi").reply)
    print(len(client.memory.search("install-sync", "hi")) > 0, client.memory.stats("install-sync").sessions)
print(asyncio.run(stream(sys.argv[1])))
"""

BAD_CALL = """
import sys
from ilab_chat import ChatClient, InvalidArgument

try:
    ChatClient(sys.argv[1]).chat("", "hi")
except InvalidArgument as error:
    print(error.reason, *(violation.field for violation in error.field_violations))
"""


MISTAKES = """
from ilab_chat import ChatClient, FinishReason

with ChatClient() as client:
    answer = client.chat("alice", "hi")
    print(answer.replyy)
    print(answer.finish_reason == FinishReason.FINISH_REASON_STOPP)
    client.chat("alice", "hi", memory_mode="readonly", generation={"temprature": 0})
"""
MISTAKEN = {6, 7, 8}


# A conversation starts only in a terminal.
IN_TERMINAL = """
import os, pty, sys
print(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


class Environment:
    """A virtual environment of its own, without anything of the one that runs the tests."""

    def __init__(self, path: Path, *requirements: str) -> None:
        venv.create(path)
        self._bin = path / "bin"
        # Elsewhere than the repository, whose folders could be imported instead of what was installed.
        self._directory = path
        self._pip("install", "--quiet", *requirements)

    def run(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [self._bin / command, *arguments],
            cwd=self._directory,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
        )

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self._bin / "python"

    def versions(self) -> dict[str, str]:
        """Return every installed distribution, with its normal name."""
        listed = json.loads(self._pip("list", "--format=json"))
        return {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in listed}

    def _pip(self, *arguments: str) -> str:
        # The pip of the tests: installing one into the environment takes longer than the client does.
        python = str(self._bin / "python")
        command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True).stdout


class Wheel:
    """A wheel as `pip wheel` builds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            self.files = set(archive.namelist())
            self._dist_info = next(name for name in self.files if name.endswith(".dist-info/METADATA")).split("/")[0]
            self.metadata: Message = Parser().parsestr(archive.read(f"{self._dist_info}/METADATA").decode())
            self.entry_points = archive.read(f"{self._dist_info}/entry_points.txt").decode()
            self.license = archive.read(f"{self._dist_info}/licenses/LICENSE")

    def packages(self) -> set[str]:
        """Return the folders that it installs, without its metadata."""
        return {name.split("/")[0] for name in self.files} - {self._dist_info}

    def requirements(self) -> set[str]:
        """Return the names of the distributions that it requires, without those of its extras."""
        required = [each for each in self.metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
        return {name_of(each) for each in required}

    def extras(self) -> list[str]:
        """Return the names of its extras."""
        return sorted(self.metadata.get_all("Provides-Extra", []))


def name_of(requirement: str) -> str:
    """Return the normal name of the distribution that a requirement asks for."""
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def imported_by(folder: Path) -> set[str]:
    """Return the distributions that the modules of a folder import from."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
    # Namespaces that several distributions share.
    of_google = {"protobuf": "protobuf", "rpc": "googleapis-common-protos"}
    of_otel = {"sdk": "opentelemetry-sdk", "exporter": "opentelemetry-exporter-otlp-proto-http"}
    # An editable installation does not list its packages.
    installed = {**packages_distributions(), **{package: [name] for name, package in PACKAGES.items()}}
    return {
        of_google[name.split(".")[1]]
        if top == "google"
        else of_otel.get(name.split(".")[1], "opentelemetry-api")
        if top == "opentelemetry"
        else name_of(installed[top][0])
        for name in names
        if (top := name.split(".")[0]) not in sys.stdlib_module_names
    }


def floors() -> dict[str, str]:
    """Return the lowest version of each dependency that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        found[1]: found[2]
        for requirement in project["dependencies"]
        if (found := re.match(r"([\w-]+)>=([\w.]+)", requirement))
    }


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wheel]:
    directory = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", directory, *FOLDERS.values()], check=True)
    built = [Wheel(path) for path in directory.glob("*.whl")]
    return {str(wheel.metadata["Name"]): wheel for wheel in built}


@pytest.fixture(scope="module")
def newest(wheels: dict[str, Wheel], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("newest"), str(wheels["ilab-chat"].path))


@pytest.fixture(scope="module")
def lowest(wheels: dict[str, Wheel], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    pinned = [f"{name}=={version}" for name, version in floors().items()]
    return Environment(tmp_path_factory.mktemp("lowest"), str(wheels["ilab-chat"].path), *pinned)


def test_each_distribution_has_one_wheel(wheels: dict[str, Wheel]) -> None:
    assert wheels.keys() == FOLDERS.keys()


@pytest.mark.parametrize("name", FOLDERS)
def test_wheel_contains_its_package_command_and_licence(name: str, wheels: dict[str, Wheel]) -> None:
    wheel = wheels[name]
    assert wheel.packages() == {PACKAGES[name]}
    assert f"{PACKAGES[name]}/py.typed" in wheel.files
    assert re.findall(r"^([\w-]+) = \w+\.\w+:main$", wheel.entry_points, re.MULTILINE) == [COMMANDS[name]]
    assert wheel.license == (ROOT / "LICENSE").read_bytes()


def test_client_wheel_contains_the_contract_and_its_licences(wheels: dict[str, Wheel]) -> None:
    files = wheels["ilab-chat"].files
    contract = {f"ilab_chat/v1/{path.name}" for path in (ROOT / "protos/ilab_chat/v1").glob("*.proto")}
    protos = {name.removeprefix("ilab_chat/protos/") for name in files if name.endswith(".proto")}
    assert protos == contract | {"google/rpc/error_details.proto", "google/rpc/status.proto"}
    licences = {name.split("/licenses/")[1] for name in files if "/licenses/" in name}
    of_others = {f"third_party/{name}/LICENSE" for name in ("googleapis", "grpc", "protobuf")}
    assert licences == {"LICENSE"} | of_others


def test_gateway_wheel_contains_the_page_and_the_document(wheels: dict[str, Wheel]) -> None:
    folder = ROOT / "gateway/ilab_chat_gateway"
    data = {str(path.relative_to(folder.parent)) for path in [*folder.glob("playground/*"), folder / "openapi.json"]}
    assert data <= wheels["ilab-chat-gateway"].files


@pytest.mark.parametrize("name", FOLDERS)
def test_metadata_names_the_supported_versions_of_python(name: str, wheels: dict[str, Wheel]) -> None:
    metadata = wheels[name].metadata
    assert metadata["Requires-Python"] == ">=3.11"
    versions = [each for each in metadata.get_all("Classifier", []) if re.search(r":: 3\.\d+$", each)]
    assert versions == [f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert str(metadata.get_payload()).startswith("# ilab-")


def test_workflow_runs_ci_on_each_supported_version_of_python() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    [matrix] = re.findall(r"python: \[(.*)\]", workflow)
    assert re.findall(r"3\.(\d+)", matrix) == ["11", "12", "13", "14"]
    assert "- run: bash .ci/run\n" in workflow
    actions = re.findall(r"uses: (.+)", workflow)
    assert len(actions) == 2
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action) for action in actions)


def test_constraints_name_a_version_of_each_requirement_and_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    required = set()
    for folder in FOLDERS.values():
        project = tomllib.loads((folder / "pyproject.toml").read_text())
        extras = project["project"].get("optional-dependencies", {}).values()
        groups = project.get("dependency-groups", {}).values()
        required |= {name_of(each) for some in (project["project"]["dependencies"], *extras, *groups) for each in some}
    assert required - FOLDERS.keys() <= {name_of(line) for line in lines}
    makefile = (ROOT / "Makefile").read_text()
    ours = "-c $(CONSTRAINTS) -e './memory[semantic]'"
    assert makefile.count(f"pip install --quiet --disable-pip-version-check {ours}") == 1
    assert makefile.count(f"pip install --quiet {ours.replace('semantic', 'semantic,http,mcp')}") == 1


def test_no_hint_installs_from_an_index_what_is_only_in_this_repository() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = {
        name: ROOT / name for name in listed.split("\0") if Path(name).suffix in {".md", ".py", ".toml", ".txt", ""}
    }
    found = {
        f"{name}: {line.strip()}"
        for name, path in texts.items()
        if path.is_file() and name not in {"Makefile", "tests/contract/test_install.py", "constraints.txt"}
        for line in path.read_text(errors="replace").splitlines()
        if re.search(r"pip install [^\n]*(?<![\w./-])ilab[-_](chat|memory)|extra `?ilab[-_](chat|memory)[\w-]*\[", line)
        or (re.search(r"pypi\.org/project/ilab", line) and name.endswith(".md"))
    }
    assert not found


def test_make_run_installs_every_extra_that_a_setting_needs() -> None:
    extras = set(tomllib.loads((ROOT / "service/pyproject.toml").read_text())["project"]["optional-dependencies"])
    [line] = re.findall(r"'Installing the server' .*", (ROOT / "Makefile").read_text())
    installed = {
        name for some in re.findall(r"-e '\./(?:service|memory)\[([\w,]+)\]'", line) for name in some.split(",")
    }
    assert extras <= installed


def test_commands_of_pre_commit_exist() -> None:
    hooks = re.findall(r"entry: (\S+)(?: (tools/\S+))?", (ROOT / ".pre-commit-config.yaml").read_text())
    assert len(hooks) == 4
    for command, script in hooks:
        assert (BIN / Path(command).name).exists()
        assert (ROOT / script).exists()


@pytest.mark.parametrize("name", FOLDERS)
def test_no_wheel_has_an_extra_for_development(name: str, wheels: dict[str, Wheel]) -> None:
    extras = {
        "ilab-chat": ["cli", "otel"],
        "ilab-chat-service": ["local", "otel", "postgres", "semantic"],
        "ilab-memory": ["http", "mcp", "postgres", "semantic"],
        "ilab-chat-gateway": [],
    }
    assert wheels[name].extras() == extras.get(name, [])


def test_client_and_library_require_nothing_of_the_service(wheels: dict[str, Wheel]) -> None:
    assert wheels["ilab-chat"].requirements() == CLIENT - {"ilab-chat"}
    assert wheels["ilab-memory"].requirements() == {"pydantic", "pystemmer"}
    assert wheels["ilab-chat-service"].requirements() >= {"ilab-chat", "ilab-memory"}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_imported_distribution_is_declared(name: str, wheels: dict[str, Wheel]) -> None:
    folder = ROOT / "client" if name == "ilab-chat" else FOLDERS[name]
    declared = {name_of(each) for each in wheels[name].metadata.get_all("Requires-Dist", [])}
    # Only a test loads the fixtures, and it has pytest.
    assert imported_by(folder / PACKAGES[name]) - {name, "pytest"} <= declared


def test_only_the_client_is_installed(newest: Environment) -> None:
    installed = set(newest.versions()) - OF_GRPCIO
    assert installed == CLIENT
    assert installed == set(floors()) | {"ilab-chat"}


def test_the_lowest_versions_are_installed(lowest: Environment) -> None:
    versions = lowest.versions()
    assert {name: versions[name] for name in floors()} == floors()
    assert set(floors()) == CLIENT - {"ilab-chat"}


@pytest.mark.parametrize("environment", ["newest", "lowest"])
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_know_the_installed_client_and_find_mistakes(
    checker: str, environment: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made: Environment = request.getfixturevalue(environment)
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text((ROOT / "tests/client/typing_consumer.py").read_text())
    bad.write_text(MISTAKES)
    if checker == "mypy":
        command: list[str | Path] = [BIN / "mypy", "--strict", "--config-file=", "--python-executable", made.python]
    else:
        (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
        command = [BIN / "basedpyright", "--pythonpath", made.python]

    # The checker is that of the tests, and what it looks at is what the environment has.
    checked = subprocess.run([*command, good, bad], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    found = {(file, int(line)) for file, line in re.findall(r"(\w+\.py):(\d+):.*error", checked.stdout)}
    assert found == {(bad.name, line) for line in MISTAKEN}, checked.stdout


def test_service_starts_from_its_wheels(wheels: dict[str, Wheel], served: Served, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # Compiling all modules takes longer than those that are imported do.
    subprocess.run([*pip, "--no-compile", "--target", tmp_path, *(each.path for each in wheels.values())], check=True)
    # Its dependencies are those of this environment; its own packages are the installed ones.
    env = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": served.upstream.base_url,
        "OPENAI_MODEL": "test-model",
    }
    where = [sys.executable, "-c", "import ilab_chat_service; print(ilab_chat_service.__file__)"]
    imported = subprocess.run(where, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert imported.stdout == f"{tmp_path}/ilab_chat_service/__init__.py\n"
    check = [str(tmp_path / "bin" / "ilab-chat-server"), "check"]
    checked = subprocess.run(check, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("environment", ["newest", "lowest"])
def test_pitfall_18_both_clients_call_the_service(
    environment: str, served: Served, request: pytest.FixtureRequest
) -> None:
    made: Environment = request.getfixturevalue(environment)
    assert (
        made.run("python", "-W", "error", "-c", CALL, served.address).stdout == "Hello there.\nTrue 1\nHello there.\n"
    )
    assert made.run("python", "-W", "error", "-c", BAD_CALL, served.address).stdout == "INVALID_FIELD user_id\n"


@pytest.mark.parametrize("environment", ["newest", "lowest"])
def test_a_message_needs_no_extra(environment: str, served: Served, request: pytest.FixtureRequest) -> None:
    made: Environment = request.getfixturevalue(environment)
    chat = ("chat", "--address", served.address, "--user", "install-cli")
    assert made.run("ilab-chat", *chat, "hi").stdout == "Hello there.\n"
    assert json.loads(made.run("ilab-chat", *chat, "--json", "hi").stdout)["reply"] == "Hello there."


def test_missing_extra_is_named_with_its_installation(newest: Environment, served: Served) -> None:
    health = newest.run("ilab-chat", "health", "--address", served.address, check=False)
    assert (health.returncode, health.stdout) == (2, "")
    assert health.stderr.endswith(": in the repository, pip install '.[cli]'\n")
    newest.run("ilab-chat", "chat", "--address", served.address, "--user", "install-cli", "hi")
    search = ("memory", "search", "--address", served.address, "--user", "install-cli", "hi")
    assert newest.run("ilab-chat", *search).returncode == 0
    table = newest.run("python", "-c", IN_TERMINAL, "bin/ilab-chat", *search, check=False)
    assert table.stdout == "ilab-chat: a table needs the extra cli: in the repository, pip install '.[cli]'\n2\n"
    talk = newest.run("python", "-c", IN_TERMINAL, "bin/ilab-chat", "chat", "--user", "alice", check=False)
    assert talk.stdout == "ilab-chat: a conversation needs the extra cli: in the repository, pip install '.[cli]'\n2\n"
