"""Redaction of `<private>...</private>`. Pure, in time linear in the length of any text.

The parser fails closed. Text after an opening tag is private up to its closing tag, or to the end of the text without
one, even if the attributes are malformed. A closing tag without an opening tag makes everything before it private.

Lookalikes of the tag are tags too: HTML entities, JSON and URL escapes, full-width brackets or letters, and spaces or
invisible characters inside the tag. Inside a real tag only real tags count, so a lookalike cannot end it early.
"""

import hashlib
import re
from typing import NamedTuple

#: The replacement of a private span.
REDACTED = "[REDACTED]"
#: Characters by which redaction can lengthen a text: an unclosed `<private` at its end is shorter than the replacement.
MOST_ADDED = len(REDACTED) - len("<private")

# Possessive quantifiers, and quoted values that end at the next quote, so that each character is scanned only a few
# times.
_OPEN = r"<private (?=[\s/>]|\Z)"
# Brackets in other encodings: full-width and small forms, HTML entities (also escaped more than once), and the escapes
# of JSON, JavaScript, URLs and Markdown.
_LT = r"(?: [<\uff1c\ufe64] | &(?:amp;)*+(?:lt|\#0*+60|\#x0*+3c);? | \\(?:u00|x)3c | %3c )"
_GT = r"(?: \\?[>\uff1e\ufe65] | &(?:amp;)*+(?:gt|\#0*+62|\#x0*+3e);? | \\(?:u00|x)3e | %3e )"
_SLASH = r"(?: \\?[/\uff0f] | &(?:amp;)*+(?:sol|\#0*+47|\#x0*+2f);? | %2f )"
# Invisible characters: soft hyphen, joiners, directional marks, variation selectors, byte order mark.
_UNSEEN = r"\xad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
# The tag name with invisible characters between its letters, each of them also in its full-width form.
_NAME = f"[{_UNSEEN}]*+".join(f"[{letter}{chr(ord(letter) + 0xFEE0)}]" for letter in "private")
_TAG = re.compile(
    rf"""(?P<open>  {_OPEN} (?: (?: [^<>=]+ | =\s*(?:"[^"]*"|'[^']*') | = )*+ > )? )
       | (?P<close> </private\s*> )
       | (?P<like_open>
            {_LT} [{_UNSEEN}]*+ {_NAME} [{_UNSEEN}]*+ (?= [\s/] | {_GT} | \Z ) (?: [\s{_UNSEEN}/]*+ {_GT} )?
          | {_LT} [\s{_UNSEEN}]*+ {_NAME} [\s{_UNSEEN}/]*+ {_GT} )
       | (?P<like_close> {_LT} [\s{_UNSEEN}]*+ {_SLASH} [\s{_UNSEEN}]*+ {_NAME} [\s{_UNSEEN}]*+ {_GT} )""",
    re.IGNORECASE | re.VERBOSE,
)
_LOOKALIKES = frozenset({"like_open", "like_close"})
_CLOSERS = frozenset({"close", "like_close"})
_WORD = re.compile("private", re.IGNORECASE)
_ODD_LETTER = re.compile(f"[{_UNSEEN}\uff21-\uff3a\uff41-\uff5a]")
_OPENERS = re.compile(_OPEN, re.IGNORECASE | re.VERBOSE)


class _Span(NamedTuple):
    start: int
    """Start of the outermost tag."""
    end: int
    inner: slice
    """The text between the outermost tags; empty for `<private/>`."""
    replacement: str


def strip_private(text: str) -> str:
    """Return *text* with each outermost private span replaced by `[REDACTED]` and each `<private/>` removed.

    Idempotent: the result contains no tag.
    """
    spans = _spans(text)
    if not spans:
        return text
    stripped = _replaced(text, spans)
    if _TAG.search(stripped):
        # Removing an empty tag joined the text around it into a tag: replace the empty tag by a mark instead.
        return _replaced(text, [span._replace(replacement=REDACTED) for span in spans])
    return stripped


def private_spans(text: str) -> list[str]:
    """Return the non-empty texts inside the outermost private tags, in order, as `strip_private` parses them.

    For callers that look for private text elsewhere, where it has no tags.
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
    if not _may_have_tags(text):
        return spans
    # Number of open tags, and of open lookalikes outside of those.
    depth = likes = start = inner_start = 0
    for tag in _TAG.finditer(text):
        if depth and tag.lastgroup in _LOOKALIKES:
            continue
        is_outermost = not (depth or likes)
        if is_outermost and tag.lastgroup in _CLOSERS:
            # A closing tag without an opening tag: everything before it is private.
            spans = [_Span(0, tag.end(), slice(0, tag.start()), REDACTED)]
            continue
        if is_outermost:
            start, inner_start = tag.span()
        depth, likes = _counted(tag, depth, likes)
        if not (depth or likes):
            ends_itself = _Span(start, tag.end(), slice(0, 0), "")
            closed = _Span(start, tag.end(), slice(inner_start, tag.start()), REDACTED)
            spans.append(ends_itself if is_outermost else closed)
    if depth or likes:
        spans.append(_Span(start, len(text), slice(inner_start, len(text)), REDACTED))
    return spans


def _counted(tag: re.Match[str], depth: int, likes: int) -> tuple[int, int]:
    """Return the number of tags, and of lookalikes outside of them, that are open after *tag*."""
    if tag.lastgroup == "like_open":
        # Also for a self-closing lookalike, because it may not have been meant as one.
        return depth, likes + 1
    if tag.lastgroup == "open":
        return depth + _opened(tag), likes
    return (depth - 1, likes) if depth else (depth, likes - 1)


def _may_have_tags(text: str) -> bool:
    """Return whether *text* contains the tag name in any form. Cheaper than a search for tags."""
    return _WORD.search(text) is not None or not (text.isascii() or _ODD_LETTER.search(text) is None)


def _opened(tag: re.Match[str]) -> int:
    """Return how many closing tags the opening *tag* needs; 0 if it is self-closing.

    An opening tag inside a quoted value counts too, because the quote may not have been meant as one.
    """
    opener: str = tag.group()
    opened = 1 if "=" not in opener else len(_OPENERS.findall(opener))
    # With an open quote, the "/>" is inside a value, so the tag is not self-closing.
    ends_itself = opener.endswith("/>") and opener.count('"') % 2 == 0 and opener.count("'") % 2 == 0
    return 0 if ends_itself and opened == 1 else opened
