"""The Porter stemmer, and the irregular forms that no suffix rule reaches.

Source: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the author's two later departures
(`bli`, `logi`), which are also those of the `porter` tokenizer of SQLite. The tables are in the order of the paper.
"""

import re
from functools import lru_cache

_IRREGULAR = """
    be am is are was were been being; have has had having; do does did done doing; go goes went gone; begin began
    begun; bite bit bitten; break broke broken; bring brought; build built; buy bought; catch caught; choose chose
    chosen; come came; deal dealt; dig dug; draw drew drawn; drink drank drunk; drive drove driven; eat ate eaten;
    fall fell fallen; feed fed; feel felt; fight fought; find found; fly flew flown; forget forgot forgotten; freeze
    froze frozen; get got gotten; give gave given; grow grew grown; hang hung; hear heard; hide hid hidden; hold
    held; keep kept; know knew known; lead led; leave left; lend lent; lose lost; make made; mean meant; meet met;
    pay paid; ride rode ridden; ring rang rung; rise rose risen; run ran; say said; see saw seen; sell sold; send
    sent; shake shook shaken; shoot shot; show shown; sing sang sung; sink sank sunk; sit sat; sleep slept; speak
    spoke spoken; spend spent; stand stood; steal stole stolen; stick stuck; strike struck; swear swore sworn; sweep
    swept; swim swam swum; swing swung; take took taken; teach taught; tear tore torn; tell told; think thought;
    throw threw thrown; understand understood; wake woke woken; wear wore worn; win won; write wrote written; child
    children; man men; woman women; person people; foot feet; tooth teeth; mouse mice; goose geese; wife wives; life
    lives; knife knives; leaf leaves; shelf shelves; half halves; wolf wolves; loaf loaves; good better best; bad
    worse worst; big bigger biggest; hot hotter hottest; january jan; february feb; august aug; september sept;
    october oct; november nov; december dec; monday mon; tuesday tue tues; wednesday wed; thursday thu thurs; friday
    fri; tv television; photo photograph; bike bicycle; mom mum mother; dad father; grandma grandmother; grandpa
    grandfather; 2 two; 3 three; 4 four; 5 five; 6 six; 7 seven; 8 eight; 9 nine; 10 ten; 11 eleven; 12 twelve
"""
_BASE_FORMS = {form: forms.split()[0] for forms in _IRREGULAR.split(";") for form in forms.split()[1:]}

_STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "logi": "log", "bli": "ble",
    "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate",
    "alism": "al", "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti":
    "ble",
}  # fmt: skip
_STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion", "tion", "ou", "ism", "ate",
    "iti", "ous", "ive", "ize",
)  # fmt: skip

# A shorter word has no suffix.
_SHORTEST = 3

_ENDINGS_2 = re.compile(f"(?:{'|'.join(sorted(_STEP_2, key=len, reverse=True))})$")
_ENDINGS_3 = re.compile(f"(?:{'|'.join(sorted(_STEP_3, key=len, reverse=True))})$")
_ENDINGS_4 = re.compile(f"(?:{'|'.join(sorted(_STEP_4, key=len, reverse=True))})$")
_CONSONANT_Y = re.compile(r"(?:^|(?<=[aeiou]))y")
_SEQUENCE = re.compile(r"[aeiouy]+[^aeiouy]+")
_CVC = re.compile(r"[^aeiouy][aeiouy][^aeiouywxY]$")


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return the stem of *word*, which is lower case. A word that is not plain English letters is its own stem."""
    # "bicycles" meets "bike" as "bicycle" does.
    return porter(_BASE_FORMS.get(word) or _BASE_FORMS.get(word.removesuffix("s"), word))


def porter(word: str) -> str:
    """Return Porter's stem of *word*."""
    if len(word) < _SHORTEST or not (word.isascii() and word.isalpha()):
        return word
    # The rules see "Y" for a y that is a consonant.
    marked = _CONSONANT_Y.sub("Y", word)
    for step in (_step_1a, _step_1b, _step_1c, _step_2, _step_3, _step_4, _step_5):
        marked = step(marked)
    return marked.lower()


def _measure(stem: str) -> int:
    """Count the sequences of vowels followed by consonants: the paper's m."""
    return len(_SEQUENCE.findall(stem))


def _has_vowel(stem: str) -> bool:
    return any(letter in "aeiouy" for letter in stem)


def _step_1a(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _step_1b(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        if word.endswith(ending):
            rest = word[: -len(ending)]
            return _step_1b_tail(rest) if _has_vowel(rest) else word
    return word


def _step_1b_tail(rest: str) -> str:
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if len(rest) > 1 and rest[-1] == rest[-2] and rest[-1] not in "aeiouylsz":
        return rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _CVC.search(rest) else rest


def _step_1c(word: str) -> str:
    return word[:-1] + "i" if word[-1] in "yY" and _has_vowel(word[:-1]) else word


def _step_2(word: str) -> str:
    return _replace_ending(word, _ENDINGS_2, _STEP_2)


def _step_3(word: str) -> str:
    return _replace_ending(word, _ENDINGS_3, _STEP_3)


def _replace_ending(word: str, endings: re.Pattern[str], table: dict[str, str]) -> str:
    found = endings.search(word)
    if found is None or _measure(word[: found.start()]) == 0:
        return word
    return word[: found.start()] + table[found.group()]


def _step_4(word: str) -> str:
    found = _ENDINGS_4.search(word)
    if found is None:
        return word
    # Of "sion" and "tion" only "ion" goes.
    cut = found.start() + (found.group() in {"sion", "tion"})
    return word[:cut] if _measure(word[:cut]) > 1 else word


def _step_5(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        if _measure(rest) > 1 or (_measure(rest) == 1 and not _CVC.search(rest)):
            word = rest
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word
