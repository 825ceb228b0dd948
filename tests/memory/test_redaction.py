import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import cases
from ilab_memory.redaction import private_spans, strip_private

PIECES = [
    "<private>",
    "</private>",
    "<private/>",
    "<PRIVATE a='>'>",
    "</Private >",
    "<pri",
    "vate>",
    "<",
    ">",
    "/",
    " ",
    "x",
    "&lt;private&gt;",
    "&lt;/private&gt;",
    "\uff1cprivate\uff1e",
    "\uff1c",
    "&gt;",
    "&",
    "\u200b",
]
TEXTS = st.lists(st.sampled_from(PIECES)).map("".join)


@cases(
    ("text", "stripped", "spans"),
    [
        ("plain < text > here", "plain < text > here", []),
        ("a <private>secret</private> b", "a [REDACTED] b", ["secret"]),
        ("<private>a</private><private>b</private>", "[REDACTED][REDACTED]", ["a", "b"]),
        ("a <PRIVATE>secret</Private> b", "a [REDACTED] b", ["secret"]),
        ('a <private reason="x > y">secret</private> b', "a [REDACTED] b", ["secret"]),
        ('a <private note="</private>">secret</private> b', "a [REDACTED] b", ["secret"]),
        ("a <private it's>don't</private> b", "a [REDACTED] b", ["don't"]),
        ('a <private x="/>secret', "a [REDACTED]", ["secret"]),
        ('a <private x="<private/>">secret</private> b', "a [REDACTED]", ["secret</private> b"]),
        ("<private x='/><private x='1'></private>secret", "[REDACTED]", ["</private>secret"]),
        ("a <private\nx='1'>secret</private\t> b", "a [REDACTED] b", ["secret"]),
        ("a <private>b<private>c</private>d</private> e", "a [REDACTED] e", ["b<private>c</private>d"]),
        ("a <private>secret", "a [REDACTED]", ["secret"]),
        ("a <private secret", "a [REDACTED]", [" secret"]),
        ("a <private", "a [REDACTED]", []),
        ("a <private>b<private>c</private> d", "a [REDACTED]", ["b<private>c</private> d"]),
        ("secret</private> b", "[REDACTED] b", ["secret"]),
        ("s <private>t</private> u</private> b", "[REDACTED] b", ["s <private>t</private> u"]),
        ("a<private/>b<private />c", "abc", []),
        ("a <private>b<private/>c</private> d", "a [REDACTED] d", ["b<private/>c"]),
        ("a <privateer>b</privateer> c", "a <privateer>b</privateer> c", []),
        ("<pri<private/>vate>x", "<pri[REDACTED]vate>x", []),
        ("", "", []),
    ],
)
def test_every_form_of_the_tag_is_redacted(text: str, stripped: str, spans: list[str]) -> None:
    assert strip_private(text) == stripped
    assert private_spans(text) == spans


#: Forms of the tag, each with its closing tag.
LOOKALIKES = [
    ("&lt;private&gt;", "&lt;/private&gt;"),
    ("&LT;PRIVATE&GT;", "&Lt;/Private &Gt;"),
    ("&ltprivate&gt", "&lt/private&gt"),
    ("&#60;private&#62;", "&#060;/private&#062;"),
    ("&#x3c;private&#x3E;", "&#X003C;&sol;private&#x3e;"),
    ("&amp;amp;lt;private&amp;amp;gt;", "&amp;lt;/private&amp;gt;"),
    ("&lt;private reason=&quot;x&quot;&gt;", "&lt;/private&gt;"),
    ("\\u003cprivate\\u003e", "\\u003c\\/private\\u003E"),
    ("\\x3cprivate\\x3e", "<\\/private>"),
    ("%3Cprivate%3E", "%3c%2Fprivate%3e"),
    ("\\<private\\>", "\\</private\\>"),
    ("\uff1cprivate\uff1e", "\uff1c/private\uff1e"),
    (
        "\uff1c\uff50\uff52\uff49\uff56\uff41\uff54\uff45\uff1e",
        "\uff1c\uff0f\uff30\uff32\uff29\uff36\uff21\uff34\uff25\uff1e",
    ),
    ("\ufe64private\ufe65", "\ufe64/private\ufe65"),
    ("<private\uff1e", "</private&gt;"),
    ("&lt;private>", "\uff1c/private>"),
    ("< private >", "< / private >"),
    ("<\u200bprivate>", "</pri\u00advate\ufeff>"),
    ("<pri\u200bvate x>", "</private>"),
    ("\u2039private\u203a", "\u2039/private\u203a"),
    ("\u3008private\u3009", "\u27e8/private\u27e9"),
    ("<priv\u00e1te>", "</priv\u00e1te>"),
    ("<priva\u0301te>", "</private\u0301>"),
    ("<\u0440rivate>", "</priv\u0430t\u0435>"),
    ("<\u03c1r\u03b9\u03bd\u03b1\u03c4\u03b5>", "</\u0420R\u0406V\u0410\u0422\u0415>"),
    ("<\U0001d429\U0001d42b\U0001d422\U0001d42f\U0001d41a\U0001d42d\U0001d41e>", "</\u24dfrivate>"),
    ("%253Cprivate%253E", "%25253c%252fprivate%253e"),
    ("\uff06lt;private\uff06gt;", "\uff06lt\uff1b/private\uff06\uff47\uff54;"),
    ("&#\uff16\uff10;private\uff05\uff13E", "\uff3cu003c/private\uff3cu003e"),
]


@cases(("opener", "closer"), LOOKALIKES)
def test_every_lookalike_of_the_tag_is_redacted(opener: str, closer: str) -> None:
    assert "s3cret" not in strip_private(f"a {opener}s3cret{closer} b")
    assert strip_private(f"a {opener}s3cret</private> b") == strip_private("a <private>s3cret</private> b").replace(
        "a ", "a \\" if opener.startswith("\\<") else "a "
    )
    for unclosed in (f"a {opener}s3cret", f"a {opener}{opener}s3cret{closer} s3cret", f"s3cret{closer} b"):
        assert "s3cret" not in strip_private(unclosed)
    # Only a real closing tag ends a block that a real tag opened.
    assert strip_private(f"a <private>{opener}b</private> c") == "a [REDACTED] c"
    assert strip_private(f"a <private>b{'&lt;/private&gt;'}s3cret</private> c") == "a [REDACTED] c"
    assert "s3cret" not in strip_private(f"a {opener}<private>b</private>s3cret{closer}")


@cases(
    "text",
    [
        *(
            "a < private b",
            "a &lt; private key",
            "if a < private and b > c",
            "&lt;privateer&gt;",
            "&lt;p&gt; private &lt;/p&gt;",
        ),
        *(
            "[private] method",
            "private: x",
            "\u00abprivate\u00bb",
            "AT&T private line",
            "100% private",
            "x\uff1cy private",
        ),
        *(
            "&private;",
            "&lt;b&gt;private&lt;/b&gt;",
            "</ private",
            "\u300aprivate\u300b",
            "\u27eaprivate\u27eb",
            "\u2039private life\u203a",
            "\u3008private life\u3009",
            "(private)",
            "{private}",
            "%private%",
            "<\u043f\u0440\u0438\u0432\u0430\u0442>",
            "\u0440rivate \u2039x\u203a",
            "<non-private>",
            "C:\\private>",
        ),
    ],
)
def test_text_that_only_mentions_the_tag_name_is_unchanged(text: str) -> None:
    assert strip_private(text) == text
    assert private_spans(text) == []


@given(TEXTS, st.sampled_from(LOOKALIKES), TEXTS)
def test_nothing_inside_a_lookalike_survives(before: str, tags: tuple[str, str], after: str) -> None:
    opener, closer = tags
    assert "s3cret" not in strip_private(f"{before}{opener}s3cret{closer}{after}")
    assert "s3cret" not in strip_private(f"{before}{opener}s3cret")
    assert "s3cret" not in strip_private(f"s3cret{closer}{after}")


@given(TEXTS)
def test_redaction_is_idempotent_and_leaves_no_tag(text: str) -> None:
    stripped = strip_private(text)
    assert not re.search(r"(?:<|&lt;|\uff1c)/?private(?:[\s/>\uff1e]|&gt;|\Z)", stripped, re.IGNORECASE)
    assert strip_private(stripped) == stripped


@given(TEXTS, TEXTS)
def test_nothing_between_an_opener_and_its_end_survives(before: str, after: str) -> None:
    assert "s3cret" not in strip_private(f"{before}<private>s3cret</private>{after}")
    assert "s3cret" not in strip_private(f"{before}<private>s3cret")
    assert "s3cret" not in strip_private(f"s3cret</private>{after}")


@given(st.text())
def test_text_without_a_tag_is_unchanged(text: str) -> None:
    if "private" not in text.lower():
        assert strip_private(text) == text
        assert private_spans(text) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "<private>",
        "<",
        "</private>",
        "<private ",
        "<private/",
        "</private ",
        "<private/>",
        '<private ="',
        "<private ='\"",
        *(
            "&lt;private&gt;",
            "&lt;/private&gt;",
            "&lt;private",
            "&lt;private ",
            "&lt; ",
            "&amp;",
            "&#0",
            "\uff1cprivate/",
            "<\u200b",
            "\uff06amp;",
            "%25",
            "p\u0301",
            "\u2039\u0440rivat\u0301",
        ),
    ],
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    """A quadratic parser would need many minutes for 256 KiB: the timeout of the test run is the assertion."""
    for beginning in ("private", "&lt;private"):
        hostile = beginning + piece * (256 * 1024 // len(piece))
        strip_private(hostile)
        private_spans(hostile)
