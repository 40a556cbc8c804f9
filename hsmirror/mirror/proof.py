"""Is a list complete? Decided from what its passes showed; pure.

A pass reads a list once from its first page to its end. It proves the list complete if nothing moved under it:
its total stayed, where its pages meet they show the same row, its rows are distinct, and there are as many of
them as the total says. Anything else is
read again, a bounded number of times; two passes in a row that agree in everything prove it, too, since what
does not move can be read page by page. That is how a wrong total is told from a missing row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from hsmirror.api.paging import Claims

MOST_PASSES = 3


@dataclass(frozen=True, slots=True)
class PassFacts:
    """What one pass showed. `fingerprint` is the same for the same set of rows in any order."""

    claims: Claims
    distinct: int
    fingerprint: int
    is_ambiguous: bool = False
    """Some rows have no id and are alike: they may be real, or the same one twice and another passed over."""
    warnings: tuple[str, ...] = ()


class Judgement(Enum):
    PROVEN = "proven"
    READ_AGAIN = "read again"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`note` says what is odd, or why the list is not complete; empty where all is well."""

    judgement: Judgement
    note: str = ""


def judge(passes: Sequence[PassFacts], *, distinct_in_all: int | None = None) -> Verdict:
    """What the passes so far prove. `distinct_in_all` counts the distinct rows of all of them together."""
    last = passes[-1]
    if last.warnings:
        return Verdict(Judgement.UNPROVEN, "; ".join(last.warnings))
    claims = last.claims
    total = claims.last_total
    # One id with two contents is two rows: an exact count, where one was made, tells them from a repeat.
    distinct = distinct_in_all if len(passes) == 1 and distinct_in_all is not None else last.distinct
    has_moved = claims.total_moved or claims.has_shifted
    is_clean = not has_moved and distinct == claims.rows and total in {None, claims.rows}
    # Without a total, a later reading proves only that it has what the earlier ones had.
    has_all = len(passes) == 1 or total is not None or distinct_in_all == distinct
    if is_clean and has_all and not last.is_ambiguous:
        conflicts = distinct - last.distinct
        return Verdict(
            Judgement.PROVEN, f"{conflicts} ids have two contents; both are kept" if conflicts else ""
        )
    # One page cannot have moved while it was read; but that there are fewer rows than the total says takes a
    # second reading to believe.
    is_one_page = claims.pages == 1 and distinct == claims.rows and not claims.has_hole and not has_moved
    if is_one_page and not claims.fell_short:
        return Verdict(Judgement.PROVEN, f"the server says {total} rows, and gives {claims.rows} in one page")
    if len(passes) > 1:
        settled = _settled(passes[-2], last, distinct_in_all)
        if settled is not None:
            return settled
    if len(passes) < MOST_PASSES:
        return Verdict(Judgement.READ_AGAIN)
    return Verdict(
        Judgement.UNPROVEN,
        f"the list kept changing while it was read: {last.distinct} distinct rows of {total} "
        f"after {len(passes)} readings; run again",
    )


def _settled(before: PassFacts, last: PassFacts, distinct_in_all: int | None) -> Verdict | None:
    total = last.claims.last_total
    stood_still = not last.claims.total_moved and before.claims.last_total == total
    if last.claims.has_hole:
        return None
    if stood_still and total is not None and distinct_in_all == total:
        # The order of equal rows varies from request to request: together the passes have them all.
        return Verdict(Judgement.PROVEN)
    agree = (before.fingerprint, before.claims.rows) == (last.fingerprint, last.claims.rows)
    if stood_still and agree and last.distinct == last.claims.rows:
        if total in {None, last.claims.rows}:
            return Verdict(Judgement.PROVEN)
        return Verdict(
            Judgement.PROVEN,
            f"the server says {total} rows; two readings agree on {last.distinct}, and there are no more",
        )
    return None
