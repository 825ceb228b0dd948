from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import cases
from ilab_chat_service.model.server_sent_events import (
    EVENT_BYTES,
    EVENT_LINES,
    IGNORED_BYTES,
    EventDecoder,
    EventTooLong,
    TooManyComments,
)


def decoded(*pieces: bytes) -> list[bytes]:
    decoder = EventDecoder()
    return [data for piece in pieces for data in decoder.feed(piece)]


@cases(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
        (b": comment\n\n\n: keep-alive\n\ndata: a\n: comment\ndata: b\n\n", [b"a\nb"]),
        (b"event: thing\nid: 7\nretry: 10\ndatum: x\ndata: a\n\n", [b"a"]),
        (b"event: thing\n\n", []),
        (b"data\n\n", [b""]),
        (b"data\ndata:\ndata: \n\n", [b"\n\n"]),
        (b"data: a\n\ndata: not ended\n", [b"a"]),
        (b"data: \xc3\xa9\xe2\x80\xa8\xc2\x85\x0b\x0c\n\n", [b"\xc3\xa9\xe2\x80\xa8\xc2\x85\x0b\x0c"]),
    ],
)
def test_events_of_a_stream(stream: bytes, events: list[bytes]) -> None:
    assert decoded(stream) == events
    assert decoded(*(bytes([byte]) for byte in stream)) == events


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_event_is_returned_as_soon_as_it_ends(end: bytes) -> None:
    decoder = EventDecoder()
    for number in range(3):
        assert decoder.feed(b"data: %d%s%s" % (number, end, end)) == [b"%d" % number]


@pytest.mark.slow
@pytest.mark.parametrize("endless", [b"data: " + b"x" * 10_000, b"data: " + b"x" * 10_000 + b"\n", b"data\n" * 1_000])
def test_endless_event_is_rejected(endless: bytes) -> None:
    with pytest.raises(EventTooLong):
        decoded(*[endless] * (EVENT_BYTES // len(endless) + 1))


def test_size_limit_applies_to_each_event() -> None:
    decoder = EventDecoder()
    event = b"data: " + b"x" * (EVENT_BYTES // 4) + b"\n\n"
    assert sum(len(decoder.feed(event)) for _ in range(8)) == 8


def test_event_of_very_many_lines_is_rejected() -> None:
    lines = b"data: x\n" * EVENT_LINES
    assert decoded(lines + b"\n") == [b"\n".join([b"x"] * EVENT_LINES)]
    with pytest.raises(EventTooLong):
        decoded(lines, b"data: x\n")


@pytest.mark.parametrize("ignored", [b": x\n\n", b"\n", b"event: x\n", b"id: 1\n\n", b"\r"])
def test_endless_comments_are_rejected(ignored: bytes) -> None:
    with pytest.raises(TooManyComments):
        decoded(*[ignored * 1000] * (IGNORED_BYTES // len(ignored) // 1000 + 1), ignored * 1000)


@pytest.mark.parametrize("event", [b"data: x\n\n", b'event: chunk\ndata: {"a": 1}\n\n'])
def test_comments_between_events_are_ignored(event: bytes) -> None:
    comments = b": keep-alive\n\n" * (IGNORED_BYTES // 32)
    assert len(decoded(*[comments, event] * 10)) == 10


def test_chunks_without_blank_lines_are_returned_as_they_arrive() -> None:
    decoder = EventDecoder()
    line = b'data: {"a": "%s"}\n' % (b"x" * 10_000)
    count = EVENT_BYTES // len(line) + 10
    assert sum(len(decoder.feed(line)) for _ in range(count)) == count - 1
    assert len(decoder.end()) == 1


def test_chunks_without_blank_lines_are_separate_events() -> None:
    assert decoded(b'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n\n') == [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]


def test_pretty_printed_json_is_one_event() -> None:
    assert decoded(b'data: {\ndata: "a": {\ndata: "b": 2}}\n\n') == [b'{\n"a": {\n"b": 2}}']


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))
IGNORED = st.sampled_from([": comment", ":", "event: x", "id: 1", "retry: 5", "database: x"])
EVENT = st.lists(TEXT, min_size=1, max_size=3)


def cut(stream: bytes, data: st.DataObject) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    return [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])]


@pytest.mark.slow
@given(st.lists(EVENT), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["", "\ufeff"]), st.data())
def test_any_split_of_any_stream_gives_its_events(
    events: list[list[str]], end: str, mark: str, data: st.DataObject
) -> None:
    text = mark
    for lines in events:
        for line in lines:
            text += "".join(f"{ignored}{end}" for ignored in data.draw(st.lists(IGNORED, max_size=2)))
            text += f"data: {line}{end}"
        text += end
    assert decoded(*cut(text.encode(), data)) == ["\n".join(lines).encode() for lines in events]


@given(st.lists(st.sampled_from([b"data", b":", b" ", b"\n", b"\r", b"x", b"\xef\xbb\xbf", b"\xe2\x80"])), st.data())
def test_split_of_arbitrary_bytes_makes_no_difference(tokens: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(tokens)
    assert decoded(*cut(stream, data)) == decoded(stream)
