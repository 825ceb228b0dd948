"""Dates in messages: which time they name, and what `mem_recall` then returns, on every store."""

# ruff: noqa: RUF001 - letters and signs of other scripts look like Latin ones

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from batch import cases
from ilab_memory import ILabMemory
from ilab_memory.recall.message_query import read
from memory.support import Clock, recalled, say

#: A Saturday.
NOW = datetime(2026, 11, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))
YESTERDAY = ("2026-11-27", "2026-11-28")
LAST_WEEK = ("2026-11-16", "2026-11-23")
THREE_WEEKS_AGO = ("2026-11-03", "2026-11-12")
MONDAY = ("2026-11-23", "2026-11-24")
MAY = ("2026-05-01", "2026-06-01")

#: Questions about what was said, and the first day of the time and the day after its last one.
ASKED = {
    "What did we talk about yesterday?": YESTERDAY,
    "What did we discuss two days ago?": ("2026-11-26", "2026-11-27"),
    "What did I ask the day before yesterday?": ("2026-11-26", "2026-11-27"),
    "What did I say last week?": LAST_WEEK,
    "What did I tell you 3 weeks ago?": ("2026-11-03", "2026-11-12"),
    "What did I tell you on Monday?": MONDAY,
    "What did we talk about in May?": MAY,
    "What did we talk about in May 2024?": ("2024-05-01", "2024-06-01"),
    "What did we talk about in the last three days?": ("2026-11-25", "2026-11-29"),
    "What did we discuss on March 3rd?": ("2026-03-03", "2026-03-04"),
    "What did we discuss on 24 December?": ("2025-12-24", "2025-12-25"),
    "What did we talk about on 2026-11-02?": ("2026-11-02", "2026-11-03"),
    "What did we talk about last weekend?": ("2026-11-21", "2026-11-23"),
    "What have we talked about this month?": ("2026-11-01", "2026-11-29"),
    "What did we talk about last year?": ("2025-01-01", "2026-01-01"),
    "What happened a couple of weeks ago?": ("2026-11-10", "2026-11-19"),
    "Worüber haben wir gestern gesprochen?": YESTERDAY,
    "Was habe ich letzte Woche gesagt?": LAST_WEEK,
    "Was habe ich vor drei Wochen erzählt?": THREE_WEEKS_AGO,
    "Worüber haben wir am Montag geredet?": MONDAY,
    "Was war im Mai das Thema?": MAY,
    "¿De qué hablamos ayer?": YESTERDAY,
    "¿Qué te dije la semana pasada?": LAST_WEEK,
    "¿De qué hablamos hace tres semanas?": THREE_WEEKS_AGO,
    "¿De qué hablamos el lunes?": MONDAY,
    "¿De qué hablamos en mayo?": MAY,
    "De quoi avons-nous parlé hier ?": YESTERDAY,
    "De quoi avons-nous parlé la semaine dernière ?": LAST_WEEK,
    "Qu'est-ce que j'ai dit il y a trois semaines ?": THREE_WEEKS_AGO,
    "De quoi a-t-on parlé lundi ?": MONDAY,
    "De quoi avons-nous discuté en mai ?": MAY,
    "Sobre o que falamos ontem?": YESTERDAY,
    "O que eu disse na semana passada?": LAST_WEEK,
    "Sobre o que conversamos há três semanas?": THREE_WEEKS_AGO,
    "Sobre o que falamos em maio?": MAY,
    "Di cosa abbiamo parlato ieri?": YESTERDAY,
    "Cosa ho detto la settimana scorsa?": LAST_WEEK,
    "Di cosa abbiamo parlato tre settimane fa?": THREE_WEEKS_AGO,
    "Di cosa abbiamo parlato lunedì?": MONDAY,
    "Waar hebben we het gisteren over gehad?": YESTERDAY,
    "Wat zei ik vorige week?": LAST_WEEK,
    "Waar hadden we het drie weken geleden over?": THREE_WEEKS_AGO,
    "Wat heb ik op maandag gezegd?": MONDAY,
    "O czym rozmawialiśmy wczoraj?": YESTERDAY,
    "Co mówiłem w zeszłym tygodniu?": LAST_WEEK,
    "O czym rozmawialiśmy trzy tygodnie temu?": THREE_WEEKS_AGO,
    "O czym rozmawialiśmy w poniedziałek?": MONDAY,
    "О чём мы говорили вчера?": YESTERDAY,
    "Что я сказал на прошлой неделе?": LAST_WEEK,
    "О чём мы говорили три недели назад?": THREE_WEEKS_AGO,
    "О чём мы говорили в понедельник?": MONDAY,
    "О чём мы говорили в мае?": MAY,
    "Dün ne konuştuk?": YESTERDAY,
    "Geçen hafta ne söyledim?": LAST_WEEK,
    "Üç hafta önce ne konuştuk?": THREE_WEEKS_AGO,
    "Pazartesi günü ne konuştuk?": MONDAY,
    "Mayısta ne konuştuk?": MAY,
    "我们昨天聊了什么？": YESTERDAY,
    "上周我说了什么？": LAST_WEEK,
    "三周前我们聊了什么？": THREE_WEEKS_AGO,
    "星期一我们聊了什么？": MONDAY,
    "五月我们聊了什么？": MAY,
    "昨日は何を話しましたか？": YESTERDAY,
    "先週、何を話しましたか？": LAST_WEEK,
    "三週間前に何を話した？": THREE_WEEKS_AGO,
    "月曜日に何を話しましたか？": MONDAY,
    "5月に何を話しましたか？": MAY,
    "어제 무슨 얘기 했지?": YESTERDAY,
    "지난주에 우리 무슨 이야기 했어?": LAST_WEEK,
    "3주 전에 무슨 얘기 했어?": THREE_WEEKS_AGO,
    "월요일에 무슨 얘기 했어?": MONDAY,
    "5월에 무슨 얘기를 했지?": MAY,
}
#: Messages that ask for no time at which something was said.
UNDATED = [
    "What do I have on Monday?",
    "How are you today?",
    "Yesterday was great.",
    "What is the weather tomorrow?",
    "Who is May?",
    "Where will we go next week?",
    "Was mache ich am Montag?",
    "Wie geht es dir heute?",
    "Bonjour, ça va aujourd'hui ?",
    "今天好吗？",
    "What did we say on 2026-13-45?",
    "What did we say 99999999999999999999 weeks ago?",
    "What did we say 999 years ago?",
]


@cases("message", ASKED)
def test_a_question_about_a_time_names_its_days(message: str) -> None:
    asked = read(message, now=NOW)
    assert asked.asks_period
    assert asked.dated is not None
    days = [moment.astimezone(NOW.tzinfo).date().isoformat() for moment in asked.dated.period]
    assert tuple(days) == ASKED[message]


@cases("message", UNDATED)
def test_other_messages_ask_for_no_time(message: str) -> None:
    asked = read(message, now=NOW)
    assert not asked.asks_period or (asked.dated is not None and asked.dated.period.end.year < 2000)


def test_a_pasted_text_names_no_time() -> None:
    assert read("What did we say yesterday? " * 20, now=NOW).dated is None


@pytest.mark.parametrize("day", [date(2026, 1, 1), date(2026, 3, 31), date(2024, 2, 29), date(2026, 12, 31)])
def test_the_days_of_a_question_are_over_or_have_begun(day: date) -> None:
    now = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    for message in ASKED:
        dated = read(message, now=now).dated
        assert dated is None or dated.period.start < min(now, dated.period.end)


def test_case_14_what_was_said_yesterday_is_returned(mem: ILabMemory, clock: Clock) -> None:
    say(mem, "My sister plays the cello.")
    clock.forward(days=3)
    say(mem, "hello there!")
    say(mem, "The boiler of our cabin leaks.")
    say(mem, "Which screws fit an oak door?")
    say(mem, "Which screws fit an oak door??")
    mem.mem_save("alice", "Allergic to nuts.", type="profile", title="diet")
    clock.forward(days=1)
    say(mem, "I bought a canoe.")
    assert recalled(mem, "What did we talk about yesterday?") == [
        "The boiler of our cabin leaks.",
        "Which screws fit an oak door??",
    ]
    assert recalled(mem, "What did we talk about yesterday?", types=["profile"]) == ["Allergic to nuts."]
    assert recalled(mem, "What did we talk about in March 2019?") == []
    assert mem.mem_recall("bob", "What did we talk about yesterday?") == []


def test_a_word_and_a_time_find_what_was_said_about_it_then(mem: ILabMemory, clock: Clock) -> None:
    say(mem, "The boat needs new paint.")
    clock.forward(days=40)
    say(mem, "The boat has a leak.")
    clock.forward(days=1)
    say(mem, "I sold the boat.")
    assert recalled(mem, "What did I tell you about the boat yesterday?") == ["The boat has a leak."]
    assert recalled(mem, "Was the boat leaking yesterday?")[0] == "The boat has a leak."
    assert len(recalled(mem, "What did I tell you about the boat?")) == 3


def test_a_day_by_its_name_is_over_if_the_message_speaks_of_the_past(mem: ILabMemory, clock: Clock) -> None:
    for day in (3, 4, 5):
        clock.now = datetime(2026, 7, day, 9, tzinfo=UTC)
        mem.mem_save(
            "alice", f"User: Row {day} of the regatta.\nAssistant: Okay.", type="discovery", title=f"Turn: {day}"
        )
    mem.mem_save("alice", "User: My exam is on 4 July.\nAssistant: Okay.", type="discovery", title="Turn: My exam")
    clock.now = NOW
    assert [hit.passage for hit in mem.mem_recall("alice", "What happened on 4 July?")] == ["Row 4 of the regatta."]
    assert [hit.passage for hit in mem.mem_recall("alice", "What is on 4 July?")] == ["My exam is on 4 July."]


@pytest.mark.parametrize(
    "message",
    [
        "What did I do in May?", "Was war am 3. Mai?", "¿Qué pasó en mayo?", "Qu'avons-nous acheté en mai ?",
        "O que comprei em maio?", "Cosa ho comprato a maggio?", "Wat heb ik in mei gekocht?", "Co kupiłem w maju?",
        "Что случилось в мае?", "Mayıs ayında ne oldu?", "五月我买了什么？我忘了", "五月に何を買いましたか？",
        "5월에 뭐 샀어?",
    ],
)  # fmt: skip
def test_a_month_is_over_in_every_language(message: str) -> None:
    dated = read(message, None, NOW).dated
    assert dated is not None
    assert dated.is_past


@pytest.mark.parametrize(
    "message", ["What is on in May?", "Was ist im Mai?", "¿Qué hay en mayo?", "Quelle fête y a-t-il en mai ?"]
)
def test_a_month_may_be_the_next_one(message: str) -> None:
    dated = read(message, None, NOW).dated
    assert dated is not None
    assert not dated.is_past


def test_a_time_answers_a_question_about_the_user_of_which_no_word_is_found(mem: ILabMemory, clock: Clock) -> None:
    clock.now = NOW - timedelta(days=10)
    mem.mem_save("alice", "User: We signed the lease.\nAssistant: Okay.", type="discovery", title="Turn: We signed")
    clock.now = NOW
    assert [hit.passage for hit in mem.mem_recall("alice", "What news did I have last week?")] == [
        "We signed the lease."
    ]
    assert mem.mem_recall("alice", "Which storms were there last week?") == []


def test_yesterday_is_that_of_the_time_zone(mem: ILabMemory, clock: Clock) -> None:
    midnight = clock().replace(hour=0, minute=0, second=0, microsecond=0)
    clock.forward(seconds=(midnight + timedelta(days=1, hours=-1) - clock()).total_seconds())
    say(mem, "The train was late.")
    clock.forward(hours=2)
    assert recalled(mem, "What did we talk about yesterday?") == ["The train was late."]
    assert recalled(mem, "What did we talk about yesterday?", time_zone=ZoneInfo("Asia/Tokyo")) == []
    assert recalled(mem, "What did we talk about today?", time_zone=ZoneInfo("Asia/Tokyo")) == ["The train was late."]


def test_expired_rows_are_not_returned(mem: ILabMemory, clock: Clock) -> None:
    expires = clock() + timedelta(hours=1)
    mem.mem_save("alice", "The code is 4711.", type="discovery", title="code", expire_time=expires)
    assert recalled(mem, "What did we talk about today?") == ["The code is 4711."]
    clock.forward(hours=2)
    assert recalled(mem, "What did we talk about in the last three days?") == []


def test_rows_of_a_long_period_are_read_in_parts(mem: ILabMemory, clock: Clock) -> None:
    start = clock()
    for number in range(90):
        say(mem, f"Chapter {number} of my novel is done.")
        clock.forward(hours=8)
    found = mem.mem_recall("alice", "What did we talk about in the last 30 days?")
    assert len(found) == 20
    days = {(datetime.fromisoformat(hit.updated_at) - start).days for hit in found}
    assert max(days) - min(days) >= 15


def test_a_bad_time_zone_is_a_value_error(mem: ILabMemory) -> None:
    with pytest.raises(ValueError, match="time_zone"):
        mem.mem_recall("alice", "tea", time_zone="Europe/Berlin")  # type: ignore[arg-type]
