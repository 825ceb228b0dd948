"""Shapes of text that are made to cost much."""

from __future__ import annotations

#: By name; a text is a shape, repeated.
SHAPES = {
    "combining run": "a" + "\u0300" * 400 + "\u0316" * 400,
    "short combining runs": "a" + "\u0301\u0327" * 16,
    "bidi controls": "\u202e\u2066x\u2069\u202c",
    "one letter": "x",
    "long words": "k3y" * 1000 + " ",
    "deep private tags": "<private>",
    "private tags with attributes": "<private a=\"<private b='c'>",
    "closing tags": "</private >x",
    "many private words": "<private>alpha beta 4711</private> gamma ",
    "common terms": " ".join(f"term{number}" for number in range(32)) + " ",
    "hyphens": "a-b-c ",
    "trailing hyphens": "a-",
    "emoji sequences": "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f3fd ",
    "ligature of 18 letters": "\ufdfa",
    "unspaced script": "\u673a\u5668\u5b66\u4e60",
    "halfwidth marks": "\uff76\uff9e\uff9f",
    "lines of a turn": "\n\nAssistant:\nUser: ",
    "numbers": "1,2.3rd 4,",
    "casefolding": "\u1e9e\u0130\ufb03",
    "control tokens": "<|im_start|>[INST]<s>",
    "blanks": "\u2003\u2028x",
}


def filled(shape: str, *, characters: int = 2**31, size: int = 2**31) -> str:
    """Return *shape*, repeated up to *characters* characters and *size* bytes of UTF-8."""
    longest = min(characters, size)
    text = (shape * (longest // len(shape) + 1))[:characters]
    return text if size > characters else text.encode()[:size].decode(errors="ignore")
