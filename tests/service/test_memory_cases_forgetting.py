"""Cases of what people ask the memory to forget: everything about a subject, a topic, and what stays.

One test for each case, in several wordings, through real calls. `test_memory_cases_facts.py` has the requests to forget
one turn.
"""

from __future__ import annotations

import asyncio

import pytest

from batch import cases
from ilab_chat.v1 import chat_pb2
from ilab_chat_service.message_statements import Reading, read
from service.talking import Caller
from upstream import Reply


@pytest.mark.parametrize(
    ("told", "asked", "name"),
    [
        (
            ("My brother Lyle is bankrupt.", "Lyle moved to Perth in May.", "I'm worried about Lyle's house."),
            "Forget everything about Lyle.",
            "Lyle",
        ),
        (("My ex wants the piano.", "I met my ex at the market."), "Delete everything you know about my ex.", "ex "),
        (("Lena ist schwanger.", "Ich fahre am Montag zu Lena."), "Vergiss bitte alles über Lena.", "Lena"),
        (("Paul bebe demasiado.", "El jueves ceno con Paul."), "Olvida todo sobre Paul.", "Paul"),
        (("Paul est au chômage.", "Je dîne avec Paul jeudi."), "Oublie tout ce que je t'ai dit sur Paul.", "Paul"),
        (("Marco beve troppo.", "Ceno con Marco giovedì."), "Dimentica tutto su Marco, per favore.", "Marco"),
        (("O Pedro bebe demais.", "Vou jantar com o Pedro na quinta."), "Esquece tudo sobre o Pedro.", "Pedro"),
        (("Jan drinkt te veel.", "Donderdag eet ik met Jan."), "Vergeet alles over Jan.", "Jan"),
        (("Олег потерял работу.", "Я ужинаю с Олегом."), "Забудь всё про Олега.", "Олег"),
        (("小王破产了。", "我明天见小王。"), "忘掉所有关于小王的事。", "小王"),
        (("リナは離婚した。", "明日リナに会います。"), "リナのことは全部忘れて。", "リナ"),
    ],
)
async def test_everything_about_a_subject_is_erased_in_all_sessions(
    alice: Caller, told: tuple[str, ...], asked: str, name: str
) -> None:
    await alice.said_earlier(*told, "I live in Graz.")
    note = await alice.save(f"{told[0]} Noted by hand.", "profile", title="Note")
    newest = await alice.say(told[-1], conversation_id="another")
    answer = await alice.say(asked, request_id="r-1")
    assert answer.forgotten_observation_id == newest.observation_id > note
    assert answer.observation_id == 0
    assert name not in alice.last_prompt.memory
    assert name not in str(await alice.observations())
    assert name not in (await alice.prompt("What do you know about me?")).text
    assert await alice.facts() == ["I live in Graz."]
    again = await alice.say(asked, request_id="r-1")
    assert (again.replayed, again.forgotten_observation_id) == (True, newest.observation_id)


async def test_a_reply_that_names_the_subject_is_erased_too(alice: Caller) -> None:
    alice.upstream.says("Congratulations to Lyle!")
    await alice.said_earlier("My brother passed his exam.")
    alice.upstream.says("That should work like a lyle.")
    await alice.said_earlier("How do I knot a tie?")
    await alice.say("Forget everything about Lyle.")
    assert [each for each in await alice.observations() if "Lyle" in each] == []
    assert "knot a tie" in str(await alice.observations())


@pytest.mark.parametrize(
    ("told", "asked", "value"),
    [
        (("I live in Hamburg.", "I moved to Lisbon."), "Forget where I live.", ("Hamburg", "Lisbon")),
        (("My salary is 58,000.",), "Forget my salary.", ("58,000",)),
        (("Mein Geburtstag ist am 3. Mai.",), "Vergiss meinen Geburtstag.", ("3. Mai",)),
        (("Soy alérgico a las nueces.",), "Olvida mis alergias.", ("nueces",)),
    ],
)
async def test_a_topic_is_erased_with_what_led_to_it(
    alice: Caller, told: tuple[str, ...], asked: str, value: tuple[str, ...]
) -> None:
    await alice.said_earlier(*told, "My cat is called Tiger.")
    assert (await alice.say(asked)).forgotten_observation_id > 0
    kept = str(await alice.observations())
    assert not any(each in kept for each in value)
    assert "Tiger" in str(await alice.facts())


async def test_what_was_said_in_another_session_is_erased_if_this_one_has_nothing_about_it(alice: Caller) -> None:
    await alice.said_earlier("Lyle is bankrupt.", "Lyle paints boats.")
    answer = await alice.say("Forget what I told you about Lyle.")
    assert answer.forgotten_observation_id > 0
    kept = str(await alice.observations())
    assert "bankrupt" in kept
    assert "boats" not in kept


#: A text of others.
PASTED = "The committee met at noon and approved the minutes of the spring meeting. " * 8


@pytest.mark.parametrize(
    "message",
    [
        "Forget everything about that.",
        "Forget everything about me.",
        "Forget everything about Lyle, we'll paint the hall dark green.",
        "I forgot everything about Lyle.",
        "Did you forget everything about Lyle?",
        "Delete everything about boats from the text.",
        "Delete everything about boats.",
        "Forget everything about the boats in Bergen.",
        "Forget work. What's for dinner?",
        "Forget my job. How do I become a pilot?",
        "My wife says I should forget everything about Lyle.",
        "He said: forget everything about Lyle.",
        "Ein Freund schrieb mir: vergiss alles über Lyle.",
        f"Dear assistant,\nForget everything about Lyle.\n\n{PASTED}",
        f"What do you think of this letter?\n\n{PASTED}\n\nForget everything about Lyle.",
        f"{PASTED}\nForget what I told you about Lyle.",
    ],
)
async def test_nothing_is_erased_in_doubt(alice: Caller, message: str) -> None:
    told = ["Lyle is bankrupt.", "Lyle paints boats.", "I work at Bosch."]
    await alice.said_earlier(*told)
    assert (await alice.say(message)).forgotten_observation_id == 0
    kept = str(await alice.observations())
    assert all(each in kept for each in told)


@pytest.mark.parametrize(
    "message", ["Forget what I told you about Lyle.", "Forget everything about Lyle.", "Forget my address."]
)
async def test_a_request_that_finds_nothing_to_forget_is_not_stored(alice: Caller, message: str) -> None:
    await alice.say("I like rain.")
    answer = await alice.say(message)
    assert (answer.observation_id, answer.forgotten_observation_id) == (0, 0)
    assert "orget" not in str(await alice.observations())


@pytest.mark.parametrize(
    "message", ["Forget that.", "Forget what I told you about Lyle.", "Forget everything about Lyle."]
)
async def test_an_interrupted_request_to_forget_is_not_stored(alice: Caller, message: str) -> None:
    await alice.say("Lyle is bankrupt.")
    alice.upstream.replies(Reply(hold_before=1))
    request = chat_pb2.StreamChatRequest(user_id=alice.user_id, message=message, request_id="r-1")
    call = alice.stub.StreamChat(request)
    async for event in call:
        if event.HasField("text_delta"):
            call.cancel()
            break
    assert await asyncio.to_thread(alice.upstream.requests[-1].gone.wait, 10)
    # The repeat waits until the first call has stored what it stores.
    await alice.say(message, request_id="r-1")
    assert await alice.observations() == []


@cases(
    ("message", "subject"),
    [
        ("Could you please forget everything about my divorce?", "my divorce"),
        ("Forget all about the Oslo trip, please.", "the Oslo trip"),
        ("Wipe everything I ever told you about Mia.", "Mia"),
        ("Vergiss alles, was ich dir über Lena erzählt habe.", "Lena"),
        ("Borra todo lo que te he contado de Lucía.", "Lucía"),
        ("Murat hakkındaki her şeyi unut.", "Murat"),
        ("안나에 대한 모든 것을 잊어줘.", "안나"),
        ("Zapomnij wszystko o Marku.", "Marku"),
        ("忘掉关于小王的一切。", "小王"),
    ],
)
def test_everything_about_a_subject_is_asked_for(message: str, subject: str) -> None:
    assert read(message) == Reading(forget_about=subject, forget_all=True)


def test_the_newest_turn_alone_is_meant_by_what_was_told() -> None:
    assert read("Forget what I told you about Lyle.") == Reading(forget_about="Lyle")


@cases(
    "message",
    [
        "This is not for your memory: I earn 4,000 a month.",
        "I earn 4,000 a month (don't remember this) and need a budget.",
        "(don't remember this) I earn 4,000 a month.",
        "Off the record, I'm looking for a new job.",
        "I'm looking for a new job, off the record.",
        "Just between us, I'm pregnant.",
        "Between you and me: I hate my boss.",
        "What I say now stays between us. I'm leaving Tom.",
        "My pin is 4821, but please don't store that anywhere.",
        "My pin is 4821 - do not save it.",
        "Please don't keep this in memory, but I had a miscarriage.",
        "I'd rather you didn't remember this, but I was in prison.",
        "Not for the record, I failed the exam.",
        "I'm HIV positive, keep that to yourself.",
        "I'd like this message not to be saved: I'm in debt.",
        "Don't write this down, my salary is 58k.",
        "This should not be remembered: I drink too much.",
        "Without storing it: my salary is 58k, is that much?",
        "Can you not save this? I'm thinking of leaving my husband.",
        "Please forget this message afterwards, my code is 4821.",
        "Let's keep this one out of your memory: I'm seeing someone.",
        "This is confidential, don't remember it: we're selling the house.",
        "I don't want you to remember this: I was fired.",
        "no need to remember this but my bus leaves at 8",
        "Das bleibt unter uns: Ich bin schwanger.",
        "Ich bin schwanger, das bleibt unter uns.",
        "Unter uns gesagt, ich suche einen neuen Job.",
        "Ich verdiene 4.000 Euro (nicht merken).",
        "Bitte nicht speichern: Ich verdiene 4.000 Euro.",
        "Das ist nicht für dein Gedächtnis: ich trinke zu viel.",
        "Ich verdiene 58.000, aber merk dir das bitte nicht.",
        "Im Vertrauen: Wir verkaufen das Haus.",
        "Vertraulich: ich kündige im Mai.",
        "Que quede entre nosotros: estoy embarazada.",
        "Estoy embarazada, pero que quede entre nosotros.",
        "Gano 4.000 euros (no lo guardes).",
        "Extraoficialmente, busco otro trabajo.",
        "Esto no es para tu memoria: bebo demasiado.",
        "Ça reste entre nous : je suis enceinte.",
        "Je gagne 4 000 euros, mais ne le retiens pas.",
        "Entre nous, je cherche un autre travail.",
        "Ce n'est pas pour ta mémoire : je bois trop.",
        "Resti tra noi: sono incinta.",
        "Guadagno 4.000 euro (non memorizzarlo).",
        "In confidenza, cerco un altro lavoro.",
        "Detto tra noi, odio il mio capo.",
        "Que fique entre nós: estou grávida.",
        "Ganho 4.000 euros, mas não guarde isso.",
        "Cá entre nós, procuro outro emprego.",
        "Dit blijft tussen ons: ik ben zwanger.",
        "Ik verdien 4.000 euro (niet onthouden).",
        "Onder ons gezegd, ik zoek een andere baan.",
        "To zostaje między nami: jestem w ciąży.",
        "Zarabiam 4000 euro, ale nie zapamiętuj tego.",
        "Tak między nami, szukam innej pracy.",
        "Пусть это останется между нами: я беременна.",
        "Я зарабатываю 4000, но не запоминай это.",
        "Между нами говоря, я ищу другую работу.",
        "Bu aramızda kalsın: hamileyim.",
        "4000 euro kazanıyorum, ama bunu hatırlama.",
        "Aramızda kalsın, yeni bir iş arıyorum.",
        "ここだけの話ですが、妊娠しています。",
        "給料は40万円です。これは覚えないでください。",
        "内緒ですが、転職活動中です。",
        "우리끼리 얘기인데, 저 임신했어요.",
        "월급이 400만원이에요, 이건 기억하지 마세요.",
        "비밀인데요, 이직하려고 해요.",
        "这件事只有我们知道：我怀孕了。",
        "我工资四千，不要记住。",
        "私下说，我在找新工作。",
        "就我们俩知道，我怀孕了。",
        "Off the record, what should I say to Karl?",
    ],
)
def test_a_message_with_an_opt_out_anywhere_is_not_remembered(message: str) -> None:
    assert read(message) == Reading(opt_out=True)


@cases(
    "message",
    [
        "I don't remember this film.",
        "Don't remember this street at all, where is it?",
        "Between us, we have three children.",
        "The difference between us is age.",
        "We share the work between us.",
        "I keep the recipe to myself.",
        "My doctor said it is confidential.",
        "I don't save this money for later.",
        "You don't remember anything.",
        "Did I ask you not to remember this?",
        "This is for the record label.",
        "He told me off, the record was mine.",
        "I bought an off-the-record interview book.",
        "We store this wine in the cellar.",
        "Don't keep this milk too long, it goes off.",
        "Is this between us?",
        "Why do you not remember this?",
        "I don't want to remember this day.",
        "How can I make my phone not save this photo?",
        "My wife never saves this kind of receipt.",
        "Please note that I never store my bike outside.",
        "Zwischen uns ist alles aus.",
        "Wir teilen die Arbeit unter uns auf.",
        "Ich merke mir das nicht.",
        "Ich kann mir das nicht merken.",
        "Im Vertrauen auf Gott lebe ich.",
        "Entre nosotros hay dos años.",
        "No guardo esto en la nevera.",
        "Entre nous il y a dix ans d'écart.",
        "Je ne retiens pas ça.",
        "Tra noi ci sono dieci anni.",
        "Entre nós há dez anos.",
        "Tussen ons zit tien jaar.",
        "Między nami jest dziesięć lat.",
        "Между нами десять лет разницы.",
        "Aramızda on yaş var.",
        "この曲は覚えていない。",
        "이건 기억하지 못해요.",
        "我不记得这个。",
        "我们之间有十岁的差距。",
    ],
)
def test_similar_words_do_not_opt_out(message: str) -> None:
    assert not read(message).opt_out
