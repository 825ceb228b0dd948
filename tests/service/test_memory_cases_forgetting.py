"""Cases of what people ask the memory to forget: everything about a subject, a topic, and what stays.

One test for each case, in several wordings, through real calls. `test_memory_cases_facts.py` has the requests to forget
one turn.
"""

from __future__ import annotations

import asyncio

import pytest

from batch import cases
from ilab_chat.v1 import chat_pb2
from ilab_chat_service.statements import Reading, read
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


@pytest.mark.parametrize(
    "message",
    [
        "Forget everything about that.",
        "Forget everything about me.",
        "Forget everything about Lyle, we'll paint the hall dark green.",
        "I forgot everything about Lyle.",
        "Did you forget everything about Lyle?",
        "Delete everything about boats from the text.",
        "Forget work. What's for dinner?",
        "Forget my job. How do I become a pilot?",
        "My wife says I should forget everything about Lyle.",
    ],
)
async def test_nothing_is_erased_in_doubt(alice: Caller, message: str) -> None:
    told = ["Lyle is bankrupt.", "Lyle paints boats.", "I work at Bosch."]
    await alice.said_earlier(*told)
    assert (await alice.say(message)).forgotten_observation_id == 0
    kept = str(await alice.observations())
    assert all(each in kept for each in told)


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
