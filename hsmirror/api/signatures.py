"""Signatures of signed URLs, found in any text and cut out of it; every other byte stays.

A URL may stand in a member of a row, in a sentence, in HTML or Markdown, in JSON within a text, or
percent-encoded within another URL: so its separators are looked for in all spellings. What is cut are whole
parameters, each made of the few characters, and whole escapes of them, that signatures are made of: JSON stays
JSON, however often it is escaped, and no word behind a URL goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec


def _whole(pattern: bytes) -> Callable[[bytes], re.Match[bytes] | None]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL).fullmatch


# --- which parameters are a signature's --------------------------------------------------------------------
_is_signature = _whole(
    rb"[\w.\-]*(?:signature|token)|(?:[\w.\-]*[_\-])?l?sig|__(?:cld_)?token__|__gda__|hdn(?:ts|ea|tl|ia|tkn)"
    rb"|hmac|jwt|tempauth|auth[_\-]?key|(?:[\w.\-]*[_\-])?api[_\-]?key|(?:\w+_|tx|ws|hw)secret|rlkey"
    rb"|key-pair-id"
)
"""Names that nothing but a signature or a token has."""

_is_signature_if_opaque = _whole(
    rb"verify|auth|authorization|bcov_auth|sign|ticket|access_?key|secret|\w*tokenhash"
)
_is_signature_if_long = _whole(rb"key|code|hash|md5|st|[shk]|hm|oh|ks")

_is_providers_own = _whole(rb"x-(?:goog|amz|oss|obs|cos|tos|bce)-(?:signature|security-token)")
"""Names that mean a signature without a URL around them, too."""

_is_expiry = _whole(rb"expires?|expiry|exp|expiration|expires_?at|valid_?(?:to|until)|ttl|ex|e")
_is_companion = _whole(
    rb"x-(?:goog|amz|oss|obs|cos|tos|bce|ms)-[\w\-]+|x-id|\w*access_?key_?id|googleaccessid|policy|hash-algorithm"
    rb"|\w*token(?:start|end)time|q-[\w\-]+|temp_url_expires|keyname|urlprefix|credential|nonce|date|ts|timestamp|iat|nbf|valid_?from"
    rb"|(?:tx|ws|hw)time|token_[\w\-]+|is|oe|alg|algorithm"
)
"""Names of what a signature comes with. Their values differ in every answer, as its own does."""

_is_azures = _whole(rb"s[vsrpet]|srt|sip|spr|ses|sdd|si|sk(?:oid|tid|[tesv])|[sc]uoid|saoid|scid|rsc[cdelt]")
"""The same, where the signature is called `sig`."""

_is_objects = _whole(
    rb".*(?:id|file|name|key|path|object|src|source|ur[il]|recording|version|generation|track|part|hash)|v|rev"
)
"""Names of what tells objects apart, however random the value looks."""

_is_opaque = _whole(rb"(?=.*\d)(?=.*[a-z]).{8,}|.{20,}")
_is_long = re.compile(
    rb"(?=.*[A-Za-z])(?=.*\d|.*[a-z].*[A-Z])[\w\-+=%~]{20,}|[\w\-]{8,}(?:\.[\w\-]{4,}){2,}"
).fullmatch
_is_moment = _whole(rb"[12]\d{9}(?:\d{3})?(?:\.\d+)?|20\d{6}T\d{6}Z?|20\d\d-\d\d-\d\dT[\d%:.a-z]+")


@dataclass(eq=False, slots=True)
class _Name:
    """What the name of a parameter says of it."""

    signs: Callable[[bytes], object]
    """Does it sign, with this value?"""
    expires: bool
    accompanies: bool
    is_azures: bool
    is_objects: bool
    is_providers_own: bool
    is_sig: bool


def _never(_: bytes) -> None:
    return None


@lru_cache(1024)
def _name(text: bytes) -> _Name:
    if _is_signature(text):
        signs: Callable[[bytes], object] = bool
    elif _is_signature_if_opaque(text):
        signs = _is_opaque
    else:
        signs = _is_long if _is_signature_if_long(text) else _never
    expires = _is_expiry(text) is not None
    return _Name(
        signs=signs,
        expires=expires,
        accompanies=expires or _is_companion(text) is not None,
        is_azures=_is_azures(text) is not None,
        is_objects=_is_objects(text) is not None,
        is_providers_own=_is_providers_own(text) is not None,
        is_sig=text.lower() == b"sig",
    )


# --- how a URL is spelt ------------------------------------------------------------------------------------
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    """A pattern in which the words in capitals stand for what they mean below."""
    for word, meaning in _WORDS.items():
        pattern = pattern.replace(word, meaning)
    return re.compile(pattern)


_WORDS: Final = {
    # Backslashes of JSON, and of JSON within up to three texts.
    b"ESCAPE": rb"\\(?<!\\\\)(?:\\{7}|\\{3}|\\)?",
    # In hexadecimal: controls, blank, quotes, `#&<>?` and the backslash, none of which a URL holds.
    b"FOREIGN": rb"(?:[01][0-9a-fA-F]|2[02367]|3[cefCEF]|5[cC])",
    # Percent-encoded, within so many other URLs.
    b"PERCENT": rb"%(?:25)*",
}

_JOINT: Final = _compiled(
    rb"([?#\x00-\x20\"'<>`\x7f&%\\](?:(?<=[^&%\\])|(?<=%)(?:25)*(?:3[fF]|2[36])(?:amp%(?:25)*3[bB])?"
    rb"|(?<=&)(?:(?:amp;|#38;|#[xX]0*26;)+|#(?:63|35|[xX]0*(?:3[fF]|23));|(?!#[\dxX]|quot;|apos;|[lg]t;)"
    rb"|(?:quot|apos|[lg]t|#34|#39|#[xX]0*2[27]|#[xX]0*3[ceCE]);)"
    rb"|(?<=\\)(?:(?<!\\\\)(?:\\{7}|\\{3}|\\)?(?:u00|x)(?:3[fF]|2[36])(?:amp;)*"
    rb"|\\*(?:u00FOREIGN|[nrt]))))"
)
"""What stands before a parameter, or between what is of one URL and what is not."""

_is_start = _whole(rb"\?|#|(?:%(?:25)*|\\+(?:u00|x)|&#x0*)(?:3f|23);?|&#(?:63|35);")
_is_ampersand = _whole(rb"&(?:amp;|#38;|#x0*26;)*|(?:%(?:25)*|\\+(?:u00|x))26(?:amp.*)?")

_PARAMETER: Final = _compiled(
    rb"([\w.\-]+)(?:=|PERCENT3[dD]|ESCAPE(?:u00|x)3[dD]|&#(?:61|[xX]0*3[dD]);)"
    rb"((?:[\w\-=+]++|(?:@|PERCENT40)[a-z0-9\-]+(?:\.[a-z0-9\-]+)*"
    rb"|%(?!(?:25)*(?:FOREIGN|2[89cC]|[57][bBdD]|60))[0-9a-fA-F]{2}"
    rb"|\\*/(?=[\w+=%/*\\])|ESCAPEu00(?:2[bBfF5]|3[dD]|7[eE])"
    rb"|&#(?:43|47|61|[xX]0*(?:2[bBfF]|3[dD]));|~+(?=[\w%\-*/])|\*(?=[~!/])|!(?=/)"
    rb"|[.:](?=[\w\-]*(?:\d|[a-z][A-Z])|[\w\-]{20})|;(?=\d{10}))*+)"
)
"""Name and value. What may be punctuation belongs to a value only where more of it follows."""


@dataclass(frozen=True, slots=True)
class _Joint:
    """`depth`: percent-encoded how often, None where a URL ends. `starts`: a query, or a fragment."""

    depth: int | None
    starts: bool = False


@lru_cache(1024)
def _joint(text: bytes) -> _Joint:
    starts = _is_start(text) is not None
    if not starts and not _is_ampersand(text):
        return _Joint(None)
    percent = re.match(rb"%((?:25)*)", text)
    return _Joint(1 + len(percent[1]) // 2 if percent else 0, starts)


# --- where a URL stands ------------------------------------------------------------------------------------
_LONGEST_URL: Final = 4096
_SLASHES: Final = re.compile(rb"(?i)\\+(?:/|u002f)|%(?:25)*2f|&#(?:47|x0*2f);")
_COLONS: Final = re.compile(rb"(?i)\\+u003a|%(?:25)*3a|&#(?:58|x0*3a);")
_INNER_BREAKS: Final = re.compile(rb"(?i)[=?&+]|%(?:20|0[9ad]|2[27]|3[ce])")
_PATH: Final = re.compile(
    rb"(?i)(?:\A|[^\w\-.~%/])(?:\.{0,2}|[\w\-]+(?:\.[\w\-]+)+(?::\d+)?)/"
    rb"|\.(?:mp[34]|m4[av]|webm|mov|mkv|ogg|opus|wav|m3u8|png|jpe?g|gif|webp|svg|pdf|zip|gz|json|csv|txt|vtt)\Z"
)
_UNICODE: Final = re.compile(rb"\\+u[0-9a-fA-F]{4}")


def _ends_a_url(text: bytes, *, is_inner: bool) -> bool:
    """Is this a URL or a path, up to its query, rather than a word?"""
    head = _UNICODE.sub(b"\xff", _COLONS.sub(b":", _SLASHES.sub(b"/", text)))
    if is_inner:
        head = _INNER_BREAKS.split(head)[-1]
    return b"://" in head or _PATH.search(head) is not None


# --- the cut -----------------------------------------------------------------------------------------------
_ADDRESS_MEMBER: Final = re.compile(rb'("(?:downloadUrl|url)"\s*:\s*")((?:[^"\\]|\\.)*)')
_ANY_PARAMETER: Final = re.compile(
    rb"[?#&;\\%](?:(?<=[?#&;])|(?<=\\)(?:u00|x)(?:3[fF]|2[36])|(?<=%)(?:25)*(?:3[fF]|2[36])(?:amp%(?:25)*3[bB])?)"
    rb"([\w.\-]++)(?:=|%(?:25)*3[dD]|\\+(?:u00|x)3[dD]|&#(?:61|[xX]0*3[dD]);)(?=((?:[\w\-+=~.:]++|%(?!(?:25)*26)){0,64}+))"
)
_MOST_CUTS: Final = 8
"""More than one only where what is left of two parameters is a third."""

_EDGES: Final = (b'"', b" ", b"\n")
_EDGE: Final = re.compile(rb'[" \n]')


def without_signatures(text: bytes, *, always: bool) -> bytes:
    """JSON, a row a line, without the signatures of the URLs in it; every other byte as it came.

    `always` is for recordings, whose `downloadUrl` and `url` are signed by definition: there what only looks
    like a part of a signature goes, too. Any other URL without a signature stays as the participants saw it.
    """
    if always and b"rl" in text:
        text = _ADDRESS_MEMBER.sub(lambda member: member[1] + _stable(member[2], always=True), text)
    kept: list[bytes] = []
    done = 0
    for mark in _marks(text):
        if mark < done:
            continue
        start = max(done, *(text.rfind(edge, done, mark) + 1 for edge in _EDGES))
        edge = _EDGE.search(text, mark)
        end = edge.start() if edge else len(text)
        kept += text[done:start], _stable(text[start:end], always=False)
        done = end
    return b"".join((*kept, text[done:])) if kept else text


def content_of(row: bytes | msgspec.Raw) -> bytes:
    """What tells a row without an id: all of it but for signatures, which each answer makes anew."""
    return without_signatures(bytes(row), always=False)


def stable_part(url: str) -> str:
    """A signed URL without the parameters of its signature; the others stay, in their order.

    It is the same in every answer, unless a token stands in the path.
    """
    return _stable(url.encode("utf-8", "surrogatepass"), always=True).decode("utf-8", "surrogatepass")


def _marks(text: bytes) -> Iterator[int]:
    """Where parameters stand that a signed URL has."""
    if not any(sign in text for sign in (b"=", b"%", b"&", b"\\u003")):
        return
    for found in _ANY_PARAMETER.finditer(text):
        name, value = _name(found[1]), found[2]
        if name.signs(value) or (name.expires and _is_moment(value)):
            yield found.start()


def _stable(text: bytes, *, always: bool) -> bytes:
    """Cut until there is nothing to cut, so that a second cut changes nothing."""
    for _ in range(_MOST_CUTS):
        before, text = text, _cut(text, always=always)
        if text == before:
            break
    return text


def _cut(text: bytes, *, always: bool) -> bytes:
    parts = list(_parts(text))
    return b"".join(part if isinstance(part, bytes) else part.query.rest(part, always=always) for part in parts)


@dataclass(eq=False, slots=True)
class _Parameter:
    """One of a query, and the joint before it. `rest` is what it ends before: no part of its value."""

    query: _Query
    joint: bytes
    text: bytes
    name: _Name
    value: bytes
    rest: bytes


class _Query:
    """The query of a URL, or its fragment, as it is read.

    `depth` is how often it was percent-encoded, `url` what it follows. Once all of it has been read, `rest`
    gives what is left of its parameters, one after the other.
    """

    def __init__(self, depth: int, url: bytes) -> None:
        self.depth = depth
        self._url = url
        self._parameters: list[_Parameter] = []
        self._signature: _Signature | None = None
        self._is_empty = True

    def parameter(self, joint: bytes, text: bytes) -> _Parameter:
        """Read the next one."""
        found = _PARAMETER.match(text)
        name, value = (found[1], found[2]) if found else (b"", b"")
        start = found.start(2) if found else len(text)
        if self.depth and b"+" in value:
            value = value.partition(b"+")[0]  # within another URL it is a blank
        parameter = _Parameter(self, joint, text, _name(name), value, text[start + len(value) :])
        self._parameters.append(parameter)
        return parameter

    def rest(self, parameter: _Parameter, *, always: bool) -> bytes:
        """What is left of it, all of them being read."""
        if self._signature is None:
            self._signature = _Signature(self._parameters, self._url, self.depth, always=always)
        if self._signature.has(parameter):
            rest = parameter.rest
        else:
            rest = (self._parameters[0].joint if self._is_empty else parameter.joint) + parameter.text
        self._is_empty = self._is_empty and not rest
        return rest


class _Signature:
    """What is the signature's, of the parameters of a query. `always`: there is one, whatever is seen of it."""

    def __init__(self, parameters: Sequence[_Parameter], url: bytes, depth: int, *, always: bool) -> None:
        self._signing = {each for each in parameters if each.name.signs(each.value)}
        if not self._signing and any(each.name.expires and _is_moment(each.value) for each in parameters):
            self._signing = set(filter(_looks_random, parameters))
        self._is_azures = any(each.name.is_sig for each in self._signing)
        is_certain = any(each.name.is_providers_own for each in self._signing) or any(
            map(self._accompanies, parameters)
        )
        self._is_there = always or (
            bool(self._signing) and (is_certain or _ends_a_url(url, is_inner=depth > 0))
        )

    def has(self, parameter: _Parameter) -> bool:
        """Is it a part of the signature?"""
        return self._is_there and (
            parameter in self._signing
            or (parameter.value != b"" and self._accompanies(parameter))
            or _looks_random(parameter)
            or (not parameter.name.is_objects and _is_moment(parameter.value) is not None)
        )

    def _accompanies(self, parameter: _Parameter) -> bool:
        return parameter.name.accompanies or (self._is_azures and parameter.name.is_azures)


def _looks_random(parameter: _Parameter) -> bool:
    return not parameter.name.is_objects and _is_long(parameter.value) is not None


def _parts(text: bytes) -> Iterator[bytes | _Parameter]:
    """The text in parts: parameters of queries, and what is none."""
    pieces = _JOINT.split(text)
    url_at, at = 0, len(pieces[0])
    queries: list[_Query] = []  # that go on here: of a URL, of one within it
    yield pieces[0]
    for joint, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        kind = _joint(joint)
        if kind.depth is None:
            url_at, queries = at + len(joint), []
            yield joint + piece
        else:
            while queries and queries[-1].depth >= kind.depth + (not kind.starts):
                queries.pop()
            if not queries or queries[-1].depth < kind.depth:
                queries.append(_Query(kind.depth, text[max(url_at, at - _LONGEST_URL) : at]))
            yield queries[-1].parameter(joint, piece)
        at += len(joint) + len(piece)
