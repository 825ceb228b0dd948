"""Hash only after redaction; a secret is in no file, no log line and no exception."""

import ast
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ilab_memory
from ilab_memory import Config, ILabMemory

PACKAGE = Path(ilab_memory.__file__).parent
SECRET = "hunter2"

BEFORE = st.text(st.sampled_from("ab <>/'\"=\n\U0001f389é"), max_size=8)
# Nothing that could end an opening tag in another way than it was begun.
INSIDE = st.text(st.sampled_from("ab \n\U0001f389é"), max_size=8)
OPENERS = st.sampled_from(
    ["<private>", "<PRIVATE>", "<PriVate\n>", "<private x='1'>", '<private x="a>b">', "<private x='/>", "<private x y"]
)
CLOSERS = st.sampled_from(["</private>", "</PRIVATE >", "", "</private"])
ENDS = st.sampled_from(["", " and more", "</private>", "<private>", "<private/>"])


@st.composite
def texts_with_a_secret(draw: st.DrawFn) -> str:
    """SECRET inside a private span: nested or not, closed or not, with or without other text, small or huge."""
    inner = draw(INSIDE) + SECRET + draw(INSIDE)
    for _ in range(draw(st.integers(0, 2))):
        inner = f"{draw(OPENERS)}{draw(INSIDE)}</private>{inner}"
    huge = "x" * draw(st.sampled_from([0, 0, 0, 5_000]))
    return f"{draw(BEFORE)} {draw(OPENERS)}{huge}{inner}{draw(CLOSERS)}{draw(ENDS)}"


def calls_of(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path.name, node


def test_only_the_result_of_strip_private_is_hashed() -> None:
    hashing = [(where, function) for where, function in functions() if list(calls_of(function, "normalized_hash"))]
    assert [(where, function.name) for where, function in hashing] == [("intake.py", "redacted_content")]
    ((_, function),) = hashing
    (call,) = calls_of(function, "normalized_hash")
    (argument,) = call.args
    assert isinstance(argument, ast.Name)
    assigned = [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and argument.id in {target.id for target in node.targets if isinstance(target, ast.Name)}
    ]
    assert [ast.unparse(value) for value in assigned] == ["strip_private(content)"]


def test_observations_are_redacted_in_one_place() -> None:
    redacting = {(where, function.name) for where, function in functions() if list(calls_of(function, "strip_private"))}
    # The text of a search is not stored, but an embedder may send it to another server.
    searched = {("embedding.py", "meaning")}
    assert redacting == {("intake.py", "redacted"), ("intake.py", "redacted_content"), *searched}


def test_nothing_else_hashes_content() -> None:
    importing = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "import hashlib" in path.read_text()
    }
    # The copy and the check compare hashes of what is stored, which was redacted, and store none; an erasure hashes a
    # user_id.
    others = {"copying.py", "stores/sqlite/check.py", "stores/sqlite/user_erasure.py"}
    # One knows a text again while it is in memory, with a key of the process; the other checks the encoder's files.
    others |= {"embedding.py", "semantic.py"}
    assert importing == {"redaction.py", "stores/postgres/blind_index.py", "stores/sqlite/blind_index.py", *others}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("privacy")


@pytest.fixture(scope="module")
def filed(folder: Path) -> Iterator[ILabMemory]:
    with ILabMemory.from_path(folder / "memory.db", Config(durability="normal")) as mem:
        yield mem


def paths(mem: ILabMemory, secret: str) -> list[Callable[[], object]]:
    """Every way to pass a text in."""
    return [
        lambda: mem.mem_save("alice", secret, type="discovery", title="t"),
        lambda: mem.mem_save("alice", "c", type="discovery", title=secret),
        lambda: mem.mem_save("alice", "c", type="discovery", title="t", topic_key=secret),
        lambda: mem.mem_save("alice", f"User: {secret}\nAssistant: ok", type="discovery", title=f"Turn: {secret}"),
        lambda: mem.mem_save("alice", secret, type="discovery", title="t", topic_key="k"),
        lambda: mem.mem_save("alice", secret, type=secret, title="t"),
        lambda: mem.mem_save("alice", secret + "\0", type="discovery", title="t"),
        lambda: mem.mem_session_summary("alice", secret),
        lambda: mem.mem_session_end("alice", summary=secret),
        lambda: mem.mem_session_end("bob", summary=secret),
        lambda: mem.mem_search("alice", secret),
        lambda: mem.mem_search("alice", secret + "\0"),
    ]


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=texts_with_a_secret())
def test_private_text_is_in_no_file_no_log_line_and_no_exception(
    filed: ILabMemory, folder: Path, caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    caplog.set_level(logging.NOTSET)
    for call in paths(filed, secret):
        said = ""
        try:
            returned = call()
        except (ValueError, LookupError) as error:
            said = f"{error!r} {error} {error.__cause__} {error.__context__}"
        else:
            said = repr(returned)
        assert SECRET not in said
    assert SECRET not in caplog.text
    for path in folder.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path.name


def test_the_title_of_a_summary_is_truncated_after_redaction(filed: ILabMemory, folder: Path) -> None:
    filed.mem_session_summary("carol", f"{'x' * 60} <private>{SECRET}{'y' * 60}</private>")
    with suppress(ValueError):
        filed.mem_session_summary("carol", f"<private>{SECRET}")
    for path in folder.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path.name
