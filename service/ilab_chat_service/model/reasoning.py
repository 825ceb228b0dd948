"""Reasoning that a model writes into its text: `<think>...</think>` blocks, split from the reply. Pure.

Servers without a parser for reasoning pass these tags on: https://docs.vllm.ai/en/latest/features/reasoning_outputs.html
"""

from __future__ import annotations

import re

#: What opens a block, and what closes it: DeepSeek, Qwen and most others; Gemini; Magistral.
TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "[think]": "[/think]",
}

#: Longest text that can still become an opening tag, without leading white space.
LONGEST_OPENER = max(map(len, TAGS))

#: Characters that are held back at most until it is known whether a reply begins with a block.
HELD_MOST = 1024


class ReasoningSplitter:
    """Splits blocks at the beginning of a reply from it, wherever the pieces are cut.

    Only there: in the middle of a reply, a tag is part of what the model says. White space around a block belongs to
    neither side.
    """

    def __init__(self) -> None:
        #: Whether the reply has begun. From then on, everything is reply.
        self.done = False
        self._held = ""
        self._closer = ""
        self._after_block = False

    def add(self, text: str) -> tuple[str, str]:
        """Return what *text* adds to the reasoning, and what it adds to the reply."""
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
                # An endless run of white space is not looked through again with each piece.
                may_open = len(self._held) <= HELD_MOST and any(tag.startswith(head) for tag in TAGS)
                self.done = not may_open
                return reasoning, self._taken() if self.done else ""
            self._closer = TAGS[opener]
            self._held = begun[len(opener) :]

    def rest(self) -> tuple[str, str]:
        """Return what was held back, as `add` does, once."""
        if self._closer:
            held, self._held = self._held, ""
            return held, ""
        return "", self._taken()

    def _taken(self) -> str:
        held, self._held = self._held, ""
        return held.lstrip() if self._after_block else held

    def _all_but_a_beginning_of_closer(self) -> str:
        """Return what is held, except for an end that may be the beginning of the closing tag."""
        start = self._held.rfind(self._closer[0])
        if start < 0 or not self._closer.startswith(self._held[start:].lower()):
            start = len(self._held)
        taken, self._held = self._held[:start], self._held[start:]
        return taken
