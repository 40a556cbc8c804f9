"""What the lab keeps of the rows that it has made."""

from __future__ import annotations

from hsmirror.lab.kept import Kept


def test_what_is_kept_is_not_made_again() -> None:
    kept = Kept(100, len)
    assert kept.get("a", lambda: "first") == "first"
    assert kept.get("a", lambda: "second") == "first"


def test_the_least_recently_used_goes_first() -> None:
    kept = Kept(10, len)
    for key in ("a", "b", "a", "c"):
        kept.get(key, lambda: "12345")
    assert kept.get("a", lambda: "again") == "12345"
    assert kept.get("b", lambda: "again") == "again"
    assert kept.kept_bytes == 10


def test_the_newest_is_kept_even_if_it_is_larger_than_the_limit() -> None:
    kept = Kept(3, len)
    kept.get("a", lambda: "12")
    kept.get("b", lambda: "1234567")
    assert kept.get("b", lambda: "again") == "1234567"
    assert kept.kept_bytes == 7


def test_what_was_begun_before_a_clearing_is_not_kept() -> None:
    kept = Kept(100, len)

    def outdated() -> str:
        kept.clear()
        return "old"

    assert kept.get("a", outdated) == "old"
    assert kept.get("a", lambda: "new") == "new"
