"""Rows that decoders can read: JSON allows escapes that no Unicode text can hold, and rows may have them."""

from __future__ import annotations

import re

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair: one character
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one, alone
    rb"|.)",
    re.DOTALL,
)


def readable(row: bytes) -> bytes:
    """The row with each lone surrogate (`\\ud800`) become U+FFFD, since msgspec refuses those."""
    if b"\\ud" not in row and b"\\uD" not in row:
        return row
    return _ESCAPE.sub(lambda escape: b"\\ufffd" if escape[1] else escape[0], row)
