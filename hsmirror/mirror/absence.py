"""Types that are listed by room alone, and that no room has so far: does the server offer them?

A room's 404 speaks for that room. Where every room of an experiment answers so, the server may lack the type,
or nobody has used it yet. A receipt says so; and each night one of the settled rooms, always another, is asked
again. As soon as one has it, all are.
"""

from __future__ import annotations

from collections.abc import Sequence

from hsmirror.archive.receipts import AbsenceReceipt, Receipt

_DAY_SECONDS = 86_400


def no_room_has(held: Receipt | None) -> bool:
    """Does a receipt say that no room had the type? Older versions wrote others, which counted for a time."""
    return isinstance(held, AbsenceReceipt) and bool(held.why) and not held.until_epoch


def room_in_turn(rooms: Sequence[str], now: float) -> str:
    """The room to be asked tonight."""
    return rooms[int(now // _DAY_SECONDS) % len(rooms)]


def absence_receipt(
    what: str, held: Receipt | None, *, lacking: int, has_answered: bool, is_first: bool, since: str
) -> AbsenceReceipt | None:
    """What is new about it: that no room has the type, or (an empty `why`) that one has it after all."""
    if no_room_has(held):
        return AbsenceReceipt(what=what, why="", since=since) if has_answered else None
    if is_first and lacking and not has_answered:
        return AbsenceReceipt(what=what, why="no room has it", since=since)
    return None
