"""Parse server-sent events from arbitrarily split bytes. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. The data of events is returned
as bytes. Only whole lines are parsed, so no character is split.
"""

from __future__ import annotations

import json

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

#: Maximum size of an event: room for a reply of REPLY_BYTES in any script, with each character escaped. Chunks of a
#: stream are smaller than 64 KiB.
EVENT_BYTES = 2 * 1024 * 1024

#: Maximum number of data lines of an event. JSON takes one, unless it is pretty-printed.
EVENT_LINES = 10_000

#: Maximum size of comments, blank lines and other fields between two events. A keep-alive comment has about 25 bytes.
IGNORED_BYTES = 256 * 1024


class EventTooLong(ValueError):
    """An event does not end within EVENT_BYTES and EVENT_LINES."""


class TooManyComments(ValueError):
    """More than IGNORED_BYTES arrived without an event."""


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
        #: Size of the lines without data since the last event.
        self._ignored_bytes = 0
        self._is_error = False
        self._first_line = True
        self._after_carriage_return = False

    def feed(self, received: bytes) -> list[bytes]:
        """Return the data of each event that ends in *received*, the next bytes of the stream.

        Raises:
            EventTooLong: the unfinished event is too large.
            TooManyComments: nothing but comments, blank lines and other fields has arrived for too long.
        """
        if not (self._line or self._data or self._after_carriage_return) and (events := whole_events(received)):
            self._first_line = False
            self._ignored_bytes = 0
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
        if self._line_bytes + self._data_bytes > EVENT_BYTES or len(self._data) > EVENT_LINES:
            raise EventTooLong
        if self._ignored_bytes > IGNORED_BYTES:
            raise TooManyComments

    def _events(self, lines: list[bytes]) -> list[bytes]:
        if self._first_line:
            self._first_line = False
            lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
        events = []
        for line in lines:
            if not line:
                events += self._ended()
                continue
            if line.startswith(b":"):
                self._ignored_bytes += len(line) + 1
                continue
            name, _, value = line.partition(b":")
            # Count the line end too, because empty lines also use memory.
            size = len(line) + 1
            if name in {b"data", b"error"}:
                events += self._before(data := value.removeprefix(b" "))
                self._data.append(data)
                self._data_bytes += size
            else:
                self._ignored_bytes += size
            if name == b"error" or (name == b"event" and value.strip() == b"error"):
                self._is_error = True
        return events

    def _before(self, data: bytes) -> list[bytes]:
        """Return the chunk before the data line *data*, if the server ends events with a single line end.

        Then each line is a chunk. Joined, they would be invalid.
        """
        if len(self._data) != 1 or self._is_error or not (is_chunk(self._data[0]) and is_chunk(data)):
            return []
        chunk, self._data, self._data_bytes, self._ignored_bytes = self._data, [], 0, 0
        return chunk

    def _ended(self) -> list[bytes]:
        """Return the data of the event that a blank line ends, if it has any."""
        data, is_error = self._data, self._is_error
        self._data, self._data_bytes, self._is_error = [], 0, False
        if not data:
            self._ignored_bytes += 1
            return []
        self._ignored_bytes = 0
        if len(data) > 1 and all(map(is_chunk, data)):
            # See `_before`.
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
