"""Redaction of `<private>...</private>`. Pure and linear in the length of the text, whatever the text is.

The parser fails closed. What follows an opening tag is private up to its closing tag, or to the end of the text when
there is none, be the attributes well formed or not. A closing tag without an opener makes everything before it private.
"""

import hashlib
import re
from typing import NamedTuple

#: What stands in the place of a private span.
REDACTED = "[REDACTED]"

# Attributes are matched possessively and a quoted value ends at the next quote, so that no character is scanned for
# more than a few tags.
_OPEN = r"<private (?=[\s/>]|\Z)"
_TAG = re.compile(
    rf"""(?P<open>  {_OPEN} (?: (?: [^<>=]+ | =\s*(?:"[^"]*"|'[^']*') | = )*+ > )? )
       | (?P<close> </private\s*> )""",
    re.IGNORECASE | re.VERBOSE,
)
_WORD = re.compile("private", re.IGNORECASE)
_OPENERS = re.compile(_OPEN, re.IGNORECASE | re.VERBOSE)


class _Span(NamedTuple):
    start: int
    """Where the outermost tag begins."""
    end: int
    inner: slice
    """What lies between the outermost tags; empty for `<private/>`."""
    replacement: str


def strip_private(text: str) -> str:
    """Return *text* with each outermost private span replaced by `[REDACTED]` and each `<private/>` removed.

    Idempotent: the result holds no tag.
    """
    spans = _spans(text)
    if not spans:
        return text
    stripped = _replaced(text, spans)
    if _TAG.search(stripped):
        # Removing an empty tag has joined what stood around it into a tag: leave a mark in its place instead.
        return _replaced(text, [span._replace(replacement=REDACTED) for span in spans])
    return stripped


def private_spans(text: str) -> list[str]:
    """Return the private texts themselves, in order: what lies inside the outermost tags, without empty ones.

    For a caller that must find a secret where it is repeated without its tags. Same parser as `strip_private`.
    """
    return [inner for span in _spans(text) if (inner := text[span.inner])]


def normalized_hash(content: str) -> str:
    """Return the SHA-256 of *content* in hexadecimal. *content* must come from `strip_private`."""
    return hashlib.sha256(content.encode()).hexdigest()


def _replaced(text: str, spans: list[_Span]) -> str:
    pieces: list[str] = []
    position = 0
    for span in spans:
        pieces += (text[position : span.start], span.replacement)
        position = span.end
    pieces.append(text[position:])
    return "".join(pieces)


def _spans(text: str) -> list[_Span]:
    spans: list[_Span] = []
    if _WORD.search(text) is None:
        return spans
    depth = start = inner_start = 0
    for tag in _TAG.finditer(text):
        if tag.lastgroup == "open":
            if depth == 0:
                start, inner_start = tag.span()
            depth += _opened(tag)
            if depth == 0:
                spans.append(_Span(start, tag.end(), slice(0, 0), ""))
        elif depth == 0:
            # Closes what was never opened: all before it is private, whatever it was taken for.
            spans = [_Span(0, tag.end(), slice(0, tag.start()), REDACTED)]
        else:
            depth -= 1
            if depth == 0:
                spans.append(_Span(start, tag.end(), slice(inner_start, tag.start()), REDACTED))
    if depth:
        spans.append(_Span(start, len(text), slice(inner_start, len(text)), REDACTED))
    return spans


def _opened(tag: re.Match[str]) -> int:
    """Return how many closing tags the opening *tag* asks for; none if it ends itself.

    What looks like an opening tag inside a quoted value is counted: whether the quote was meant as one is not certain.
    """
    opener: str = tag.group()
    opened = 1 if "=" not in opener else len(_OPENERS.findall(opener))
    # An open quote means that the end of the tag is inside a value: not a tag that ends itself.
    ends_itself = opener.endswith("/>") and opener.count('"') % 2 == 0 and opener.count("'") % 2 == 0
    return 0 if ends_itself and opened == 1 else opened
