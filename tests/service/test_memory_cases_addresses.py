"""Addresses: a fact of its own, apart from the town where the user lives."""

from __future__ import annotations

import pytest

from batch import cases
from ilab_chat_service.message_statements import read
from service.talking import Caller


@cases(
    "message",
    [
        "I live at 12 Elm Road.",
        "I live on Elm Road.",
        "We live at 5 Station Street in Leeds.",
        "I moved to 48 Park Avenue.",
        "My address is 7 Mill Lane, York.",
        "My new address is Flat 3, 22 King's Road.",
        "We've moved into 9 Harbour View.",
        "I'm living on Baker Street.",
        "Ich wohne in der Elmstraße 12.",
        "Ich wohne in der Goethestraße.",
        "Ich wohne am Marktplatz 3.",
        "Ich wohne im Rosenhof 3.",
        "Meine Adresse ist Hauptstr. 5.",
        "Ich bin in die Lindenallee 8 gezogen.",
        "Wir wohnen Am Alten Weg 4.",
        "Vivo en la calle Mayor 5.",
        "Vivo en Calle Mayor 5, 3º.",
        "Mi dirección es Avenida del Sol 12.",
        "Me mudé a la calle Luna 8.",
        "J'habite au 12 rue des Lilas.",
        "J'habite 12 rue des Lilas à Lyon.",
        "J'habite rue Victor Hugo.",
        "Mon adresse est 5 avenue Foch.",
        "J'ai déménagé au 8 place Carnot.",
        "Abito in via Garibaldi 12.",
        "Abito in via Roma.",
        "Mi sono trasferito in piazza Dante 3.",
        "Il mio indirizzo è viale Marconi 8.",
        "Moro na rua das Flores, 12.",
        "Moro na Rua Augusta 100.",
        "Meu endereço é Avenida Paulista 900.",
        "Mudei-me para a rua do Sol 5.",
        "Ik woon op Kerkstraat 12.",
        "Ik woon in de Kerkstraat.",
        "Mijn adres is Dorpsweg 8.",
        "Mieszkam na ulicy Długiej 5.",
        "Mieszkam przy ul. Długiej 5.",
        "Mój adres to ul. Polna 3.",
        "Я живу на улице Ленина, 5.",
        "Atatürk Caddesi 15'te oturuyorum.",
        "Adresim Gül Sokak 5.",
        "東京都渋谷区神南1-2-3に住んでいます。",
        "住所は大阪市北区梅田2丁目5番地です。",
        "저는 강남대로 12길 5에 살아요.",
        "제 주소는 세종로 15예요.",
        "我住在中山路12号。",
        "我的地址是南京西路5号。",
        "I've moved from Elm Road to Oak Avenue.",
        "I live on Park Street 5 with my sister Ann.",
    ],
)
def test_where_the_user_lives_is_an_address(message: str) -> None:
    keys = {fact.topic_key for fact in read(message).facts}
    assert "address" in keys
    assert "home" not in keys


@cases(
    "message",
    [
        "I live in Leeds.",
        "I live in the middle of nowhere.",
        "I live on a farm.",
        "I live on my own.",
        "I live at home with my parents.",
        "I live on coffee.",
        "I live at the end of the road.",
        "I moved to Lisbon.",
        "Ich wohne in Leipzig.",
        "Ich wohne in einer WG.",
        "Ich wohne am Meer.",
        "Ich wohne in Wegberg.",
        "Vivo en Madrid.",
        "Vivo con mi madre en la costa.",
        "J'habite à Lyon.",
        "J'habite à la campagne.",
        "Abito a Torino.",
        "Moro em Braga.",
        "Ik woon in Utrecht.",
        "Mieszkam w Gdyni.",
        "Я живу в Твери.",
        "İzmir'de yaşıyorum.",
        "大阪に住んでいます。",
        "저는 대구에 살아요.",
        "我住在成都。",
        "I live in Street, a village in Somerset.",
        "Ich lebe auf der Straße.",
        "My sister lives at 12 Elm Road.",
        "Do I live at 12 Elm Road?",
        "I live in London, near Baker Street.",
        "I live in London near Baker Street.",
        "I live in Leeds and work on Elm Road.",
        "I live at 5 minutes from the station.",
        "I live on 50 euros a week.",
        "Ich wohne in Norderstedt.",
        "Ich wohne in Neumarkt.",
        "I no longer live on Elm Road.",
        "I work at 12 Elm Road.",
    ],
)
def test_other_words_are_not_an_address(message: str) -> None:
    assert "address" not in {fact.topic_key for fact in read(message).facts}


@cases(
    "message",
    ["I live in Leeds, 12 Elm Road.", "Ich wohne in Potsdam, Karl-Marx-Straße 5.", "Vivo en Madrid, calle Luna 3."],
)
def test_a_town_with_an_address_is_a_town(message: str) -> None:
    assert [fact.topic_key for fact in read(message).facts] == ["home"]


async def test_an_address_replaces_an_address_and_no_town(alice: Caller) -> None:
    said = ["I live in Leeds.", "I live at 12 Elm Road.", "I moved to 3 Oak Avenue."]
    await alice.said_earlier(*said[:2])
    assert sorted(await alice.facts()) == sorted(said[:2])
    await alice.said_earlier(said[2])
    assert sorted(await alice.facts()) == sorted([said[0], said[2]])
    await alice.said_earlier("I moved to York.")
    assert sorted(await alice.facts()) == sorted(["I moved to York.", said[2]])


@pytest.mark.parametrize(
    "moved", ["I moved to York.", "Ich bin nach Kiel gezogen.", "Me he mudado a Cádiz.", "我搬到了成都。"]
)
async def test_a_move_to_another_town_puts_an_address_in_doubt(alice: Caller, moved: str) -> None:
    await alice.said_earlier("I live in Leeds.", "I live at 12 Elm Road.")
    assert "(earlier" not in "".join((await alice.prompt()).memory_of("Elm Road"))
    alice.clock.go_by(1)
    await alice.said_earlier(moved)
    assert "(earlier, may no longer hold)" in "".join((await alice.prompt()).memory_of("Elm Road"))
