"""Cases of memory: search hits in the prompt that reaches the upstream, and no junk.

One test for each case, in several wordings. The other cases are in `test_memory_cases_facts.py` and
`test_memory_cases_prompt.py`.
"""

from __future__ import annotations

import pytest

from service.talking import CHAT, Caller

#: Characters of a pasted text before and after what matters.
PASTED = 1900


@pytest.mark.parametrize(
    ("filler", "fact", "question"),
    [
        ("The weather report was long and dull. ", "The wifi code of the cabin is heron-42.", "What is the wifi code?"),
        (
            "There were many speeches that day. ",
            "The keynote speaker was Doctor Okafor.",
            "Who was the keynote speaker?",
        ),
        (
            "Der Bericht war lang und trocken. ",
            "Der Ersatzschlüssel liegt bei Frau Mahler.",
            "Wo liegt der Ersatzschlüssel?",
        ),
        ("La reunión fue larga y aburrida. ", "El contrato vence el 14 de octubre.", "¿Cuándo vence el contrato?"),
        ("Le compte rendu était très long. ", "Le plombier passe jeudi à neuf heures.", "Quand passe le plombier ?"),
    ],
)
@pytest.mark.parametrize("after", [0, PASTED])
async def test_a_hit_shows_the_passage_that_matches_in_a_long_message(
    alice: Caller, filler: str, fact: str, question: str, after: int
) -> None:
    before = filler * (PASTED // len(filler))
    await alice.said_earlier(f"{before}{fact} {filler * (after // len(filler))}".strip())
    await alice.chat(2)
    hits = (await alice.prompt(question)).hits
    assert any(fact in line for line in hits)
    assert max(map(len, hits)) < 600


@pytest.mark.parametrize(
    ("fact", "question"),
    [
        ("The flight leaves at 6:40 on Sunday from terminal two.", "When does my flight leave?"),
        ("The dog gets its tablets at eight.", "When does the dog get its tablets?"),
        ("Der Mietvertrag endet im September.", "Wann endet der Mietvertrag?"),
        ("La consulta del veterinario abre a las nueve.", "¿Cuándo abre la consulta del veterinario?"),
        ("Le train pour Nice part à dix heures.", "Quand part le train pour Nice ?"),
        ("O voo para Faro sai às sete.", "Quando sai o voo para Faro?"),
        ("飞往东京的航班早上六点起飞。", "飞往东京的航班什么时候起飞？"),
    ],
)
async def test_a_question_that_was_asked_often_does_not_displace_its_answer(
    alice: Caller, fact: str, question: str
) -> None:
    await alice.said_earlier(fact, *[question] * 5, question.lower(), f"{question}??")
    prompt = await alice.prompt(question)
    assert fact.rstrip(".。") in prompt.memory
    assert sum(question.rstrip("?？ ").lower() in line.lower() for line in prompt.hits) <= 1


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Peru?",
        "How many planets are there?",
        "Who wrote The Magic Flute?",
        "Convert 30 miles to kilometres.",
        "What is a good synonym for quick?",
        "How long do eggs have to boil?",
        "Was ist die Hauptstadt von Peru?",
        "Wie hoch ist die Zugspitze?",
        "¿Quién pintó Las Meninas?",
        "Quelle est la capitale du Pérou ?",
        "Quem descobriu o Brasil?",
        "Chi ha scritto la Divina Commedia?",
        "秘鲁的首都是哪里？",
        "ペルーの首都はどこですか？",
    ],
)
async def test_a_question_about_the_world_brings_no_memory_of_other_topics(alice: Caller, question: str) -> None:
    await alice.said_earlier(*CHAT)
    assert (await alice.prompt(question)).hits == []


@pytest.mark.parametrize(
    ("memory", "question"),
    [
        ("My cousin paints wooden boats.", "Which wooden spoon is best?"),
        ("The neighbours have a green door.", "What makes leaves green?"),
        ("The tax office wants the form by May 12.", "Which form of exercise is the healthiest?"),
        ("The old piano in the hall is out of tune.", "Who invented the piano?"),
        ("Our train to Basel was late again.", "How do I train for a marathon?"),
        ("Die Katze der Nachbarin ist entlaufen.", "Wie lange schläft eine Katze?"),
        ("El coche azul está en el taller.", "¿Por qué el cielo es azul?"),
        ("Le vélo rouge est chez le réparateur.", "Pourquoi le sang est-il rouge ?"),
        ("邻居家的猫走丢了。", "猫每天睡多久？"),
    ],
)
async def test_one_shared_word_is_not_enough_however_few_memories_there_are(
    alice: Caller, memory: str, question: str
) -> None:
    # Saved, not said: statements of users are in the prompt anyway.
    await alice.save(memory)
    assert (await alice.prompt(question)).hits == []


@pytest.mark.parametrize(
    ("before", "fact", "after", "question"),
    [
        ("hm, let me think", "The name of the plumber is Ilse.", "ok", "What is the name of the plumber?"),
        ("wait a moment", "The parcel is with the baker.", "fine, thanks", "Where is the parcel?"),
        ("Moment, ich überlege", "Die Sitzung ist im Raum Elbe.", "gut", "In welchem Raum ist die Sitzung?"),
        ("a ver, déjame pensar", "La llave está debajo del felpudo.", "vale", "¿Dónde está la llave?"),
        ("attends, je réfléchis", "Le colis est chez la voisine.", "d'accord", "Où est le colis ?"),
        ("让我想想", "包裹在面包店里。", "好的", "包裹在哪里？"),
    ],
)
async def test_the_neighbours_of_a_hit_are_left_out(
    alice: Caller, before: str, fact: str, after: str, question: str
) -> None:
    await alice.said_earlier(before, fact, after)
    [hit] = (await alice.prompt(question)).hits
    assert fact in hit


@pytest.mark.parametrize(
    "message",
    [
        "yo",
        "go on",
        "ok next",
        "Hi there!",
        "good morning :)",
        "thank you so much",
        "haha nice",
        "hmm",
        "sure, why not",
        "Hallo, wie geht's?",
        "Guten Morgen!",
        "danke dir",
        "Hola, ¿qué tal?",
        "buenos días",
        "Salut, ça va ?",
        "merci beaucoup",
        "Olá, tudo bem?",
        "obrigado!",
        "Ciao, come stai?",
        "grazie mille",
        "你好",
        "谢谢你",
        "ありがとうございます",
        "こんにちは",
        "안녕하세요",
        "Hoi, alles goed?",
        "Привет, как дела?",
        "Cześć, co słychać?",
        "Merhaba, nasılsın?",
        "👍",
    ],
)
async def test_a_greeting_brings_no_memory(alice: Caller, message: str) -> None:
    await alice.said_earlier(*CHAT, "Go on with the haiku, please.", "What comes next?", message)
    assert (await alice.prompt(message)).hits == []


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("My dentist appointment is tomorrow.", "When was my dentist appointment?"),
        ("The plumber comes the day after tomorrow.", "When was the plumber here?"),
        ("Morgen habe ich einen Termin beim Zahnarzt.", "Wann war mein Termin beim Zahnarzt?"),
        ("Mañana tengo cita con el dentista.", "¿Cuándo fue mi cita con el dentista?"),
        ("Demain, j'ai rendez-vous chez le dentiste.", "Quand était mon rendez-vous chez le dentiste ?"),
        ("Amanhã tenho consulta no dentista.", "Quando foi a minha consulta no dentista?"),
        ("明天我要去看牙医。", "我什么时候看的牙医？"),
        ("明日、歯医者の予約があります。", "歯医者の予約はいつでしたか？"),
    ],
)
async def test_a_day_can_be_told_from_the_dates_of_today_and_of_the_turn(
    alice: Caller, said: str, question: str
) -> None:
    await alice.said_earlier(said)
    day = f"{alice.clock():%Y-%m-%d}"
    alice.clock.go_by(25)
    prompt = await alice.prompt(question)
    assert f"Today is {alice.clock():%A}, {alice.clock():%Y-%m-%d} (UTC)." in prompt.context
    assert any(f"[{day}]" in line for line in prompt.memory_of(said.rstrip(".。")))


@pytest.mark.parametrize(
    ("said", "things", "question"),
    [
        (
            "I read the book {}.",
            "Dune, Emma, Ulysses, Solaris, Middlemarch, Walden, Persuasion, Dracula",
            "How many books did I read?",
        ),
        (
            "Watched the film {} with the kids.",
            "Heidi, Bambi, Coco, Up, Cars, Brave, Frozen, Moana",
            "Which films did we watch?",
        ),
        (
            "Ich habe das Buch {} gelesen.",
            "Demian, Momo, Faust, Effi, Krabat, Woyzeck, Heidi, Emil",
            "Welche Bücher habe ich gelesen?",
        ),
        (
            "He visitado el museo {}.",
            "Prado, Thyssen, Dalí, Picasso, Miró, Sorolla, Cerralbo, Romántico",
            "¿Cuántos museos he visitado?",
        ),
        (
            "J'ai lu le livre {}.",
            "Germinal, Nana, Candide, Bérénice, Carmen, Zadig, Indiana, Salammbô",
            "Combien de livres ai-je lus ?",
        ),
        ("我读了《{}》这本书。", "三体, 活着, 围城, 红楼梦, 西游记, 边城, 骆驼祥子, 呐喊", "我读了几本书？"),
    ],
)
async def test_a_question_for_all_gets_all(alice: Caller, said: str, things: str, question: str) -> None:
    for thing in things.split(", "):
        # Saved, not said: statements of users are in the prompt anyway.
        await alice.save(said.format(thing))
        alice.clock.go_by(1)
    hits = "\n".join((await alice.prompt(question)).hits)
    assert [thing for thing in things.split(", ") if thing not in hits] == []


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("May is my best friend.", "Who is May?"),
        ("Will keeps the spare key.", "What does Will keep?"),
        ("Mark broke the blue cup.", "Who is Mark?"),
        ("The cat is called You.", "What is the name of the cat?"),
        ("An is the teacher of the twins.", "Who is An?"),
        ("Herr Sehr ist der neue Hausmeister.", "Wer ist Herr Sehr?"),
        ("Sol es la dueña del bar.", "¿Quién es Sol?"),
        ("Claire garde les enfants.", "Qui est Claire ?"),
    ],
)
async def test_a_name_that_is_a_common_word_is_found(alice: Caller, said: str, question: str) -> None:
    await alice.save(said)
    await alice.said_earlier("You will see it in the spring, or you may not.", *CHAT)
    hits = (await alice.prompt(question)).hits
    assert any(said in line for line in hits)
    assert len(hits) == 1


@pytest.mark.parametrize(
    ("topic", "decision", "question"),
    [
        (
            "The garden was discussed at length. ",
            "In the end the decision was to plant a quince.",
            "Which tree did we decide to plant in the garden, a quince?",
        ),
        (
            "We compared offers for the new roof. ",
            "The contract goes to Brandt and Sons.",
            "Who gets the contract for the roof?",
        ),
        ("Es ging lange um den Umzug. ", "Am Ende wurde die Firma Kranich gewählt.", "Welche Firma macht den Umzug?"),
        (
            "Hablamos mucho del viaje a Perú. ",
            "Al final se decidió volar en octubre.",
            "¿Cuándo se decidió volar a Perú?",
        ),
    ],
)
async def test_the_end_of_a_long_summary_is_in_the_prompt_and_found_later(
    alice: Caller, topic: str, decision: str, question: str
) -> None:
    await alice.say(topic.strip())
    await alice.end_session(topic * (330 // len(topic)) + decision)
    assert decision in (await alice.prompt("Hello!")).system
    for number in range(6):
        await alice.say(f"Tell me about topic {number}.")
        await alice.end_session(f"Talked about topic {number}.")
    assert decision not in (await alice.prompt("Hello!")).text
    assert any(decision in line for line in (await alice.prompt(question)).hits)
