"""HTTP header fields, parsed with suspicion: whatever a server sends, the outcome is a sane value or None."""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import lru_cache

from hsmirror.api.words import printable

LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""The longest window that the API documents; a server that asks for more is asked again after it."""

_MODIFIED_BEFORE_SECONDS = 60.0
"""From then on a `Last-Modified` is a strong validator (RFC 9110, 8.8.2.2): until then there may be another
version with the same."""

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


def validator(value: str | None) -> str | None:
    """An `ETag` or the like as it can be stored and sent back; None where there is none of printable ASCII."""
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


class Sameness(Enum):
    """What two answers say of whether they are of the same version of an object."""

    PROVEN = auto()
    LIKELY = auto()
    """By a weak validator alone."""
    UNKNOWN = auto()
    """No validator is in both."""
    REFUTED = auto()


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of an object an answer is of, as far as it says so.

    `coding` is how its bytes are encoded (`Content-Encoding`): other bytes, whatever else agrees.
    """

    etag: str | None = None
    generation: str | None = None
    """Google's."""
    version_id: str | None = None
    """Amazon's."""
    modified: str | None = None
    is_modified_strong: bool = False
    coding: str = ""

    @property
    def strong_etag(self) -> str | None:
        """What may be asked for with `If-Match`, which a weak one never matches."""
        return None if self.etag is None or self.etag.startswith("W/") else self.etag

    def compare(self, later: Version) -> Sameness:
        """Is a later answer's version this one? One validator that differs is enough for no."""
        if self.coding != later.coding:
            return Sameness.REFUTED
        opaque = [each.etag and each.etag.removeprefix("W/") for each in (self, later)]
        pairs = {
            "etag": (opaque[0], opaque[1]),
            "generation": (self.generation, later.generation),
            "version_id": (self.version_id, later.version_id),
            "modified": (self.modified, later.modified),
        }
        shared = {name for name, (one, other) in pairs.items() if one is not None and other is not None}
        if any(pairs[name][0] != pairs[name][1] for name in shared):
            return Sameness.REFUTED
        if not shared:
            return Sameness.UNKNOWN
        is_strong = (
            not shared.isdisjoint({"generation", "version_id"})
            or ("etag" in shared and self.strong_etag is not None and later.strong_etag is not None)
            or ("modified" in shared and self.is_modified_strong)
        )
        return Sameness.PROVEN if is_strong else Sameness.LIKELY


def version(headers: dict[str, str]) -> Version:
    """The version that a storage answer's (lower-cased) header fields name."""
    modified = validator(headers.get("last-modified"))
    at, now = http_date(modified), http_date(headers.get("date"))
    version_id = validator(headers.get("x-amz-version-id"))
    return Version(
        etag=validator(headers.get("etag")),
        generation=validator(headers.get("x-goog-generation")),
        version_id=None if version_id == "null" else version_id,  # a bucket that keeps no versions
        modified=None if at is None else modified,
        is_modified_strong=at is not None and now is not None and now - at >= _MODIFIED_BEFORE_SECONDS,
        coding=content_coding(headers),
    )


def content_coding(headers: dict[str, str]) -> str:
    """How an answer's bytes are encoded: `gzip`, `br`, `unknown` for what cannot be shown; empty where not."""
    codings = headers.get("content-encoding", "").lower().replace("x-gzip", "gzip").split(",")
    named = [each.strip() for each in codings]
    # Amazon keeps the name of how an object was uploaded; its bytes are plain all the same.
    encoded = (each for each in named if each not in {"", "identity", "aws-chunked"})
    return ",".join(printable(each) or "unknown" for each in encoded)


@dataclass(frozen=True, slots=True)
class OfferedHashes:
    """What a storage provider says of the whole object; each None where it does not say."""

    md5: bytes | None = None
    crc32c: bytes | None = None
    sha256: bytes | None = None

    def __bool__(self) -> bool:
        return not (self.md5 is None and self.crc32c is None and self.sha256 is None)

    def contradicts(self, other: OfferedHashes) -> bool:
        """Is there a hash that both name, and differently?"""
        pairs = ((self.md5, other.md5), (self.crc32c, other.crc32c), (self.sha256, other.sha256))
        return any(one is not None and two is not None and one != two for one, two in pairs)


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
