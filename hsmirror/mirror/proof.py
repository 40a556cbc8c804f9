"""Is a list complete? Decided from what its readings showed; pure.

One reading proves a list if nothing moved under it and nothing speaks against it: its total stayed and is the
number of its rows, its pages meet in the same row, no identity came twice, its last answer says that there is
no more, and no answer warns that something is left out or comes from a cache.

Two readings whose pages met in other places prove it where that is not enough: rows without an id that are
alike to the byte, and totals that are wrong. They have to agree in every row, and neither may have moved. Rows
that only an earlier reading has make up for nothing: they may have gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from hsmirror.api.paging import Claims

MOST_PASSES = 3


@dataclass(frozen=True, slots=True)
class PassFacts:
    """What one reading showed. `fingerprint` is the same for the same rows in any order."""

    claims: Claims
    fingerprint: int
    repeats: int = 0
    """Rows with an identity that came before; of rows without an id, on another page."""
    may_repeat: bool = False
    """Those may all be rows: they have no id and are alike, or share an id and differ."""
    warnings: tuple[str, ...] = ()
    age_seconds: int = 0
    """Of the oldest page that came from a cache."""

    @property
    def stood_still(self) -> bool:
        """Does nothing show that the list moved while it was read, or that a part of it is older?"""
        claims = self.claims
        return not (claims.total_moved or claims.has_shifted or claims.has_hole or self.age_seconds)

    @property
    def proves(self) -> bool:
        """Is it proof by itself?"""
        return self.stood_still and not self.repeats and not self.claims.ends_in_refusal and self.has_its_total

    @property
    def has_its_total(self) -> bool:
        return self.claims.last_total in {None, self.claims.rows}


class Judgement(Enum):
    PROVEN = "proven"
    READ_AGAIN = "read again"
    UNPROVEN = "unproven"
    SHORT = "short"
    """The readings agree, and the server's total is ahead of them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`note` says what is odd, or why the list is not complete; empty where all is well.

    `may_be_proven_by_room`: what stands in the way is the list's length or order; its rooms' lists are shorter.
    """

    judgement: Judgement
    note: str = ""
    may_be_proven_by_room: bool = False


def judge(passes: Sequence[PassFacts]) -> Verdict:
    """What the readings so far prove."""
    last = passes[-1]
    if last.warnings:
        return Verdict(Judgement.UNPROVEN, "; ".join(last.warnings))
    if against := _speaks_against(last.claims):
        return Verdict(Judgement.UNPROVEN, against, may_be_proven_by_room=True)
    if _is_proof(passes):
        return Verdict(Judgement.PROVEN, _oddity(last.claims))
    if len(passes) > 1 and _agree(passes[-2], last):
        return _agreed(last.claims)
    if len(passes) < MOST_PASSES:
        return Verdict(Judgement.READ_AGAIN)
    why = _why_unproven(last)
    return Verdict(Judgement.UNPROVEN, why, may_be_proven_by_room=not last.claims.total_moved)


def _speaks_against(claims: Claims) -> str:
    """What no further reading would change."""
    if claims.trouble:
        return claims.trouble
    if claims.says_more:
        return f"the server says that there is more behind the last of {claims.rows} rows, and does not give it"
    return ""


def _is_proof(passes: Sequence[PassFacts]) -> bool:
    last = passes[-1]
    if last.proves:
        # Without a total, a later reading that differs from an earlier one has to be seen twice.
        return len(passes) == 1 or last.claims.last_total is not None or _have_same_rows(passes[-2], last)
    # One page cannot have moved while it was read, and a total that is too low hides no row.
    is_one_page = last.stood_still and last.claims.pages == 1 and not last.claims.ends_in_refusal
    return is_one_page and not last.repeats and not last.claims.fell_short


def _agree(before: PassFacts, last: PassFacts) -> bool:
    if not (before.stood_still and last.stood_still and _have_same_rows(before, last)):
        return False
    # Where pages meet in the same places, an unstable order gives the same rows again, and hides the same ones.
    meets_elsewhere = last.claims.pages == 1 or before.claims.page_rows != last.claims.page_rows
    return not last.repeats or (last.may_repeat and meets_elsewhere)


def _have_same_rows(before: PassFacts, last: PassFacts) -> bool:
    return (before.fingerprint, before.claims.rows, before.claims.last_total) == (
        last.fingerprint,
        last.claims.rows,
        last.claims.last_total,
    )


def _agreed(claims: Claims) -> Verdict:
    total = claims.last_total
    if total is None or total <= claims.rows:
        return Verdict(Judgement.PROVEN, _oddity(claims))
    why = f"the server says {total} rows and lists {claims.rows}"
    return Verdict(Judgement.SHORT, why, may_be_proven_by_room=_looks_capped(claims))


def _oddity(claims: Claims) -> str:
    total = claims.last_total
    return f"the server says {total} rows, and gives {claims.rows}" if total not in {None, claims.rows} else ""


def _looks_capped(claims: Claims) -> bool:
    """Did the server stop at a round number, or far below its total? Two late rows do not look like that."""
    missing = (claims.last_total or 0) - claims.rows
    return claims.rows > 0 and (claims.rows % 50 == 0 or (claims.rows >= 50 and missing > claims.rows // 10))


def _why_unproven(last: PassFacts) -> str:
    claims = last.claims
    of_total = "" if claims.last_total is None else f" of {claims.last_total}"
    found = f"{claims.rows - last.repeats} distinct rows{of_total} after {MOST_PASSES} readings; run again"
    if last.age_seconds:
        return f"answers come from a cache on the way, {last.age_seconds} s old, though none is wanted: {found}"
    if claims.total_moved:
        return f"the list kept changing while it was read: {found}"
    if claims.has_shifted or last.repeats:
        return f"the list changed while it was read, or rows with equal times come in varying order: {found}"
    if claims.has_hole:
        return f"pages in the middle of the list stayed empty: {found}"
    return f"its readings do not agree: {found}"
