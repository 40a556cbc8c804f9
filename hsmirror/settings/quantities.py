"""Texts that stand for numbers: sizes, rates, durations, permissions. Pure.

Each function raises ValueError for a text that is none of them, or that could mean two things.
"""

from __future__ import annotations

import re
from decimal import Decimal

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_UNIT_BYTES = {"": 1, "B": 1, "kB": 1000, "KB": 1000}
_UNIT_BYTES |= {f"{prefix}B": 1000**power for power, prefix in enumerate("MGT", start=2)}
_UNIT_BYTES |= {f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)}
_NUMBER = r"([0-9]{1,6}(?:\.[0-9]{1,6})?)"
_DURATION = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in "wdhms"))
_UNIT_SECONDS = (604800, 86400, 3600, 60, 1)
_PRIVATE_MODE = 0o700


def parse_size(text: str) -> int:
    """Bytes, at least 1: `128MiB` (1024²), `1GB` (1000³), `4096`. `Mb` and `M` are refused as ambiguous."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _UNIT_BYTES:
        raise ValueError("not a size")
    size_bytes = int(Decimal(match[1]) * _UNIT_BYTES[match[2]])
    if size_bytes < 1:
        raise ValueError("a size of no bytes")
    return size_bytes


def parse_rate(text: str) -> float | None:
    """Bytes a second: `50MiB/s`, `10MB/s`; None for the empty text, which sets no limit."""
    if not text:
        return None
    if not text.endswith("/s"):
        raise ValueError("not a rate")
    return float(parse_size(text.removesuffix("/s")))


def parse_duration(text: str) -> float:
    """Seconds: `48h`, `30d`, `90s`, `1h30m`; units from the longest (w, d, h, m, s), each once at most."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError("not a duration")
    return sum(
        float(number or 0) * seconds for number, seconds in zip(match.groups(), _UNIT_SECONDS, strict=True)
    )


def parse_mode(text: str) -> int:
    """Permission bits of folders: `0750`, or `2750` with the group inherited; 0700 for the empty text.

    The owner must have every right, and the world must not write.
    """
    if not text:
        return _PRIVATE_MODE
    mode = int(text, 8) if re.fullmatch("[02]?[0-7]{3}", text) else 0
    if mode & 0o700 != 0o700 or mode & 0o002:
        raise ValueError("not a mode")
    return mode
