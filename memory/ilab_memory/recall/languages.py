"""Words with a function in a message, by language: tables to extend. Pure data, and the choice of a language.

Lower case. `*` in `user` and `pronouns` matches the rest of a word. For scripts without spaces, `phrases` says which parts of a text
have no content; the rest is content.
"""

# ruff: noqa: E501, RUF001 - wide characters; letters of other alphabets look like Latin ones

import re
from typing import NamedTuple


class Language(NamedTuple):
    """The words of one language that a message is read by."""

    function: str
    """Words without content; they also identify the language."""
    light: str
    """Words with little content: greetings, fillers, and words that occur in questions about anything."""
    user: str
    """Words by which a message speaks of its user."""
    pronouns: str = ""
    """Words that refer to the message before. `*` as in `user`."""
    questions: str = ""
    """Beginnings of a question, as a regular expression."""
    requests: str = ""
    """Beginnings of a request, as a regular expression."""
    lists: str = ""
    """Words that ask for a complete list, as a regular expression."""
    generic: str = ""
    """Phrases with a word of `user` that do not speak of the user, as a regular expression."""
    assistant: str = ""
    """Phrases that ask for the assistant's own words, as a regular expression."""


ENGLISH = Language(
    function="""
        a about above after again against all also am an and any are as at be because been before being below between
        both but by can could did do does doing don down during each few for from further had has have having he her
        here hers herself him himself his how i if in into is it its itself just me more most my myself no nor not now
        of off on once only or other our ours ourselves out over own same she should so some such than that the their
        theirs them themselves then there these they this those through to too under until up us very was we were what
        when where which while who whom whose why will with would you your yours yourself yourselves didn doesn isn
        aren wasn weren haven hasn hadn won wouldn couldn shouldn ain let may might must shall upon many much kind
        sort type please tell every im ive id dont whats
    """,
    light="""
        yes yeah yep yup nope ok okay hi hello hey yo hiya howdy sup bye goodbye later
        thanks thank thx ty welcome cheers sorry great cool nice fine good well better best bad awesome perfect amazing
        wonderful lovely helpful interesting funny right sure exactly indeed true correct really actually maybe
        perhaps haha hahaha lol lmao hm hmm hmmm mhm uh um oh wow ah alright got gotcha see understood next go going
        on continue proceed more else another again keep ready start stop wait moment think thought know knew
        remember remembered recall remind forget forgot mention mentioned say said says saying tell told ask asked
        talk talked discuss suggest suggested recommend recommended give gave make made get getting take took want
        wanted need needed like liked use used try find come came look looking help thing things stuff way lot bit new
        old big small long able possible anything something everything nothing someone anyone one two first last time
        times today yesterday tomorrow week day days ago currently usually always never ever list people person called named lately
        recently soon already still yet number part month months weeks hour hours year years happen happened going on did
    """,
    user="i i'm i've i'd i'll im ive me my mine myself we we're we've we'd us our ours ourselves",
    pronouns="it its that this those these there them they he she him her his their one",
    questions=r"""
        (?:what|who|whose|whom|where|when|why|which|how)(?:'s|\s+(?:is|are|was|were|am|do|does|did|can|could|should
        |would|will|has|have|had|many|much|long|old|often|far|big|about|else|kind|sort))\b
        |(?:do|does|did|is|are|am|was|were|can|could|should|would|have|has)\s+
        (?:i|you|we|he|she|it|they|my|our|the|there|this|that|anyone|someone)\b
    """,
    requests=r"""
        (?:please|write|explain|give|show|tell\s+me|suggest|recommend|help|list|translate|summari[sz]e|compare|draft
        |describe|recap|sum\s+up|remind|rewrite|rephrase|reword|shorten|proofread|convert|calculate|compute|create|generate
        |compose|define|outline|analy[sz]e|solve|simplify|brainstorm|invent|rank|walk\s+me|come\s+up\s+with|think\s+of
        |make\s+(?:me|this|it|up|an?|the)|plan\s+(?:me|an?|my|our|the)|fix\s+(?:this|the|my|these)|sort\s+(?:this|these|the)
        |(?:correct|review|check|edit)\s+(?:this|these|the\s+following|my)|(?:count|turn)\s+(?:this|these|the|my)|(?:pick|build|name)\s+(?:me|an?|some|two|three)
        |catch\s+me\s+up|(?:can|could|would|will)\s+you|i\s+need\s+(?:ideas|tips|help|advice))\b
    """,
    lists=r"how\s+(?:many|often)|which|list|all|every|each",
    generic=r"""
        how\s+(?:do|can|could|should|would)\s+(?:i|we)\b
        |\b(?:tell|give|show|help|let|teach|send|remind)\s+(?:me|us)\b
    """,
    assistant=r"""
        \byou(?:'ve|\s+have|\s+had)?\s+(?:just\s+|once\s+|also\s+)?(?:sa(?:y|id)|t(?:ell|old)|suggest|recommend|advi[sc]e|propos
        |mention|explain|g[ai]ve|wr[io]te|name|list|describe)|\byour\s+(?:own\s+)?(?:favou?rite|suggest|recommend|advice|answer
        |reply|list|plan|tip|explanation)|\bwas\s+your\s
    """,
)

#: By ISO 639-1. Each with the letters of its script.
LANGUAGES: dict[str, Language] = {
    "en": ENGLISH,
    "de": Language(
        function="""
            der die das den dem des ein eine einen einem einer eines und oder aber ich du er sie es wir ihr mich mir
            dich dir sich uns euch ihn ihm ihnen mein meine meinen meinem meiner dein deine deinen unser unsere unseren
            ist sind war waren bin bist sein habe hast hat haben hatte wird werden wurde kann kannst können soll sollte
            muss will in im an am auf aus bei mit nach von vom zu zum zur für über unter um als wie wo wer was wann
            warum wohin woher welche welcher welches welchen nicht kein keine auch noch schon nur so dass wenn da denn
            mal doch bitte viel viele alle worüber wovon worum womit hatten hattest
        """,
        light="""
            hallo na servus moin guten gute tschüss danke dankeschön ja nein okay super toll schön
            gut genau klar weiter geht's gehts geht dir alles machen macht gemacht sagen sag gesagt erzähl erinnerst
            erinnern weißt wissen gibt heute gestern nochmal nächste nächsten besten beste etwas ding wirklich heißt heißen heiße lautet kommt kommen wegen gerade tag tage tagen
            woche wochen jahr jahre monat zeit neulich zuletzt dank tausend vielen herzlichen schönen schönes wochenende bis
        """,
        user="ich mich mir mein meine meinen meinem meiner meines wir uns unser unsere unseren unserem unserer",
        pronouns="es das dies dieses dort dafür davon damit dabei ihn ihm sie",
        questions=r"(?:wer|was|wo|wann|warum|wieso|wie|welche[rsn]?|wohin|woher|wieviele?|kannst\s+du|habe\s+ich)\b",
        requests=r"(?:bitte|schreib|erkläre?|erzähle?|vergleiche?|gib|zeig|nenne|hilf|übersetze|empfiehl|fass(?:e|t)?|sag|erinnere?|formuliere?|korrigiere?|kürze?|erstelle?|entwirf|nenn|zähle?|verbessere|überarbeite|berechne|schlag(?:e)?|mache?\s+(?:mir|uns|einen?|aus|daraus)|kannst\s+du)\b",
        lists=r"wie\s*viele|wie\s+oft|welche|alle|jede[rsn]?|liste",
        generic=r"wie\s+(?:kann|soll|sollte|mache)\s+(?:ich|wir)\b|\b(?:gib|zeig|hilf|sag|nenn|erzähl|erklär)e?\s+(?:mir|uns)\b",
        assistant=r"\b(?:hast|hattest)\s+du\b|\bdu\b[^.?!]{0,60}\b(?:gesagt|empfohlen|vorgeschlagen|genannt|geraten)\b",
    ),
    "es": Language(
        function="""
            el la los las un una unos unas y o pero yo tú él ella nosotros ellos me te se nos lo le les mi mis tu tus
            su sus nuestro nuestra nuestros nuestras es son era eran soy eres fue fui ser está estás están estoy estaba
            he has ha hemos han había tengo tiene tienes de del a al en con por para sin sobre entre que qué quién
            quiénes cuál cuáles cuándo dónde cómo cuánto cuántos cuántas cuánta no sí ya también muy más como si porque
            este esta esto ese esa eso aquí allí hay puede podemos pueden puedo
        """,
        light="""
            hola buenos buenas adiós gracias bueno bien vale claro genial tal pasa sigue continúa
            dime dijo dije decir sabes recuerdas recordar hoy ayer cosa cosas mejor hacer hace puedes quiero
            favor perfecto siguiente llama llamo llaman día días semana año años vez últimamente mil muchas tengas descanses fin
        """,
        user="""
            yo me mi mis mí mío mía conmigo nosotros nos nuestro nuestra nuestros nuestras soy tengo vivo trabajo estoy
            puedo debo quiero fui hice compré dije estudio estudié nací hago voy pedí leí *amos *emos *imos
        """,
        pronouns="eso esto ello allí ahí lo la los las él ella *arlo *erlo *irlo *arla *erla *irla",
        questions=r"[¿]|(?:qué|quién|quiénes|cuál|cuáles|cuándo|dónde|adónde|cómo|cuánt[oa]s?|por\s+qué)\b",
        requests=r"(?:por\s+favor|escribe|expl[ií]ca(?:me)?|corrige|cuéntame|dame|muestra|dime|ayúdame|traduce|recomienda|res[uú]me(?:me|nos)?|recuérdame|crea|calcula|convierte|reescribe|acorta|propón(?:me)?|sugiere|compara|describe|enumera|planifica|redacta|haz(?:me)?|puedes)\b",
        lists=r"cuánt[oa]s|cuáles|tod[oa]s|cada|lista",
        generic=r"cómo\s+(?:puedo|hago|podemos)\b|\b(?:dime|dame)\b",
        assistant=r"\b(?:dijiste|recomendaste|sugeriste|aconsejaste|mencionaste|propusiste)\b",
    ),
    "fr": Language(
        function="""
            le la les un une des du de et ou mais je j tu il elle on nous vous ils elles me m te t se s moi toi mon ma
            mes ton ta tes son sa ses notre nos votre vos leur leurs est sont était étaient suis es être été ai as a
            avons avez ont avait dans en au aux à avec pour par sans sur sous que qu qui quoi quel quelle quels quelles
            quand où comment pourquoi combien ne n pas plus aussi très ce cet cette ces ça c d l y si comme fait pouvons pouvez peuvent pouvoir
        """,
        light="""
            bonjour salut bonsoir coucou allô merci beaucoup oui non ok d'accord super bien bon bonne va vas allez
            continue suite suivant parfait génial dis dit dire sais souviens rappelle rappelles aujourd hui hier chose
            choses faire peux peut veux plaît mieux meilleur journée soirée mille mercis demain week-end jour semaine
        """,
        user="je j j'ai moi me m mon ma mes nous notre nos",
        pronouns="ça cela ce y en le la les lui celui celle",
        questions=r"(?:qui|quels?|quelles?|où|comment|pourquoi|combien|est-ce|qu.est-ce|quand\s+est)\b",
        requests=r"(?:écris|explique|donne|montre|aide|traduis|recommande|résume[zr]?|rappelle|propose|suggère|corrige|calcule|convertis|réécris|rédige|compare|décris|prépare|crée|planifie|raconte|fais|dis|peux-tu|pouvez-vous|s.il)\b",
        lists=r"combien\s+de|quels|quelles|tous|toutes|chaque|liste",
        generic=r"comment\s+(?:puis-je|je\s+peux|faire)|\b(?:dis|donne|montre|aide|explique)-(?:moi|nous)\b",
        assistant=r"\b(?:tu\s+m.as|as-tu|m.as-tu|vous\s+m.avez|avez-vous)\b",
    ),
    "pt": Language(
        function="""
            o a os as um uma uns umas e ou mas eu tu ele ela nós eles elas você vocês me te se nos lhe meu minha meus
            minhas teu tua seu sua seus suas nosso nossa nossos nossas é são era eram sou foi fui ser está estão estou
            tenho tem temos têm de do da dos das em no na nos nas com por para pelo pela sem sobre que quem qual quais
            quando onde como quanto quantos quantas não sim já também muito mais este esta isto esse essa isso aqui ali posso podemos podem
        """,
        light="""
            olá oi bom boa tchau obrigado obrigada tudo bem beleza certo ótimo legal continua continue
            vai diz disse dizer sabe sabes lembra lembras hoje ontem coisa coisas melhor fazer pode quero favor próximo chama chamo
            chamam dia dias semana ano anos vez valeu amanhã fim tenha
        """,
        user="""
            eu me mim meu minha meus minhas comigo nós nosso nossa nossos nossas sou tenho moro vivo trabalho estou
            posso devo quero fui fiz comprei disse estudo estudei nasci vou *amos *emos *imos
        """,
        pronouns="isso isto aquilo ele ela lá o disso nisso",
        questions=r"(?:quem|onde|qual|quais|quant[oa]s?|por\s+que|o\s+que|quando\s+é)\b",
        requests=r"(?:por\s+favor|escreve|escreva|explica|explique|mostra|ajuda|traduz|recomenda|resum[ae]|lembra|cri[ae]|calcul[ae]|convert[ae]|reescrev[ae]|corri(?:ge|ja)|sug(?:ere|ira)|compar[ae]|descrev[ae]|planej[ae]|faz|faça|diz|diga|podes|pode)\b",
        lists=r"quant[oa]s|quais|tod[oa]s|cada|lista",
        generic=r"como\s+(?:posso|faço|podemos)\b",
        assistant=r"\b(?:disseste|recomendaste|sugeriste|você\s+(?:me\s+)?(?:disse|recomendou|sugeriu))\b",
    ),
    "it": Language(
        function="""
            il lo la i gli le un uno una e o ma io tu lui lei noi voi loro mi ti si ci vi me te mio mia miei mie tuo tua
            tuoi suo sua nostro nostra nostri nostre è sono era erano sei essere stato ho hai ha abbiamo hanno avevo di
            del della dei delle a al alla ai in nel nella con per da dal dalla senza su sul che chi cosa quale quali
            quando dove come perché quanto quanti quante non sì già anche molto più questo questa quello quella qui c posso possiamo possono può
        """,
        light="""
            ciao salve buongiorno buonasera buonanotte grazie prego bene buono va stai okay certo
            perfetto continua avanti dimmi detto dire sai ricordi ricordare oggi ieri cose fare fai puoi voglio
            favore meglio prossimo chiama chiamo chiamano giorno giorni settimana anno anni volta mille infinite giornata fine weekend domani
        """,
        user="""
            io me mi mio mia miei mie noi ci nostro nostra nostri nostre sono ho vivo abito lavoro sto posso devo
            voglio studio vado faccio *iamo
        """,
        pronouns="esso ciò quello questo lì là lo ne *rci *rne *rlo *rla *rli *rle",
        questions=r"(?:chi|dove|quale|quali|quant[oiae]|perché|che\s+cosa|cosa|quando\s+è|com'è)\b",
        requests=r"(?:per\s+favore|scrivi|spiega|dammi|mostra|aiutami|traduci|consiglia|riassumi(?:mi)?|ricordami|crea|correggi|calcola|converti|riscrivi|suggerisci|proponi|confronta|descrivi|elenca|pianifica|racconta|dimmi|fammi|puoi)\b",
        lists=r"quant[ie]|quali|tutt[ie]|ogni|elenca|lista",
        generic=r"come\s+(?:posso|faccio|possiamo)\b",
        assistant=r"\b(?:hai|avevi)\s+(?:detto|consigliato|suggerito|proposto)\b",
    ),
    "nl": Language(
        function="""
            de het een en of maar ik je jij hij zij ze wij we jullie mij me jou hem haar ons onze mijn jouw zijn hun is
            was waren ben bent heb hebt heeft hebben had wordt worden kan kun kunt moet wil zal in op aan uit bij met
            naar van voor over onder om te als hoe waar wie wat wanneer waarom welke welk niet geen ook nog al dat
            die dit deze er had hadden gehad kunnen
        """,
        light="""
            hallo hoi dag goedemorgen goedenavond doei bedankt dank dankjewel ja nee oké goed prima leuk gaat verder
            alles zeg gezegd weet onthoud vandaag gisteren ding doen graag heet heten week weken maand jaar hoeveel fijn fijne weekend morgen heel erg wel
        """,
        user="ik mij me mijn wij ons onze",
        pronouns="het dat dit daar daarvoor daaraan daarover ervoor eraan ervan ermee hem haar",
        requests=r"(?:schrijf|leg|geef|toon|vertel|help|vertaal|vat|zeg|noem|raad|maak|bereken|corrigeer|herschrijf|vergelijk|beschrijf|bedenk|stel|alsjeblieft|kun\s+je|kunt\s+u)\b",
        questions=r"(?:wie|wat|waar|wanneer|waarom|hoe|welke?|hoeveel)\b",
        lists=r"hoeveel|hoe\s+vaak|welke|alle|elke|lijst",
    ),
    "pl": Language(
        function="""
            i a w z na do od po o u za przez dla ja ty on ona my wy oni mnie mi ci go jej im nas nam mój moja moje moich
            mojego mojej twój twoja swój nasz nasza nasze jest są był była było byłem byłam jestem mam ma masz być że co
            kto kiedy gdzie jak jaki jaka jakie dlaczego ile który która które czy czym czego nie tak też już się to ten ta te możemy mogę może można
        """,
        light="cześć hej dobry dobranoc dziękuję dzięki proszę dobrze super okej słychać dalej powiedz dzień dobry wielkie bardzo miłego dnia weekendu jutra porządku",
        user="ja mnie mi mój moja moje moich mojego mojej moim nas nam nasz nasza nasze jestem mam byłem byłam *liśmy",
        pronouns="to tam tego tym go jej nim",
        requests=r"(?:proszę|napisz|wyjaśnij|podaj|pokaż|pomóż|przetłumacz|poleć|podsumuj|streść|zaplanuj|popraw|oblicz|przelicz|przepisz|zaproponuj|porównaj|opisz|wymień|stwórz|ułóż|zrób|powiedz|przypomnij|możesz)\b",
        questions=r"(?:kto|co|kiedy|gdzie|jak|jaki|jaka|jakie|dlaczego|ile|który|która|które|czy)\b",
        lists=r"ile|które|jakie|wszystkie|lista",
    ),
    "sv": Language(
        function="""
            en ett och eller men jag du han hon vi ni de mig dig honom henne oss min mitt mina din ditt dina vår vårt
            våra är var har hade blir kan ska vill i på av med till från för om under hur vad vem när var varför vilken
            vilket vilka inte också den det som att
        """,
        light="hej hejsan tjena god tack ja nej okej bra läget mår fortsätt säg sa idag igår",
        user="jag mig min mitt mina vi oss vår vårt våra",
        pronouns="det den där dem honom henne",
        requests=r"(?:skriv|förklara|ge|visa|hjälp|översätt|rekommendera|sammanfatta|säg|berätta|påminn|rätta|räkna\s+ut|jämför|beskriv|föreslå|skapa|kan\s+du)\b",
        questions=r"(?:vad|vem|var|när|varför|hur|vilken|vilket|vilka)\b",
        lists=r"hur\s+många|vilka|alla|varje|lista",
    ),
    "tr": Language(
        function="""
            ve veya ama ben sen o biz siz onlar bana beni benim sana senin bizim bir bu şu mi mı mu mü ne kim nerede
            nereye zaman nasıl neden hangi kaç için ile hakkında gibi kadar çok daha da de var yok değil
        """,
        light="merhaba selam günaydın teşekkürler teşekkür ederim evet hayır tamam iyi nasılsın devam çok sağ ol günler geceler haftasonu hafta sonu sonları haber",
        user="ben bana beni benim bende biz bizim bize *ım *im *um *üm *imiz *ımız",
        pronouns="o bu şu onu bunu orada",
        requests=r"(?:lütfen|yaz|açıkla|ver|göster|yardım|çevir|öner|özetle|söyle|anlat|hatırlat|planla|düzelt|hesapla|dönüştür|karşılaştır|listele|hazırla|oluştur)\b",
        questions=r"(?:ne|kim|nerede|nasıl|neden|hangi|kaç)\b",
        lists=r"kaç|hangi|bütün|tüm|liste",
    ),
    "vi": Language(
        function="""
            tôi bạn anh chị em của là và có không những các một này đó ở cho với gì ai đâu khi nào sao thế được đã sẽ
            mấy bao nhiêu
        """,
        light="xin chào cảm ơn cám vâng dạ ừ tốt khỏe tạm biệt tiếp tục",
        user="tôi mình chúng",
        lists=r"bao\s+nhiêu|mấy|tất\s+cả|những",
    ),
    "id": Language(
        function="""
            saya aku kamu anda dia kami kita mereka yang dan atau di ke dari untuk dengan ini itu ada adalah tidak apa
            siapa kapan mana bagaimana mengapa berapa sudah akan bisa
        """,
        light="halo hai selamat terima kasih ya baik kabar lanjut oke",
        user="saya aku kami kita",
        lists=r"berapa|semua|daftar",
    ),
    "ru": Language(
        function="""
            и в во на с со к чем чего по о об от из за у для без я ты он она оно мы вы они меня мне мной тебя тебе его ему её ей
            нас нам вас вам их им мой моя моё мои моего моей моих моему твой твоя наш наша наше наши это этот эта эти
            тот та то те что кто где когда как какой какая какие почему сколько куда ли не да нет а но или бы же был
            была было были есть быть у так уже ещё можем могу может можно
        """,
        light="""
            привет здравствуйте здравствуй доброе добрый пока спасибо пожалуйста хорошо ладно дела
            отлично ок дальше продолжай скажи помнишь знаешь сегодня вчера зовут день неделя год большое огромное хорошего хороших дня выходных утро завтра
        """,
        user="я меня мне мной мой моя моё мои моего моей моих моему мою мы нас нам наш наша наше наши нашего нашей",
        pronouns="это этого этом там туда его её их него неё он она",
        requests=r"(?:пожалуйста|напиши|объясни|дай|покажи|помоги|переведи|посоветуй|подведи|перескажи|скажи|расскажи|напомни|исправь|посчитай|рассчитай|сравни|опиши|предложи|составь|придумай|перепиши|назови|можешь)(?:те)?\b",
        questions=r"(?:кто|что|где|когда|как|какой|какая|какие|почему|сколько|куда)\b",
        lists=r"сколько|какие|все|каждый|список",
    ),
    "uk": Language(
        function="""
            і й в у на з до по про від за для я ти він вона ми ви вони мене мені мій моя моє мої це що хто де коли як
            який яка чи не та але
        """,
        light="привіт вітаю добрий дякую будь ласка так добре справи",
        user="я мене мені мій моя моє мої моїй моєї ми нас нам наш наша наше наші",
    ),
    "el": Language(
        function="""
            ο η το οι τα του της των τον την και ή εγώ εσύ μου σου με σε από για είναι τι ποιος ποια πού πότε πώς γιατί
            δεν να θα
        """,
        light="γεια καλημέρα καλησπέρα καληνύχτα ευχαριστώ παρακαλώ ναι όχι καλά κάνεις",
        user="εγώ μου με μας εμείς",
    ),
    "ar": Language(
        function="في من على إلى عن مع هو هي هذا هذه ما ماذا من متى أين كيف لماذا كم هل لا نعم أنا أنت نحن و أو",
        light="مرحبا أهلا السلام عليكم شكرا جزيلا حالك كيف",
        user="أنا نحن لي عندي",
    ),
    "he": Language(
        function="של את אני אתה הוא היא אנחנו מה מי איפה מתי איך למה כמה לא כן זה זאת על עם",
        light="שלום תודה רבה שלומך",
        user="אני שלי אנחנו שלנו לי",
    ),
}  # fmt: skip

#: Beginnings of German words before a noun, which is capitalized even if it is not a name.
GERMAN_DETERMINERS = (
    *("der", "die", "das", "den", "dem", "des", "ein", "mein", "dein", "sein", "ihr", "unser", "kein", "welche", "zum"),
    *("zur", "vom", "beim", "im", "am", "viel", "alle", "jede", "diese"),
)

#: Greetings whose words have content elsewhere.
GREETINGS = re.compile(
    r"""
    \b(?:good\s+(?:morning|afternoon|evening|night|day)|(?:have\s+a\s+)?(?:nice|good|great)\s+(?:day|evening|weekend)
    |grazie\s+(?:mille|tante|infinite)|mil\s+gracias|much[ií]simas\s+gracias|merci\s+(?:mille\s+fois|infiniment)
    |thanks\s+a\s+(?:lot|million|bunch)|(?:vielen|herzlichen|tausend|besten)\s+dank|muito\s+obrigad[oa]
    |gute[nr]?\s+(?:morgen|tag|abend|nacht)|schönen\s+(?:tag|abend)
    |buen[oa]s?\s+(?:días?|tardes?|noches?)|bonne\s+(?:journée|soirée|nuit)|bom\s+dia|boa\s+(?:tarde|noite)
    |buon\s+(?:giorno|pomeriggio)|buona\s+(?:sera|notte|giornata)|goede(?:n|)\s*(?:morgen|middag|avond)
    |dzień\s+dobry|dobry\s+wieczór|god\s+(?:morgon|kväll|natt|dag)|iyi\s+(?:akşamlar|geceler|günler)
    |chào\s+buổi\s+\w+|selamat\s+(?:pagi|siang|sore|malam)|доброе\s+утро|добр(?:ый|ого)\s+(?:день|вечер|дня)
    |добр(?:ий|ого)\s+(?:день|ранок|вечір|дня)|صباح\s+الخير|مساء\s+الخير|בוקר\s+טוב|ערב\s+טוב|לילה\s+טוב)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)

#: Parts without content of texts in scripts without spaces, the longest first: greetings, question words, particles.
PHRASES = re.compile(
    "|".join(
        sorted(
            """
            最近怎么样 最近 怎么样 怎麼樣 祝你 愉快 周末 太感谢了 非常 感谢 明天见 早安 好主意 就这样
            一下 你好 您好 早上好 晚上好 下午好 晚安 谢谢 謝謝 多谢 再见 好的 没问题 继续 然后呢 你好吗 知道 记得 告诉 什么 什麼 怎么
            怎麼 怎样 哪里 哪裡 哪儿 哪个 哪些 哪 谁 誰 多少 几个 几 吗 嗎 呢 吧 啊 的 了 是 在 我们 我們 我 你们 你 您 他们 他 她 们
            哪一天 哪天 哪年 哪位 几点 几号 几月 何时 为什么 为何 多久 多大 怎么样 里面 里 到
            这个 那个 这 那 有 和 与 也 都 不 请 可以 能 会 要 想 最 对 去 时候 请问
            何冊 何人 何回 何個 何枚 何本 最近 良い いい 一日 週末 本当に また明日 そうしましょう
            ありがとうございました ありがとうございます ありがとう こんにちは こんばんは おはようございます おはよう おやすみなさい おやすみ
            さようなら お願いします よろしく すみません はじめまして お元気ですか 元気 どうも はい いいえ わかりました なるほど 続けて
            どこですか いつですか なんですか ですか ますか でしたか ましたか でしょうか です ます でした ました どこ いつ なに なん 何 誰
            何日 何時 何曜日 何年 いつまで なぜ どうして どちら いくら
            だれ どの どれ どう いくつ について 教えて 覚えて 私たち 私の 私 僕の 僕 俺 わたし あなた それ これ あれ ください
            안녕하세요 안녕 감사합니다 고마워요 고맙습니다 반갑습니다 네 아니요 좋아요 계속 어디 언제 누구 무엇 뭐 어떻게 왜 얼마 몇
            며칠 몇시 무슨 어느 어떤 언제까지 했지 했어 했죠 했나 했니 대해 관해 우리가
            정말 고마워 감사 좋은 하루 주말 아침 보내세요 지내세요 지내 요즘 내일 봐요 알겠어요
            입니까 습니까 습니다 입니다 인가요 나요 예요 이에요 에요 어요 아요 세요 해요 제가 저는 나는 내가 우리 나의 저의
            สวัสดีครับ สวัสดีค่ะ สวัสดี ขอบคุณมาก ขอบคุณ ครับ ค่ะ คะ นะ ที่ไหน เมื่อไหร่ เมื่อไร อะไร ใคร ทำไม อย่างไร ยังไง
            เท่าไหร่ กี่ ของฉัน ของผม ของ ฉัน ผม เรา คุณ เป็น คือ อยู่ ไหน ไหม สบายดี
            नमस्ते नमस्कार धन्यवाद शुक्रिया कैसे हैं क्या कौन कहाँ कहां कब क्यों कितने कितना मेरा मेरी मेरे मुझे मैं हम आप है हूँ में का की के को से
            """.split(),
            key=len,
            reverse=True,
        )
    )
)
#: Words of such scripts that refer to the message before.
UNSPACED_PRONOUNS = re.compile(
    "它|那里|那儿|那边|这个|那个|这些|那些|それ|そこ|あれ|あそこ|これ|その|그거|그것|그건|거기|이거|이것|그게"
)
#: Words by which a message in such a script speaks of its user. The user is often left unsaid in Japanese, Korean, Thai.
UNSPACED_USER = re.compile("我|咱|私|僕|俺|わたし|うち|제|저|나|내|우리|ฉัน|ผม|เรา|मेर|मैं|मुझ|हम")
#: Words of such scripts that ask for a complete list.
UNSPACED_LISTS = re.compile(
    "多少|几|哪些|所有|全部|列出|いくつ|何冊|何人|何回|何個|すべて|全て|どんな|몇|모든|전부|กี่|ทั้งหมด|कितने|सभी"
)
#: Phrases of such scripts that ask for the assistant's own words.
UNSPACED_ASSISTANT = re.compile(
    "你(?:之前|刚才)?(?:说|推荐|建议|告诉)|言ってた|勧めてくれ|おすすめしてくれ|提案してくれ|추천해\\s*준|말해\\s*준"
)
#: Ends of a question in such scripts.
UNSPACED_QUESTION = re.compile(
    "(?:吗|嗎|呢|か|かな|까|나요|가요|ไหม|คะ)[。.!！ ]*$|什么|什麼|哪里|哪裡|谁|怎么|多少|なに|どこ|いつ|誰"
)
#: Requests in such scripts.
UNSPACED_REQUEST = re.compile(
    "(?:[きいしっん][てで]|[えけせてねべめれ]て|ください|下さい|くれる|ちょうだい)[。．!！ ]*$|^(?:请|帮我|给我|解释|翻译|写|列出|推荐|比较|介绍|改写|计算|描述|告诉我|总结|總結|概括)"
    "|(?:해|줘|주세요|줄래)[.!? ]*$"
)
