"""Signatures of signed URLs go out of rows and documents, in whatever text they stand; all else stays."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.api.signatures import stable_part, without_signatures


# --- signatures inside rows -------------------------------------------------------------------------------
def test_fault_61_the_signatures_of_a_recordings_addresses_are_cut_off_and_nothing_else() -> None:
    row = (
        b'{"recordingId":"r?1", "downloadUrl":"https:\\/\\/h\\/f.mp4?file=rec_1&X-Goog-Expires=9'
        b'&X-Goog-Signature=ab/c&x=1" ,'
        b'"url" : "https://h/f.mp4?token=1","note":"see https://h/?x=1","size":1.10}'
    )
    assert without_signatures(row, always=True) == (
        b'{"recordingId":"r?1", "downloadUrl":"https:\\/\\/h\\/f.mp4?file=rec_1&x=1" ,'
        b'"url" : "https://h/f.mp4","note":"see https://h/?x=1","size":1.10}'
    )


def test_an_escaped_question_mark_is_one_too() -> None:
    row = b'{"url":"https://h/f\\u003fX-Amz-Signature=1"}'
    assert without_signatures(row, always=True) == b'{"url":"https://h/f"}'


def test_of_a_query_only_what_is_the_signatures_goes() -> None:
    shown = b'{"url":"https://video.example.com/watch?v=abc"}'
    signed = b'{"response":{"url":"https://h/f?a=1&X-Amz-Signature=abc"}}'
    assert without_signatures(shown, always=False) == shown
    assert without_signatures(signed, always=False) == b'{"response":{"url":"https://h/f?a=1"}}'


@pytest.mark.parametrize(
    ("url", "stable"),
    [
        ("https://h/f.mp4?c2VjcmV0LXNpZ25hdHVyZS0xMjM0", "https://h/f.mp4"),
        ("https://h/f.mp4?https%3A%2F%2Flocalhost%2Fclip", "https://h/f.mp4?https%3A%2F%2Flocalhost%2Fclip"),
        ("https://h/download?file=rec1&Expires=1700000000&Signature=ab~_", "https://h/download?file=rec1"),
        (
            "https://h/a%20b.mp4?sv=2024&se=2026-01-01T00%3A00Z&sr=b&sig=x%3D&snapshot=1",
            "https://h/a%20b.mp4?snapshot=1",
        ),
        ("https://h/f?md5=Zq3-9_hT5bXcV2mN8kL0wA&expires=1700000000&id=7", "https://h/f?id=7"),
        ("https://h/f.mp4?v=3", "https://h/f.mp4?v=3"),
        ("https://h/f.mp4?part-1", "https://h/f.mp4?part-1"),
        ("https://h/f.mp4", "https://h/f.mp4"),
        ("", ""),
    ],
)
def test_the_stable_part_of_an_address_tells_objects_apart_and_is_no_secret(url: str, stable: str) -> None:
    assert stable_part(url) == stable
    assert stable_part(stable) == stable


@given(
    row=st.dictionaries(
        st.sampled_from(["url", "downloadUrl", "note", "id"]),
        st.one_of(
            st.text(max_size=20), st.integers(), st.none(), st.text(max_size=10).map("https://h/f?v=".__add__)
        ),
    ),
    ascii_only=st.booleans(),
)
def test_fault_115_rows_without_signatures_stay_as_they_are(row: dict[str, object], ascii_only: bool) -> None:
    text = json.dumps(row, ensure_ascii=ascii_only).encode()
    assert without_signatures(text, always=True) == text


WORDS = [
    "what does ?token= mean, and why?token=abc123",
    "and/or?sig=abc123",
    "x&Signature=abc123",
    "https://lab.example.org/say?text=what%3Ftoken%3Dabc123",
    "https://video.example.com/watch?v=dQw4w9WgXcQ&t=30&key=main&e=2",
    "https://docs.example.com/d?id=1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgVE2upms#gid=0",
    "https://h.example.org/f?token=&sig",
    "a = b; c=d? 100% & more = 'x' \\u003d &#61; %3D",
]


@pytest.mark.parametrize("words", WORDS)
def test_fault_115_what_only_looks_like_a_signature_stays(words: str) -> None:
    for row in (json.dumps([words]), json.dumps([json.dumps([words])]), escaped(json.dumps([words]))):
        assert without_signatures(row.encode(), always=False) == row.encode()


@pytest.mark.parametrize(
    "after", [".", ",", ";", "!", ")", "].", ". Then", ".Then", ":", "…", "*", "~~", "/", "'s"]
)
def test_fault_115_punctuation_behind_a_signed_url_stays(after: str) -> None:
    row = json.dumps([f"https://h.example.org/f.png?sig=abc123{after}"]).encode()
    assert without_signatures(row, always=False) == json.dumps([f"https://h.example.org/f.png{after}"]).encode()


# --- any URL, anywhere ------------------------------------------------------------------------------------
Parameters = list[tuple[str, str]]

HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0bb822"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE3MDAwMDAwMDB9.c2Vj-cmV0_c2lnbmF0dXJl"
PROVIDERS: list[Parameters] = [
    [
        ("X-Goog-Algorithm", "GOOG4-RSA-SHA256"),
        ("X-Goog-Credential", "a%40b.iam.gserviceaccount.com%2F20240101%2Fauto%2Fstorage%2Fgoog4_request"),
        ("X-Goog-Date", "20240101T000000Z"),
        ("X-Goog-Expires", "900"),
        ("X-Goog-SignedHeaders", "content-type%3Bhost"),
        ("X-Goog-Signature", HEX),
    ],
    [
        ("GoogleAccessId", "a%40b.iam.gserviceaccount.com"),
        ("Expires", "1700000000"),
        ("Signature", "c2Vj%2BcmV0%3D"),
    ],
    [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", "AKIA1%2F20240101%2Feu-west-1%2Fs3%2Faws4_request"),
        ("X-Amz-Date", "20240101T000000Z"),
        ("X-Amz-Expires", "900"),
        ("X-Amz-SignedHeaders", "host"),
        ("X-Amz-Security-Token", "FwoGZXIvYXdzEJr%2F%2F%2F%2F%3D"),
        ("X-Amz-Signature", HEX),
    ],
    [("AWSAccessKeyId", "AKIA1"), ("Signature", "c2Vj%2BcmV0%3D"), ("Expires", "1700000000")],
    [("Expires", "1700000000"), ("Signature", "c2Vj~cmV0-c2ln__"), ("Key-Pair-Id", "K2JCJMDEHXQW5F")],
    [
        ("Policy", "eyJTdGF0ZW1lbnQiOlt7fV19"),
        ("Signature", "c2Vj~cmV0-c2ln__"),
        ("Key-Pair-Id", "K2JCJMDEHXQW5F"),
    ],
    [
        ("sv", "2024-01-01"),
        ("st", "2026-01-01T00%3A00%3A00Z"),
        ("se", "2026-01-02T00%3A00%3A00Z"),
        ("sr", "b"),
        ("sp", "r"),
        ("spr", "https"),
        ("skoid", "a5e1-44"),
        ("sig", "c2Vj%2BcmV0%3D"),
    ],
    [("token", "3f8a6c1e-0f5d-4f1e-9d3b-6f0c2a7b1e55")],
    [("hdnts", "exp=1700000000~acl=/*~hmac=" + HEX)],
    [("__token__", "exp=1700000000~hmac=" + HEX)],
    [("verify", "1700000000-9JQB8vP1z0yc5DEBnH6JGWM3mBmvIeMrnnxFi3WtJLE%3D")],
    [("token", "c2VjcmV0LXNpZw"), ("expires", "1700000000")],
    [("token", JWT)],
    [("access_token", JWT)],
    [("signature", "abc123")],
    [("sig", "abc123")],
    [("key", "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY")],
    [("md5", "Zq3-9_hT5bXcV2mN8kL0wA"), ("expires", "1700000000")],
    [("st", "ZqbTnXcVhmNGkLwAaRtYuI"), ("e", "1700000000")],
    [("sign", "0a1b2c3d"), ("t", "1700000000")],
    [("e", "1700000000"), ("t", "c2VjcmV0LXNpZ25hdHVyZS0xMjM0")],
    [("ex", "66f1c8a1"), ("is", "66f07721"), ("hm", HEX)],
    [("exp", "1700000000"), ("sig", HEX)],
    [
        ("q-sign-algorithm", "sha1"),
        ("q-ak", "AKID1"),
        ("q-sign-time", "1700000000;1700000900"),
        ("q-signature", HEX),
    ],
    [("auth_key", "1700000000-0-0-" + HEX)],
    [("txSecret", HEX), ("txTime", "66F1C8A1")],
    [("pub_secret", "0a1b2c3d")],
    [("wowzatokenstarttime", "1700000000"), ("wowzatokenendtime", "1700000900"), ("wowzatokenhash", HEX)],
]
OTHERS: Parameters = [
    ("file", "rec1"),
    ("alt", "media"),
    ("v", "3"),
    ("id", "a5e1-44"),
    ("name", "two%20words.mp4"),
]


def url(place: str, parameters: Parameters) -> str:
    query = "&".join(f"{name}={value}" for name, value in parameters)
    return f"{place}?{query}" if query else place


@pytest.mark.parametrize("signature", PROVIDERS, ids=str)
def test_fault_61_the_stable_part_is_the_same_every_night(signature: Parameters) -> None:
    tonight = [(name, value.translate(str.maketrans("789", "897"))) for name, value in signature]
    for parameters in (signature, tonight):
        signed = url("https://h.example.org/download", [OTHERS[0], *parameters, OTHERS[1]])
        assert stable_part(signed) == "https://h.example.org/download?file=rec1&alt=media"


PLACES = [
    "https://h.example.org/a/clip.mp4",
    "https://h:8443/a\\b\\",
    "/files/x",
    "//h.example.org/c%20d.png",
    "clip.webm",
]

IN_URLS: dict[str, Callable[[str], str]] = {
    "by itself": str,
    "in another URL": lambda url: f"https://lab.example.org/view?clip={quote(url, safe='')}&page=2",
    "in one in another": lambda url: (
        "https://a.example/?x=" + quote("https://b.example/?y=" + quote(url, safe=""))
    ),
}
IN_TEXTS: dict[str, Callable[[str], str]] = {
    "alone": str,
    "said": lambda url: f"look: {url}, I said. {url}; or ({url}).\nI disagree with {url}!\tNo",
    "glued": lambda url: f"“{url}”,it-is-false [{url}]: <{url}>**{url}**",
    "Markdown": lambda url: f"[the clip]({url}),it-is-false, ![]({url})",
    "HTML": lambda url: (
        f"<a href=\"{html.escape(url)}\">yes</a><video src='{html.escape(url)}'></video><b>No</b>"
    ),
    "carelessly written HTML": lambda url: f"<img src={url}><img src={url} alt=x>",
    "script": lambda url: f"play('{url}', `{url}`); // &amp; \\",
    "query": lambda url: f"?token= is what? {url} said ?sig=",
}
IN_JSON: dict[str, Callable[[str], str]] = {
    "not": str,
    "once": lambda text: json.dumps({"a": text, "n": [1, text]}),
    "twice": lambda text: json.dumps([json.dumps({"a": text}), 5]),
    "thrice": lambda text: json.dumps([json.dumps([json.dumps([text])])]),
    "slashes escaped": lambda text: json.dumps([text, "\\"]).replace("/", "\\/"),
    "signs escaped": lambda text: escaped(json.dumps([text])),
    "signs escaped, in JSON": lambda text: json.dumps(escaped(json.dumps([text]))),
}


def escaped(text: str) -> str:
    """JSON as .NET and Go write it."""
    for sign in "&=<>'+":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@st.composite
def queries(draw: st.DrawFn) -> tuple[Parameters, Parameters]:
    """The parameters of a signed URL, and those that stay."""
    signature = draw(st.sampled_from(PROVIDERS))
    others = draw(st.lists(st.sampled_from(OTHERS), unique=True, max_size=3))
    parameters = draw(st.permutations(signature + others))
    return parameters, [each for each in parameters if each in others]


ROWS = st.sampled_from(
    [
        lambda text: json.dumps({"id": "e1", "value": text, "url": "https://v.example/?v=1&t=2", "n": 1.10}),
        lambda text: json.dumps({"value": {"deep": [text, {"é": text}]}}, ensure_ascii=False),
        lambda text: json.dumps({"value": text}).replace("/", "\\/"),
        lambda text: escaped(json.dumps({"value": text})),
    ]
)


@given(
    query=queries(),
    place=st.sampled_from(PLACES),
    in_url=st.sampled_from(list(IN_URLS)),
    in_text=st.sampled_from(list(IN_TEXTS)),
    in_json=st.sampled_from(list(IN_JSON)),
    row=ROWS,
    always=st.booleans(),
)
def test_fault_115_wherever_a_signed_url_stands_only_its_signature_goes(
    query: tuple[Parameters, Parameters],
    place: str,
    in_url: str,
    in_text: str,
    in_json: str,
    row: Callable[[str], str],
    always: bool,
) -> None:
    """What is left is, to the byte, the row as it would be had the URL never been signed."""

    def written(parameters: Parameters) -> bytes:
        return row(IN_JSON[in_json](IN_TEXTS[in_text](IN_URLS[in_url](url(place, parameters))))).encode()

    signed, kept = query
    cut = without_signatures(written(signed), always=always)
    assert cut.decode() == written(kept).decode()
    json.loads(cut)
    assert without_signatures(cut, always=always) == cut


def test_fault_115_a_url_within_another_may_have_two_question_marks() -> None:
    row = json.dumps(["https://a.example/?u=" + quote("https://h.example/f?a=b&c=d?sig=abc123", safe="")])
    assert without_signatures(row.encode(), always=False) == row.replace("%3Fsig%3Dabc123", "").encode()


# --- texts that make it work hard -------------------------------------------------------------------------
SIGNED = "https://h.example/f?sig=abc123"
HOSTILE: dict[str, Callable[[int], str]] = {
    "queries of no URL": lambda size: "why?sig=abc1" * (size // 12),
    "signed URLs": lambda size: f"{SIGNED}," * (size // 31),
    "URLs without end": lambda size: SIGNED + "http://" * (size // 7),
    "base64": lambda size: f"https://h.example/f?key={'aGVsbG8gd29ybGQ+/' * (size // 17)}",
    "one letter": lambda size: f"https://h.example/f?key={'a' * size}",
    "capitals first": lambda size: f"https://h.example/f?key={'A' * (size // 2)}{'a' * (size // 2)}",
    "dots": lambda size: f"https://h.example/f?key={'a.' * (size // 2)}",
    "host without end": lambda size: "a." * (size // 2) + "?sig=abc123",
    "backslashes after": lambda size: SIGNED + "\\" * size,
    "backslashes before": lambda size: "\\" * size + "?sig=abc123",
    "backslashes before =": lambda size: SIGNED + "?sig" + "\\" * size + "u003d1",
    "encoded percent signs": lambda size: f"{SIGNED}%{'25' * (size // 2)}",
    "deeper and deeper": lambda size: SIGNED + "".join(f"%{'25' * n}3Fsig=1" for n in range(int(size**0.5))),
    "less and less deep": lambda size: (
        SIGNED + "".join(f"%{'25' * n}3Fsig=1" for n in range(int(size**0.5), 0, -1))
    ),
    "encoded queries": lambda size: SIGNED + "%3Fa=" * (size // 5),
    "long name": lambda size: f"{SIGNED}&{'a_-.' * (size // 4)}=1",
    "other names": lambda size: SIGNED + "".join(f"&n{n}=1" for n in range(size // 8)),
    "cut again and again": lambda size: "https://h.example/?" + "s?sig=1ig=1&" * (size // 12),
    "member without end": lambda size: '{"url":"https://h.example/f?sig=a&b=' + "\\\\" * (size // 2),
    "members of no value": lambda size: '"url":"' * (size // 7),
    "blanks": lambda size: '{"url"' + " " * size + SIGNED,
    **{
        f"many {sign}": lambda size, sign=sign: SIGNED + sign * (size // len(sign))  # type: ignore[misc]
        for sign in (
            "?",
            "&",
            "&amp;",
            "#",
            "%",
            "%25",
            "=",
            ";a=",
            "/",
            "~",
            ":",
            "@a",
            "é",
            "\\u0026",
            "&#x0",
        )
    },
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_time_grows_no_faster_than_the_text(kind: str) -> None:
    seconds = [_seconds_for(HOSTILE[kind](size).encode()) for size in (1000, 16_000)]
    assert seconds[1] <= 2.5 * 16 * max(seconds[0], 0.000_05)


def _seconds_for(text: bytes) -> float:
    """Of CPU; the least of three times."""
    taken = []
    for _ in range(3):
        began_at = time.process_time()
        without_signatures(text, always=True)
        taken.append(time.process_time() - began_at)
    return min(taken)
