"""Signatures of signed URLs, found in any text and cut out of it; every other byte stays.

A URL may stand in a member of a row, in a sentence, in HTML or Markdown, in JSON within a text, or
percent-encoded within another URL: so its separators are looked for in all spellings. What is cut are whole
parameters, each made of the few characters, and whole escapes of them, that signatures are made of: JSON stays
JSON, however often it is escaped, and no word behind a URL goes with it.

Whatever the text, the time is linear in its length: no pattern goes back over what another match has read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

import msgspec

_T = TypeVar("_T")


class _Known(dict[bytes, _T]):
    """What is judged of texts. Short ones come again and again; long ones are not kept in memory."""

    def __init__(self, judge: Callable[[bytes], _T]) -> None:
        self._judge = judge

    def __missing__(self, text: bytes) -> _T:
        found = self._judge(text)
        if len(text) < 64 and len(self) < 1024:
            self[text] = found
        return found


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
    rb"(?=[^A-Za-z]*+[A-Za-z])(?=\D*+\d|[^a-z]*+[a-z][^A-Z]*+[A-Z])[\w\-+=%~]{20,}+"
    rb"|[\w\-]{8,}+(?:\.[\w\-]{4,}+){2,}+"
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


def _judged_name(text: bytes) -> _Name:
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


_NAMES: Final = _Known(_judged_name)


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
    b"PERCENT": rb"%(?:25)*+",
}

_JOINT: Final = _compiled(
    rb"([?#\x00-\x20\"'<>`\x7f&%\\](?:(?<=[^&%\\])|(?<=%)(?:25)*+(?:3[fF]|2[36])(?:amp%(?:25)*+3[bB])?"
    rb"|(?<=&)(?:(?:amp;|#38;|#[xX]0*26;)+|#(?:63|35|[xX]0*(?:3[fF]|23));|(?!#[\dxX]|quot;|apos;|[lg]t;)"
    rb"|(?:quot|apos|[lg]t|#34|#39|#[xX]0*2[27]|#[xX]0*3[ceCE]);)"
    rb"|(?<=\\)(?<!\\\\)(?:(?:\\{7}|\\{3}|\\)?(?:u00|x)(?:3[fF]|2[36])(?:amp;)*"
    rb"|\\*+(?:u00FOREIGN|[nrt]))))"
)
"""What stands before a parameter, or between what is of one URL and what is not."""

_is_start = _whole(rb"\?|#|(?:%(?:25)*+|\\+(?:u00|x)|&#x0*)(?:3f|23);?|&#(?:63|35);")
_is_ampersand = _whole(rb"&(?:amp;|#38;|#x0*26;)*|(?:%(?:25)*+|\\+(?:u00|x))26(?:amp.*)?")

_PARAMETER: Final = _compiled(
    rb"([\w.\-]++)(?:=|PERCENT3[dD]|ESCAPE(?:u00|x)3[dD]|&#(?:61|[xX]0*3[dD]);)"
    rb"((?:[\w\-=+]++|(?:@|PERCENT40)[a-z0-9\-]+(?:\.[a-z0-9\-]+)*"
    rb"|%(?!(?:25)*+(?:FOREIGN|2[89cC]|[57][bBdD]|60))[0-9a-fA-F]{2}"
    rb"|\\*/(?=[\w+=%/*\\])|ESCAPEu00(?:2[bBfF5]|3[dD]|7[eE])"
    rb"|&#(?:43|47|61|[xX]0*(?:2[bBfF]|3[dD]));|~+(?=[\w%\-*/])|\*(?=[~!/])|!(?=/)"
    rb"|[.:](?=[\w\-]*(?:\d|[a-z][A-Z])|[\w\-]{20})|;(?=\d{10}))*+)"
)
"""Name and value. What may be punctuation belongs to a value only where more of it follows."""


class _Joint(NamedTuple):
    """`depth`: percent-encoded how often, None where a URL ends. `starts`: a query, or a fragment."""

    depth: int | None
    starts: bool = False


def _judged_joint(text: bytes) -> _Joint:
    starts = _is_start(text) is not None
    if not starts and not _is_ampersand(text):
        return _Joint(None)
    percent = re.match(rb"%((?:25)*+)", text)
    return _Joint(1 + len(percent[1]) // 2 if percent else 0, starts)


_JOINTS: Final = _Known(_judged_joint)


# --- where a URL stands ------------------------------------------------------------------------------------
_SLASHES: Final = re.compile(rb"(?i)(?<!\\)\\++(?:/|u002f)|%(?:25)*+2f|&#(?:47|x0*2f);")
_COLONS: Final = re.compile(rb"(?i)(?<!\\)\\++u003a|%(?:25)*+3a|&#(?:58|x0*3a);")
_UNICODE: Final = re.compile(rb"(?<!\\)\\++u[0-9a-fA-F]{4}")
_INNER_BREAKS: Final = re.compile(rb"(?i)[=?&+]|%(?:20|0[9ad]|2[27]|3[ce])")
_PATH: Final = re.compile(
    rb"(?i)(?:\A|[^\w\-.~%/]|%(?:25)*+3d)(?:\.{0,2}|[\w\-]++(?:\.[\w\-]++)++(?::\d++)?)/"
    rb"|\.(?:mp[34]|m4[av]|webm|mov|mkv|ogg|opus|wav|m3u8|png|jpe?g|gif|webp|svg|pdf|zip|gz|json|csv|txt|vtt)\Z"
)


def _has_url(text: bytes) -> bool:
    """Is there a URL or a path, rather than words?"""
    plain = _UNICODE.sub(b"\xff", _COLONS.sub(b":", _SLASHES.sub(b"/", text)))
    return b"://" in plain or _PATH.search(plain) is not None


# --- the cut -----------------------------------------------------------------------------------------------
_ADDRESS_MEMBER: Final = re.compile(rb'("(?:downloadUrl|url)"\s*:\s*")((?:[^"\\]++|\\.)*+)')
_ANY_PARAMETER: Final = re.compile(
    rb"[?#&;\\%](?:(?<=[?#&;])|(?<=\\)(?:u00|x)(?:3[fF]|2[36])|(?<=%)(?:25)*+(?:3[fF]|2[36])(?:amp%(?:25)*+3[bB])?)"
    rb"([\w.\-]++)(?:=|%(?:25)*+3[dD]|\\+(?:u00|x)3[dD]|&#(?:61|[xX]0*3[dD]);)(?=((?:[\w\-+=~.:]++|%(?!(?:25)*+26)){0,24}+))"
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
    while (mark := _mark(text, done)) is not None:
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


def _mark(text: bytes, start: int) -> int | None:
    """Where the next parameter stands that a signed URL has."""
    if not start and not any(sign in text for sign in (b"=", b"%", b"&", b"\\u003")):
        return None
    for found in _ANY_PARAMETER.finditer(text, start):
        name, value = _NAMES[found[1]], found[2]
        if name.signs(value) or (name.expires and _is_moment(value)):
            return found.start()
    return None


def _stable(text: bytes, *, always: bool) -> bytes:
    """Cut until there is nothing to cut, so that a second cut changes nothing."""
    for _ in range(_MOST_CUTS):
        before, text = text, _Cut(text, always=always).rest()
        if text == before:
            break
    return text


@dataclass(eq=False, slots=True)
class _Parameter:
    """One of a query. `at` is where its joint is among the pieces; `rest`, what is no part of its value."""

    at: int
    name: _Name
    value: bytes
    rest: bytes


def _parameter(at: int, text: bytes, kind: _Joint) -> _Parameter:
    found = _PARAMETER.match(text)
    # All that there is behind a question mark may be a token without a name.
    is_bare = kind.starts and b"=" not in text and b"%" not in text and _is_long(text)
    name, value, start = (found[1], found[2], found.start(2)) if found else (b"", text if is_bare else b"", 0)
    if kind.depth:
        value = value.partition(b"+")[0]  # within another URL it is a blank
    return _Parameter(at, _NAMES[name], value, text[start + len(value) :])


@dataclass(eq=False, slots=True)
class _Query:
    """The query of a URL, or its fragment. `depth` is how often it was percent-encoded."""

    depth: int
    is_of_url: bool
    """Does it follow a URL or a path, and no word?"""
    parameters: list[_Parameter] = field(default_factory=list)

    def signature(self, *, always: bool) -> set[_Parameter]:
        """What of it is a signature's. `always`: there is one, whatever is seen of it."""
        signing = {each for each in self.parameters if each.name.signs(each.value)}
        if not signing and any(each.name.expires and _is_moment(each.value) for each in self.parameters):
            signing = set(filter(_looks_random, self.parameters))
        if not (always or signing):
            return set()
        companions = self._companions(is_azures=any(each.name.is_sig for each in signing))
        # A provider's own name, or what comes with a signature, tells one without a URL, too.
        is_known = self.is_of_url or companions or any(each.name.is_providers_own for each in signing)
        if not (always or is_known):
            return set()
        return signing.union(
            (each for each in companions if each.value),
            (each for each in self.parameters if _looks_random(each) or _looks_timed(each)),
        )

    def _companions(self, *, is_azures: bool) -> list[_Parameter]:
        return [
            each for each in self.parameters if each.name.accompanies or (is_azures and each.name.is_azures)
        ]


def _looks_random(parameter: _Parameter) -> bool:
    return not parameter.name.is_objects and _is_long(parameter.value) is not None


def _looks_timed(parameter: _Parameter) -> bool:
    return not parameter.name.is_objects and _is_moment(parameter.value) is not None


class _Cut:
    """One way through a text, from its start to its end.

    The text lies in pieces, a joint at each odd place. What a query has to lose is taken out of them once all
    of it has been read.
    """

    def __init__(self, text: bytes, *, always: bool) -> None:
        self._text = text
        self._always = always
        self._pieces = _JOINT.split(text)
        self._queries: list[_Query] = []  # that go on here: of a URL, of one within it
        self._unseen = 0  # where the text begins in which no URL was looked for
        self._is_url = False

    def rest(self) -> bytes:
        """What is left of the text."""
        at = len(self._pieces[0])
        for place in range(1, len(self._pieces), 2):
            joint, piece = self._pieces[place : place + 2]
            kind = _JOINTS[joint]
            if kind.depth is None:
                self._close(0)
                self._unseen, self._is_url = at + len(joint), False
            else:
                query = self._query(kind.depth, at, starts=kind.starts)
                query.parameters.append(_parameter(place, piece, kind))
            at += len(joint) + len(piece)
        self._close(0)
        return b"".join(self._pieces)

    def _query(self, depth: int, at: int, *, starts: bool) -> _Query:
        """The one that goes on behind this joint."""
        follows_url = self._close(depth + (not starts))
        if not self._queries or self._queries[-1].depth < depth:
            head, self._unseen = self._text[self._unseen : at], at
            self._is_url = self._is_url or _has_url(head)
            inner = _INNER_BREAKS.split(head) if depth else []
            is_inner_url = (follows_url and len(inner) == 1) or (depth > 0 and _has_url(inner[-1]))
            self._queries.append(_Query(depth, is_inner_url if depth else self._is_url))
        return self._queries[-1]

    def _close(self, depth: int) -> bool:
        """Nothing of queries so deep follows. Was one of them a URL's?"""
        was_url = False
        while self._queries and self._queries[-1].depth >= depth:
            query = self._queries.pop()
            was_url = was_url or query.is_of_url
            if signature := query.signature(always=self._always):
                self._take_out(query.parameters, signature)
        return was_url

    def _take_out(self, parameters: list[_Parameter], signature: set[_Parameter]) -> None:
        pieces, first, is_empty = self._pieces, self._pieces[parameters[0].at], True
        for each in parameters:
            if each in signature:
                pieces[each.at : each.at + 2] = b"", each.rest
            elif is_empty:
                pieces[each.at] = first
            is_empty = is_empty and not (pieces[each.at] or pieces[each.at + 1])
