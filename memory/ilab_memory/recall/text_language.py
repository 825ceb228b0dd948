"""The language whose stemmer the words of a text are indexed with. Pure.

The index depends on it: a change of these words needs a new `schema.VERSION` of the stores. They are not those of
`languages`, which change more often. Words of Latin letters, without case and accents, from the stop words of Snowball
(https://snowballstem.org/algorithms/).
"""

# ruff: noqa: RUF001 - the dotless i of Turkish looks like another

from collections.abc import Iterable, Mapping, Sequence

#: Words of a text that are looked at, from its beginning.
MOST_WORDS, MOST_CHARACTERS = 40, 250
#: Frequent words by ISO 639-1.
FREQUENT = {
    "en": """
        a about after all am an and any are as at be been but by can could did do does for from had has have he her his
        how i if in into is it its just last like me more my no not now of on or our out she should so some that the
        their them then there they this to too up was we were what when where which who why will with would you your
    """,
    "de": """
        aber als am an auch auf aus bei beim bin bis da das dass dein deine dem den der des die doch du ein eine einem
        einen einer er es fur gerade gern gestern hab habe haben hast hat hatte heute ich ihr im immer in ist ja jeden
        kann kein keine mal man mehr mein meine meinem meinen meiner mich mir mit nach nicht noch nur oder ohne schon
        sehr seit sich sie sind so uber um und uns unser unsere vom von vor wann war waren warum was wegen weil wenn wer
        werde wie will wir wird wo zu zum zur
    """,
    "es": """
        a al algo con como cual cuando de del desde donde el ella en era es esta este esto estoy fue ha hay he la las le
        lo los mas me mi mis muy no nos nuestra nuestro o para pero por porque que quien se si sin sobre son soy su sus
        tambien tengo tiene tu un una unos y ya yo
    """,
    "fr": """
        a ai ainsi au aussi aux avec avons ce ces cet cette chez comme comment d dans de depuis des du elle en est et
        etait ete eu il ils j je l la le les leur lui ma mais me mes moi mon ne nos notre nous on ou par pas plus
        pour qu quand que quel quelle qui sa se ses son sont suis sur ta te tes ton tu un une vos votre vous y
    """,
    "id": """
        ada adalah akan aku anda apa atau bagaimana berapa bisa dan dari dengan di dia ini itu kami kamu kapan karena ke
        kita mereka nya pada saya sangat sudah tidak untuk yang
    """,
    "it": """
        a ai al alla alle anche che chi ci come con cosa da dal dalla degli dei del della delle di dove e gli ha hai ho
        i il in io la le lo ma mi mia mie miei mio molto ne nei nel nella noi non nostra nostro o per perche piu quale
        quando questa questo sei si sono sta sto su sul sulla tra tu un una uno
    """,
    "nl": """
        aan al als bij dan dat de deze die dit door dus een en er geen haar had heb hebben heeft hem het hij hoe hun ik
        in is je jij jouw kan maar me mee met mij mijn naar niet nog nu of om onder ons onze ook op over sinds te tot
        uit van veel voor waar wanneer waren was wat we wel welke werd wie wij wil worden zijn ze zo
    """,
    "pl": """
        ale bardzo bo był była byc ci co czy dla do gdy gdzie go i ich jak jaki jakie jako jest jestem juz kiedy kim
        kto ktory ma mam mi mnie moj moja moje mojej moim na nas nasz nasze nie o od po przez przy sa sie ta tak te tego
        tej ten to tylko tym u w we z za ze
    """,
    "pt": """
        a ao aos as com como da das de do dos e ela ele em era essa esse esta este eu foi ha isso ja la mais mas me
        meu meus minha minhas muito na nao nas no nos sao nossa nosso o onde os ou para pela pelo por qual quando que
        quem se sem sou sua suas tambem tem tenho um uma vou
    """,
    "sv": """
        alla att av blev bli da dar de den det detta dig din dina du eller en ett for fran ha hade han har hej hon hur i
        idag igar ingen inte jag kan man med men mig min mina mitt mot mycket nar ni nu och om oss pa sa sig sin skulle
        som till under upp ut vad var vara vart vem vi vill
    """,
    "tr": """
        ama bana ben beni benim bir bu bunu cok da daha de degil en gibi hangi her icin ile iki kac ki kim mi mu nasıl
        ne neden nerede o olan olarak oldu once sen sonra su ve veya var ya yok
    """,
}
#: Letters that tell a language from others.
LETTERS = {
    "de": "äöüß",
    "es": "ñ¿¡",
    "fr": "çèêëîœ",
    "it": "ìòè",
    "pl": "ąćęłńśźż",
    "pt": "ãçêõ",
    "sv": "åäö",
    "tr": "ığşçöü",
}
#: How much such a letter in a text weighs, in words: of one language, and of several.
ONLY_LETTER, SHARED_LETTER = 2, 1


def languages_by_word(words_of: Mapping[str, Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    """Return the languages of each word. *words_of*: the words of each language."""
    found: dict[str, tuple[str, ...]] = {}
    for language, words in words_of.items():
        for word in words:
            found[word] = (*found.get(word, ()), language)
    return found


_LANGUAGES_OF = languages_by_word({language: words.split() for language, words in FREQUENT.items()})
_LETTERS = {
    letter: [language for language, has in LETTERS.items() if letter in has] for letter in "".join(LETTERS.values())
}


def language_of(words: Sequence[str], text: str) -> str:
    """Return the likely language of *text*, by its *words* and its letters; empty if nothing is known of them."""
    counts = dict.fromkeys(FREQUENT, 0)
    for word in words[:MOST_WORDS]:
        for language in _LANGUAGES_OF.get(word, ()):
            counts[language] += 1
    beginning = text[:MOST_CHARACTERS]
    if not beginning.isascii():
        for letter in _LETTERS.keys() & {*beginning.casefold()}:
            for language in _LETTERS[letter]:
                counts[language] += ONLY_LETTER if len(_LETTERS[letter]) == 1 else SHARED_LETTER
    likely = max(counts, key=counts.__getitem__)
    return likely if counts[likely] else ""
