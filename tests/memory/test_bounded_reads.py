"""Lists show parts of long observations without reading them whole."""

from pathlib import Path

import pytest

from ilab_memory import Config, ILabMemory
from ilab_memory.recall.analysis import MOST_OCCURRENCES

MEGABYTE = 1024 * 1024
IO = Path("/proc/self/io")


def bytes_read() -> int:
    """Bytes that this process has read from files so far, from the page cache or not."""
    return int(IO.read_text().splitlines()[0].removeprefix("rchar: "))


@pytest.mark.skipif(not IO.exists(), reason="counts bytes as Linux does")
@pytest.mark.parametrize("update", [False, True])
def test_session_start_and_search_read_the_beginning_of_long_observations_only(tmp_path: Path, *, update: bool) -> None:
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path, Config(durability="normal")) as mem:
        for number in range(20):
            content = f"tea {number} " + "x" * (MEGABYTE - 100)
            saved = mem.mem_save("alice", "short" if update else content, type="profile", title=f"t{number}")
            if update:
                mem.mem_update("alice", saved.id, content=content)
    with ILabMemory.from_path(path) as mem:
        before = bytes_read()
        shown = mem.mem_session_start("alice").memories
        found = mem.mem_search("alice", "tea", limit=20)
        recalled = mem.mem_recall("alice", "Which tea do I like?", limit=20)
        read = bytes_read() - before
    assert len(shown) == 10
    assert len(found) == 20
    assert len(recalled) == 20
    assert all(row.snippet.startswith("tea ") and len(row.snippet) == 400 for row in (*shown, *found))
    assert read < 2 * MEGABYTE


@pytest.mark.parametrize("length", [1, 399, 400, 401, 512, 513, 2048, 2049, 5000])
def test_a_snippet_is_the_same_for_contents_of_any_length(mem: ILabMemory, length: int) -> None:
    content = ("\U0001f375é" * length)[:length]
    mem.mem_save("alice", content, type="profile", title="t", topic_key="k")
    (shown,) = mem.mem_session_start("alice").memories
    assert shown.snippet == (content if length <= 400 else content[:397] + "...")
    mem.mem_save("alice", "tea", type="profile", title="t", topic_key="k")
    (shown,) = mem.mem_session_start("alice").memories
    assert shown.snippet == "tea"


def test_search_for_a_word_of_very_many_occurrences_reads_few_of_them(mem: ILabMemory) -> None:
    for number in range(20):
        mem.mem_save("alice", f"{number} " + "tea " * 200_000, type="profile", title=f"t{number}")
    store = mem._store
    postings = store.postings("alice", ["tea"])["tea"]
    assert len(postings) == 20 * MOST_OCCURRENCES
    assert len(mem.mem_search("alice", "tea milk", limit=20)) == 20
