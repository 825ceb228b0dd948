"""Stored text as data: it cannot pass for another line of the prompt, another role, or a control token. Pure."""

from __future__ import annotations

import re

# Angle brackets, square brackets and bars, with the full-width and small forms that some tokenizers fold to ASCII.
_LT, _GT, _LSB, _RSB, _BAR = "<\uff1c\ufe64", ">\uff1e\ufe65", r"\[\uff3b", r"\]\uff3d", "|\uff5c\u01c0\u2223"

#: Longest name of a control token that is recognized, in characters. The longest known one has 40.
NAME_CHARACTERS = 64

#: Where one space turns a control token of a chat template into ordinary text. A rule about the form of control tokens,
#: so that it covers templates that are not known yet:
#:
#: - `<name>`, `</name>`, `<<NAME>>`: any name without spaces (Llama 2, Gemma, T5, GLM, roles, fill-in-the-middle).
#: - `<|name|>` and its halves `<|` and `|>`, also with full-width bars (ChatML, Llama 3, harmony, Granite, DeepSeek).
#: - `[NAME]`, `[/name]`, `[|name|]` (Mistral, Kimi, GLM, EXAONE): a name with two capitals or an underscore. So `a[0]`,
#:   `list[int]`, `T[K]` and the text of a Markdown link stay as they are, and so does the mark of redacted text.
#: - `]~b]`, `[e~[`, `]<]name[>[` (MiniMax) and `>>NAME<<` (Falcon).
#:
#: A lookahead never passes an opening bracket, so matching takes time in proportion to the text.
CONTROL_TOKEN = re.compile(
    rf"""[{_LT}] (?= [{_BAR}] | (?![-=]) [^\s{_LT}{_GT}]{{1,{NAME_CHARACTERS}}} [{_GT}] )
      | [{_LSB}] (?= [{_BAR}] | /\w | >\[
            | (?!REDACTED\]) (?=[^\W_]*_|[\w-]*[A-Z][\w-]*[A-Z]) [\w-]{{1,{NAME_CHARACTERS}}} [{_RSB}] )
      | [{_RSB}] (?= ~ | <\] )
      | ~ (?= [{_LSB}] )
      | (?<= >) > (?= \w{{1,{NAME_CHARACTERS}}} << )
      | (?P<closing> (?<= [{_BAR}]) [{_GT}] )""",
    re.VERBOSE,
)

#: A bracket is in every control token and in little other text, and is much cheaper to look for.
BRACKET = re.compile(rf"[{_LT}{_GT}{_LSB}{_RSB}]")

#: Control characters that text does not need; between a bracket and a bar they would hide a control token.
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

#: Everything that some reader takes for the end of a line, tabs and other control characters included.
BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """Return *text* neutralized, with every run of white space, line ends and control characters as one space."""
    # Printable text has no blanks but spaces, and this is several times as fast as the pattern.
    spaced = " ".join(text.split()) if text.isprintable() else BLANKS.sub(" ", text)
    return neutralized(spaced).strip()


def neutralized(text: str) -> str:
    """Return *text* without control characters, and with a space inside each control token of a chat template."""
    visible = text if text.isprintable() else CONTROL_CHARACTER.sub("", text)
    if not BRACKET.search(visible):
        return visible
    return CONTROL_TOKEN.sub(lambda match: f" {match[0]}" if match["closing"] else f"{match[0]} ", visible)


def is_visible(text: str) -> bool:
    """Return whether *text* has a character that is neither white space nor a control character."""
    return any(character.isprintable() and not character.isspace() for character in text)
