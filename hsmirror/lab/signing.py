"""Signed addresses that expire, in the two dialects in use: Google Cloud Storage V4 and Amazon S3.

The parameters' names, their meaning and the answers' codes are the real ones. The signature is a real
HMAC-SHA256, but over a shorter text than the vendors': verb, path, credential, date and lifetime.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Literal
from urllib.parse import quote, urlencode

Dialect = Literal["gcs", "s3"]

LONGEST_LIFE_SECONDS = 604_800

_DATE = "%Y%m%dT%H%M%SZ"
_PREFIXES: dict[Dialect, str] = {"gcs": "X-Goog-", "s3": "X-Amz-"}
_ALGORITHMS: dict[Dialect, str] = {"gcs": "GOOG4-HMAC-SHA256", "s3": "AWS4-HMAC-SHA256"}
_SCOPES: dict[Dialect, str] = {"gcs": "auto/storage/goog4_request", "s3": "us-east-1/s3/aws4_request"}


class Verdict(Enum):
    """What a signature is worth."""

    GOOD = auto()
    UNSIGNED = auto()
    WRONG = auto()
    EXPIRED = auto()


@dataclass(frozen=True, slots=True)
class AddressSigner:
    """Signs paths and judges what comes back. Dates are whole seconds: a life can be up to 1 s shorter."""

    secret: bytes = field(repr=False)
    dialect: Dialect = "gcs"

    def query(self, path: str, *, now: float, life_seconds: int, verb: str = "GET") -> str:
        """The query string that opens `path` (decoded) to `verb` until `life_seconds` after `now`."""
        date = datetime.fromtimestamp(now, UTC).strftime(_DATE)
        credential = f"lab@example.com/{date[:8]}/{_SCOPES[self.dialect]}"
        named = {
            "Algorithm": _ALGORITHMS[self.dialect],
            "Credential": credential,
            "Date": date,
            "Expires": str(life_seconds),
            "SignedHeaders": "host",
            "Signature": self._signature(verb, path, credential, date, str(life_seconds)),
        }
        prefix = _PREFIXES[self.dialect]
        return urlencode({prefix + name: value for name, value in named.items()}, quote_via=quote)

    def verdict(self, verb: str, path: str, given: Mapping[str, str], *, now: float) -> Verdict:
        """Whether the query parameters open `path` to `verb` at `now`."""
        prefix = _PREFIXES[self.dialect]
        signature = given.get(f"{prefix}Signature")
        if signature is None:
            return Verdict.UNSIGNED
        credential, date, life = (given.get(prefix + name, "") for name in ("Credential", "Date", "Expires"))
        right = self._signature(verb, path, credential, date, life)
        if not hmac.compare_digest(signature.encode(), right.encode()):
            return Verdict.WRONG
        return Verdict.EXPIRED if now >= self.expires_at(given) else Verdict.GOOD

    def expires_at(self, given: Mapping[str, str]) -> float:
        """When an address ends, in epoch seconds; 0 where its parameters make no sense."""
        prefix = _PREFIXES[self.dialect]
        date, life = given.get(f"{prefix}Date", ""), given.get(f"{prefix}Expires", "")
        if not re.fullmatch(r"\d{8}T\d{6}Z", date) or not re.fullmatch(r"\d{1,9}", life):
            return 0.0
        return datetime.strptime(date, _DATE).replace(tzinfo=UTC).timestamp() + int(life)

    def _signature(self, *parts: str) -> str:
        return hmac.new(self.secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()
