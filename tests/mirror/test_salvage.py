"""What is lost of a damaged shard is told by its rows, never by their number."""

from __future__ import annotations

import hashlib

from hsmirror.archive.receipts import ShardReceipt
from hsmirror.mirror.salvage import SalvagedPart, rows_not_shown


def part(*rows: bytes, read: int = 0) -> SalvagedPart:
    content = b"".join(row + b"\n" for row in rows)
    receipt = ShardReceipt(
        path="p",
        experiment="e",
        data_type="events",
        room="r",
        rows=len(rows),
        content_sha256=hashlib.sha256(content).hexdigest(),
    )
    return SalvagedPart(receipt, read)


def test_rows_that_came_again_where_they_stood_are_not_lost() -> None:
    assert rows_not_shown([part(b"1", b"2")], [b"1", b"2"]) == 0
    assert rows_not_shown([part(b"1", b"2"), part(b"3", read=1)], [b"1", b"2", b"4"]) == 0
    assert rows_not_shown([part(b"1", read=1), part(b"2", b"3")], [b"1", b"2", b"3", b"4"]) == 0


def test_fault_114_as_many_other_rows_do_not_show_that_those_that_were_held_came() -> None:
    assert rows_not_shown([part(b"1", b"2")], [b"2", b"3"]) == 2
    assert rows_not_shown([part(b"1", b"2", read=1)], [b"2", b"3", b"4"]) == 1
    assert rows_not_shown([part(b"1"), part(b"2", b"3")], [b"1"]) == 2
