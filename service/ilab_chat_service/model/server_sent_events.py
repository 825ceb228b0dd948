"""Server-sent events: the data of each, from bytes that are cut anywhere. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. The data stays bytes: who reads
it decodes it, and no character is cut, because only whole lines are looked at.
"""

from __future__ import annotations

import json

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

#: Most bytes of an event: room for a reply of REPLY_BYTES in one, each character escaped, six bytes for one.
EVENT_BYTES = 8 * 1024 * 1024


class EventTooLong(ValueError):
    """An event does not end within EVENT_BYTES."""


class EventDecoder:
    """Decodes one stream. Ids, retry times and types are ignored, except the type `error`: see `error_of`.

    llama.cpp had a field `error` in the place of `data` until 2025.
    """

    def __init__(self) -> None:
        #: The line that has not ended yet, in the pieces in which it came.
        self._line: list[bytes] = []
        self._line_bytes = 0
        #: The lines of data of the event that has not ended yet.
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._is_error = False
        self._first_line = True
        self._after_carriage_return = False

    def feed(self, received: bytes) -> list[bytes]:
        """Return the data of each event that ends with *received*, the next bytes of the stream.

        Raises:
            EventTooLong: one has come that has more than EVENT_BYTES and has not ended.
        """
        if not (self._line or self._data or self._after_carriage_return) and (events := whole_events(received)):
            self._first_line = False
            return events
        if self._after_carriage_return and received:
            # A carriage return has ended its line; the line feed that may follow belongs to it.
            received = received.removeprefix(b"\n")
            self._after_carriage_return = False
        if not (b"\n" in received or b"\r" in received):
            self._line.append(received)
            self._line_bytes += len(received)
            self._check()
            return []
        self._after_carriage_return = received.endswith(b"\r")
        lines = b"".join((*self._line, received)).splitlines()
        self._line = [] if received.endswith((b"\n", b"\r")) else [lines.pop()]
        self._line_bytes = sum(map(len, self._line))
        events = self._events(lines)
        self._check()
        return events

    def end(self) -> list[bytes]:
        """Return the data of an event that the stream ends without the blank line after it, as some servers do."""
        return self.feed(b"\n\n")

    def _check(self) -> None:
        if self._line_bytes + self._data_bytes > EVENT_BYTES:
            raise EventTooLong

    def _events(self, lines: list[bytes]) -> list[bytes]:
        if self._first_line:
            self._first_line = False
            lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
        events = []
        for line in lines:
            if not line:
                events += self._ended()
                continue
            name, _, value = line.partition(b":")
            if name in {b"data", b"error"}:
                self._data.append(value.removeprefix(b" "))
                # With its end: empty lines take memory too.
                self._data_bytes += len(line) + 1
            if name == b"error" or (name == b"event" and value.strip() == b"error"):
                self._is_error = True
        return events

    def _ended(self) -> list[bytes]:
        """Return the data of the event that a blank line ends, if it has any."""
        data, is_error = self._data, self._is_error
        self._data, self._data_bytes, self._is_error = [], 0, False
        if not data:
            return []
        if len(data) > 1 and all(map(is_chunk, data)):
            # A server that ends its events with one line end: each line is a chunk, and joined they are none.
            return data
        joined = b"\n".join(data)
        return [error_of(joined) if is_error else joined]


def is_chunk(line: bytes) -> bool:
    """Return whether a line looks like a whole chunk: pretty-printed JSON has none that does."""
    return line == b"[DONE]" or (line.startswith(b'{"') and line.rstrip().endswith(b"}"))


def error_of(data: bytes) -> bytes:
    """Return the data of an error, which may be JSON or words, as an object whose `error` it is."""
    is_object = data.lstrip().startswith(b"{")
    return b'{"error": %s}' % (data if is_object else json.dumps(data.decode(errors="replace")).encode())


def whole_events(received: bytes) -> list[bytes]:
    """Return the data of each event of *received* if it is of events in the usual form only; else an empty list.

    So is nearly all that APIs send: an event has one line, `data: ...`, and line feeds end it.
    """
    if not (received.startswith(b"data: ") and received.endswith(b"\n\n")) or b"\r" in received:
        return []
    events = received[6:-2].split(b"\n\ndata: ")
    # More line feeds: an event has another line, or there is an empty one.
    return events if received.count(b"\n") == 2 * len(events) else []
