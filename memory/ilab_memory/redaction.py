"""Redaction of `<private>...</private>`. Pure, in time linear in the length of any text.

The parser fails closed. Text after an opening tag is private up to its closing tag, or to the end of the text without
one, even if the attributes are malformed. A closing tag without an opening tag makes everything before it private.

Lookalikes of the tag are tags too: HTML entities, JSON and URL escapes, full-width and other single angle brackets,
letters with accents or of other scripts that look like those of the name, and spaces or invisible characters inside the
tag. Inside a real tag only real tags count, so a lookalike cannot end it early.
"""

import hashlib
import re
import unicodedata
from typing import NamedTuple

#: The replacement of a private span.
REDACTED = "[REDACTED]"
#: Characters by which redaction can lengthen a text: an unclosed `<private` at its end is shorter than the replacement.
MOST_ADDED = len(REDACTED) - len("<private")

# Possessive quantifiers, and quoted values that end at the next quote, so that each character is scanned only a few
# times.
_OPEN = r"<private (?=[\s/>]|\Z)"


def _wide(characters: str) -> str:
    """Return a pattern of ASCII *characters*, each also in its full-width form."""
    return "".join(f"[{re.escape(each)}{chr(ord(each) + 0xFEE0)}]" for each in characters)


# Brackets in other encodings: full-width and small forms, other single angle brackets, HTML entities and URL escapes
# (also escaped more than once), and the escapes of JSON, JavaScript and Markdown. Marks of escapes may be full-width.
_AND = rf"(?: [&\uff06\ufe60] (?:{_wide('amp')}[;\uff1b])*+ )"
_NUMBER = r"[#\uff03]"
_BACKSLASH = r"[\\\uff3c]"
_PERCENT = rf"(?: [%\uff05] (?:{_wide('25')})*+ )"
_ZEROS = f"(?:{_wide('0')})*+"


def _escaped(name: str, decimal: str, hexadecimal: str) -> str:
    """Return a pattern of one character in HTML, JSON, JavaScript and URLs."""
    code = _wide(hexadecimal)
    return rf"""{_AND}(?: {_wide(name)} | {_NUMBER}{_ZEROS}{_wide(decimal)} | {_NUMBER}{_wide("x")}{_ZEROS}{code} )
                [;\uff1b]? | {_BACKSLASH}(?: {_wide("u00")} | {_wide("x")} ){code} | {_PERCENT}{code}"""


_LEFT = r"<\uff1c\ufe64\u02c2\u1438\u2039\u2329\u276c\u276e\u2770\u27e8\u29fc\u3008"
# Also quotation marks: `\u2039private life\u203a` is not a tag, and with these a tag has no attributes.
_QUOTES = r"\u2039\u276e\u3008"
_RIGHT = r">\uff1e\ufe65\u02c3\u1433\u203a\u232a\u276d\u276f\u2771\u27e9\u29fd\u3009"
_LT = rf"(?: [{_LEFT}] | {_escaped('lt', '60', '3c')} )"
_GT = rf"(?: {_BACKSLASH}?[{_RIGHT}] | {_escaped('gt', '62', '3e')} )"
_SLASH = rf"(?: {_BACKSLASH}?[/\uff0f\u2044\u2215\u29f8] | {_escaped('sol', '47', '2f')} )"
# Invisible characters: soft hyphen, joiners, directional marks, variation selectors, byte order mark.
_UNSEEN = r"\xad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
# Between the letters of the tag name: those, and marks above or below a letter. Without U+0345, which is an iota to a
# search that ignores case.
_BETWEEN = rf"{_UNSEEN}\u0300-\u0344\u0346-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
# Letters of other scripts that look like one of the tag name.
_LOOK_LIKE = {
    "p": "\u0440\u0420\u03c1\u03a1\u2374\u2ca3",
    "r": "\u0433\u0453\u1d26\u0280",
    "i": "\u0456\u0406\u0457\u04cf\u04c0\u03b9\u0399\u03af\u03ca\u0131\u0269\u026a",
    "v": "\u0475\u0474\u03bd\u2228\u22c1\u1d20",
    "a": "\u0430\u0410\u04d1\u04d3\u03b1\u0391\u03ac\u0251\u1d00",
    "t": "\u0442\u0422\u03c4\u03a4\u1d1b",
    "e": "\u0435\u0415\u0451\u0450\u04d7\u0454\u03b5\u0395\u03ad\u1d07\u212e",
}
# Where Unicode has letters that decompose into a Latin one: with accents, full-width, mathematical, in circles.
_STYLED = (
    *((0xC0, 0x250), (0x1D00, 0x1DC0), (0x1E00, 0x1F00), (0x2070, 0x20A0), (0x2100, 0x2180), (0x249C, 0x24EA)),
    *((0xFF21, 0xFF5B), (0x1D400, 0x1D7CC), (0x1F110, 0x1F170)),
)


def _styled() -> dict[str, str]:
    """Return the characters that look like each letter of the tag name."""
    found = dict(_LOOK_LIKE)
    for first, last in _STYLED:
        for character in map(chr, range(first, last)):
            letter = unicodedata.normalize("NFKD", character).strip("()")[:1].casefold()
            if letter in found:
                found[letter] += character
    return found


_LETTERS = {letter: f"[{letter}{re.escape(others)}]" for letter, others in _styled().items()}
# The tag name, in any of these letters.
_NAME = f"[{_BETWEEN}]*+".join(_LETTERS[letter] for letter in "private") + rf"[{_BETWEEN}]*+"
_TAG = re.compile(
    rf"""(?P<open>  {_OPEN} (?: (?: [^<>=]+ | =\s*(?:"[^"]*"|'[^']*') | = )*+ > )? )
       | (?P<close> </private\s*> )
       | (?P<like_open>
            (?! [{_QUOTES}] )
            {_LT} [{_UNSEEN}]*+ {_NAME} [{_UNSEEN}]*+ (?= [\s/] | {_GT} | \Z ) (?: [\s{_UNSEEN}/]*+ {_GT} )?
          | {_LT} [\s{_UNSEEN}]*+ {_NAME} [\s{_UNSEEN}/]*+ {_GT} )
       | (?P<like_close> {_LT} [\s{_UNSEEN}]*+ {_SLASH} [\s{_UNSEEN}]*+ {_NAME} [\s{_UNSEEN}]*+ {_GT} )""",
    re.IGNORECASE | re.VERBOSE,
)
_LOOKALIKES = frozenset({"like_open", "like_close"})
_CLOSERS = frozenset({"close", "like_close"})
_WORD = re.compile("private", re.IGNORECASE)
_LIKE_WORD = re.compile(_NAME, re.IGNORECASE)
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
    return _WORD.search(text) is not None or not (text.isascii() or _LIKE_WORD.search(text) is None)


def _opened(tag: re.Match[str]) -> int:
    """Return how many closing tags the opening *tag* needs; 0 if it is self-closing.

    An opening tag inside a quoted value counts too, because the quote may not have been meant as one.
    """
    opener: str = tag.group()
    opened = 1 if "=" not in opener else len(_OPENERS.findall(opener))
    # With an open quote, the "/>" is inside a value, so the tag is not self-closing.
    ends_itself = opener.endswith("/>") and opener.count('"') % 2 == 0 and opener.count("'") % 2 == 0
    return 0 if ends_itself and opened == 1 else opened
