"""JSON texts taken apart with every byte kept, those that msgspec refuses included.

msgspec refuses lone surrogate escapes (`\\ud800`), which are legal JSON texts; the standard library's scanner
takes them, and tells where each value ends.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from hsmirror.errors import CorruptError


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_integer(digits: str) -> int | str:
    """Python refuses to turn thousands of digits into an integer; nothing here needs their value."""
    return int(digits) if len(digits) < 1000 else digits


_ESCAPES = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)")
"""Every escape of a JSON text; the first group is half of a surrogate pair, alone."""

_DECODER = json.JSONDecoder(parse_int=_parse_integer, parse_constant=_refuse_constant)
_SPACE = re.compile(r"[ \t\r\n]*")


def loads(text: str) -> Any:
    """Its value; a lone surrogate becomes U+FFFD.

    Raises:
        CorruptError: not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    # A lone surrogate cannot be written to any file or terminal: what is made of the text has a mark instead.
    whole = _ESCAPES.sub(lambda escape: "\\ufffd" if escape[1] else escape[0], text)
    try:
        return _DECODER.decode(whole)
    except (ValueError, RecursionError):
        raise CorruptError("the answer is not JSON") from None


def members(text: str, what: str) -> dict[str, str]:
    """The members of the object that `text` is, each value as the text it stands as.

    Raises:
        CorruptError: not JSON, or no object; the message says so of `what`.
    """
    text = text.removeprefix("\ufeff")
    at = _skip_space(text, 0)
    if text[at : at + 1] != "{":
        kind = "HTML" if text[at : at + 1] == "<" else "no JSON object"
        raise CorruptError(f"{what} is {kind}")
    found: dict[str, str] = {}
    at = _skip_space(text, at + 1)
    while text[at : at + 1] != "}":
        if text[at : at + 1] != '"':
            raise CorruptError(f"{what} is not JSON")
        key, at = _scan(text, at)
        at = _skip_space(text, at)
        if text[at : at + 1] != ":":
            raise CorruptError(f"{what} is not JSON")
        start = _skip_space(text, at + 1)
        _, at = _scan(text, start)
        found[str(key)] = text[start:at]
        at = _after_comma(text, at, "}")
    if _skip_space(text, at + 1) != len(text):
        raise CorruptError(f"{what} is not JSON")
    return found


def elements(text: str) -> list[str]:
    """The elements of the array that `text` is, each as the text it stands as.

    Raises:
        CorruptError: not JSON.
    """
    found: list[str] = []
    at = _skip_space(text, 1)
    while text[at : at + 1] != "]":
        start = at
        _, at = _scan(text, start)
        found.append(text[start:at])
        at = _after_comma(text, at, "]")
    return found


def _after_comma(text: str, at: int, closing: str) -> int:
    at = _skip_space(text, at)
    if text[at : at + 1] == ",":
        at = _skip_space(text, at + 1)
        if text[at : at + 1] != closing:
            return at
    elif text[at : at + 1] == closing:
        return at
    raise CorruptError("the answer is not JSON")


def _scan(text: str, at: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        raise CorruptError("the answer is not JSON") from None


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
