"""The package as a caller sees it: names, types, weight, and two clients of one shape."""

import inspect
import subprocess
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

import ilab_chat
from ilab_chat import (
    AsyncChatClient,
    AsyncChatStream,
    AsyncMemoryClient,
    AsyncMemoryExport,
    ChatClient,
    ChatStream,
    MemoryClient,
    MemoryExport,
)
from ilab_chat.v1 import memory_pb2

ASYNC_NAMES = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__"}
PROTOCOL = ("__init__", "__enter__", "__exit__", "__iter__", "__next__")


def shape(kind: type) -> dict[str, list[tuple[str, object, object]] | str]:
    """Return each public member in its synchronous spelling: a method's parameters and defaults, or "property"."""
    members: dict[str, list[tuple[str, object, object]] | str] = {}
    for name, member in inspect.getmembers(kind):
        spelling = ASYNC_NAMES.get(name, name.replace("__anext__", "__next__"))
        if isinstance(member, property):
            members[spelling] = "property"
        elif inspect.isfunction(member) and (spelling in PROTOCOL or not name.startswith("_")):
            parameters = inspect.signature(member).parameters.values()
            members[spelling] = [(each.name, each.kind, each.default) for each in parameters]
    return members


TWINS = [
    (AsyncChatClient, ChatClient),
    (AsyncChatStream, ChatStream),
    (AsyncMemoryClient, MemoryClient),
    (AsyncMemoryExport, MemoryExport),
]

METHODS = {
    "StartSession": "start_session",
    "EndSession": "end_session",
    "SummarizeSession": "summarize_session",
    "ListSessions": "list_sessions",
    "SaveObservation": "save",
    "UpdateObservation": "update",
    "DeleteObservation": "delete",
    "ListObservations": "list_observations",
    "ListFacts": "list_facts",
    "SearchObservations": "search",
    "GetObservation": "get",
    "GetTimeline": "timeline",
    "GetStats": "stats",
    "ForgetUser": "forget",
    "ExportUser": "export",
    "ImportUser": "import_items",
}


@pytest.mark.parametrize(("twin", "other"), TWINS)
def test_both_clients_have_the_same_shape(twin: type, other: type) -> None:
    assert shape(twin) == shape(other)
    assert len(shape(twin)) > 4


def test_both_clients_have_the_same_words_for_their_arguments() -> None:
    for name in ("chat", "stream_chat", "preview_prompt"):
        twin, other = (inspect.getdoc(getattr(kind, name)) or "" for kind in (AsyncChatClient, ChatClient))
        assert twin[twin.index("Args:") :] == other[other.index("Args:") :]
    for name in set(METHODS.values()) - {"export"}:
        assert inspect.getdoc(getattr(AsyncMemoryClient, name)) == inspect.getdoc(getattr(MemoryClient, name))


@pytest.mark.parametrize("kind", [AsyncMemoryClient, MemoryClient])
def test_every_rpc_of_the_memory_has_a_method(kind: type) -> None:
    service = memory_pb2.DESCRIPTOR.services_by_name["MemoryService"]
    assert set(METHODS) == {method.name for method in service.methods}
    public = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
    assert set(METHODS.values()) == public


def test_dunder_all_lists_the_public_names() -> None:
    exported = {
        name
        for name, value in vars(ilab_chat).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert sorted({*exported, "__version__"}) == sorted(ilab_chat.__all__)


def test_the_package_is_typed() -> None:
    assert resources.files(ilab_chat).joinpath("py.typed").is_file()


def test_importing_takes_nothing_but_the_declared_dependencies() -> None:
    script = """
import sys
before = set(sys.modules)
import ilab_chat
names = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(name for name in names if name not in sys.stdlib_module_names))
"""
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    # grpc itself imports its sibling distributions where they are installed.
    of_grpc = {"grpc", "grpc_health", "grpc_reflection", "cython_runtime", "google", "typing_extensions"}
    assert {name for name in run.stdout.split() if not name.startswith("_cython_")} - of_grpc == {"ilab_chat"}


def test_a_typed_caller_passes_mypy_strict_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    consumer = Path(__file__).with_name("typing_consumer.py")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}"]
    good = subprocess.run([*command, str(consumer)], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import ilab_chat\n"
        "client = ilab_chat.ChatClient()\n"
        "client.chat('alice', 'hi', memory_mode='of')\n"
        "client.memory.stats('alice', timeout='5')\n"
    )
    bad = subprocess.run([*command, str(wrong)], capture_output=True, text=True, check=False)
    assert '"memory_mode" to "chat" of "ChatClient" has incompatible type' in bad.stdout
    assert 'Argument "timeout" to "stats" of "MemoryClient" has incompatible type "str"' in bad.stdout
