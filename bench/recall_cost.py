"""Measure the CPU of mem_recall and mem_search for a user with many turns, with vectors.

    python bench/recall_cost.py [--rows N]                                SQLite; 600 turns
    PYTHONPATH=tests python bench/recall_cost.py --postgres [--rows N]    PostgreSQL

It prints CPU times, the least of several batches, so it may run on a busy machine: milliseconds of this process, of
the server, and of the embedder for the question. The turns are those of `bench/lives`, repeated with a number.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import life
import recall_material as material
from ilab_memory import Config, ILabMemory
from ilab_memory.semantic import LocalEmbedder
from recall import title_of

QUESTIONS = (
    "What should I cook for my sister on Friday?",
    "When is my dentist appointment?",
    "How do I get to the station?",
    "Which train do I take to work?",
    "What did the doctor say about my knee?",
    "Can you write a short poem about rain?",
    "Where does my brother live now?",
    "thanks a lot!",
)
BATCHES, CALLS = 7, 8
SAVERS = 8


def turns(rows: int) -> Iterator[str]:
    """Yield the contents of *rows* turns."""
    texts = sorted({each.message for of_one in life.read_all(life.names()) for each in of_one.exchanges})
    for number in range(rows):
        again, place = divmod(number, len(texts))
        text = f"{texts[place]} {again}" if again else texts[place]
        yield f"User: {text}\nAssistant: {material.REPLIES[number % len(material.REPLIES)]}"


@contextmanager
def opened(config: Config, *, postgres: bool) -> Iterator[tuple[ILabMemory, Callable[[], float]]]:
    """Yield a new memory, and how many seconds of CPU its server has taken."""
    if not postgres:
        with ILabMemory.from_path(":memory:", config) as mem:
            yield mem, lambda: 0.0
        return
    from memory_postgres import SETTINGS, server_seconds  # noqa: PLC0415 - needs the tests
    from postgres import running_cluster  # noqa: PLC0415 - the same

    with (
        running_cluster(settings=SETTINGS) as cluster,
        ILabMemory.from_url(cluster.create_database(), config) as mem,
    ):
        yield mem, lambda: server_seconds(cluster)


def least(call: Callable[[], object], server: Callable[[], float]) -> tuple[float, float]:
    """Return the CPU of a call in milliseconds: of this process, and of the server."""
    batches = []
    for _ in range(BATCHES):
        of_server, own = server(), time.process_time()
        for _ in range(CALLS):
            call()
        own, of_server = time.process_time() - own, server() - of_server
        batches.append((own * 1000 / CALLS, of_server * 1000 / CALLS))
    return min(own for own, _ in batches), min(of_server for _, of_server in batches)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600, help="turns of the user (default: 600)")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL")
    options = parser.parse_args()
    local = LocalEmbedder()
    local.load()
    print(f"{'mem_recall':>16}{'mem_search':>16}{'embed':>8}")
    with opened(Config(durability="normal", embedder=local), postgres=options.postgres) as (mem, server):
        with ThreadPoolExecutor(SAVERS) as threads:
            for saved in [
                threads.submit(mem.mem_save, "user", content, type="discovery", title=title_of(content))
                for content in turns(options.rows)
            ]:
                saved.result()
        mem.mem_embed()
        for question in QUESTIONS:
            meant = mem.mem_meaning(question)
            assert meant is not None
            meant.embedded.exception()
            figures = [
                least(lambda: mem.mem_recall("user", question, limit=5, meaning=meant), server),  # noqa: B023
                least(lambda: mem.mem_search("user", question), server),  # noqa: B023
            ]
            embedded, _ = least(lambda: local.embed(question), lambda: 0.0)  # noqa: B023
            print("".join(f"{own:8.2f}{of_server:8.1f}" for own, of_server in figures) + f"{embedded:8.2f}  {question}")


if __name__ == "__main__":
    main()
