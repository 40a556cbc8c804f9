"""Which bytes of a file a request asks for: `Range`, `If-Range` and `If-Match` (RFC 9110), without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SINGLE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer's status (200, 206, 412 or 416) and the bytes that go with it: from `first` up to `stop`."""

    status: int
    first: int
    stop: int

    @property
    def length_bytes(self) -> int:
        return self.stop - self.first


def selection(headers: Mapping[str, str], *, size_bytes: int, etag: str) -> Selection:
    """What to send of a file of `size_bytes` whose current version is `etag` (quotes included).

    Only single ranges are served; anything else in `Range` is ignored, as the standard allows, and
    `If-Range` counts only with an entity tag.
    """
    if_match = headers.get("If-Match")
    if if_match is not None and if_match.strip() != "*" and etag not in _tags(if_match):
        return Selection(412, 0, 0)
    whole = Selection(200, 0, size_bytes)
    asked = _SINGLE.fullmatch(headers.get("Range", "").replace(" ", ""))
    if asked is None or headers.get("If-Range", etag).strip() != etag:
        return whole
    first, last = asked.groups()
    if not first and not last:
        return whole
    if not first:
        return _satisfiable(max(size_bytes - int(last), 0), size_bytes, size_bytes)
    stop = min(int(last) + 1, size_bytes) if last else size_bytes
    if last and int(last) < int(first):
        return whole
    return _satisfiable(int(first), stop, size_bytes)


def _satisfiable(first: int, stop: int, size_bytes: int) -> Selection:
    if first >= size_bytes:
        return Selection(416, 0, 0)
    return Selection(206, first, stop)


def _tags(header: str) -> list[str]:
    return [tag.strip() for tag in header.split(",")]
