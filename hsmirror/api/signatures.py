"""Signatures of signed URLs, found in any text and cut out of it; every other byte stays.

A URL may stand in a member of a row, in a sentence, in HTML or Markdown, in JSON within a text, or
percent-encoded within another URL: so its separators are looked for in all spellings. What is cut are whole
parameters, each made of the few characters, and whole escapes of them, that signatures are made of: JSON stays
JSON, however often it is escaped, and no word behind a URL goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

# --- which parameters are a signature's --------------------------------------------------------------------
_SIGNATURE = (
    rb"[\w.\-]*(?:signature|token)|(?:[\w.\-]*[_\-])?l?sig|__(?:cld_)?token__|__gda__|hdn(?:ts|ea|tl|ia|tkn)"
    rb"|hmac|jwt|tempauth|auth[_\-]?key|(?:[\w.\-]*[_\-])?api[_\-]?key|client_secret|(?:tx|ws|hw)secret|rlkey"
    rb"|key-pair-id"
)
"""Names that nothing but a signature or a token has."""

_SIGNATURE_IF_OPAQUE = rb"verify|auth|authorization|bcov_auth|sign|ticket|access_?key|secret|\w*tokenhash"
_SIGNATURE_IF_LONG = rb"key|code|hash|md5|st|[shk]|hm|oh|ks"

_EXPIRY = rb"expires?|expiry|exp|expiration|expires_?at|valid_?(?:to|until)|ttl|ex|e"
_COMPANION = (
    rb"x-(?:goog|amz|oss|obs|cos|tos|bce|ms)-[\w\-]+|x-id|\w*access_?key_?id|googleaccessid|policy|hash-algorithm"
    rb"|\w*tokenendtime|temp_url_expires|keyname|urlprefix|credential|nonce|date|ts|timestamp|iat|nbf|valid_?from"
    rb"|(?:tx|ws|hw)time|token_[\w\-]+|is|oe|alg|algorithm|" + _EXPIRY
)
"""Names of what a signature comes with. Their values differ in every answer, as its own does."""

_AZURE = rb"s[vsrpet]|srt|sip|spr|ses|sdd|si|sk(?:oid|tid|[tesv])|[sc]uoid|saoid|scid|rsc[cdelt]"
"""The same, where the signature is called `sig`."""

_OBJECT = (
    rb".*(?:id|file|name|key|path|object|src|source|ur[il]|recording|version|generation|track|part|hash)|v|rev"
)
"""Names of what tells objects apart, however random the value looks."""

_PROVIDERS_OWN = rb"x-(?:goog|amz|oss|obs|cos|tos|bce)-(?:signature|security-token)"
"""Names that mean a signature without a URL around them, too."""


def _whole(pattern: bytes) -> Callable[[bytes], re.Match[bytes] | None]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL).fullmatch


_is_signature = _whole(_SIGNATURE)
_is_signature_if_opaque = _whole(_SIGNATURE_IF_OPAQUE)
_is_signature_if_long = _whole(_SIGNATURE_IF_LONG)
_is_expiry = _whole(_EXPIRY)
_is_companion = _whole(_COMPANION)
_is_azure = _whole(_AZURE)
_is_of_an_object = _whole(_OBJECT)
_is_providers_own = _whole(_PROVIDERS_OWN)

_is_opaque = _whole(rb"(?=.*\d)(?=.*[a-z]).{8,}|.{20,}")
_is_long = _whole(rb"(?=.*\d)(?=.*[a-z])[\w\-+=%~]{20,}|[\w\-]{8,}(?:\.[\w\-]{4,}){2,}")
_is_moment = _whole(rb"[12]\d{9}(?:\d{3})?(?:\.\d+)?|20\d{6}T\d{6}Z?|20\d\d-\d\d-\d\dT[\d%:.a-z]+")


# --- how a URL is spelt ------------------------------------------------------------------------------------
def _pattern(text: bytes, **parts: bytes) -> bytes:
    """A regular expression in which the parts stand for their names, written in capitals."""
    for name, part in parts.items():
        text = text.replace(name.encode(), part)
    return text


_ESCAPE = rb"(?<!\\)\\(?:\\{7}|\\{3}|\\)?"
"""The backslashes before an escaped character: of JSON, and of JSON within up to three texts."""

_CLOSING = rb"(?:0[0-9a-fA-F]|2[02367]|3[cefCEF]|5[cC])"
"""Of controls, blank, quotes, `#&<>?` and backslash, the code: what is in a URL ends there."""

_ESCAPED = _pattern(
    rb"ESCAPE(?:/|u(?!00(?:1.|CLOSING))[0-9a-fA-F]{4})",
    ESCAPE=_ESCAPE,
    CLOSING=_CLOSING,
)
"""What may stand in a URL as an escape, beside `?#&`."""


def _spelling(character: bytes, depth: int) -> bytes:
    """A character that was percent-encoded `depth` times, whatever else it was escaped for."""
    digits = b"".join(b"[%c%c]" % (c, c - 32) if c > 57 else b"%c" % c for c in b"%02x" % ord(character))
    if depth:
        return rb"%" + b"25" * (depth - 1) + digits
    plain = re.escape(character) + (rb"(?!#[\dxX])" if character == b"&" else b"")
    return rb"(?:%b|%b(?:u00|x)%b|&#(?:%d|[xX]0*%b);)" % (plain, _ESCAPE, digits, ord(character), digits)


def _value(depth: int) -> bytes:
    """Of a signature's parameter. What may be punctuation belongs to it only where more of it follows."""
    return _pattern(
        rb"(?:[\w\-=PLUS]|(?:@|%40)[a-z0-9\-]+(?:\.[a-z0-9\-]+)*"
        rb"|%(?!(?:25)*(?:CLOSING|2[89cC]|[57][bBdD]|60))[0-9a-fA-F]{2}"
        rb"|(?:ESCAPE)?/(?=[\w+=%/*\\])|ESCAPEu00(?:2[bBfF5]|3[dD]|7[eE])"
        rb"|&#(?:43|47|61|[xX]0*(?:2[bBfF]|3[dD]));|~+(?=[\w%\-*/])|\*(?=[~!/])|!(?=/)"
        rb"|[.:](?=[\w\-]*(?:\d|[a-z][A-Z])|[\w\-]{20}))*+",
        PLUS=b"" if depth else b"+",  # within another URL it is a blank
        ESCAPE=_ESCAPE,
        CLOSING=_CLOSING,
    )


@dataclass(frozen=True, slots=True)
class _Spelling:
    """How the queries of URLs are spelt that are percent-encoded so many times."""

    depth: int
    query: re.Pattern[bytes]
    """A separator, and all that may be parameters behind it."""
    separator: re.Pattern[bytes]
    parameter: re.Pattern[bytes]
    """Name and value, at the start of what stands between two separators; what is left is no part of it."""


def _spelling_of(depth: int) -> _Spelling:
    parts = {
        "ESCAPED": _ESCAPED,
        "START": rb"(?:%b|%b)" % (_spelling(b"?", depth), _spelling(b"#", depth)),
        "AND": _spelling(b"&", depth) + (rb"(?:amp%3[bB])?" if depth else rb"(?:amp;|#38;|#[xX]0*26;)*"),
        "EQUALS": _spelling(b"=", depth),
        "PERCENT": rb"%(?!(?:25){0," + b"%d" % (depth - 1) + rb"}" + _CLOSING + rb")" if depth else rb"%",
        "VALUE": _value(depth),
    }
    query = rb"(START|AND)((?:[^\x00-\x20\"'<>\\&?#%`\x7f]|ESCAPED|PERCENT|EQUALS|AND)*+)"
    return _Spelling(
        depth=depth,
        query=re.compile(_pattern(query, **parts)),
        separator=re.compile(_pattern(rb"(AND)", **parts)),
        parameter=re.compile(_pattern(rb"([\w.\-]+)EQUALS(VALUE)", **parts)),
    )


_SPELLINGS: Final = tuple(map(_spelling_of, (2, 1, 0)))
"""Inner URLs first, so that an outer one is cut as what is left."""

_MARK: Final = re.compile(
    _pattern(
        rb"(?:[?#&;]|\\(?:u00|x)(?:3f|2[36])|%(?:25)*(?:3f|2[36])(?:amp%3b)?)(?:NAMES)"
        rb"(?:=|%(?:25)*3d|\\+(?:u00|x)3d|&#(?:61|x0*3d);)",
        NAMES=b"|".join((_SIGNATURE, _SIGNATURE_IF_OPAQUE, _SIGNATURE_IF_LONG, _EXPIRY)),
    ),
    re.IGNORECASE,
)
"""What no signed URL can do without."""

# --- where a URL stands ------------------------------------------------------------------------------------
_LONGEST_PATH: Final = 4096
_SLASHES: Final = re.compile(rb"(?i)\\+(?:/|u002f)|%(?:25)*2f|&#(?:47|x0*2f);")
_COLONS: Final = re.compile(rb"(?i)\\+u003a|%(?:25)*3a|&#(?:58|x0*3a);")
_BREAKS: Final = re.compile(
    rb"(?i)[\x00-\x20\"'<>`]|\\+(?:[\"nrtbf]|u00(?:[01].|2[0267]|3[ce]|5c))|&(?:quot|lt|gt|#39|#34);"
)
_INNER_BREAKS: Final = re.compile(rb"(?i)[=?&+]|%(?:20|0[9ad]|2[27]|3[ce])")
_PATH: Final = re.compile(
    rb"(?i)(?:.*[(\[=])?(?:\.{0,2}/|[\w\-]+(?:\.[\w\-]+)+(?::\d+)?/|[\w\-./%~]*"
    rb"\.(?:mp[34]|m4[av]|webm|mov|mkv|ogg|opus|wav|m3u8|png|jpe?g|gif|webp|svg|pdf|zip|gz|json|csv|txt|vtt)\Z)",
    re.DOTALL,
)


# --- the cut -----------------------------------------------------------------------------------------------
_ADDRESS_MEMBER: Final = re.compile(rb'("(?:downloadUrl|url)"\s*:\s*")((?:[^"\\]|\\.)*)')


def may_be_signed(text: bytes) -> bool:
    """A quick look: does `text`, rows of JSON, hold anything that a signed URL cannot do without?"""
    return (b"=" in text or b"\\u003" in text or b"%" in text) and _MARK.search(text) is not None


def without_signatures(text: bytes, *, always: bool) -> bytes:
    """JSON, a row a line, without the signatures of the URLs in it; every other byte as it came.

    `always` is for recordings, whose `downloadUrl` and `url` are signed by definition: there what only looks
    like a part of a signature goes, too. Any other URL without a signature stays as the participants saw it.
    """
    if always and b"rl" in text:
        text = _ADDRESS_MEMBER.sub(lambda member: member[1] + _cut(member[2], always=True), text)
    return _cut(text) if may_be_signed(text) else text


def stable_part(url: str) -> str:
    """A signed URL without the parameters of its signature; the others stay, in their order.

    It is the same in every answer, unless a token stands in the path.
    """
    return _cut(url.encode("utf-8", "surrogatepass"), always=True).decode("utf-8", "surrogatepass")


def _cut(text: bytes, *, always: bool = False) -> bytes:
    """Until there is nothing to cut, so that a second cut changes nothing."""
    before = b""
    while text != before:
        before = text
        for spelling in _SPELLINGS:
            text = spelling.query.sub(partial(_cut_query, spelling, always), text)
    return text


def _cut_query(spelling: _Spelling, always: bool, query: re.Match[bytes]) -> bytes:
    pieces = spelling.separator.split(query[2])
    parameters = [spelling.parameter.match(piece) for piece in pieces[::2]]
    signature = _Signature([(found[1], found[2]) for found in parameters if found], always=always)
    if not signature.is_there:
        return query[0]
    if not signature.is_certain and not _follows_a_url(query, is_inner=spelling.depth > 0):
        return query[0]
    kept: list[bytes] = []
    for separator, piece, found in zip((b"", *pieces[1::2]), pieces[::2], parameters, strict=True):
        if found and signature.has(found[1], found[2]):
            kept.append(piece[found.end() :])
        else:
            kept += (separator if any(kept) else query[1], piece)
    return b"".join(kept)


class _Signature:
    """What a query shows of the signature in it. `always`: it is one of a signed URL, whatever it shows."""

    def __init__(self, parameters: Sequence[tuple[bytes, bytes]], *, always: bool) -> None:
        self._always = always
        self._signs = [name for name, value in parameters if _signs(name, value)]
        expires = any(_is_expiry(name) and _is_moment(value) for name, value in parameters)
        if expires and not self._signs:
            self._signs = [name for name, value in parameters if _is_long(value) and not _is_of_an_object(name)]
        self._is_azure = any(name.lower() == b"sig" for name in self._signs)
        has_companions = any(self._accompanies(name) for name, _ in parameters)
        self.is_certain = always or has_companions or any(map(_is_providers_own, self._signs))
        """Whether or not a URL can be seen to stand before it."""

    @property
    def is_there(self) -> bool:
        return self._always or bool(self._signs)

    def has(self, name: bytes, value: bytes) -> bool:
        """Is this parameter a part of it?"""
        if name in self._signs or _signs(name, value) or (value and self._accompanies(name)):
            return True
        return not _is_of_an_object(name) and (_is_moment(value) or _is_long(value)) is not None

    def _accompanies(self, name: bytes) -> bool:
        return bool(_is_companion(name) or (self._is_azure and _is_azure(name)))


def _signs(name: bytes, value: bytes) -> bool:
    if _is_signature(name):
        return bool(value)
    if _is_signature_if_opaque(name):
        return _is_opaque(value) is not None
    return _is_signature_if_long(name) is not None and _is_long(value) is not None


def _follows_a_url(query: re.Match[bytes], *, is_inner: bool) -> bool:
    """Does a URL or a path end where the query begins, rather than a word?"""
    before = query.string[max(0, query.start() - _LONGEST_PATH) : query.start()]
    head = _COLONS.sub(b":", _SLASHES.sub(b"/", _BREAKS.split(before)[-1]))
    if is_inner:
        head = _INNER_BREAKS.split(head)[-1]
    return b"://" in head or _PATH.match(head) is not None
