"""Questions by a date, by an id, with typing errors, and for whole lists, of a user of an assistant.

Of each kind, KNOWN and LATER were written on the same day. Changes of the library were made with KNOWN in view only.
"""

# ruff: noqa: RUF001 - full-width marks

from datetime import date
from typing import NamedTuple


class Entry(NamedTuple):
    """Statements on some days, and a question whose answer is in all of it."""

    said: tuple[tuple[date, str], ...]
    question: str


#: The day on which all questions are asked, a Thursday.
TODAY = date(2026, 10, 15)


def _on(month: int, day: int, text: str) -> tuple[date, str]:
    return date(TODAY.year, month, day), text


def _once(month: int, day: int, text: str, question: str) -> Entry:
    return Entry((_on(month, day, text),), question)


def _any_day(text: str, question: str, place: int) -> Entry:
    return _once(2 + place % 7, 1 + (place * 5) % 27, text, question)


#: The question names a time in the past.
KNOWN_DATES = (
    _once(10, 14, "I burned the lasagna and we ate toast.", "What did I tell you yesterday about dinner?"),
    _once(10, 14, "The vet says Nala has to lose two kilos.", "What happened yesterday?"),
    _once(10, 8, "I signed the contract for the new kitchen.", "What did I sign last week?"),
    _once(10, 12, "My driving lesson was a disaster, I hit a cone.", "What did I say on Monday?"),
    _once(5, 19, "We took the ferry to Gozo and I lost my hat.", "What was my trip in May?"),
    _once(7, 4, "The neighbours celebrated until three in the morning.", "What happened on 4 July?"),
    _once(9, 24, "I finally repaired the bicycle of my daughter.", "What did I repair three weeks ago?"),
    _once(9, 11, "My sister had twins, two boys.", "What news of my family was there last month?"),
    _once(10, 13, "Gestern war ich beim Zahnarzt, eine Füllung fehlt.", "Was habe ich vorgestern erzählt?"),
    _once(6, 21, "Wir haben am See gegrillt, es hat geregnet.", "Was haben wir im Juni am See gemacht?"),
    _once(10, 9, "Ich habe das Auto in die Werkstatt gebracht.", "Was habe ich letzte Woche mit dem Auto gemacht?"),
    _once(10, 14, "He suspendido el examen de estadística.", "¿Qué te conté ayer?"),
    _once(8, 16, "Fuimos a la boda de Marta en Cádiz.", "¿A qué boda fui en agosto?"),
    _once(10, 7, "J'ai acheté un vélo d'occasion.", "Qu'est-ce que j'ai acheté la semaine dernière ?"),
    _once(4, 3, "Nous avons planté un cerisier.", "Qu'avons-nous planté en avril ?"),
    _once(10, 14, "新しい上司と初めて話しました。", "昨日、私は何を話しましたか？"),
)
LATER_DATES = (
    _once(10, 14, "My flight home was delayed by six hours.", "What did I complain about yesterday?"),
    _once(10, 13, "I found a wallet on the tram and handed it in.", "What did I find the day before yesterday?"),
    _once(10, 6, "The choir rehearsal was cancelled because of the storm.", "Which rehearsal was cancelled last week?"),
    _once(10, 9, "I baked a cake with eleven eggs.", "What did I bake on Friday?"),
    _once(3, 8, "We walked along Hadrian's Wall and got blisters.", "Where did we walk in March?"),
    _once(6, 30, "I handed in my notice.", "What did I do on 30 June?"),
    _once(10, 1, "The plumber replaced the boiler.", "What was replaced two weeks ago?"),
    _once(9, 17, "My brother proposed to Ana on the beach.", "What did my brother do last month?"),
    _once(10, 14, "Ich habe mein Portemonnaie im Bus liegen lassen.", "Was ist mir gestern passiert?"),
    _once(7, 25, "Wir sind mit dem Nachtzug nach Split gefahren.", "Wohin sind wir im Juli gefahren?"),
    _once(10, 5, "Ich habe drei Gläser Marmelade gekocht.", "Was habe ich letzte Woche gekocht?"),
    _once(10, 14, "Me robaron la bicicleta delante de casa.", "¿Qué me pasó ayer?"),
    _once(5, 9, "Empecé un curso de cerámica.", "¿Qué curso empecé en mayo?"),
    _once(10, 8, "J'ai raté mon train à Lille.", "Qu'est-ce que j'ai raté la semaine dernière ?"),
    _once(2, 14, "Nous avons dîné chez Paul, c'était raté.", "Où avons-nous dîné en février ?"),
    _once(10, 14, "駅で財布を落としました。", "昨日、私は何を落としましたか？"),
)

#: The question has the id in another form, or asks for it.
KNOWN_IDS = tuple(
    _any_day(said, question, place)
    for place, (said, question) in enumerate(
        (
            ("My order number is KX-20418-B.", "kx20418b?"),
            ("The parcel has tracking id 00340434161094042557.", "Which parcel is 0034 0434 1610 9404 2557?"),
            ("The wifi at the cottage is FRITZ7590.", "fritz 7590"),
            ("Ticket INC0012345 is about the printer.", "What was INC-0012345 about?"),
            ("My bike's frame number is WSBC602345678.", "Whose frame number is WSBC 602345678?"),
            ("We fly with LH 1172 on the 3rd.", "When is LH1172?"),
            ("Our invoice RE-2026/0815 is unpaid.", "What about invoice RE 2026 0815?"),
            ("My locker is B-17, the code is 4402.", "Which locker do I have?"),
            ("The error is E_CONN_RESET in worker 7.", "E_CONN_RESET?"),
            ("I use python 3.11.9 at work.", "Where do I use 3.11.9?"),
            ("Mein Aktenzeichen ist 12 C 345/26.", "Wie lautet mein Aktenzeichen?"),
            ("Meine Kundennummer ist 4711-0815.", "47110815"),
        )
    )
)
LATER_IDS = tuple(
    _any_day(said, question, place)
    for place, (said, question) in enumerate(
        (
            ("Our booking at the hotel is HT-99-4471.", "ht994471"),
            ("The meter's serial number is 1ESY1160123456.", "What is 1ESY 1160123456?"),
            ("The printer in the hall is HP M404dn.", "m404 dn"),
            ("Bug PROJ-1287 is about the login page.", "What is PROJ1287?"),
            ("My train is ICE 703 to Berlin.", "When does ICE703 go?"),
            ("The policy has the number VS.55.2931.", "What about VS 55 2931?"),
            ("My seat in the library is R2-D14.", "Which seat is mine in the library?"),
            ("The build fails with ERR-5521-KL.", "err5521kl"),
            ("The car has the plate AB12 CDE.", "Whose plate is AB12CDE?"),
            ("We are on node v18.20.4 in production.", "Where do we run v18.20.4?"),
            ("Meine Vorgangsnummer ist 2026-AB-77.", "2026AB77"),
            ("Der Raum für das Seminar ist H-204a.", "Welches Seminar ist in H204a?"),
        )
    )
)

#: The question is typed in a hurry.
KNOWN_TYPOS = tuple(
    _any_day(said, question, place)
    for place, (said, question) in enumerate(
        (
            ("The password of the cabin is heron.", "teh pasword of the cabbin"),
            ("My accountant is Mrs. Whitfield.", "who is my acountant"),
            ("The dishwasher was installed in 2019.", "when was my dishwahser instaled?"),
            ("I am reading a biography of Magellan.", "am i reading a biografy"),
            ("Our anniversary is on 9 June.", "when is our aniversary"),
            ("My favourite restaurant is Zaytinya.", "whats my favorite restuarant"),
            ("The pharmacist recommended magnesium.", "what did the farmacist recommend to me"),
            ("I bought a secondhand accordion.", "did i buy an acordion"),
            ("Der Schornsteinfeger kommt am Montag.", "wann komt der schornsteinfger zu mir"),
            ("Mein Orthopäde heißt Dr. Lenz.", "wie heisst mein ortopäde"),
            ("Mi dentista está en la calle Mayor.", "donde esta mi dentsita"),
            ("Mon médecin s'appelle Dr Girard.", "comment s'appelle mon medcin"),
        )
    )
)
LATER_TYPOS = tuple(
    _any_day(said, question, place)
    for place, (said, question) in enumerate(
        (
            ("The combination of the safe is 31-7-22.", "combinaton of the saef"),
            ("My physiotherapist is called Rowan.", "who is my phisiotherapist"),
            ("The refrigerator makes a humming noise.", "what does my refridgerator do"),
            ("I take lessons in calligraphy.", "do i learn caligraphy"),
            ("The inheritance was split in three.", "what about my inheritence"),
            ("Our neighbour is a locksmith.", "what is our nieghbour"),
            ("The mechanic wants 400 for the exhaust.", "what does the mecanic want from me"),
            ("I ordered a wardrobe made of oak.", "did i order a wardrobe made of aok or a wadrobe"),
            ("Der Vermieter hat die Kaution zurückgezahlt.", "hat mein vermiter die kaution zurückgezalt"),
            ("Meine Steuerberaterin ist im Urlaub.", "wo ist meine steuerbraterin"),
            ("Mi hermana vive en Zaragoza.", "donde vive mi hermnaa"),
            ("Ma voisine élève des abeilles.", "que fait ma vosine"),
        )
    )
)


def _list(question: str, *said: str) -> Entry:
    return Entry(tuple(_on(2 + place, 3 + 2 * place, text) for place, text in enumerate(said)), question)


#: The question asks for a number or a whole list.
KNOWN_LISTS = (
    _list(
        "How many museums did I visit this year?",
        "I went to the Prado museum with Eva.",
        "The railway museum was closed, so I visited the zoo museum.",
        "I spent Sunday in the museum of glass.",
        "Today I saw the museum of the sea.",
    ),
    _list(
        "Which books did I read?",
        "I finished the book Piranesi.",
        "I read the book Stoner in two days.",
        "My new book is Pachinko, I read it at night.",
        "I have read half of the book Babel.",
    ),
    _list(
        "List all the languages I am learning or have learned.",
        "I am learning Welsh with an app.",
        "At school I learned Latin, of all languages.",
        "My Korean class starts next week.",
        "I gave up learning Finnish.",
    ),
    _list(
        "How often did I go swimming?",
        "I went swimming before work.",
        "Swimming was lovely this morning.",
        "I swam two kilometres in the lake.",
        "I swam with Jonas again.",
    ),
    _list(
        "Which people did I meet for coffee?",
        "I had coffee with Miriam.",
        "Coffee with my old boss Gil was fun.",
        "Lena was late for our coffee.",
        "I met Theo for a coffee at the station.",
    ),
    _list(
        "Wie viele Konzerte habe ich besucht?",
        "Das Konzert in der Elbphilharmonie war großartig.",
        "Ich war auf einem Konzert von Wanda.",
        "Gestern habe ich ein Orgelkonzert gehört.",
        "Wir waren im Konzert der Musikschule.",
    ),
    _list(
        "¿Qué recetas he cocinado?",
        "He cocinado una paella, receta de mi abuela.",
        "Probé una receta de lentejas.",
        "Cociné gazpacho por primera vez.",
        "La receta de croquetas me salió mal.",
    ),
    _list(
        "Combien de fois suis-je allé au cinéma ?",
        "Je suis allé au cinéma avec Zoé.",
        "Le film au cinéma Rex était nul.",
        "Hier, cinéma en plein air.",
        "Je suis encore allé au cinéma, seul.",
    ),
)
LATER_LISTS = (
    _list(
        "How many half marathons did I run?",
        "I ran the half marathon in Leeds in 1:58.",
        "My second half marathon was in the rain.",
        "I had to stop in the Bath half marathon.",
        "I ran a half marathon for the hospice.",
    ),
    _list(
        "Which films have I seen?",
        "I saw the film Aftersun and cried.",
        "The film Tár was too long for me.",
        "I have seen Past Lives, what a film.",
        "We watched an old film, The Third Man.",
    ),
    _list(
        "List every repair that I paid for.",
        "I paid 90 for the repair of the washing machine.",
        "The repair of the roof cost me 1,200.",
        "The bike is repaired, I paid 45.",
        "I paid the locksmith 150.",
    ),
    _list(
        "How often have I been ill?",
        "I have been ill since Friday.",
        "I was ill again, a cold.",
        "I am ill, the flu this time.",
        "I lay in bed ill all week.",
    ),
    _list(
        "Which instruments have I played?",
        "I played the ukulele in the park.",
        "I tried the bagpipes, what an instrument.",
        "I play the organ on Sundays.",
        "I had my first lesson on the harp.",
    ),
    _list(
        "Welche Pflanzen habe ich gekauft?",
        "Ich habe eine Monstera gekauft.",
        "Die neue Pflanze ist ein Farn.",
        "Ich habe mir einen Kaktus gekauft.",
        "Auf dem Markt habe ich zwei Pflanzen gekauft, Lavendel und Salbei.",
    ),
    _list(
        "¿Cuántos países he visitado?",
        "He visitado Irlanda, un país precioso.",
        "Visité Perú con mi hermano.",
        "El país más frío que he visitado es Islandia.",
        "Acabo de visitar Malta.",
    ),
    _list(
        "Quels livres ai-je achetés ?",
        "J'ai acheté un livre d'Annie Ernaux.",
        "J'ai encore acheté deux livres de cuisine.",
        "Le livre sur les oiseaux que j'ai acheté est beau.",
        "J'ai acheté L'Étranger pour ma nièce.",
    ),
)

KNOWN = {"dates": KNOWN_DATES, "ids": KNOWN_IDS, "typos": KNOWN_TYPOS, "lists": KNOWN_LISTS}
LATER = {"dates": LATER_DATES, "ids": LATER_IDS, "typos": LATER_TYPOS, "lists": LATER_LISTS}
