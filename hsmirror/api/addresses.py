"""Signed addresses: bearer secrets that expire.

What is known of the three providers' addresses stands in docs/api-facts.md.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from hsmirror.errors import RefusedAddressError
from hsmirror.model import Secret

_UNSENDABLE = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
"""What no request line can hold: a server would read another address, or the client would not send it."""

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*")
"""Names as they are resolved, or IPv6. What is not ASCII would be resolved as another name than is judged."""


@dataclass(frozen=True, slots=True)
class SignedAddress:
    """Where a recording's bytes are, and until when.

    `expires_at` is in epoch seconds of the clock that it is compared with: the server's, put right by the
    skew that its `Date` shows; None where the address does not say.
    """

    url: Secret
    host: str
    expires_at: float | None

    def __repr__(self) -> str:
        return f"<SignedAddress on {self.host}, expires_at={self.expires_at}>"

    __str__ = __repr__

    def remaining_seconds(self, now_epoch: float) -> float:
        """How long the address is still good for; infinite where it does not say."""
        return float("inf") if self.expires_at is None else self.expires_at - now_epoch


def parse_address(text: str, *, skew_seconds: float = 0.0, loopback_allowed: bool = False) -> SignedAddress:
    """A signed address out of a recording row or a mint's answer.

    `skew_seconds` is how far the server's clock is ahead of ours.

    Raises:
        RefusedAddressError: not https to a public host. Where the API itself is on loopback, loopback
            and plain http are allowed.
    """
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").lower()
        _ = parts.port
    except ValueError:
        raise RefusedAddressError("a recording's address is not an address") from None
    if not _HOST.fullmatch(host) or parts.username is not None or not is_sendable(text):
        raise RefusedAddressError("a recording's address has no plain host, or cannot be sent as it is")
    is_loopback = is_loopback_host(host)
    if not (is_loopback and loopback_allowed):
        if parts.scheme != "https":
            raise RefusedAddressError(f"a recording's address is not https (host {host})")
        if is_loopback or not is_public_host(host):
            raise RefusedAddressError(f"a recording's address leads to a private network (host {host})")
    elif parts.scheme not in {"http", "https"}:
        raise RefusedAddressError(f"a recording's address is neither http nor https (host {host})")
    expires_at = _expiry(parse_qs(parts.query, keep_blank_values=True))
    return SignedAddress(Secret(text), host, None if expires_at is None else expires_at - skew_seconds)


def is_sendable(address: str) -> bool:
    """Can a request line hold this address as it is?"""
    return _UNSENDABLE.search(address) is None


def is_loopback_host(host: str) -> bool:
    """Is this literally this machine?"""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public_host(host: str) -> bool:
    """Not an address literal of a private, link-local or reserved network; names are judged once resolved."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        # `0x7f.1` and friends: what is no dotted name of letters is not looked up.
        return not re.fullmatch(r"[0-9.]+|0x[0-9a-fx.]*", host)


def _expiry(query: dict[str, list[str]]) -> float | None:
    fields = {name.lower(): values[0] for name, values in query.items()}
    for provider in ("x-goog", "x-amz"):
        signed_at, life = fields.get(f"{provider}-date"), fields.get(f"{provider}-expires")
        if signed_at and life:
            return _signed_until(signed_at, life)
    if (expires := fields.get("expires")) and expires.isascii() and expires.isdigit() and len(expires) < 12:
        return float(expires)
    if policy := fields.get("policy"):
        return _policy_expiry(policy)
    return None


def _signed_until(signed_at: str, life: str) -> float | None:
    try:
        start = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return start.timestamp() + int(life[:12])
    except (ValueError, OverflowError):
        return None


def _policy_expiry(policy: str) -> float | None:
    """CloudFront's custom policy: base64 with `-_~` for `+=/`, JSON inside."""
    text = policy.translate(str.maketrans("-_~", "+=/"))
    try:
        document = json.loads(base64.b64decode(text + "=" * (-len(text) % 4)))
        expires_at = float(document["Statement"][0]["Condition"]["DateLessThan"]["AWS:EpochTime"])
    except (ArithmeticError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return expires_at if math.isfinite(expires_at) else None
