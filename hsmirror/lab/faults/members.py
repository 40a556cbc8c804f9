"""JSON taken apart and put together again, every byte of the values kept.

msgspec hands on values as they stand, but refuses lone surrogates, which rows may hold: the escapes of
surrogates are hidden from it meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

_SURROGATE = re.compile(rb"(?<!\\)((?:\\\\)*)\\u(?=[dD][89a-fA-F])")
_STAND_IN = b"\x7fu"
"""For the two bytes that begin an escape; no text of the lab holds this character."""

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


def members_of(text: bytes) -> dict[str, bytes]:
    """The members of the object that `text` is, each value as it stands."""
    return {name: _shown(bytes(value)) for name, value in _MEMBERS.decode(_hidden(text)).items()}


def elements_of(text: bytes) -> list[bytes]:
    """The elements of the list that `text` is, as they stand."""
    return [_shown(bytes(value)) for value in _ELEMENTS.decode(_hidden(text))]


def object_of(members: Mapping[str, bytes]) -> bytes:
    """The object with these members, in this order."""
    return b"{" + b",".join(msgspec.json.encode(name) + b":" + text for name, text in members.items()) + b"}"


def value_of(text: bytes) -> Any:
    """What a text means."""
    return msgspec.json.decode(_hidden(text))


def _hidden(text: bytes) -> bytes:
    return _SURROGATE.sub(rb"\1" + _STAND_IN, text)


def _shown(text: bytes) -> bytes:
    return text.replace(_STAND_IN, b"\\u")
