"""HTTP header fields, parsed with suspicion: whatever a server sends, the outcome is a sane value or None."""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""The longest window that the API documents; a server that asks for more is asked again after it."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@lru_cache(maxsize=16)  # all answers of one second have the same
def http_date(value: str | None) -> float | None:
    """An HTTP date as epoch seconds."""
    if not value:
        return None
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def retry_after_seconds(value: str | None, *, now_epoch: float) -> float | None:
    """`Retry-After` as seconds from now, clamped to 0 … an hour; None where it says nothing."""
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text) if len(text) < 32 else float("nan")
    except ValueError:
        date = http_date(text)
        if date is None:
            return None
        seconds = date - now_epoch
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def etag(value: str | None) -> str | None:
    """An `ETag` as it can be stored and sent back; None where it is absent, or not of printable ASCII."""
    return value if value and value.isascii() and value.isprintable() and len(value) <= 1024 else None


@dataclass(frozen=True, slots=True)
class ContentRange:
    """`bytes first-last/total`; `total_bytes` is None where the server does not know it."""

    first: int
    last: int
    total_bytes: int | None


def content_range(value: str | None) -> ContentRange | None:
    """A `Content-Range` of bytes; None where it is absent or makes no sense."""
    match = _CONTENT_RANGE.fullmatch(value.strip()) if value else None
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < first or (total is not None and last >= total):
        return None
    return ContentRange(first, last, total)


@dataclass(frozen=True, slots=True)
class OfferedHashes:
    """What a storage provider says of the whole object; each None where it does not say."""

    md5: bytes | None = None
    crc32c: bytes | None = None
    sha256: bytes | None = None

    def __bool__(self) -> bool:
        return not (self.md5 is None and self.crc32c is None and self.sha256 is None)


def offered_hashes(headers: dict[str, str]) -> OfferedHashes:
    """The whole-object hashes in a storage answer's (lower-cased) header fields.

    Google names crc32c and md5 in `x-goog-hash`; Amazon's ETag is the MD5 unless the object was uploaded in
    parts (a dash in it) or encrypted with a managed key, and it may add `x-amz-checksum-*`.
    """
    parts = (part.partition("=") for part in headers.get("x-goog-hash", "").split(","))
    google = {name.strip().lower(): value for name, _, value in parts}
    # A checksum of type COMPOSITE is a checksum of checksums, not of the bytes.
    whole = headers.get("x-amz-checksum-type", "FULL_OBJECT").upper() == "FULL_OBJECT"
    amazon = headers if whole else {}
    md5 = _base64(google.get("md5"), 16)
    if (
        md5 is None
        and "x-amz-request-id" in headers
        and "x-amz-server-side-encryption-aws-kms-key-id" not in headers
    ):
        md5 = _hex(headers.get("etag", "").strip('"'), 16)
    return OfferedHashes(
        md5=md5,
        crc32c=_base64(google.get("crc32c") or amazon.get("x-amz-checksum-crc32c"), 4),
        sha256=_base64(amazon.get("x-amz-checksum-sha256"), 32),
    )


def _base64(text: str | None, length: int) -> bytes | None:
    if not text:
        return None
    try:
        value = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == length else None


def _hex(text: str, length: int) -> bytes | None:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return None
    return value if len(value) == length else None
