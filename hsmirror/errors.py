"""Every error of the project on one screen.

An error knows its exit status and the place it concerns; its text says what failed and what to do.
Texts hold no key and no signed address: foreign exceptions are translated at the transport's edge and
at the durable writer's, and nowhere else.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of the `hsmirror` command; scripts may rely on them."""

    COMPLETE = 0
    BUG = 1
    USAGE = 2
    INCOMPLETE = 3
    KEY_REFUSED = 4
    ARCHIVE_BUSY = 5
    DAMAGED = 6
    STORAGE = 7
    INTERRUPTED = 130
    TERMINATED = 143


class HsmirrorError(Exception):
    """The root: whatever the project raises on purpose."""

    exit_status = Exit.BUG


# --- what the user can mend before anything has run ------------------------------------------------
class UsageError(HsmirrorError):
    """An argument or a combination of arguments that cannot be meant."""

    exit_status = Exit.USAGE


class ConfigurationError(UsageError):
    """A key, value or table of the configuration that is wrong; names it and the nearest right one."""


class NotAnArchiveError(UsageError):
    """The folder holds no archive, or one of a format this version does not know."""


# --- upstream: each answer is classified once, here -------------------------------------------------
class UpstreamError(HsmirrorError):
    """The API or a storage host did not give what was asked."""

    exit_status = Exit.INCOMPLETE


class TransientError(UpstreamError):
    """May work if asked again: a reset connection, a timeout, 408, 500, 502, 503, 504, a body cut short."""


class IntermediaryError(TransientError):
    """A refusal that is not in the API's own words: a proxy, a firewall or a sign-in page answered instead."""


class UnreachableError(TransientError):
    """No connection: the name does not resolve, or nothing listens there."""


class TimedOutError(TransientError):
    """The server took too long (a client-side deadline, or 504): asking for less may help."""


class ThrottledError(UpstreamError):
    """429. `retry_after_seconds` is what the server asked for, already clamped; None if it did not say."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class AddressExpiredError(UpstreamError):
    """A signed address is no longer good; a fresh one is needed. Not counted as a failure."""


class PermanentError(UpstreamError):
    """Asking again will give the same answer."""


class KeyRefusedError(PermanentError):
    """401: the key is missing, unknown or expired; or it lacks every scope that is needed."""

    exit_status = Exit.KEY_REFUSED


class ForbiddenError(PermanentError):
    """403. `required_scopes` names what the key lacks; empty where the server has another reason."""

    def __init__(self, message: str, *, required_scopes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.required_scopes = required_scopes


class NotFoundError(PermanentError):
    """404: no such experiment, room, participant — or no such endpoint on this server.

    `is_of_route`: the API says that it is the endpoint.
    """

    def __init__(self, message: str, *, is_of_route: bool = False) -> None:
        super().__init__(message)
        self.is_of_route = is_of_route


class InvalidParameterError(PermanentError):
    """400: the server refuses a parameter."""


class CorruptError(UpstreamError):
    """An answer that cannot be what it claims: HTML under 200, broken JSON, a wrong hash, a wrong range."""


class RefusedAddressError(PermanentError):
    """An address that hsmirror will not visit: another host, a private network, plain http, a file."""


class BudgetExhaustedError(UpstreamError):
    """The limits allow no further request until `resume_at` (epoch seconds), and the run may not wait."""

    def __init__(self, message: str, *, resume_at: float) -> None:
        super().__init__(message)
        self.resume_at = resume_at


class UnaffordableListError(BudgetExhaustedError):
    """A list has more pages than the limits leave: begun now, it would come to nothing. Others may still go.

    `exceeds_limits`: it has more than the limits ever allow in a row.
    """

    def __init__(self, message: str, *, resume_at: float, exceeds_limits: bool) -> None:
        super().__init__(message, resume_at=resume_at)
        self.exceeds_limits = exceeds_limits


# --- the archive and the disk below it --------------------------------------------------------------
class ArchiveBusyError(HsmirrorError):
    """Another run holds the archive."""

    exit_status = Exit.ARCHIVE_BUSY


class DamagedError(HsmirrorError):
    """`verify` found bytes that differ from their receipt, or receipts without their bytes."""

    exit_status = Exit.DAMAGED


class StorageError(HsmirrorError):
    """The disk is full, read-only, over quota, or refuses to write; what was committed stands."""

    exit_status = Exit.STORAGE
