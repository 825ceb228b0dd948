"""Parts of Chinese, Japanese and Korean names: the given name alone, and the surname with a title."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ilab_chat_service.privacy.text import Span

#: Letters of a given name that is found alone.
GIVEN_LETTERS = 2

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_HANGUL = "\uac00-\ud7af"
# Of two and three letters first, so that they are found before the surnames that they begin with.
_LONG_SURNAMES = """
    欧阳 歐陽 司马 司馬 上官 诸葛 諸葛 东方 東方 皇甫 尉迟 公孙 公孫 慕容 令狐 长孙
    長孫 宇文 司徒 夏侯 端木 南宫 南宮 長谷川 佐々木 五十嵐 佐藤 鈴木 高橋 田中 伊藤
    渡辺 渡邊 山本 中村 小林 加藤 吉田 山田 山口 松本 井上 木村 斎藤 斉藤 清水 山崎
    池田 橋本 阿部 石川 山下 中島 石井 小川 前田 岡田 藤田 後藤 近藤 村上 遠藤 青木
    坂本 福田 太田 西村 藤井 金子 岡本 藤原 三浦 中野 中川 原田 松田 竹内 小野 田村
    中山 和田 石田 森田 上田 内田 柴田 酒井 宮崎 横山 高木 安藤 宮本 大野 小島 谷口
    今井 工藤 高田 増田 丸山 杉山 村田 大塚 新井 小山 平野 藤本 河野 上野 野口 武田
    松井 千葉 菅原 岩崎 桜井 木下 野村 남궁 황보 제갈 선우 독고 사공
""".split()
_SHORT_SURNAMES = (
    "王李张張刘劉陈陳杨楊赵趙黄黃周吴吳徐孙孫胡朱高林何郭马馬罗羅梁宋郑鄭谢謝韩韓唐冯馮于董萧蕭程曹袁邓鄧许許"
    "傅沈曾彭吕呂苏蘇卢盧蒋蔣蔡贾賈丁魏薛叶葉阎閻余潘杜戴夏钟鐘鍾汪田任姜范方石姚谭譚廖邹鄒熊金陆陸郝孔白崔康"
    "毛邱秦江史顾顧侯邵孟龙龍万萬段雷钱錢汤湯尹黎易常武乔喬贺賀赖賴龚龔文庞龐樊兰蘭殷施陶洪翟安颜顏倪严嚴牛温"
    "溫芦季俞章鲁魯葛伍韦韋申尤毕畢聂聶丛焦向柳邢岳齐齊梅莫庄莊辛管祝左涂谷祁时時舒耿牟卜路詹关關苗凌费費纪紀"
    "靳盛童欧歐甄项項曲成游阳陽裴席卫衛查屈鲍鮑位覃霍翁隋植甘景薄单單包司柏宁寧柯阮桂闵解强強柴华華车車冉房边"
    "邊辜吉饶饒刁瞿戚丘古米池滕晋晉苑邬鄔臧畅暢宫宮来來嵺苟全褚廉简簡娄婁盖蓋符奚木穆党黨燕郎邸冀谈談姬屠连連"
    "郜晏栾欒郁商蒙计計喻揭窦竇迟遲宇敖糜鄢冷卓花仇艾蓝藍都巩鞏稽井练練仲乐樂虞卞封竺冼原官衣楚佟栗匡宗应應台"
    "巫鞠僧桑荆荊谌諶银銀扬揚明沙伏岑习習胥保和김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심"
    "노하곽성차주우구민진지엄채원천방공현함변염여추도소석선설마길"
)
_SURNAMES = "|".join([*_LONG_SURNAMES, f"[{_SHORT_SURNAMES}]"])
# A given name has none of these: they join words.
_FUNCTION_LETTERS = (
    "的了是在我你您他她它们們和与與及不没沒有这這那就也都去来說说要会會很吗嗎呢吧啊把被给給让讓到从從为為之其或但而"
)
_GIVEN = rf"(?!.?[{_FUNCTION_LETTERS}])(?:[{_HAN}]{{2}}|[{_HANGUL}]{{2}})"
# Names may overlap: where one begins is not known.
_NAME = re.compile(rf"(?=(?P<surname>{_SURNAMES})(?:(?P<given>{_GIVEN})|(?![{_FUNCTION_LETTERS}])[{_HAN}{_HANGUL}]))")
_TITLES = "|".join(
    """
    先生 小姐 女士 太太 夫人 老师 老師
    医生 醫生 大夫 教授 博士 总 總 经理 經理 老板 老闆 师傅 師傅 同学 同學 主任 律师 律師
    阿姨 叔叔 哥 姐 さん 様 さま 氏 君 くん ちゃん 씨 님 선생 군 양 부장 과장 대리 사장 교수 박사
    """.split()
)
_TITLED = re.compile(rf"(?P<surname>{_SURNAMES})\s?(?:{_TITLES})|[小老阿](?P<called>[{_SHORT_SURNAMES}])(?![{_HAN}])")


@dataclass(frozen=True, slots=True)
class EastAsianNames:
    """The surnames and the given names of people that some texts may name."""

    surnames: frozenset[str]
    given: frozenset[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> EastAsianNames:
        """Return all that may be names in *texts*: a surname and what follows it."""
        surnames: set[str] = set()
        given: set[str] = set()
        for text in texts:
            for name in () if text.isascii() else _NAME.finditer(text):
                if name["given"] and _may_begin(text, name.start(), name["given"]):
                    given.add(name["given"])
                if _may_begin(text, name.start(), name["surname"]):
                    surnames.add(name["surname"])
        return cls(frozenset(surnames), frozenset(given))

    def given_leaks(self, reply: str, public: str) -> Iterator[Span]:
        """Yield the spans of *reply* that are one of the given names, except those that *public* contains."""
        if not self.given or reply.isascii():
            return
        wanted = self.given.difference(_pairs(public))
        for start, name in enumerate(_pairs(reply)):
            if name in wanted and _may_begin(reply, start, name):
                yield start, start + GIVEN_LETTERS

    def titled_leaks(self, reply: str, public: str) -> Iterator[Span]:
        """Yield the spans of *reply* that are one of the surnames with a title, except those that *public* contains."""
        if not self.surnames or reply.isascii():
            return
        known = {found[0] for found in _TITLED.finditer(public)}
        for found in _TITLED.finditer(reply):
            if (found["surname"] or found["called"]) in self.surnames and found[0] not in known:
                yield found.span()


def _pairs(text: str) -> Iterator[str]:
    """Return every two consecutive characters of *text*."""
    return map("".join, pairwise(text))


def _may_begin(text: str, start: int, part: str) -> bool:
    """Return whether *part*, at *start* of *text*, may begin a name: Korean has spaces before its words."""
    return not re.match(f"[{_HANGUL}]", part) or not re.match(f"[{_HANGUL}]", text[max(start - 1, 0) : start])
