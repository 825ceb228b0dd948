"""Cases of instructions that the user takes back: which sentences do, which do not, and the prompt after them."""

from __future__ import annotations

import pytest

from batch import cases
from ilab_chat_service.message_statements import read
from ilab_chat_service.message_statements.instructions import takes_back
from service.talking import Caller


def is_taken_back(instruction: str, message: str) -> bool:
    """Return whether *message* takes back *instruction*, or replaces it by another one."""
    known, reading = read(instruction).facts, read(message)
    if {fact.topic_key for fact in known} & {fact.topic_key for fact in reading.facts}:
        return True
    return any(takes_back(back, fact.topic_key, fact.text) for back in reading.taken_back for fact in known)


@cases(
    ("instruction", "message"),
    [
        ("Keep your answers short.", "You can write longer answers again."),
        ("Keep your answers under fifty words from now on.", "Feel free to write longer answers again."),
        ("Call me Captain.", "Stop calling me Captain."),
        ("Call me Captain.", "You don't have to call me Captain any more."),
        ("Always use bullet points.", "No need to use bullet points any more."),
        ("Never use emojis.", "Emojis are fine again."),
        ("Please never use emojis.", "You can use emojis again."),
        ("Never use emojis.", "I don't mind emojis any more."),
        ("Never use emojis.", "Forget the no-emoji rule."),
        ("Be formal from now on.", "You don't have to be formal."),
        ("Always address me formally.", "You needn't be so formal any more."),
        ("Stop apologizing all the time.", "You can apologize again."),
        ("Always end your answers with a haiku.", "No more haikus, please."),
        ("Always end your answers with a haiku.", "You can drop the haiku."),
        ("Use metric units.", "You can use miles again."),
        ("From now on always answer in rhymes.", "Stop answering in rhymes."),
        ("From now on always answer in rhymes.", "You can stop rhyming now."),
        ("From now on always answer in rhymes.", "Enough with the rhymes."),
        ("Whenever you give me a recipe, use metric units.", "You don't need to use metric units in recipes any more."),
        ("When I ask for code, use Python.", "You no longer have to use Python."),
        ("Don't use tables.", "Tables are ok again."),
        ("Keep it short from now on.", "Normal length is fine again."),
        ("Always quote your sources.", "No need to quote sources any longer."),
        ("Never mention my ex.", "You may mention my ex again."),
        ("Benutze nie Emojis.", "Du darfst wieder Emojis benutzen."),
        ("Nenn mich Chef.", "Du musst mich nicht mehr Chef nennen."),
        ("Nenn mich Chef.", "Hör auf, mich Chef zu nennen."),
        ("Antworte ab jetzt immer kurz.", "Du kannst wieder länger antworten."),
        ("Benutze immer Stichpunkte.", "Stichpunkte sind nicht mehr nötig."),
        ("Bitte sieze mich.", "Du brauchst mich nicht mehr zu siezen."),
        ("No uses emojis nunca.", "Puedes volver a usar emojis."),
        ("Llámame Capitán.", "Deja de llamarme Capitán."),
        ("Llámame Capitán.", "Ya no hace falta que me llames Capitán."),
        ("Responde siempre en pocas palabras.", "Puedes escribir respuestas más largas otra vez."),
        ("N'utilise jamais d'emojis.", "Tu peux de nouveau utiliser des emojis."),
        ("Appelle-moi Capitaine.", "Arrête de m'appeler Capitaine."),
        ("Réponds toujours brièvement.", "Tu n'es plus obligé de répondre brièvement."),
        ("Non usare mai emoji.", "Puoi usare di nuovo le emoji."),
        ("Chiamami Capitano.", "Smetti di chiamarmi Capitano."),
        ("Rispondi sempre in breve.", "Non c'è più bisogno di rispondere in breve."),
        ("Nunca use emojis.", "Pode usar emojis de novo."),
        ("Me chame de Capitão.", "Pare de me chamar de Capitão."),
        ("Gebruik nooit emoji's.", "Je mag weer emoji's gebruiken."),
        ("Noem me Kapitein.", "Je hoeft me geen Kapitein meer te noemen."),
        ("Nigdy nie używaj emotikonów.", "Możesz znowu używać emotikonów."),
        ("Никогда не используй эмодзи.", "Можешь снова использовать эмодзи."),
        ("Asla emoji kullanma.", "Yine emoji kullanabilirsin."),
        ("絵文字は使わないで。", "また絵文字を使っていいよ。"),
        ("이모지 쓰지 마.", "이제 이모지 써도 돼."),
        ("不要用表情符号。", "你可以再用表情符号了。"),
    ],
)
def test_an_instruction_is_taken_back(instruction: str, message: str) -> None:
    assert is_taken_back(instruction, message)


@cases(
    ("instruction", "message"),
    [
        ("Never use emojis.", "You can use my car again."),
        ("Call me Captain.", "Stop calling my phone."),
        ("Call me Captain.", "The captain can sail again."),
        ("Call me Captain.", "Stop calling me Boss."),
        ("Keep your answers short.", "I can sleep longer again."),
        ("Keep your answers short.", "You can write a longer answer this time."),
        ("Use metric units.", "My back is fine again."),
        ("Always end your answers with a haiku.", "I stopped writing poems."),
        ("Never use emojis.", "Can I use emojis again at work?"),
        ("Never use emojis.", "My boss says emojis are fine again."),
        ("Never mention my ex.", "My ex is fine again."),
        ("From now on always answer in rhymes.", "You don't have to answer this."),
        ("Don't use tables.", "The chairs are fine again."),
        ("Be formal from now on.", "The dinner doesn't have to be formal."),
        ("Nenn mich Chef.", "Du musst meinen Chef nicht mehr erwähnen."),
        ("Never use emojis.", "Stop using commas."),
        ("Use metric units.", "You can stop asking about Rome."),
        ("Never mention my ex.", "You don't need to book the train any more."),
        ("Benutze nie Emojis.", "Du darfst wieder Witze machen."),
        ("Llámame Capitán.", "Puedes volver a preguntar."),
        ("N'utilise jamais d'emojis.", "Tu peux de nouveau raconter des blagues."),
        ("絵文字は使わないで。", "もう急がなくていいよ。"),
        ("不要用表情符号。", "你不用再问了。"),
        ("Always quote your sources.", "No more questions, thanks."),
        ("Never use emojis.", "I have to use emojis again at work."),
    ],
)
def test_other_words_leave_an_instruction(instruction: str, message: str) -> None:
    assert not is_taken_back(instruction, message)


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        ("Keep your answers short from now on.", "You can write longer answers again."),
        ("Call me Captain.", "Stop calling me Captain."),
        ("Always use bullet points.", "No need to use bullet points any more."),
        ("Never use emojis.", "Forget the thing about emojis, they are fine."),
        ("Be formal from now on.", "You don't have to be formal."),
        ("From now on always answer in rhymes.", "Please stop answering in rhymes. What is the capital of Peru?"),
        ("Benutze nie Emojis.", "You can use emojis again."),
        ("Nenn mich Chef.", "Hör auf, mich Chef zu nennen."),
        ("Llámame Capitán.", "Deja de llamarme Capitán."),
        ("N'utilise jamais d'emojis.", "Tu peux de nouveau utiliser des emojis."),
        ("絵文字は使わないで。", "また絵文字を使っていいよ。"),
    ],
)
async def test_an_instruction_that_is_taken_back_leaves_the_prompt(
    alice: Caller, instruction: str, message: str
) -> None:
    stays = "Always use metric units."
    await alice.say(stays)
    [fact] = (await alice.say(instruction)).remembered
    await alice.say(message)
    facts = await alice.facts()
    assert fact.content not in facts
    assert stays.rstrip(".") in str(facts)
    assert fact.content not in "\n".join((await alice.prompt(conversation_id="new")).facts)


async def test_what_takes_back_no_known_instruction_changes_no_fact(alice: Caller) -> None:
    await alice.say("Never use emojis.")
    before = await alice.facts()
    assert list((await alice.say("You can write longer answers again.")).remembered) == []
    assert await alice.facts() == before
