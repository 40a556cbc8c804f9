"""What both ways over the wire share: how long and how fast, and how foreign errors become ours.

No text raised here holds a URL: aiohttp's own messages print whole addresses, signatures included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp

from hsmirror import __version__
from hsmirror.api.headers import http_date
from hsmirror.clock import Clock
from hsmirror.errors import PermanentError, TimedOutError, TransientError, UnreachableError, UpstreamError

USER_AGENT: Final = f"hsmirror/{__version__}"
CONNECT_SECONDS: Final = 15.0
IDLE_SECONDS: Final = 60.0
"""Without a byte for so long, a storage host's connection is given up."""
MOST_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
TRANSIENT_STATUSES: Final = frozenset({408, 425, 500, 502, 503, 504})

_SLOWEST_BYTES_PER_SECOND = 1024
_SPEED_GRACE_SECONDS = 15.0


def skew_seconds(date: str | None, clock: Clock) -> float:
    """How far the server's clock is ahead of ours; 0 where it sends no date."""
    server = http_date(date)
    # The header has whole seconds, so that a small difference is none.
    skew = 0.0 if server is None else server - clock.epoch()
    return skew if abs(skew) > 2.0 else 0.0


def server_epoch(headers: Mapping[str, str], clock: Clock) -> float:
    """What time it is by the server that sent these headers; by our clock where they have no date."""
    return clock.epoch() + skew_seconds(headers.get("Date"), clock)


def count(text: str | None) -> int | None:
    """A header's whole number; None where it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


class Speed:
    """Notices a sender that gives next to nothing, by the time spent waiting for it alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting_since: float | None = None
        self._waited_seconds = 0.0
        self._bytes = 0

    def wait(self) -> None:
        """From now on more is waited for, until some is received."""
        self._waiting_since = self._clock.monotonic()

    def received(self, count: int) -> None:
        """Some came.

        Raises:
            TimedOutError: less than 1 KiB a second, after a quarter of a minute of waiting.
        """
        if self._waiting_since is not None:
            self._waited_seconds += self._clock.monotonic() - self._waiting_since
            self._waiting_since = None
        self._bytes += count
        is_slow = self._bytes < self._waited_seconds * _SLOWEST_BYTES_PER_SECOND
        if self._waited_seconds > _SPEED_GRACE_SECONDS and is_slow:
            raise TimedOutError("less than 1 KiB a second comes")


class translated:  # noqa: N801  # reads as a clause: `with translated("the API"):`
    """Turns aiohttp's and the system's errors into ours, without their texts, which print addresses."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, UpstreamError):
            return
        name = type(error).__name__
        if isinstance(error, TimeoutError):
            raise TimedOutError(f"{self._label} did not answer in time") from None
        if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
            raise PermanentError(
                f"{self._label} cannot be trusted: the TLS handshake failed ({name})"
            ) from None
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = error.os_error.strerror or type(error.os_error).__name__
            raise UnreachableError(f"{self._label} cannot be reached ({reason})") from None
        if isinstance(error, aiohttp.InvalidURL):
            raise PermanentError(f"{self._label} has an address that makes no sense") from None
        if isinstance(error, aiohttp.ClientError | OSError):
            raise TransientError(f"{self._label} broke off ({name})") from None
