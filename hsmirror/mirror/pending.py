"""Recordings whose files are not held, as receipts remember them."""

from __future__ import annotations

from hsmirror.archive.receipts import PendingReceipt
from hsmirror.mirror.context import Context
from hsmirror.mirror.recordings import Recording
from hsmirror.mirror.room_states import epoch_of


def pending_receipts(
    context: Context, path: str, recording: Recording, why: str, *, is_failure: bool = False
) -> list[PendingReceipt]:
    """That a file is not held, and why; nothing where that is known."""
    receipt = PendingReceipt(
        path=path,
        experiment=recording.experiment,
        room=recording.room,
        recording_id=recording.recording_id,
        why=why,
        is_failure=is_failure,
        since=context.now_text,
        source=recording.source,
        object_kind=recording.object_kind,
    )
    known = context.receipts.get(receipt.key)
    if isinstance(known, PendingReceipt) and (known.why, known.is_failure) == (why, is_failure):
        return []
    return [receipt]


def pending_since(context: Context, path: str) -> float | None:
    """Since when a file has not been held, epoch seconds; None where that is new."""
    known = context.receipts.get(f"pending {path}")
    if not isinstance(known, PendingReceipt) or not known.why or not known.since:
        return None
    return epoch_of(known.since)


def settled_receipts(context: Context, path: str) -> list[PendingReceipt]:
    """That a file no longer pends; nothing where it did not."""
    known = context.receipts.get(f"pending {path}")
    if not isinstance(known, PendingReceipt) or not known.why:
        return []
    return [
        PendingReceipt(
            path=path,
            experiment=known.experiment,
            room=known.room,
            recording_id=known.recording_id,
            why="",
            since=context.now_text,
        )
    ]
