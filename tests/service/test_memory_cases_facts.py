"""Cases of memory: facts about the user in the prompt that reaches the upstream.

One test for each case, in several wordings. The other cases are in `test_memory_cases_search.py` and
`test_memory_cases_prompt.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from ilab_chat.v1 import chat_pb2, memory_pb2
from ilab_chat_service.memory.hydrate import EARLIER_MESSAGES
from ilab_memory import ILabMemory, Observation
from service.talking import Caller

#: Turns that say nothing about the user, between what was said and the question.
LATER = 12


@pytest.mark.parametrize(
    ("kind", "content", "changed"),
    [
        ("profile", "Allergic to peanuts and shellfish.", "Allergic to kiwi."),
        ("preference", "Trinkt Tee statt Kaffee.", "Trinkt Kakao."),
        ("decision", "Nos quedamos con el piso de la calle Mayor.", "Nos mudamos a la costa."),
        ("pattern", "周一总是很晚下班。", "周五总是很晚下班。"),
    ],
)
async def test_a_saved_fact_is_in_every_prompt_until_it_is_changed_or_deleted(
    alice: Caller, kind: str, content: str, changed: str
) -> None:
    number = await alice.save(content, kind, title="Saved")
    for message in ("Hello!", "What is the capital of Peru?"):
        assert content in (await alice.prompt(message)).system
    await alice.chat(LATER)
    assert content in (await alice.prompt()).system
    await alice.memory.UpdateObservation(
        memory_pb2.UpdateObservationRequest(
            user_id=alice.user_id, observation_id=number, content=changed, update_mask=FieldMask(paths=["content"])
        )
    )
    prompt = await alice.prompt()
    assert changed in prompt.system
    assert content not in prompt.text
    await alice.memory.DeleteObservation(
        memory_pb2.DeleteObservationRequest(user_id=alice.user_id, observation_id=number)
    )
    assert changed not in (await alice.prompt()).text


@pytest.mark.parametrize(
    "instruction",
    [
        "From now on always answer me in Spanish.",
        "Please never use emojis.",
        "Don't use bullet points any more.",
        "Keep your answers under fifty words from now on, please.",
        "Call me Captain.",
        "Stop apologizing all the time.",
        "Whenever you give me a recipe, use metric units.",
        "Antworte mir ab jetzt immer auf Englisch.",
        "Bitte duze mich.",
        "Benutze nie wieder Emojis.",
        "A partir de ahora respóndeme siempre en inglés.",
        "Llámame Capitán.",
        "À partir de maintenant, réponds-moi toujours en anglais.",
        "Ne me vouvoie plus.",
        "A partir de agora responda sempre em inglês.",
        "Da ora in poi rispondimi sempre in inglese.",
        "从现在开始，请一直用英语回答我。",
        "これからはいつも英語で答えてください。",
        "Antwoord vanaf nu altijd in het Engels.",
        "Отныне всегда отвечай мне по-английски.",
    ],
)
async def test_an_instruction_holds_for_every_later_answer(alice: Caller, instruction: str) -> None:
    await alice.said_earlier("I live in Hamburg.")
    said = await alice.say(instruction, conversation_id="instructions")
    assert [fact.pinned for fact in said.remembered] == [True]
    await alice.said_earlier("My cat is called Tiger.")
    await alice.chat(LATER)
    facts = (await alice.prompt()).facts
    assert said.remembered[0].content in facts[0]
    assert instruction.rstrip(".。").removesuffix(", please")[-8:] in facts[0]


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("I'm allergic to peanuts.", "Any food I should avoid?"),
        ("I have been a vegetarian since 2019.", "What should I cook tonight?"),
        ("My knees hurt whenever I run.", "Which sport would suit me?"),
        ("I work as a night nurse.", "Why am I always tired in the morning?"),
        ("Our twins start school in August.", "How should we plan the autumn?"),
        ("Ich vertrage keine Milch.", "Welches Dessert passt zu mir?"),
        ("Ich bin gegen Erdnüsse allergisch.", "Was sollte ich nicht essen?"),
        ("Soy diabético.", "¿Qué postre me recomiendas?"),
        ("Je suis allergique aux noix.", "Quels gâteaux dois-je éviter ?"),
        ("Sou alérgica a camarão.", "O que não devo comer?"),
        ("Sono vegana da due anni.", "Cosa cucino stasera?"),
        ("我对花生过敏。", "我应该避免吃什么？"),
        ("私はエビアレルギーです。", "何を食べないほうがいいですか？"),
    ],
)
async def test_a_question_that_shares_no_word_with_the_fact_gets_it(alice: Caller, said: str, question: str) -> None:
    await alice.said_earlier(said)
    await alice.chat(LATER)
    assert said.rstrip(".。") in (await alice.prompt(question)).memory


@pytest.mark.parametrize(
    ("earlier", "now", "question", "old"),
    [
        ("I live in Hamburg.", "I moved to Lisbon last month.", "Where do I live?", "Hamburg"),
        ("I work at Siemens.", "I just started a new job at Bosch.", "Where do I work?", "Siemens"),
        ("I'm a vegetarian.", "I'm not a vegetarian any more.", "Can I eat a steak?", "'m a vegetarian"),
        ("My favourite colour is green.", "My favourite colour is orange now.", "What colour do I like?", "green"),
        ("My girlfriend is called Anna.", "My girlfriend is called Marie.", "Who is my girlfriend?", "Anna"),
        ("My phone number is 5550142.", "My new phone number is 5550199.", "What's my phone number?", "5550142"),
        ("Ich wohne in Bremen.", "Ich bin letzte Woche nach Wien gezogen.", "Wo wohne ich?", "Bremen"),
        ("Ich arbeite bei der Post.", "Ich arbeite jetzt bei der Bahn.", "Wo arbeite ich?", "Post"),
        ("Vivo en Madrid.", "Me he mudado a Valencia.", "¿Dónde vivo?", "Madrid"),
        ("J'habite à Lyon.", "J'ai déménagé à Nantes.", "Où est-ce que j'habite ?", "Lyon"),
        ("Moro em Braga.", "Mudei-me para o Porto.", "Onde moro?", "Braga"),
        ("Abito a Torino.", "Mi sono trasferita a Bari.", "Dove abito?", "Torino"),
        ("我住在上海。", "我上个月搬到了成都。", "我住在哪里？", "上海"),
        ("大阪に住んでいます。", "先月、札幌に引っ越しました。", "私はどこに住んでいますか？", "大阪"),
        # In another language than before.
        ("Ich wohne in Bremen.", "I moved to Vienna.", "Where do I live?", "Bremen"),
    ],
)
async def test_the_newest_value_holds_and_an_older_one_is_marked(
    alice: Caller, earlier: str, now: str, question: str, old: str
) -> None:
    await alice.said_earlier(earlier)
    alice.clock.go_by(40)
    await alice.say(now, conversation_id="now")
    alice.clock.go_by(2)
    # A new job is a fact about the employer and about the role.
    assert {*await alice.facts()} == {now}
    prompt = await alice.prompt(question)
    assert now in prompt.system
    assert all("(earlier, no longer holds)" in line for line in prompt.memory_of(old))


@pytest.mark.parametrize(
    ("said", "now", "old", "other"),
    [
        ("I live in Hamburg. My sister visits me on Sundays.", "I moved to Lisbon.", "Hamburg", "sister"),
        ("My aunt taught me to knit. I work at Siemens.", "I work at Bosch now.", "Siemens", "aunt"),
        ("Ich wohne in Bremen. Meine Oma backt gern mit mir.", "Ich wohne jetzt in Wien.", "Bremen", "Oma"),
    ],
)
async def test_other_statements_of_a_message_hold_when_its_fact_is_replaced(
    alice: Caller, said: str, now: str, old: str, other: str
) -> None:
    await alice.said_earlier(said)
    alice.clock.go_by(2)
    await alice.say(now, conversation_id="now")
    [line] = [each for each in (await alice.prompt()).facts if other in each]
    assert "(earlier" not in line
    prompt = await alice.prompt(f"Did I tell you about {other} and {old}?")
    for line in prompt.memory_of(old):
        at = line.index(old)
        assert "(earlier, no longer holds)" in line[at:], line
    assert not any(f"{other} (earlier" in line for line in prompt.memory_of(other))


async def test_few_messages_are_read_again_for_their_other_statements(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    towns = "Leeds Lyon Porto Turin Graz Ghent Basel Malmo Split Brno Cork Genoa Nice Bonn Lodz Kiel Bath Linz Riga"
    for town in towns.split():
        await alice.said_earlier(f"I live in {town}. My neighbour in {town} likes gardening.")
    read_again: list[int] = []
    get = ILabMemory.mem_get_observation

    def counted(memory: ILabMemory, user_id: str, observation_id: int) -> Observation | None:
        read_again.append(observation_id)
        return get(memory, user_id, observation_id)

    monkeypatch.setattr(ILabMemory, "mem_get_observation", counted)
    facts = "\n".join((await alice.prompt()).facts)
    assert len(read_again) == len({*read_again}) == EARLIER_MESSAGES
    assert "neighbour in Linz" in facts
    assert "neighbour in Leeds" not in facts


@pytest.mark.parametrize(
    "message",
    [
        "Am I allergic to shellfish?",
        "am i still a member of the chess club",
        "Do you know where I live?",
        "I wonder if I am too old for the piano.",
        'Translate into German: "My name is Bob and I live in Rome."',
        "If I were vegan, what could I eat?",
        "Suppose I live in Oslo and work as a pilot.",
        "Write a poem in which I live on the moon.",
        "Bin ich gegen Krabben allergisch?",
        "Wenn ich Veganer wäre, was könnte ich essen?",
        "¿Soy alérgico al marisco?",
        "Suis-je allergique aux crevettes ?",
        "Sou alérgico a amendoim?",
        "Sono allergico alle noci?",
        "我对虾过敏吗？",
        "私はエビアレルギーですか？",
    ],
)
async def test_a_question_or_quotation_is_not_a_fact_and_all_facts_are_there(alice: Caller, message: str) -> None:
    known = ["I live in Graz.", "I'm allergic to penicillin.", "My wife is called Ilse."]
    await alice.said_earlier(*known)
    assert list((await alice.say(message, conversation_id="asked")).remembered) == []
    prompt = await alice.prompt("What do you know about me?")
    assert sorted(await alice.facts()) == sorted(known)
    assert all(any(fact in line for line in prompt.facts) for fact in known)
    assert message not in prompt.system


@pytest.mark.parametrize(
    ("reply", "question", "invented"),
    [
        ("Since you are vegetarian and have two kids, I suggest lentils.", "Am I vegetarian?", "vegetarian"),
        ("As a nurse in Leeds you surely need better shoes.", "What is my job?", "nurse"),
        ("You told me that your dog Rex is ill.", "Is my dog ill?", "Rex"),
        ("Da du in Kassel wohnst, nimm den Zug.", "Wohne ich in Kassel?", "Kassel"),
        ("Como eres celíaca, evita el pan.", "¿Soy celíaca?", "celíaca"),
        ("Comme vous habitez à Brest, prenez le bateau.", "Est-ce que j'habite à Brest ?", "Brest"),
        ("既然你住在昆明，不用带厚衣服。", "我住在昆明吗？", "既然"),
        ("名古屋に住んでいるあなたには、これがおすすめです。", "私は名古屋に住んでいますか？", "おすすめ"),
    ],
)
async def test_the_assistants_words_are_not_facts_about_the_user(
    alice: Caller, reply: str, question: str, invented: str
) -> None:
    alice.upstream.says(reply)
    await alice.said_earlier("What would you suggest for the weekend?")
    await alice.chat(2)
    prompt = await alice.prompt(question)
    assert await alice.facts() == []
    assert not prompt.memory_of(invented)


@pytest.mark.parametrize(
    ("message", "secret", "question"),
    [
        ("Don't remember this: my salary is 58,000.", "58,000", "What do I earn?"),
        ("My salary is 58,000. Please don't save this.", "58,000", "How much is my salary?"),
        ("Off the record, I'm looking for a new job at Lufthansa.", "Lufthansa", "Where do I want to work?"),
        ("Merk dir das nicht: Ich verdiene 58.000 Euro.", "58.000", "Was verdiene ich?"),
        ("No guardes esto: mi sueldo es de 58.000.", "58.000", "¿Cuál es mi sueldo?"),
        ("Ne retiens pas ça : je gagne 58 000 euros.", "58 000", "Combien est-ce que je gagne ?"),
        ("Não guarde isso: meu salário é 58.000.", "58.000", "Qual é o meu salário?"),
        ("Non salvare questo: il mio stipendio è 58.000.", "58.000", "Qual è il mio stipendio?"),
        ("不要记住这个：我的工资是五万八。", "五万八", "我的工资是多少？"),
        ("これは覚えないで：給料は500万円です。", "500万", "私の給料はいくらですか？"),
    ],
)
async def test_opted_out_message_is_not_stored(alice: Caller, message: str, secret: str, question: str) -> None:
    answer = await alice.say(message)
    assert secret in alice.last_prompt.text, "the model sees the message"
    assert (answer.observation_id, list(answer.remembered)) == (0, [])
    assert await alice.observations() == []
    assert secret not in (await alice.prompt(question)).text


@pytest.mark.parametrize(
    "request_to_forget",
    [
        "Forget that.",
        "Please forget what I just said.",
        "Delete my last message!",
        "Vergiss das bitte.",
        "Olvida lo que acabo de decir.",
        "Oublie ça.",
        "Esquece isso.",
        "Dimentica quello che ho detto.",
        "忘掉我刚才说的话。",
        "さっき言ったことは忘れて。",
    ],
)
async def test_forget_that_erases_the_last_turn_and_its_facts_once(alice: Caller, request_to_forget: str) -> None:
    await alice.say("My name is Alice.")
    secret = await alice.say("My shoe size is 43.", request_id="r-1")
    assert "43" in str(await alice.facts())
    answer = await alice.say(request_to_forget, request_id="r-2")
    assert answer.forgotten_observation_id == secret.observation_id
    assert answer.observation_id == 0
    again = await alice.say(request_to_forget, request_id="r-2")
    assert (again.replayed, again.forgotten_observation_id) == (True, secret.observation_id)
    assert "43" not in (await alice.prompt("Which size should I order?")).text
    assert "43" not in str(await alice.observations())
    assert await alice.facts() == ["My name is Alice."]
    # The stored answer of the forgotten turn is gone with it.
    assert not (await alice.say("My shoe size is 43.", request_id="r-1")).replayed


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ("My brother Lyle is bankrupt. What happens to his house?", "You know what, forget that about Lyle."),
        (
            "my ex wants his record player back",
            "Please forget everything I told you about my ex and his record player.",
        ),
        ("Mein Bruder ist im Gefängnis.", "Vergiss bitte das mit meinem Bruder."),
        ("mi hermano ha perdido 8.000 en criptos", "mira, olvida lo de mi hermano. ¿Cómo se limpia una plancha?"),
        ("Ma sœur est enceinte.", "Oublie ce que je t'ai dit sur ma sœur."),
        ("O meu irmão bebe demais.", "Esquece o que eu falei sobre o meu irmão."),
        ("Mio fratello beve troppo.", "Dimentica quello che ti ho detto su mio fratello."),
        ("我哥哥破产了。", "忘掉关于我哥哥的事。"),
        ("兄が会社を辞めた。", "兄の話は忘れてください。"),
    ],
)
async def test_forget_what_was_said_about_a_subject(alice: Caller, told: str, asked: str) -> None:
    secret = await alice.say(told)
    await alice.say("My name is Alice.")
    answer = await alice.say(asked, request_id="r-2")
    assert answer.forgotten_observation_id == secret.observation_id
    assert answer.observation_id == 0
    again = await alice.say(asked, request_id="r-2")
    assert (again.replayed, again.forgotten_observation_id) == (True, secret.observation_id)
    assert told not in str(await alice.observations())
    assert "My name is Alice." in str(await alice.observations())


@pytest.mark.parametrize(
    "message",
    [
        "Forget about Lyle, which train shall I take?",
        "Did I forget what I told you about Lyle?",
        "Forget everything about Lyle, we'll paint the hall dark green.",
    ],
)
async def test_nothing_is_forgotten_in_doubt(alice: Caller, message: str) -> None:
    await alice.say("My brother Lyle is bankrupt.")
    answer = await alice.say(message)
    assert answer.forgotten_observation_id == 0
    assert answer.observation_id > 0
    assert "bankrupt" in str(await alice.observations())


@pytest.mark.parametrize(
    ("message", "value", "question"),
    [
        ("Remember that my shoe size is 43.", "43", "Which size should I order?"),
        ("Please remember: the alarm code is 9017.", "9017", "How do I switch it off?"),
        ("Keep in mind that the plumber comes on Thursdays.", "Thursdays", "Who comes when?"),
        ("Don't forget that Tom can't climb stairs.", "stairs", "Which flat should we take?"),
        ("Note: our booking number is QX-118.", "QX-118", "What do I show at the desk?"),
        ("Merk dir bitte, dass ich Schuhgröße 43 habe.", "43", "Was soll ich bestellen?"),
        ("Recuerda que mi talla es la 43.", "43", "¿Qué pido?"),
        ("Souviens-toi que ma pointure est le 43.", "43", "Que dois-je commander ?"),
        ("Lembra-te de que calço o 43.", "43", "O que devo encomendar?"),
        ("Ricordati che porto il 43 di scarpe.", "43", "Cosa devo ordinare?"),
        ("请记住，我穿43码的鞋。", "43", "我应该订什么？"),
        ("私の靴のサイズは27センチだと覚えておいて。", "27", "何を注文すればいい？"),
    ],
)
async def test_request_to_remember_becomes_a_fact_that_the_answer_names(
    alice: Caller, message: str, value: str, question: str
) -> None:
    first = await alice.say(message, request_id="r-1", conversation_id="first")
    [remembered] = first.remembered
    assert value in remembered.content
    assert remembered.topic_key.startswith("fact/")
    again = await alice.say(message, request_id="r-1", conversation_id="first")
    assert again.replayed
    assert list(again.remembered) == [remembered]
    assert list((await alice.say(message, conversation_id="first")).remembered) == []
    fact = (await alice.memory.ListFacts(memory_pb2.ListFactsRequest(user_id=alice.user_id))).facts[0]
    assert fact.observation_id == remembered.observation_id
    assert first.observation_id in fact.source_observation_ids
    answer = await alice.say(question)
    assert value in alice.last_prompt.system
    assert remembered.observation_id in facts_of(answer)


async def test_everything_that_is_stored_can_be_listed_changed_deleted_and_imported(alice: Caller) -> None:
    turn = await alice.say("I live in Hamburg.")
    note = await alice.save("The key is under the mat.")
    memory, user = alice.memory, alice.user_id

    sessions = await memory.ListSessions(memory_pb2.ListSessionsRequest(user_id=user))
    assert len(sessions.sessions) == 1
    exported = [each async for each in memory.ExportUser(memory_pb2.ExportUserRequest(user_id=user))]

    await memory.UpdateObservation(
        memory_pb2.UpdateObservationRequest(
            user_id=user,
            observation_id=note,
            content="The key is in the shed.",
            update_mask=FieldMask(paths=["content"]),
        )
    )
    assert "The key is in the shed." in await alice.observations(["discovery"])
    assert (await alice.prompt("Where is the key?")).memory_of("shed")

    await memory.DeleteObservation(
        memory_pb2.DeleteObservationRequest(user_id=user, observation_id=turn.observation_id)
    )
    assert await alice.observations() == ["The key is in the shed."]
    assert "Hamburg" not in (await alice.prompt("Where do I live?")).text

    await memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id=user))
    items: list[Any] = [memory_pb2.ImportUserRequest(user_id=user)]
    for each in exported:
        name = each.WhichOneof("item") or ""
        items.append(memory_pb2.ImportUserRequest(**{name: getattr(each, name)}))
    added = await memory.ImportUser(iter(items))
    assert (added.sessions, added.observations) == (1, 3)
    assert await alice.facts() == ["I live in Hamburg."]
    assert (await alice.prompt("Where is the key?")).memory_of("under the mat")


def facts_of(answer: chat_pb2.ChatResponse) -> list[int]:
    """The ids of the facts that an answer says were in its prompt."""
    return [each.observation_id for each in answer.memories if each.source == chat_pb2.MEMORY_SOURCE_FACT]
