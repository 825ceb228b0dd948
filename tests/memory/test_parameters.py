"""Statements of the SQLite store have parameters that no version of Python deprecates."""

import re
import sqlite3
from contextlib import closing
from itertools import count, takewhile

from batch import cases
from ilab_memory.stores.sqlite import (
    exports,
    fact_statements,
    statements,
    vectors,
    work_statements,
)
from ilab_memory.stores.sqlite.numbered_parameters import NumberedConnection, by_number

MODULES = (exports, fact_statements, statements, vectors, work_statements)
#: Parts of statements begin with an underscore.
NUMBERED = {
    f"{module.__name__.rpartition('.')[2]}.{name}": text
    for module in MODULES
    for name, text in vars(module).items()
    if isinstance(text, str) and not name.startswith("_") and re.search(r"\?\d", text)
}


def test_parameters_of_numbered_placeholders_may_be_a_sequence() -> None:
    assert by_number(("a", "b")) == by_number({"1": "a", "2": "b"}) == {"1": "a", "2": "b"}
    with closing(sqlite3.connect(":memory:", factory=NumberedConnection)) as connection:
        assert connection.execute("SELECT ?2, ?1, ?2", ("a", "b")).fetchone() == ("b", "a", "b")
        assert connection.execute("SELECT ?, ?", ("a", "b")).fetchone() == ("a", "b")
        connection.execute("CREATE TABLE t (a, b)")
        connection.executemany("INSERT INTO t VALUES (?2, ?1)", [(1, 2), (3, 4)])
        assert connection.execute("SELECT * FROM t").fetchall() == [(2, 1), (4, 3)]


@cases("name", NUMBERED)
def test_each_place_has_a_name(name: str) -> None:
    code = re.sub("--.*", "", NUMBERED[name])
    numbers = {int(number) for number in re.findall(r"\?(\d+)", code)}
    assert numbers == set(takewhile(numbers.__contains__, count(1)))
    assert not re.search(r"\?(?!\d)", code), "not both kinds in one statement"
