"""Where a recording's bytes come from, as far as that stays the same from list to list.

A source is a URL without its signature, or the path of the API at which a URL is minted. Some servers sign in
the path, others change hosts: sources that differ in nothing else may lead to the same object.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from hsmirror.api.signatures import stable_part
from hsmirror.errors import RefusedAddressError

_TOKEN = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[\w~.=+,%:-]{6,}|[0-9]{8,}|[\w~=+,%-]{24,}")
"""A folder that may be a signature: letters and digits, a time, or long."""

_SURE_TOKEN = re.compile(
    r"[0-9a-f]{12,}|[0-9A-F]{12,}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|(?=[^0-9]*[0-9])(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[\w~=+%-]{20,}"
)
"""The same for file names and parameters, which mostly tell objects apart."""

_NO_PATH_CHARACTER = "/%!$&'()*+,;=:@-._~"
_SIGNATURES = frozenset({"x-goog-signature", "x-amz-signature", "signature"})
_COMPANIONS = frozenset({"expires", "googleaccessid", "awsaccesskeyid", "key-pair-id", "policy"})

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PARAMETERS = re.compile(r"[\w.\-]+=[^&?#/]*(?:&[\w.\-]+=[^&?#/]*)*")


def source_of(url: str) -> str:
    """A signed URL without its signature."""
    way, _, query = url.partition("?")
    names = {each.partition("=")[0].casefold() for each in query.split("&")}
    # Nearly always; to look for all the others takes half a millisecond.
    is_usual = not names.isdisjoint(_SIGNATURES) and all(_is_of_a_signature(name) for name in names)
    return way if is_usual and "#" not in way else stable_part(url)


def _is_of_a_signature(name: str) -> bool:
    return name.startswith(("x-goog-", "x-amz-")) or name in {*_SIGNATURES, *_COMPANIONS}


def without_tokens(source: str) -> str:
    """A source without its host, and with `*` for what may be a token."""
    try:
        parts = urlsplit(source)
    except ValueError:  # out of a receipt that was damaged
        return source
    *folders, name = parts.path.split("/")
    stem, dot, extension = name.rpartition(".")
    named = f"{_masked(stem, _SURE_TOKEN)}{dot}{extension}" if dot else _masked(name, _SURE_TOKEN)
    path = "/".join([*(_masked(folder, _TOKEN) for folder in folders), named])
    parameters = "&".join(_masked_parameter(each) for each in parts.query.split("&"))
    return f"{path}?{parameters}"


def _masked(text: str, token: re.Pattern[str]) -> str:
    return "*" if token.fullmatch(text) else text


def _masked_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    return f"{name}{equals}{_masked(value, _SURE_TOKEN)}"


def own_path(path: str) -> str:
    """A path of the API itself, as it can be sent: servers build it from ids as they are.

    What is no character of a path is percent-encoded; an escape stays one. Parameters may follow.

    Raises:
        RefusedAddressError: it leads away from the API. The key goes along with it.
    """
    way, mark, parameters = path.partition("?")
    if mark and not _PARAMETERS.fullmatch(parameters):
        way, mark, parameters = path, "", ""
    try:
        sendable = _quoted(way) + mark + _quoted(parameters)
    except UnicodeEncodeError:
        sendable = "//"
    plain = sendable.casefold().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/")
    is_away = plain.startswith("//") or "://" in path or ".." in plain.partition("?")[0].split("/")
    if is_away or _CONTROL.search(path):
        raise RefusedAddressError("its downloadPath leads away from the API; the key is not sent there")
    return sendable


def _quoted(text: str) -> str:
    return quote(_ESCAPE.sub("%25", text), safe=_NO_PATH_CHARACTER)
