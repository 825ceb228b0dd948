import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilab_memory.redaction import private_spans, strip_private

PIECES = [
    "<private>",
    "</private>",
    "<private/>",
    "<PRIVATE a='>'>",
    "</Private >",
    "<pri",
    "vate>",
    "<",
    ">",
    "/",
    " ",
    "x",
]
TEXTS = st.lists(st.sampled_from(PIECES)).map("".join)


@pytest.mark.parametrize(
    ("text", "stripped", "spans"),
    [
        ("plain < text > here", "plain < text > here", []),
        ("a <private>secret</private> b", "a [REDACTED] b", ["secret"]),
        ("<private>a</private><private>b</private>", "[REDACTED][REDACTED]", ["a", "b"]),
        ("a <PRIVATE>secret</Private> b", "a [REDACTED] b", ["secret"]),
        ('a <private reason="x > y">secret</private> b', "a [REDACTED] b", ["secret"]),
        ('a <private note="</private>">secret</private> b', "a [REDACTED] b", ["secret"]),
        ("a <private it's>don't</private> b", "a [REDACTED] b", ["don't"]),
        ('a <private x="/>secret', "a [REDACTED]", ["secret"]),
        ('a <private x="<private/>">secret</private> b', "a [REDACTED]", ["secret</private> b"]),
        ("<private x='/><private x='1'></private>secret", "[REDACTED]", ["</private>secret"]),
        ("a <private\nx='1'>secret</private\t> b", "a [REDACTED] b", ["secret"]),
        ("a <private>b<private>c</private>d</private> e", "a [REDACTED] e", ["b<private>c</private>d"]),
        ("a <private>secret", "a [REDACTED]", ["secret"]),
        ("a <private secret", "a [REDACTED]", [" secret"]),
        ("a <private", "a [REDACTED]", []),
        ("a <private>b<private>c</private> d", "a [REDACTED]", ["b<private>c</private> d"]),
        ("secret</private> b", "[REDACTED] b", ["secret"]),
        ("s <private>t</private> u</private> b", "[REDACTED] b", ["s <private>t</private> u"]),
        ("a<private/>b<private />c", "abc", []),
        ("a <private>b<private/>c</private> d", "a [REDACTED] d", ["b<private/>c"]),
        ("a <privateer>b</privateer> c", "a <privateer>b</privateer> c", []),
        ("<pri<private/>vate>x", "<pri[REDACTED]vate>x", []),
        ("", "", []),
    ],
)
def test_each_form_of_the_tag(text: str, stripped: str, spans: list[str]) -> None:
    assert strip_private(text) == stripped
    assert private_spans(text) == spans


@given(TEXTS)
def test_what_is_stripped_holds_no_tag_and_stays_as_it_is(text: str) -> None:
    stripped = strip_private(text)
    assert not re.search(r"<private[\s/>]|</private\s*>", stripped, re.IGNORECASE)
    assert strip_private(stripped) == stripped


@given(TEXTS, TEXTS)
def test_nothing_between_an_opener_and_its_end_survives(before: str, after: str) -> None:
    assert "s3cret" not in strip_private(f"{before}<private>s3cret</private>{after}")
    assert "s3cret" not in strip_private(f"{before}<private>s3cret")
    assert "s3cret" not in strip_private(f"s3cret</private>{after}")


@given(st.text())
def test_text_without_a_tag_is_left_alone(text: str) -> None:
    if "private" not in text.lower():
        assert strip_private(text) == text
        assert private_spans(text) == []


@pytest.mark.parametrize(
    "piece",
    [
        "<private>",
        "<",
        "</private>",
        "<private ",
        "<private/",
        "</private ",
        "<private/>",
        '<private ="',
        "<private ='\"",
    ],
)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    """A quadratic parser would need hours for 1 MiB: the timeout of the test run is the assertion."""
    hostile = piece * (1024 * 1024 // len(piece))
    strip_private(hostile)
    private_spans(hostile)
