"""The examples of the README and of the guides run as they are written, and what pages name exists."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from batch import cases
from contract.pages import RUNNABLE, blocks, page, python, run
from contract.process import BIN, ROOT, Served
from ilab_chat import ChatClient

PAGES = sorted(str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
CHANGELOG = "CHANGELOG.md"
#: All Python files of the project, and those of them whose comments and docstrings are checked.
FILES = [
    str(path.relative_to(ROOT))
    for folder in ("bench", "client", "examples", "gateway", "memory", "service", "tests", "tools")
    for path in ROOT.glob(f"{folder}/**/*.py")
    if "node_modules" not in path.parts
]
SOURCES = [path for path in FILES if not path.endswith(("_pb2.py", "_pb2_grpc.py"))]
#: Files that examples tell the reader to write.
FOREIGN = {"test_app.py"}
COMMANDS = [
    pytest.param(line.removeprefix("$ ").replace(".venv/run/bin/", ""), id=f"{name}-{line[:60]}")
    for name in RUNNABLE
    for block in blocks(name, "sh") + blocks(name, "console")
    for line in block.splitlines()
    if re.match(r"(\$ )?(grpcurl|\.venv/run/bin/ilab-chat chat|ilab-chat chat) ", line) and not line.endswith("alice")
]


def examples(language: str) -> list[object]:
    return [
        pytest.param(block, id=f"{name}-{number}")
        for name in RUNNABLE
        for number, block in enumerate(blocks(name, language))
    ]


def test_readme_fits_on_a_few_screens() -> None:
    assert len(page("README.md").splitlines()) <= 150


@pytest.mark.parametrize("block", examples("python"))
def test_python_example_runs(served: Served, block: str) -> None:
    assert "Hello there." in python(served, block)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_runs(served: Served, line: str) -> None:
    # The command line client takes another address by an option.
    command = line.replace("ilab-chat chat", f"ilab-chat chat --address {served.address}")
    assert "Hello there." in run(["sh", "-c", command], served)


@pytest.mark.parametrize("block", examples("js"))
def test_node_example_runs(node: str, served: Served, block: str) -> None:
    assert run([node, "-"], served, block) == "Hello there.\n"


def test_memory_commands_run(served: Served, tmp_path: Path) -> None:
    with ChatClient(served.address) as client:
        saved = client.memory.save("alice", "I walk my dog every day.", type="profile", title="Hobby").id
        stored = client.memory.stats("alice").observations
    lines = re.findall(r"^\$ \.venv/run/bin/ilab-chat (memory .*)$", page("docs/quickstart.md"), re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["facts", "search", "timeline", "stats", "export", "forget"]
    printed = [
        run(["sh", "-c", f"{BIN}/ilab-chat {line} --address {served.address}"], served, cwd=tmp_path)
        for line in (re.sub(r"alice \d+", f"alice {saved}", each) for each in lines)
    ]
    known, found, seen, counted, exported, erased = (json.loads(each) if each else {} for each in printed)
    assert saved in [int(each["observation_id"]) for each in known["facts"]]
    assert saved in [int(each["id"]) for each in found["observations"]]
    assert saved in [int(each["id"]) for each in seen["observations"]]
    assert int(counted["observations"]) == int(erased["observations"]) == stored
    assert exported == {}
    assert "I walk my dog every day." in (tmp_path / "alice.jsonl").read_text()


@cases("name", PAGES)
def test_each_make_target_that_is_named_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^|`)(?:[A-Z_]+=\S+ +)*make ([a-z-]+)", page(name), re.MULTILINE)
    assert set(named) <= targets


@cases("name", [*PAGES, CHANGELOG])
def test_each_linked_file_exists(name: str) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", page(name))
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


@cases("name", [*PAGES, CHANGELOG])
def test_each_linked_section_exists(name: str) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page(name))
    targets = ((Path(name).parent / link if link else Path(name), section) for link, section in links)
    assert [(target, section) for target, section in targets if section not in sections(ROOT / target)] == []


def test_no_two_entries_of_the_changelog_begin_alike() -> None:
    begins = Counter(line[:40] for line in page(CHANGELOG).splitlines() if line.startswith("- "))
    assert {begin: count for begin, count in begins.items() if count > 1} == {}


def sections(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cases("name", PAGES)
def test_each_setting_that_is_named_exists(name: str) -> None:
    of_gateway = page("docs/gateway.md").partition("## Settings")[2]
    known = re.findall(r"`(ILAB_\w+)`", page("docs/configuration.md") + of_gateway)
    clients = {"ILAB_CHAT_ADDRESS", "ILAB_CHAT_TOKEN", "ILAB_CHAT_TOKEN_FILE", "ILAB_CHAT_HEALTH"}
    prefixes = {"ILAB_CHAT_TLS", "ILAB_CHAT_JWT"}
    named = set(re.findall(r"\bILAB_(?:CHAT|MEMORY)_[A-Z_]*[A-Z]\b", page(name)))
    assert named <= {*known, *clients, *prefixes}


def test_files_of_the_architecture_exist() -> None:
    folder, checked = ROOT, set()
    for line in page("docs/architecture.md").splitlines():
        if line.startswith("## "):
            folder = ROOT
        for named in re.findall(r"^[^|].* in `([\w/]+/)`:$", line):
            folder = ROOT / named
        for name in re.findall(r"`([\w/]+(?:\.\w+|/))`", line) if line.startswith("|") else ():
            assert (folder / name).exists(), name
            checked.add(folder)
    assert {ROOT, ROOT / "service/ilab_chat_service", ROOT / "memory/ilab_memory"} <= checked


@cases("name", [*PAGES, *SOURCES])
def test_each_python_file_that_is_named_exists(name: str) -> None:
    # Names after a quotation mark are strings of the code; those after a slash are parts of URLs.
    named = re.findall(r"""(?<![\w"'/.$-])((?:[\w-]+/)*[\w-]+\.py)\b""", page(name))
    assert [
        each for each in named if each not in FOREIGN and not any(f"/{path}".endswith(f"/{each}") for path in FILES)
    ] == []
