"""Cases of what people expect a chat to find: by days, with typing errors and by reference. Prompts stay alike.

One test for each case, in several wordings. The other cases are in `test_memory_cases_facts.py`,
`test_memory_cases_search.py` and `test_memory_cases_prompt.py`.
"""

from __future__ import annotations

import random
from itertools import pairwise, takewhile

import pytest

from service.talking import CHAT, Caller
from upstream import Reply, Request

#: Turns of the conversation in which the beginnings of prompts are compared.
TURNS = 300
SHARED = 0.7


@pytest.mark.parametrize(
    "question",
    [
        "What did we talk about yesterday?",
        "what were we discussing yesterday",
        "Can you summarize yesterday's chat?",
        "Give me a recap of yesterday's conversation.",
        "Worüber haben wir gestern gesprochen?",
        "Fass unser Gespräch von gestern zusammen.",
        "¿Puedes resumir la conversación de ayer?",
        "Résume notre discussion d'hier.",
        "Riassumi la conversazione di ieri.",
        "Vat ons gesprek van gisteren samen.",
        "О чём мы говорили вчера?",
        "总结一下昨天的对话。",
        "昨日の会話をまとめて。",
        "어제 대화를 요약해 줘.",
        "¿De qué hablamos ayer?",
        "De quoi avons-nous parlé hier ?",
        "Do que falamos ontem?",
        "Di cosa abbiamo parlato ieri?",
        "我们昨天聊了什么？",
        "昨日は何を話しましたか？",
    ],
)
async def test_a_question_about_a_day_gets_the_turns_of_that_day(alice: Caller, question: str) -> None:
    await alice.said_earlier("Explain how sourdough rises.")
    alice.clock.go_by(5)
    await alice.said_earlier("How do I prune an apple tree?", "Which lens is good for portraits?")
    alice.clock.go_by(1)
    await alice.said_earlier("What is a good name for a boat?")
    hits = "\n".join((await alice.prompt(question)).hits)
    assert "apple tree" in hits
    assert "portraits" in hits
    assert "sourdough" not in hits
    assert "boat" not in hits


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("The order is A-4471-XZ.", "A4471XZ?"),
        ("The order is A-4471-XZ.", "What about order a 4471 xz?"),
        ("The password of the cabin is heron.", "teh pasword of the cabbin"),
        ("The meeting with Mr. Schreiner is in Düsseldorf.", "When is the meeting with Shreiner in Dusseldrof?"),
        ("The part number is KL_88-20.", "do we have kl8820"),
        ("The frame number is WX-90-4417.", "Which bike is WX904417?"),
        ("Das Passwort der Hütte ist Reiher.", "paswort der hüte"),
        ("La contraseña de la cabaña es garza.", "contrasena de la cabana"),
    ],
)
async def test_ids_and_typing_errors_are_found_when_nothing_better_is(alice: Caller, said: str, question: str) -> None:
    await alice.save(said)
    await alice.said_earlier(*CHAT)
    assert any(said in line for line in (await alice.prompt(question)).hits)


@pytest.mark.parametrize(
    ("known", "said", "question"),
    [
        ("The budget for Slovenia is 1,200 euros.", "We plan a week in Slovenia.", "How much can we spend on it?"),
        ("The vet says that Rex needs a diet.", "Rex has gained two kilos.", "What did the vet say about him?"),
        ("The landlord of the studio is Mr. Aziz.", "The heating in the studio is broken.", "Who do I call about it?"),
        (
            "Das Budget für Slowenien beträgt 1200 Euro.",
            "Wir planen eine Woche in Slowenien.",
            "Wie viel können wir dafür ausgeben?",
        ),
        (
            "El presupuesto para Eslovenia es de 1200 euros.",
            "Planeamos una semana en Eslovenia.",
            "¿Cuánto podemos gastar en ello?",
        ),
        (
            "Le budget pour la Slovénie est de 1200 euros.",
            "Nous prévoyons une semaine en Slovénie.",
            "Combien peut-on y dépenser ?",
        ),
        ("アイスランド旅行の予算は二十万円です。", "アイスランドに一週間行く予定です。", "それにいくら使えますか？"),
        ("아이슬란드 여행 예산은 이백만 원이에요.", "아이슬란드에 일주일 가려고 해요.", "거기에 얼마나 쓸 수 있어요?"),
        (
            "O orçamento da Eslovênia é de 1200 euros.",
            "Planejamos uma semana na Eslovênia.",
            "Quanto podemos gastar nisso?",
        ),
        (
            "Il budget per la Slovenia è di 1200 euro.",
            "Vogliamo passare una settimana in Slovenia.",
            "Quanto possiamo spenderci?",
        ),
        ("去冰岛的预算是两万元。", "我们打算去冰岛玩一周。", "我们可以为它花多少钱？"),
    ],
)
async def test_a_follow_up_question_is_about_the_message_before(
    alice: Caller, known: str, said: str, question: str
) -> None:
    await alice.save(known)
    await alice.said_earlier(*CHAT)
    await alice.say(said)
    assert any(known in line for line in (await alice.prompt(question)).hits)


@pytest.mark.slow
async def test_the_beginning_of_a_prompt_is_that_of_the_prompt_before(alice: Caller) -> None:
    dice = random.Random(15)
    topics = ("gardens", "trains", "soup", "Peru", "chess", "clouds", "violins", "bees", "glass", "maps")
    asked = ("Tell me about {}.", "How do {} work?", "Why do people like {}?", "Compare {} and rivers.", "thanks")
    stated = ("I like {}.", "My sister collects {}.", "I read a book about {} in {}.", "I live near the {} museum.")

    def reply(request: Request) -> Reply:
        topic = request.messages[-1]["content"].split()[-1]
        return Reply(pieces=(f"Some say that {topic} is old, others do not. " * dice.choice((1, 3, 10, 20)),))

    alice.upstream.otherwise = reply
    texts = []
    for number in range(TURNS):
        form = dice.choice(stated if number % 7 == 0 else asked)
        await alice.say(form.format(*dice.sample(topics, 2)))
        texts.append(alice.last_prompt.text)
        # Ten turns in a sitting, one sitting a day.
        alice.clock.go_by(1 if number % 10 == 9 else 1 / 300)
    shares = [
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, prompt, strict=False))) / len(prompt)
        for before, prompt in pairwise(texts)
    ]
    assert sum(shares) / len(shares) >= SHARED
