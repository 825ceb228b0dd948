"""Greetings, thanks and small talk in 13 languages, questions about the world, and a life of a user in each language.

Nothing of the life is relevant to any of them.
"""

# ruff: noqa: RUF001 - letters and signs of other scripts look like Latin ones

#: Messages of a user, by language: among them small talk and questions like those that are asked.
LIVES: dict[str, list[str]] = {
    "en": [
        "Hello! How are you?",
        "Thanks a lot, have a nice day.",
        "I live in Leeds with my sister Nora.",
        "What is the capital of Norway?",
        "My train to York leaves at nine.",
        "Good idea, let's do it.",
    ],
    "de": [
        "Hallo, wie geht es dir?",
        "Vielen Dank und einen schönen Tag!",
        "Ich wohne mit meiner Schwester in Kiel.",
        "Was ist die Hauptstadt von Norwegen?",
        "Mein Zug nach Köln fährt um neun.",
        "Gute Idee, so machen wir es.",
    ],
    "es": [
        "Hola, ¿cómo estás?",
        "Muchas gracias, que tengas un buen día.",
        "Vivo en Cádiz con mi hermana.",
        "¿Cuál es la capital de Noruega?",
        "Mi tren a Sevilla sale a las nueve.",
        "Buena idea, hagámoslo.",
    ],
    "fr": [
        "Bonjour, comment vas-tu ?",
        "Merci beaucoup, bonne journée !",
        "J'habite à Nantes avec ma sœur.",
        "Quelle est la capitale de la Norvège ?",
        "Mon train pour Lyon part à neuf heures.",
        "Bonne idée, faisons comme ça.",
    ],
    "pt": [
        "Olá, como você está?",
        "Muito obrigado, tenha um bom dia!",
        "Moro no Porto com a minha irmã.",
        "Qual é a capital da Noruega?",
        "Meu trem para Coimbra sai às nove.",
        "Boa ideia, vamos fazer isso.",
    ],
    "it": [
        "Ciao, come stai?",
        "Grazie mille, buona giornata!",
        "Abito a Torino con mia sorella.",
        "Qual è la capitale della Norvegia?",
        "Il mio treno per Roma parte alle nove.",
        "Buona idea, facciamo così.",
    ],
    "nl": [
        "Hallo, hoe gaat het met je?",
        "Heel erg bedankt, fijne dag!",
        "Ik woon met mijn zus in Gent.",
        "Wat is de hoofdstad van Noorwegen?",
        "Mijn trein naar Breda vertrekt om negen uur.",
        "Goed idee, laten we dat doen.",
    ],
    "pl": [
        "Cześć, jak się masz?",
        "Dziękuję bardzo, miłego dnia!",
        "Mieszkam z siostrą w Gdyni.",
        "Jaka jest stolica Norwegii?",
        "Mój pociąg do Krakowa odjeżdża o dziewiątej.",
        "Dobry pomysł, zróbmy tak.",
    ],
    "ru": [
        "Привет, как у тебя дела?",
        "Большое спасибо, хорошего дня!",
        "Я живу с сестрой в Омске.",
        "Какая столица Норвегии?",
        "Мой поезд в Казань уходит в девять.",
        "Хорошая идея, так и сделаем.",
    ],
    "tr": [
        "Merhaba, nasılsın?",
        "Çok teşekkür ederim, iyi günler!",
        "Kız kardeşimle İzmir'de oturuyorum.",
        "Norveç'in başkenti neresi?",
        "Bursa trenim saat dokuzda kalkıyor.",
        "İyi fikir, öyle yapalım.",
    ],
    "zh": [
        "你好，你最近怎么样？",
        "非常感谢，祝你愉快！",
        "我和姐姐住在青岛。",
        "挪威的首都是哪里？",
        "我去西安的火车九点开。",
        "好主意，就这样吧。",
    ],
    "ja": [
        "こんにちは、お元気ですか？",
        "本当にありがとうございます、良い一日を！",
        "姉と一緒に仙台に住んでいます。",
        "ノルウェーの首都はどこですか？",
        "長野行きの電車は九時に出ます。",
        "いい考えですね、そうしましょう。",
    ],
    "ko": [
        "안녕하세요, 잘 지내세요?",
        "정말 감사합니다, 좋은 하루 보내세요!",
        "저는 언니와 대구에 살아요.",
        "노르웨이의 수도는 어디예요?",
        "전주로 가는 기차는 아홉 시에 출발해요.",
        "좋은 생각이에요, 그렇게 합시다.",
    ],
}

#: Language and message.
NOTHING: list[tuple[str, str]] = [
    *(
        ("en", text)
        for text in [
            "hey you",
            "Good morning, hope you slept well",
            "cheers mate",
            "You're the best!",
            "See you tomorrow!",
            "brb",
            "sounds good to me",
            "Never mind.",
            "How was your weekend?",
            "nice to meet you",
            "Who painted the Mona Lisa?",
            "What's the boiling point of ethanol?",
            "Tell me a fun fact",
        ]
    ),
    *(
        ("de", text)
        for text in [
            "Moin moin",
            "Na, alles klar bei dir?",
            "Tausend Dank!",
            "Bis morgen!",
            "Schönes Wochenende!",
            "Das klingt gut",
            "Kein Problem",
            "Wer hat die Relativitätstheorie entwickelt?",
            "Wie hoch ist der Mount Everest?",
            "Erzähl mir einen Witz",
        ]
    ),
    *(
        ("es", text)
        for text in [
            "¡Buenas!",
            "¿Qué tal todo?",
            "Mil gracias",
            "Hasta mañana",
            "Que descanses",
            "De acuerdo, suena bien",
            "No pasa nada",
            "¿Quién escribió el Quijote?",
            "¿Cuántos planetas hay?",
            "Cuéntame un chiste",
        ]
    ),
    *(
        ("fr", text)
        for text in [
            "Coucou !",
            "Comment ça va aujourd'hui ?",
            "Mille mercis",
            "À demain !",
            "Bon week-end !",
            "D'accord, ça me va",
            "Pas de souci",
            "Qui a peint Guernica ?",
            "Combien de planètes y a-t-il ?",
            "Raconte-moi une blague",
        ]
    ),
    *(
        ("pt", text)
        for text in [
            "E aí, beleza?",
            "Como vai você?",
            "Valeu mesmo!",
            "Até amanhã!",
            "Bom fim de semana",
            "Tá bom, combinado",
            "Quem escreveu Os Lusíadas?",
            "Conta uma piada",
        ]
    ),
    *(
        ("it", text)
        for text in [
            "Salve a tutti",
            "Come va oggi?",
            "Grazie infinite",
            "A domani!",
            "Buon fine settimana",
            "Va bene, d'accordo",
            "Chi ha scritto la Divina Commedia?",
            "Raccontami una barzelletta",
        ]
    ),
    *(
        ("nl", text)
        for text in [
            "Goedemorgen!",
            "Hoe is het ermee?",
            "Dank je wel",
            "Tot morgen!",
            "Fijn weekend!",
            "Klinkt goed",
            "Wie schilderde De Nachtwacht?",
            "Vertel eens een mop",
        ]
    ),
    *(
        ("pl", text)
        for text in [
            "Dzień dobry!",
            "Co u ciebie słychać?",
            "Wielkie dzięki",
            "Do jutra!",
            "Miłego weekendu",
            "W porządku",
            "Kto napisał Pana Tadeusza?",
            "Opowiedz mi dowcip",
        ]
    ),
    *(
        ("ru", text)
        for text in [
            "Доброе утро!",
            "Как твои дела сегодня?",
            "Огромное спасибо",
            "До завтра!",
            "Хороших выходных",
            "Ладно, договорились",
            "Кто написал Войну и мир?",
            "Расскажи анекдот",
        ]
    ),
    *(
        ("tr", text)
        for text in [
            "Günaydın!",
            "Ne haber, nasıl gidiyor?",
            "Çok sağ ol",
            "Yarın görüşürüz",
            "İyi hafta sonları",
            "Tamamdır, olur",
            "Mona Lisa'yı kim yaptı?",
            "Bana bir fıkra anlat",
        ]
    ),
    *(
        ("zh", text)
        for text in [
            "早上好！",
            "最近怎么样？",
            "太感谢了",
            "明天见",
            "周末愉快",
            "好的，没问题",
            "谁写了红楼梦？",
            "给我讲个笑话",
        ]
    ),
    *(
        ("ja", text)
        for text in [
            "おはよう！",
            "最近どうですか？",
            "どうもありがとう",
            "また明日",
            "良い週末を",
            "なるほど、わかりました",
            "源氏物語を書いたのは誰ですか？",
            "面白い話をして",
        ]
    ),
    *(
        ("ko", text)
        for text in [
            "좋은 아침이에요!",
            "요즘 어떻게 지내세요?",
            "정말 고마워요",
            "내일 봐요",
            "좋은 주말 보내세요",
            "네, 알겠어요",
            "누가 모나리자를 그렸어요?",
            "재미있는 이야기 해 주세요",
        ]
    ),
]

#: Language, question, and beginning of what answers it: the words for small talk must not hide it.
FOUND: list[tuple[str, str, str]] = [
    ("en", "Where do I live?", "I live"),
    ("en", "When does my train leave?", "My train"),
    ("de", "Wo wohne ich?", "Ich wohne"),
    ("de", "Wann fährt mein Zug?", "Mein Zug"),
    ("es", "¿Dónde vivo?", "Vivo"),
    ("es", "¿Cuándo sale mi tren?", "Mi tren"),
    ("fr", "Où est-ce que j'habite ?", "J'habite"),
    ("fr", "Quand part mon train ?", "Mon train"),
    ("pt", "Onde eu moro?", "Moro"),
    ("pt", "Quando sai meu trem?", "Meu trem"),
    ("it", "Dove abito?", "Abito"),
    ("it", "Quando parte il mio treno?", "Il mio treno"),
    ("nl", "Waar woon ik?", "Ik woon"),
    ("nl", "Wanneer vertrekt mijn trein?", "Mijn trein"),
    ("pl", "Gdzie mieszkam?", "Mieszkam"),
    ("pl", "Kiedy odjeżdża mój pociąg?", "Mój pociąg"),
    ("ru", "Где я живу?", "Я живу"),
    ("ru", "Когда уходит мой поезд?", "Мой поезд"),
    ("tr", "Nerede oturuyorum?", "Kız"),
    ("tr", "Trenim ne zaman kalkıyor?", "Bursa"),
    ("zh", "我住在哪里？", "我和姐姐"),
    ("zh", "我的火车几点开？", "我去西安"),
    ("ja", "私はどこに住んでいますか？", "姉と"),
    ("ja", "電車は何時に出ますか？", "長野"),
    ("ko", "저는 어디에 살아요?", "저는 언니"),
    ("ko", "기차는 언제 출발해요?", "전주"),
]
