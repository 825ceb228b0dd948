"""Parse server-sent events from arbitrarily split bytes. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. The data of events is returned
as bytes. Only whole lines are parsed, so no character is split.
"""

from __future__ import annotations

import json

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

#: Maximum size of an event: room for a reply of REPLY_BYTES whose characters are all escaped with six bytes each.
EVENT_BYTES = 8 * 1024 * 1024


class EventTooLong(ValueError):
    """An event does not end within EVENT_BYTES."""


class EventDecoder:
    """Decodes one stream. Ignores ids, retry times and types, except for the type `error`: see `error_of`.

    Until 2025, llama.cpp sent a field `error` instead of `data`.
    """

    def __init__(self) -> None:
        #: Pieces of the unfinished line.
        self._line: list[bytes] = []
        self._line_bytes = 0
        #: Data lines of the unfinished event.
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._is_error = False
        self._first_line = True
        self._after_carriage_return = False

    def feed(self, received: bytes) -> list[bytes]:
        """Return the data of each event that ends in *received*, the next bytes of the stream.

        Raises:
            EventTooLong: the unfinished event is larger than EVENT_BYTES.
        """
        if not (self._line or self._data or self._after_carriage_return) and (events := whole_events(received)):
            self._first_line = False
            return events
        if self._after_carriage_return and received:
            # The previous bytes ended with a carriage return, and a line feed belongs to the same line end.
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
        """Return the data of a last event without the blank line after it, which some servers omit."""
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
                # Count the line end too, because empty lines also use memory.
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
            # The server ends events with a single line end, so each line is a chunk. Joined, they would be invalid.
            return data
        joined = b"\n".join(data)
        return [error_of(joined) if is_error else joined]


def is_chunk(line: bytes) -> bool:
    """Return whether a line looks like a whole chunk. No line of pretty-printed JSON does."""
    return line == b"[DONE]" or (line.startswith(b'{"') and line.rstrip().endswith(b"}"))


def error_of(data: bytes) -> bytes:
    """Return the data of an error, JSON or plain text, wrapped in an object with the field `error`."""
    is_object = data.lstrip().startswith(b"{")
    return b'{"error": %s}' % (data if is_object else json.dumps(data.decode(errors="replace")).encode())


def whole_events(received: bytes) -> list[bytes]:
    """Return the data of each event if *received* consists of whole events in the usual form, else an empty list.

    The usual form is one line, `data: ...`, and two line feeds. Nearly all events have it.
    """
    if not (received.startswith(b"data: ") and received.endswith(b"\n\n")) or b"\r" in received:
        return []
    events = received[6:-2].split(b"\n\ndata: ")
    # More line feeds mean that an event has another line, or that a line is empty.
    return events if received.count(b"\n") == 2 * len(events) else []
