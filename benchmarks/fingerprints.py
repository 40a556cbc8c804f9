"""What a set of rows or files comes to, whatever their order: how outputs are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MODULUS = 1 << 128


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """How many there are, and the sum of their hashes modulo 2^128: the same for any order, not for any set."""

    count: int = 0
    digest: int = 0

    def __add__(self, other: Fingerprint) -> Fingerprint:
        return Fingerprint(self.count + other.count, (self.digest + other.digest) % _MODULUS)


def fingerprint(items: Iterable[bytes]) -> Fingerprint:
    """Of rows, as the bytes that they are."""
    count = digest = 0
    for item in items:
        digest += int.from_bytes(hashlib.blake2b(item, digest_size=16).digest())
        count += 1
    return Fingerprint(count, digest % _MODULUS)


def file_fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """Of files, by their bytes alone: contenders name them as they like."""
    return fingerprint(file_digest(path) for path in paths)


def file_digest(path: Path) -> bytes:
    """Its sha256."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").digest()
