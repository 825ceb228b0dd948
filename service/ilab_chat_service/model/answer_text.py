"""Text of an answer that arrives in pieces: surrogate pairs are joined, and reasoning is split from the reply. Pure."""

from __future__ import annotations

import re

#: Halves that are left when pairs have been joined.
SINGLE = re.compile("[\ud800-\udfff]+")

#: Opening and closing tags: of DeepSeek, Qwen and most others; of Gemini; of Magistral.
TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "[think]": "[/think]",
}

LONGEST_OPENER = max(map(len, TAGS))

#: Maximum number of characters held back while it is unknown whether the reply begins with a block.
MAX_HELD = 1024


class AnswerText:
    """The reasoning and the reply of one answer."""

    def __init__(self) -> None:
        self._joiner = SurrogateJoiner()
        self._reasoning_joiner = SurrogateJoiner()
        self._splitter = ReasoningSplitter()

    def add(self, reasoning: str, text: str) -> tuple[str, str]:
        """Return what the next *reasoning* and *text* of the API add to the reasoning and to the reply."""
        text = self._joiner.add(text)
        if not self._splitter.done:
            split, text = self._splitter.add(text)
            reasoning += split
        return self._reasoning_joiner.add(reasoning) if reasoning else "", text

    def rest(self) -> tuple[str, str]:
        """Return the text that was held back, like `add`. Call it once, at the end."""
        reasoning, text = self._splitter.add(self._joiner.rest())
        held_reasoning, held_text = self._splitter.rest()
        reasoning = self._reasoning_joiner.add(reasoning + held_reasoning) + self._reasoning_joiner.rest()
        return reasoning, text + held_text


class SurrogateJoiner:
    """Joins surrogate pairs that were split over two pieces. Protobuf strings must not contain half of one.

    JSON escapes a character above U+FFFF as two surrogates, and some servers split between them. An unpaired surrogate
    becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str) -> str:
        """Return the complete characters that arrived with *piece*."""
        text = self._held + piece
        self._held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return joined_surrogates(text.removesuffix(self._held))

    def rest(self) -> str:
        """Return the text that was held back. Call it once, at the end."""
        held, self._held = self._held, ""
        return joined_surrogates(held)


def joined_surrogates(text: str) -> str:
    """Return *text* with surrogate pairs joined. Replace unpaired surrogates, and U+0000, which no store accepts."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    # Not by the codec's own "replace", which takes a microsecond for each: a reply can have a third of a million.
    return SINGLE.sub(lambda run: "\ufffd" * len(run[0]), joined)


class ReasoningSplitter:
    """Splits `<think>...</think>` blocks from the beginning of a reply, wherever the pieces are cut.

    Servers without a reasoning parser pass these tags through:
    https://docs.vllm.ai/en/latest/features/reasoning_outputs.html. A tag in the middle of a reply is part of the reply.
    White space around a block is dropped.
    """

    def __init__(self) -> None:
        #: Whether the reply has begun. From then on, all text is reply.
        self.done = False
        self._held = ""
        self._closer = ""
        self._after_block = False

    def add(self, text: str) -> tuple[str, str]:
        """Return what *text* adds to the reasoning and to the reply."""
        if self.done:
            return "", text
        self._held += text
        reasoning = ""
        while True:
            if self._closer:
                closed = re.search(re.escape(self._closer), self._held, re.IGNORECASE)
                if not closed:
                    return reasoning + self._all_but_a_beginning_of_closer(), ""
                reasoning += self._held[: closed.start()]
                self._held = self._held[closed.end() :]
                self._closer = ""
                self._after_block = True
            begun = self._held.lstrip()
            head = begun[:LONGEST_OPENER].lower()
            opener = next((tag for tag in TAGS if head.startswith(tag)), None)
            if not opener:
                # The limit prevents scanning endless white space again with each piece.
                may_open = len(self._held) <= MAX_HELD and any(tag.startswith(head) for tag in TAGS)
                self.done = not may_open
                return reasoning, self._taken() if self.done else ""
            self._closer = TAGS[opener]
            self._held = begun[len(opener) :]

    def rest(self) -> tuple[str, str]:
        """Return the text that was held back, like `add`. Call it once, at the end."""
        if self._closer:
            held, self._held = self._held, ""
            return held, ""
        return "", self._taken()

    def _taken(self) -> str:
        held, self._held = self._held, ""
        return held.lstrip() if self._after_block else held

    def _all_but_a_beginning_of_closer(self) -> str:
        """Return the held text, except for an end that may be the beginning of the closing tag."""
        start = self._held.rfind(self._closer[0])
        if start < 0 or not self._closer.startswith(self._held[start:].lower()):
            start = len(self._held)
        taken, self._held = self._held[:start], self._held[start:]
        return taken
