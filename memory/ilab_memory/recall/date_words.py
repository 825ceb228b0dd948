"""Words for dates in a message, by language: tables to extend. Pure data.

Regular expressions, in lower case. A space is any white space. `{n}` is a number in digits or words, `{unit}` one of
`units`; `{weekday}`, `{month}` and `{day}` (of a month) are what they say. In `numbers`, `weekdays` and `months` an
underscore stands for a space.
"""

# ruff: noqa: E501, RUF001 - wide tables; letters of other alphabets look like Latin ones

from typing import NamedTuple


class DateWords(NamedTuple):
    """How one language says when something was said."""

    days: tuple[str, str, str]
    """Today, yesterday, the day before yesterday."""
    numbers: str
    """1, 2, 3 and so on, with alternatives."""
    units: tuple[str, str, str, str]
    """Day, week, month, year, in every form."""
    ago: str
    """A number of units before now."""
    last: str
    """The day, week, month or year before this one."""
    this: str
    """This week, month or year."""
    span: str
    """The last units until now."""
    weekdays: str
    """From Monday to Sunday."""
    on: str
    """A day of the week."""
    months: str
    """From January to December."""
    during: str
    """A month. A year may follow."""
    date: str
    """A day of a month. A year may follow."""
    weekend: str
    """The last weekend."""
    talk: str
    """Words by which a message asks for what was said."""
    former: str = "(?!)"
    """Words in the other expressions that say that they are in the past."""
    when: str = "(?!)"
    """Words by which a message asks for a time."""
    past: str = "(?!)"
    """Words by which a message speaks of what is over."""


DATE_WORDS: dict[str, DateWords] = {
    "en": DateWords(
        days=("(?:earlier )?today|this (?:morning|afternoon|evening)", "yesterday|last night", "(?:the )?day before yesterday"),
        numbers="one|an? two|a_couple_of|a_couple three|a_few|some four five six seven eight nine ten eleven twelve",
        units=("days?", "weeks?", "months?", "years?"),
        ago="{n} {unit} (?:ago|back|earlier)",
        last="(?:last|previous) {unit}|the {unit} before",
        this="(?:earlier )?this {unit}",
        span="(?:in |over |during )?(?:the )?(?:last|past|previous) {n} {unit}|(?:the )?past {unit}|(?:in|over|during) the last {unit}|recently|lately",
        weekdays="monday tuesday wednesday thursday friday saturday sunday",
        on="(?:on |last |this past |previous )(?:last )?{weekday}",
        months="january february march april may june july august september october november december",
        during="(?:in|during|last|back in) (?:last )?{month}",
        date="(?:on )?(?:the )?{day}(?:st|nd|rd|th)? (?:of )?{month}|(?:on )?{month} (?:the )?{day}(?:st|nd|rd|th)?",
        weekend="(?:last|at the|on the|over the|previous|this past) weekend",
        talk="talk(?:ed|ing)?|speak|spoke(?:n)?|discuss(?:ed|ing)?|cha?t(?:ted|ting)?|say|said|tell|told|mention(?:ed)?|ask(?:ed)?|convers(?:e|ed|ations?)|covered?|wr[io]te|texted|come up|came up|chats?|discussions?|summar(?:y|i[sz]e|i[sz]ed)|recap|sum up|topics?|go over|went over|catch me up",
        former="last|previous|past",
        when="when|(?:what|which) (?:day|date|month|year)|how long ago",
        past="did|was|were|had|happened|went|got|made|took|bought|saw|met|came|gave|found|ate",
    ),
    "de": DateWords(
        days=("heute(?: (?:früh|morgen|vormittag|mittag|nachmittag|abend))?", "gestern(?: (?:früh|morgen|abend|nacht))?|letzte nacht", "vorgestern"),
        numbers="ein(?:em|er|en|e|es)? zwei drei|ein_paar|einigen|wenigen vier fünf sechs sieben acht neun zehn elf zwölf",
        units=("tag(?:e|en)?", "wochen?", "monat(?:e|en|s)?", "jahr(?:e|en|es)?"),
        ago="vor {n} {unit}",
        last="(?:in der |im |am )?(?:letzten?[nrsm]?|vorigen?[nrsm]?|vergangenen?[nrsm]?|vorherigen?[nrsm]?) {unit}",
        this="(?:in )?diese[nrsm]? {unit}",
        span="(?:in den |der )?(?:letzten|vergangenen) {n} {unit}|kürzlich|neulich|in letzter zeit",
        weekdays="montag dienstag mittwoch donnerstag freitag samstag|sonnabend sonntag",
        on="(?:am|letzten|vorigen|vergangenen) (?:letzten |vergangenen )?{weekday}(?:abend|morgen|nachmittag)?",
        months="januar|jänner februar märz april mai juni juli august september oktober november dezember",
        during="(?:im|letzten|vorigen|vergangenen) (?:letzten )?{month}",
        date="(?:am )?{day}\\. ?{month}",
        weekend="(?:am |letztes |vergangenes |voriges )(?:letzten |vergangenen )?wochenende",
        talk="gesprochen|sprachen|geredet|redeten|besprochen|unterhalten|gesagt|sagte|erzählt|erwähnt|gefragt|diskutiert|geschrieben|gechattet|thema|themen|gespräche?s?|unterhaltung(?:en)?|chats?|zusammenfass(?:en|ung)|zusammengefasst|fass(?:e|t)?|zusammen",
        former="letzte|vorig|vergangen",
        when="wann|welche[mnrs]? (?:tag|datum|monat|jahr)",
        past=r"war(?:en|st|t)?|hatten?|hattest|wurden?|(?:habe|hast|hat|haben|bin|bist|ist|sind) .*ge\w+(?:t|en)|(?:habe|hast|hat|haben) .*\w+(?:iert|sucht|kauft|zählt|kommen|funden)|passierte?|ging(?:en)?|gab",
    ),
    "es": DateWords(
        days=("hoy|esta (?:mañana|tarde)", "ayer|anoche", "anteayer|antes de ayer|antier"),
        numbers="un|una|uno dos|un_par_de tres|unos|unas|pocos|pocas cuatro cinco seis siete ocho nueve diez once doce",
        units=("días?", "semanas?", "mes(?:es)?", "años?"),
        ago="hace {n} {unit}|{n} {unit} atrás",
        last="(?:el |la )?{unit} (?:pasad[oa]|anterior)",
        this="(?:en |de )?est[ea] {unit}",
        span="(?:en |de )?l[oa]s (?:últim[oa]s|pasad[oa]s) {n} {unit}|(?:en )?(?:el|la) últim[oa] {unit}|recientemente|últimamente",
        weekdays="lunes martes miércoles jueves viernes sábado domingo",
        on="(?:el|este|del?) (?:pasado )?{weekday}(?: pasado)?",
        months="enero febrero marzo abril mayo junio julio agosto septiembre|setiembre octubre noviembre diciembre",
        during="(?:en|durante) {month}(?: pasado)?",
        date="(?:el )?{day} de {month}",
        weekend="(?:el |este )?(?:fin de semana|finde)(?: pasado)?",
        talk="habla(?:mos|ste|do|ba)|hablé|charla(?:mos|do)|conversa(?:mos|do)|discuti(?:mos|do)|dij(?:e|iste|imos)|dicho|cont(?:é|aste|amos)|menciona(?:ste|mos|do)|mencioné|pregunt(?:é|aste|amos|ado)|comenta(?:mos|do|ste)|comenté|escrib(?:í|imos)|charlas?|conversaci(?:ón|ones)|res[uú]m(?:e|en|eme|ir|irme)|resumas|temas?",
        former="pasad|anterior|últim",
        when="cuándo|qué (?:día|fecha|mes|año)",
        past=r"fu[ie]|fuimos|fueron|era[ns]?|hab[íi]a|hemos|ha[ns]? \w+(?:ado|ido)|he \w+(?:ado|ido|cho|to)|hice|hizo|\w{3,}(?:é|ó|aste|iste|aron|ieron)",
    ),
    "fr": DateWords(
        days=("aujourd['’]hui|ce (?:matin|midi|soir)|cet après-midi", "hier(?: (?:matin|soir))?|la nuit dernière", "avant-hier"),
        numbers="une?|un deux trois|quelques quatre cinq six sept huit neuf dix onze douze",
        units=("jours?", "semaines?", "mois", "an(?:s|nées?|née)?"),
        ago="il y a {n} {unit}",
        last="(?:l[ea] |l['’])?{unit} (?:derni(?:er|ère)|passée?|précédente?)",
        this="(?:ce(?:tte|t)?) {unit}(?:-ci)?",
        span="(?:ces |les |des |ces )?{n} derni(?:ers|ères) {unit}|récemment|dernièrement",
        weekdays="lundi mardi mercredi jeudi vendredi samedi dimanche",
        on="(?:le |ce |de )?{weekday}(?: dernier| passé)?",
        months="janvier février mars avril mai juin juillet août|aout septembre octobre novembre décembre",
        during="(?:en |au mois de |au mois d['’]|courant ){month}(?: dernier)?",
        date="(?:le )?{day}(?:er)? {month}",
        weekend="(?:le |ce )?week-?end(?: dernier| passé)?",
        talk="parl(?:é|ions|ait)|discuté|dit|racont(?:é|ais)|mentionné|demandé|évoqué|causé|bavardé|écrit|abordé|discussions?|conversations?|échang(?:é|es?)|résum(?:e|er|é|es)|sujets?",
        former="derni|passé|précédent",
        when="quand|quel(?:le)? (?:jour|date|mois|année)",
        past=r"(?:ai|as|a|avons|avez|ont|suis|es|est|sommes|sont)(?:-(?:je|tu|il|elle|on|nous|vous|ils))? .*(?:\w(?:é|ée|és|ées|it|is|u|us|ue)|\w{3}i)|étai(?:s|t|ent)|avai(?:s|t|ent)",
    ),
    "pt": DateWords(
        days=("hoje|esta (?:manhã|tarde)", "ontem(?: à noite)?", "anteontem|antes de ontem"),
        numbers="uma?|um dois|duas|um_par_de três|alguns|algumas|uns|umas quatro cinco seis sete oito nove dez onze doze",
        units=("dias?", "semanas?", "m[êe]s(?:es)?", "anos?"),
        ago="(?:há|faz|tem) {n} {unit}|{n} {unit} atrás",
        last="(?:n?[oa] )?{unit} (?:passad[oa]|anterior)|(?:n?[oa] )últim[oa] {unit}",
        this="n?est[ea] {unit}|n?esse {unit}|n?essa {unit}",
        span="(?:n?[oa]s )?(?:últim[oa]s|passad[oa]s) {n} {unit}|recentemente|ultimamente",
        weekdays="segunda(?:-feira)? terça(?:-feira)? quarta(?:-feira)? quinta(?:-feira)? sexta(?:-feira)? sábado domingo",
        on="(?:na |no |à |ao |da |do |nesta |neste )(?:última |último )?{weekday}(?: passad[oa])?",
        months="janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
        during="(?:em|durante) {month}(?: passado)?",
        date="(?:n?o )?(?:dia )?{day} de {month}",
        weekend="(?:n?o |neste )?(?:último )?(?:fim de semana|fds)(?: passado)?",
        talk="fal(?:amos|ei|ou|aste|ado)|convers(?:amos|ei|ado|as)|discuti(?:mos|do)|diss(?:e|emos|este)|dito|cont(?:ei|ou|amos)|mencion(?:ei|ou|amos|ado)|pergunt(?:ei|ou|amos|ado)|coment(?:ei|ou|amos)|escrev(?:i|emos)|conversa|resum(?:e|ir|a|o)|temas?|assuntos?",
        former="passad|anterior|últim",
        when="quando|que (?:dia|data|mês|ano)",
        past=r"fui|fo[im]|fomos|foram|era[m]?|estive|tive|fiz|fez|\w{2,}(?:ei|ou|aste|este|iste|ámos|aram|eram|iram)",
    ),
    "it": DateWords(
        days=("oggi|stamattina|stamani|stasera", "ieri(?: (?:sera|mattina))?|stanotte|la scorsa notte", "l['’]altro ieri|altroieri|ieri l['’]altro|avantieri"),
        numbers="un[oa']?|un due|un_paio_di tre|qualche|alcuni|alcune|pochi|poche quattro cinque sei sette otto nove dieci undici dodici",
        units=("giorn[oi]", "settiman[ae]", "mes[ei]", "ann[oi]"),
        ago="{n} {unit} fa",
        last="(?:il |la |l['’]|nel |nell[ao] )?{unit} (?:scors[oa]|passat[oa]|precedente)|(?:l[oa] )?scors[oa] {unit}",
        this="(?:in )?quest[oa] {unit}",
        span="(?:gli |nel?gli |nelle |le |negli )?ultim[ie] {n} {unit}|nell['’]ultim[oa] {unit}|recentemente|ultimamente|di recente",
        weekdays="lunedì|lunedi martedì|martedi mercoledì|mercoledi giovedì|giovedi venerdì|venerdi sabato domenica",
        on="(?:di |lo scorso |la scorsa |il |la )?{weekday}(?: scors[oa])?",
        months="gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
        during="(?:a|in|nel mese di|lo scorso) {month}(?: scorso)?",
        date="(?:il |l['’])?{day} (?:di )?{month}",
        weekend="(?:lo scorso |nel |questo |il )?(?:fine settimana|weekend)(?: scorso)?",
        talk="parla(?:to|vamo|mmo)|discusso|detto|dicevo|raccontato|menzionato|chiesto|accennato|chiacchierato|scritto|conversato|trattato|conversazion[ei]|chiacchierat[ae]|riassum(?:i|ere|imi)|riassunto|argoment[oi]",
        former="scors|passat|precedent|ultim",
        when="quando|che (?:giorno|data|mese|anno)",
        past=r"(?:ho|hai|ha|abbiamo|hanno|sono|è|siamo) .*\w(?:ato|uto|ito|ati|ata|ate|sto|tto|so)|er[oa](?:no)?",
    ),
    "nl": DateWords(
        days=("vandaag|vanmorgen|vanochtend|vanmiddag|vanavond", "gisteren(?:avond|ochtend|middag)?|gister|vannacht|afgelopen nacht", "eergisteren"),
        numbers="een|één|'n twee drie|een_paar|paar|enkele vier vijf zes zeven acht negen tien elf twaalf",
        units=("dag(?:en)?", "we(?:ek|ken)", "maand(?:en)?", "ja(?:ar|ren)"),
        ago="{n} {unit} (?:geleden|terug)",
        last="(?:vorige?|afgelopen|voorbije) {unit}",
        this="(?:deze|dit) {unit}",
        span="(?:de )?(?:laatste|afgelopen|voorbije) {n} {unit}|onlangs|laatst|de laatste tijd",
        weekdays="maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
        on="(?:op |afgelopen |vorige )(?:afgelopen |vorige )?{weekday}(?:avond|ochtend|middag)?",
        months="januari februari maart april mei juni juli augustus september oktober november december",
        during="(?:in|afgelopen|vorige) {month}",
        date="(?:op )?{day} {month}",
        weekend="(?:afgelopen |vorig |in het |dit )weekend",
        talk="gesproken|spraken|gepraat|praatten|besproken|gezegd|zei|verteld|vertelde|genoemd|gevraagd|vroeg|gehad|gechat|geschreven|gesprek(?:ken)?|vat|samen(?:vatten|vatting|gevat)?|onderwerp(?:en)?",
        former="vorig|afgelopen|voorbij|laatste",
        when="wanneer|welke (?:dag|datum|maand)",
        past=r"was|waren|had(?:den)?|werd(?:en)?|(?:heb|hebben|heeft|ben|is|zijn) .*ge\w+|ging(?:en)?|gebeurde",
    ),
    "pl": DateWords(
        days=("dzisiaj|dziś|dzis|dziś rano", "wczoraj(?: (?:wieczorem|rano))?|ostatniej nocy", "przedwczoraj"),
        numbers="jeden|jedną|jednego|jedno dwa|dwie|dwóch|parę trzy|kilka|trzech cztery pięć sześć siedem osiem dziewięć dziesięć jedenaście dwanaście",
        units=("dzień|dni|dnia|dniu", "tydzień|tygodni[eau]?", "miesi[ąa]c(?:e|a|u)?|miesięcy", "rok(?:u|iem)?|lata?"),
        ago="(?:{n} )?{unit} temu",
        last="(?:w )?(?:(?:zeszł|ubiegł|minion)(?:ym|y|ego|ej|ą)|(?:poprzedni|ostatni)(?:m|ego|ej)?) {unit}",
        this="(?:w )?(?:tym|tego|ten) {unit}",
        span="(?:w ciągu |przez |z )?ostatni(?:ch|e) {n} {unit}|ostatnio|niedawno",
        weekdays="poniedziałek|poniedziałku wtorek|wtorku środę|środa|środy czwartek|czwartku piątek|piątku sobotę|sobota|soboty niedzielę|niedziela|niedzieli",
        on="(?:we? |ostatni[ąy]? |zeszł[ąy] )(?:ostatni[ąy]? |zeszł[ąy] )?{weekday}",
        months="styczni[ua]|styczeń luty[m]?|lutego marcu|marca|marzec kwietni[ua]|kwiecień maju|maja|maj czerwcu|czerwca|czerwiec lipcu|lipca|lipiec sierpni[ua]|sierpień wrześni[ua]|wrzesień październik[ua]?|październiku listopad(?:zie|a)? grudni[ua]|grudzień",
        during="(?:we?|podczas) {month}",
        date="{day}\\.? {month}",
        weekend="(?:w )?(?:ostatni |zeszły |miniony |ten )?weekend",
        talk="rozmawia(?:liśmy|łem|łam|ły)|mówi(?:liśmy|łem|łam|łeś|łaś|ły|ł)|gada(?:liśmy|łem|łam)|omawia(?:liśmy)|omówi(?:liśmy)|powiedzia(?:łem|łam|łeś|łaś|łeś|ł)|wspomina(?:łem|łam|liśmy)|wspomnia(?:łem|łam)|pyta(?:łem|łam|liśmy)|pisa(?:łem|łam|liśmy)|rozmow[ayęie]|podsumuj|podsumowanie|streść|temat(?:y|em|ach)?",
        former="zeszł|ubiegł|poprzedn|ostatn|minion",
        when="kiedy|którego dnia|w którym (?:roku|miesiącu)",
        past=r"był[aoy]?m?|\w{2,}(?:łem|łam|łeś|łaś|liśmy|łyśmy)|stało|zdarzyło",
    ),
    "ru": DateWords(
        days=("сегодня(?: утром| дн[её]м| вечером)?", "вчера(?: вечером| утром| дн[её]м)?|прошлой ночью", "позавчера"),
        numbers="один|одну|одна два|две|пару|пара три|несколько|нескольких четыре пять шесть семь восемь девять десять одиннадцать двенадцать",
        units=("день|дня|дней|дни", "недел[юеияь]|недель", "месяц(?:а|ев|е|ы)?", "год(?:а|у|ы)?|лет"),
        ago="(?:{n} )?{unit} (?:тому )?назад",
        last="(?:на |в )?(?:прошл|предыдущ|минувш)(?:ой|ом|ем|ей|ую|ый|ий|ого) {unit}",
        this="(?:на |в )?эт(?:ой|ом|у|от) {unit}",
        span="(?:за |в )?последни[ех] {n} {unit}|за (?:последн(?:юю|ий)|прошедш(?:ую|ий)) {unit}|недавно|в последнее время",
        weekdays="понедельник вторник сред[ауы] четверг пятниц[ауы] суббот[ауы] воскресенье|воскресение",
        on="(?:во?|в прошл(?:ый|ую|ое)|прошл(?:ый|ую|ое)) (?:прошл(?:ый|ую|ое) )?{weekday}",
        months="январ[ея]|январь феврал[ея]|февраль март[ае]? апрел[ея]|апрель ма[ея]|май июн[ея]|июнь июл[ея]|июль август[ае]? сентябр[ея]|сентябрь октябр[ея]|октябрь ноябр[ея]|ноябрь декабр[ея]|декабрь",
        during="(?:во?|за) (?:прошлом )?{month}",
        date="{day}(?:-?го)? {month}",
        weekend="(?:на |в )?(?:прошлых |этих |прошлые |эти )?выходны[ех]",
        talk="говорил[аи]?|говорили|разговаривал[аи]?|обсуждал[аи]?|обсудили|беседовали|болтали|сказал[аи]?|рассказал[аи]?|рассказывал[аи]?|упоминал[аи]?|спрашивал[аи]?|спросил[аи]?|писал[аи]?|общались|разговор[аеы]?|беседы|бесед[ау]|итоги?|подведи|перескажи|тем[аыу]",
        former="прошл|предыдущ|последн|минувш",
        when="когда|какого числа|в каком (?:году|месяце)",
        past=r"был[аои]?|случил\w+|произошл\w+|\w{2,}(?:ала?|ила?|ела?|али|или|ели)(?:с[ья])?",
    ),
    "tr": DateWords(
        days=("bugün|bu sabah|bu akşam", "dün(?:kü)?(?: (?:akşam|sabah|gece))?|dün gece", "evvelsi gün|önceki gün|evvelki gün"),
        numbers="bir iki|bir_iki üç|birkaç dört beş altı yedi sekiz dokuz on on_?bir on_?iki",
        units=("gün(?:de|ü)?", "hafta(?:da|ki)?", "ay(?:da|ki)?", "yıl(?:da|ki)?|sene(?:de)?"),
        ago="{n} {unit} önce",
        last="(?:geçen|önceki|geçtiğimiz) {unit}",
        this="bu {unit}",
        span="son {n} {unit}|son {unit}|son zamanlarda|geçenlerde",
        weekdays="pazartesi salı çarşamba perşembe cuma cumartesi pazar",
        on="(?:geçen )?{weekday} (?:günü|akşamı|sabahı)|geçen {weekday}",
        months="ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık",
        during="(?:geçen )?{month}(?:['’]?(?:t|d)[ae]| ayında)",
        date="{day} {month}(?:['’]?(?:t|d)[ae])?",
        weekend="(?:geçen |bu )?hafta sonu(?:nda)?",
        talk="konuş(?:tuk|tum|tun|muştuk|muş|ulan)|söyle(?:dim|din|dik|miştim)|anlat(?:tım|tın|tık|mıştım)|bahset(?:tim|tik|tin|miştim)|sor(?:dum|duk|dun|muştum)|tartış(?:tık)|konuşma(?:mız|mızı|yı|lar)?|sohbet(?:imizi|i)?|özetle(?:r)?|konu(?:lar|ları)?|yaz(?:dım|dık)|de(?:dim|din|dik|miştim)",
        former="geçen|önceki|geçtiğimiz|son",
        when="ne zaman|hangi (?:gün|tarih|ay)",
        past=r"\w{2,}(?:[dt][ıiuü](?:m|n|k|niz|nız)|[dt][ıiuü]ydi?)|oldu",
    ),
    "zh": DateWords(
        days=("今天|今日|今早|今晚", "昨天|昨日|昨晚", "前天"),
        numbers="一 二|两|兩 三|几|幾 四 五 六 七 八 九 十 十一 十二",
        units=("天|日", "个?(?:星期|礼拜)|周|週|個?(?:星期|禮拜)", "个?月|個?月", "年"),
        ago="{n}{unit}(?:之|以)?前",
        last="上一?{unit}|去{unit}",
        this="[这這本今]一?{unit}",
        span="(?:最近|过去|過去)的?{n}{unit}|最近",
        weekdays="一 二 三 四 五 六 日|天",
        on="(?:上个?|上個?)?(?:周|週|星期|礼拜|禮拜){weekday}",
        months="一|1 二|2 三|3 四|4 五|5 六|6 七|7 八|8 九|9 十|10 十一|11 十二|12",
        during="{month}月份?",
        date="{month}月{day}(?:日|号|號)",
        weekend="(?:上个?|上個?)?(?:周末|週末)",
        talk="聊|谈|談|说|說|讲|講|提到|提过|讨论|討論|告诉|告訴|问|問|对话|對話|总结|總結|概括|话题|話題",
        former="上|去年|过去|過去",
        when="什么时候|什麼時候|何时|何時|哪天|哪一天|几号|几月|哪年",
        past="了|过|過",
    ),
    "ja": DateWords(
        days=("今日|本日|今朝|今晩", "昨日|きのう|昨晩|昨夜|ゆうべ", "一昨日|おととい"),
        numbers="一|いち 二|に 三|さん|数 四 五 六 七 八 九 十 十一 十二",
        units=("日", "週間?", "(?:か|ヶ|カ|ヵ|ケ|箇)?月", "年"),
        ago="{n}{unit}(?:ほど|くらい)?前",
        last="[先去昨]{unit}",
        this="今{unit}",
        span="(?:ここ|この|過去|最近の?){n}{unit}間?|最近|先日|この間",
        weekdays="月 火 水 木 金 土 日",
        on="(?:先週の?|この前の)?{weekday}曜日?",
        months="一|1|１ 二|2|２ 三|3|３ 四|4|４ 五|5|５ 六|6|６ 七|7|７ 八|8|８ 九|9|９ 十|10|１０ 十一|11|１１ 十二|12|１２",
        during="{month}月(?:中|頃)?",
        date="{month}月{day}日",
        weekend="(?:先週の?|この前の|この)?週末",
        talk="話し(?:た|て|ました|合)?|話題|話(?:を)?し|言(?:った|いました|って)|相談(?:し)?|聞(?:いた|きました)|教えた|伝え(?:た|ました)|書(?:いた|きました)|会話|要約(?:し(?:て)?)?|まとめ(?:て)?",
        former="先|去年|昨年|この前|過去|ここ",
        when="いつ|何日|何月|何年|何曜日",
        past="ました|でした|(?:っ|い|し|ん)[ただ]",
    ),
    "ko": DateWords(
        days=("오늘(?: ?아침| ?저녁)?", "어제(?: ?밤| ?저녁)?|어젯밤|간밤|하루 ?전", "그저께|그제|엊그제|이틀 ?전"),
        numbers="일|한 이|두 삼|세|몇 사|네 오|다섯 육|여섯 칠|일곱 팔|여덟 구|아홉 십|열 십일|열한 십이|열두",
        units=("일|날", "주일?", "개월|달", "년|해"),
        ago="{n} ?{unit} ?전",
        last="(?:지난|저번) ?{unit}|작{unit}",
        this="이번 ?{unit}|[올금]{unit}",
        span="(?:지난|최근) ?{n} ?{unit} ?(?:간|동안)?|최근|요즘",
        weekdays="월 화 수 목 금 토 일",
        on="(?:지난 ?주? ?|저번 ?주? ?)?{weekday}요일",
        months="1|일 2|이 3|삼 4|사 5|오 6|유 7|칠 8|팔 9|구 10|시 11|십일 12|십이",
        during="(?:지난 ?)?{month}월",
        date="{month}월 ?{day}일",
        weekend="(?:지난 ?|저번 ?|이번 ?)?주말",
        talk="얘기(?:했|한|하)?|이야기(?:했|한|하)?|말(?:했|한|씀)|대화(?:했|한)?|나눴|나눈|물어|물었|언급(?:했|한)?|의논(?:했)?|대화|요약(?:해)?|주제",
        former="지난|저번|작년",
        when="언제|며칠|몇 ?월|무슨 ?요일",
        past="[았었했갔왔봤샀]",
    ),
}  # fmt: skip
