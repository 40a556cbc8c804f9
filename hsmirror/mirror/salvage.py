"""What is lost of a damaged shard: told by its rows, since as many others may have come meanwhile. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from hsmirror.archive.receipts import ShardReceipt


@dataclass(frozen=True, slots=True)
class SalvagedPart:
    """One part that was held of a room, and how many of its rows could be read."""

    receipt: ShardReceipt
    read_rows: int


def rows_not_shown(parts: Sequence[SalvagedPart], came: Iterable[bytes]) -> int:
    """How many rows that were held can neither be read any more, nor be shown to be among those that came.

    A receipt has a hash of a part's rows: it shows that all of them came where they stand at the same place.
    """
    rows = iter(came)
    missing = 0
    for part in parts:  # one begins where the one before it ends
        content = hashlib.sha256()
        for row in islice(rows, part.receipt.rows):
            content.update(row + b"\n")
        if content.hexdigest() != part.receipt.content_sha256:
            missing += part.receipt.rows - part.read_rows
    return missing
