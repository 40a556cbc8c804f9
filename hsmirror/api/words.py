"""What a server says, made fit to be kept and shown: no secret in it, nothing that steers a terminal, not long.

Servers repeat what they were sent: gateways the key or the end of it, storage hosts the signed URL.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from hsmirror.model import Secret

_LONGEST_READ: Final = 8192
_LONGEST: Final = 300
_PART: Final = 8
"""Characters of the key that are too many to be told."""

_KEY: Final = re.compile(r"hst_(?:live|test)_", re.IGNORECASE)
_SECRETS: Final = (
    (re.compile(r"(?:\?|%(?:25)*3f)[^\s\"'<>]*(?:=|%(?:25)*3d)[^\s\"'<>]*", re.IGNORECASE), "?…"),
    (re.compile(r"://[^/\s@]+:[^/\s@]+@"), "://…@"),
    (re.compile(r"\beyJ[\w\-]+\.[\w\-]+(?:\.[\w\-]*)*"), "…"),
    (re.compile(r"\b(bearer|basic)\s+[\w\-.=+/~]{8,}", re.IGNORECASE), r"\1 …"),
    (
        re.compile(
            r"\b([\w.\-]*(?:signature|token|sig|secret|credential|policy|key(?:-pair-id)?|hdn\w+|hmac|verify)[\"']?"
            r"(?:\s*[=:]\s*[\"']?|%(?:25)*3d))(?=\S*\d|\S{16})[\w\-.=+/~%*]{4,}",
            re.IGNORECASE,
        ),
        r"\1…",
    ),
    (re.compile(r"hst_(?:live|test)_\w*", re.IGNORECASE), "hst_…"),
)


def redacted(text: str) -> str:
    """Without API keys and tokens, and without the query strings of URLs; for foreign texts of any kind."""
    for secret, mark in _SECRETS:
        text = secret.sub(mark, text)
    return text


class ServerWords:
    """Takes secrets out of what a server says: signatures, tokens, and this key in any part and spelling.

    Without a key it knows keys by their beginning alone.
    """

    def __init__(self, key: Secret | None = None) -> None:
        text = key.reveal() if key else ""
        self._key = text.encode() if len(text) >= 2 * _PART else b""
        secret = _KEY.sub("", text)
        self._parts = {
            _lower(spelling)[at : at + size]
            for spelling, size in ((secret, _PART), *((spelling, 2 * _PART) for spelling in _spellings(secret)))
            for at in range(len(spelling) - size + 1)
        }

    def __repr__(self) -> str:
        return "<ServerWords>"

    def __call__(self, value: object) -> str:
        """A text without secrets and control characters, at most 300 characters of it; `""` of what is none."""
        text = value if isinstance(value, str) else ""
        if len(text) > _LONGEST_READ:
            text = text[:_LONGEST_READ].rpartition(" ")[0]  # what is cut in two is not known again
        text = "".join(character for character in re.sub(r"\s", " ", text) if character.isprintable())
        return self._without_parts(redacted(text))[:_LONGEST]

    def without_key(self, body: bytes) -> bytes:
        """An answer, without the key where it holds all of it."""
        return body.replace(self._key, b"(the key)") if self._key and self._key in body else body

    def _without_parts(self, text: str) -> str:
        hidden: set[int] = set()
        folded = _lower(text)
        for size in (_PART, 2 * _PART):
            for at in range(len(folded) - size + 1):
                if folded[at : at + size] in self._parts:
                    hidden.update(range(at, at + size))
        shown = "".join("\0" if at in hidden else character for at, character in enumerate(text))
        return re.sub("\0+", "(the key)", shown)


def _lower(text: str) -> str:
    """As long as it was, which `str.lower` does not see to beyond ASCII."""
    return "".join(character.lower() if character.isascii() else character for character in text)


def _spellings(key: str) -> Iterator[str]:
    """The key as it is, percent-encoded, in hexadecimal, and in base64 wherever it begins."""
    yield key
    raw = key.encode()
    if quote(key, safe="") != key:
        yield quote(key, safe="")
    yield raw.hex()
    for before in range(3):
        # What other characters beside the key have a part in is left out.
        start, end = (before * 8 + 5) // 6, (before + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * before + raw).decode()[start:end]


printable: Final = ServerWords()
"""For words that the key cannot be in."""
