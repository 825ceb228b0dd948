"""An export is one snapshot, whatever is saved between its pages."""

import random
import threading
from collections.abc import Iterable

from ilab_memory import ILabMemory, Observation, Session
from ilab_memory.limits import EXPORT_PAGE


def save(mem: ILabMemory, content: str, topic_key: str | None = None) -> int:
    return mem.mem_save("alice", content, type="discovery", title="t", topic_key=topic_key).id


def unnamed_sessions(export: Iterable[Session | Observation]) -> list[str]:
    """Return the sessions that an observation of *export* names before they were yielded."""
    sessions: set[str] = set()
    missing = []
    for item in export:
        if isinstance(item, Session):
            sessions.add(item.id)
        elif item.session_id not in sessions:
            missing.append(item.session_id)
    return missing


def test_an_export_excludes_rows_added_between_its_pages(mem: ILabMemory) -> None:
    ids = [save(mem, f"before {number}") for number in range(EXPORT_PAGE + 20)]
    export = mem.mem_export("alice")
    first = next(export)
    mem.mem_session_end("alice", summary="the next session begins")
    added = [save(mem, f"after {number}") for number in range(20)]
    rest = list(export)
    assert [row.id for row in rest if isinstance(row, Observation)] == ids
    assert [first, *rest][0] == first
    assert not any(isinstance(row, Session) for row in rest)
    again = [row.id for row in mem.mem_export("alice") if isinstance(row, Observation)]
    assert again == ids + added


def test_an_export_includes_the_new_session_of_an_updated_observation(mem: ILabMemory) -> None:
    for number in range(EXPORT_PAGE + 20):
        save(mem, f"before {number}", topic_key=f"k{number}")
    export = mem.mem_export("alice")
    exported = [next(export), next(export)]
    mem.mem_session_end("alice", summary="the next session begins")
    for number in (EXPORT_PAGE + 5, EXPORT_PAGE + 6):
        save(mem, f"after {number}", topic_key=f"k{number}")
    exported += export
    assert unnamed_sessions(exported) == []
    assert sum(isinstance(item, Session) for item in exported) == 2
    contents = [item.content for item in exported if isinstance(item, Observation)]
    assert len(contents) == EXPORT_PAGE + 20
    assert contents[EXPORT_PAGE + 5 : EXPORT_PAGE + 7] == [f"after {EXPORT_PAGE + 5}", f"after {EXPORT_PAGE + 6}"]


def test_an_export_during_saves_contains_every_session_that_it_names(mem: ILabMemory) -> None:
    for number in range(3 * EXPORT_PAGE):
        save(mem, f"content {number}", topic_key=f"k{number}")
    over = threading.Event()

    def keep_saving(seed: int) -> None:
        rng = random.Random(seed)
        while not over.is_set():
            save(mem, f"content {rng.random()}", topic_key=f"k{rng.randrange(3 * EXPORT_PAGE)}")
            if seed == 0 and rng.random() < 0.3:
                mem.mem_session_end("alice", summary="s")
            save(mem, f"another {rng.random()}")

    savers = [threading.Thread(target=keep_saving, args=(seed,)) for seed in range(2)]
    for saver in savers:
        saver.start()
    try:
        for _ in range(20):
            before = mem.mem_stats("alice")["observations"]
            exported = list(mem.mem_export("alice"))
            after = mem.mem_stats("alice")["observations"]
            assert unnamed_sessions(exported) == []
            ids = [item.id for item in exported if isinstance(item, Observation)]
            assert len(ids) == len(set(ids))
            assert before <= len(ids) <= after
    finally:
        over.set()
        for saver in savers:
            saver.join()
