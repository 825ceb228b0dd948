"""Facts, and their topic keys: what a fact is about, such that a newer fact of the same key replaces it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from ilab_chat_service.message_statements.text import WORD, folded

if TYPE_CHECKING:
    from ilab_chat_service.message_statements.language import Language

#: Maximum number of characters of a fact or of a statement of the pool.
TEXT_CHARACTERS = 300

#: Maximum number of characters of a key, and of words of a value in it.
KEY_CHARACTERS = 100

KEY_WORDS = 6

#: Topics that are preferences or decisions. The others belong to the user's profile.
TYPES = {
    "taste": "preference",
    "favorite": "preference",
    "language": "preference",
    "style": "preference",
    "called": "preference",
    "decision": "decision",
}

#: Topics with several values at once, each with a key of its own.
LISTED = frozenset({"allergy", "taste", "food", "speaks", "learning", "health", "hobby"})

#: Topics that a statement about a change replaces, too: with another employer, the role may be another.
CHANGED = {"work": ("work/role",), "work/role": ("work",)}

BREAK = re.compile(r"[,;:.!?()，。；：、！？（）]|\s[-–—]\s")

SEPARATOR = re.compile(r"\s*[,、，;]\s*")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that the user says about themselves or wants from now on."""

    type: str
    """`profile`, `preference` or `decision`."""
    topic_key: str
    """The topic, such as `home` or `allergy/peanuts`. A newer fact with the same key replaces it."""
    text: str
    """The user's own words: one sentence or clause, at most 300 characters."""
    standing: bool
    """Whether it tells how to answer from now on."""


def type_of(key: str) -> str:
    """Return the type of a fact with this key."""
    return TYPES.get(key.partition("/")[0], "profile")


def values_of(text: str, language: Language) -> list[str]:
    """Return the items of an enumeration ("peanuts, kiwi and soy since 2010"), as they are in keys."""
    items: list[str] = []
    for part in SEPARATOR.split(cut(text, language, enumerated=True)):
        for item in language.phrases("and").anywhere.split(part):
            value = value_of(item, language)
            if not value or (value.count("-") >= KEY_WORDS // 2 and items):
                return items
            items.append(value)
    return items


def value_of(text: str, language: Language) -> str:
    """Return *text* as part of a key: folded, without articles, up to the end of the clause. It may be empty."""
    value = cut(folded(text), language)
    if language.spaced:
        articles = language.phrases("articles")
        while end := articles.at(value, 0):
            value = value[end:].lstrip(" '")
    return "-".join(WORD.findall(value)[:KEY_WORDS])


def cut(text: str, language: Language, *, enumerated: bool = False) -> str:
    """Return *text* up to the first mark or word that ends a value."""
    found = None if enumerated else BREAK.search(text)
    text = text[: found.start()] if found else text
    ending = language.phrases("value_ends").anywhere.search(text.lower())
    return (text[: ending.start()] if ending and ending.start() else text).strip()


def bounded(key: str) -> str:
    """Return *key*, with a hash as its end if it is long."""
    if len(key) <= KEY_CHARACTERS:
        return key
    return f"{key[: KEY_CHARACTERS - 17]}-{hashed(key)}"


def hashed(text: str) -> str:
    """Return a short name for a text, such as one that leaves no words for a key."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
