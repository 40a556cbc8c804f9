"""Rows held and rows that came: the same, new, gone."""

from __future__ import annotations

import random
from collections import Counter

import orjson
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.mirror.merge import Deduplicated, RowSet, same_rows


def identity(row: bytes) -> str | None:
    """The id of a test's row, `{"id": …, "x": …}` or `{"x": …}`."""
    found: str | None = orjson.loads(row).get("id")
    return found


def row(row_id: str | None, content: int = 0) -> bytes:
    return orjson.dumps({"x": content} if row_id is None else {"id": row_id, "x": content})


ROWS = st.lists(st.builds(row, st.sampled_from(["a", "b", "c", None]), st.integers(0, 2)), max_size=12)


def row_set(rows: list[bytes]) -> RowSet:
    built = RowSet(identity)
    for each in rows:
        built.add(each)
    return built


def test_a_row_with_an_id_is_the_same_row_whatever_its_content() -> None:
    assert list(row_set([row("a", 1)]).without([row("a", 2), row("b", 1)])) == [row("b", 1)]


def test_fault_53_rows_without_an_id_are_matched_by_content_with_a_count() -> None:
    held = row_set([row(None), row(None)])
    assert list(held.without([row(None)] * 3 + [row(None, 1)])) == [row(None), row(None, 1)]


def test_a_set_can_be_asked_more_than_once() -> None:
    held = row_set([row(None)])
    assert list(held.without([row(None)])) == []
    assert list(held.without([row(None)])) == []


@given(some=ROWS, others=ROWS)
def test_what_is_without_a_set_is_what_the_set_lacks(some: list[bytes], others: list[bytes]) -> None:
    left = list(row_set(some).without(others))
    with_ids = [each for each in others if identity(each) is not None]
    known = {identity(each) for each in some}
    assert [each for each in left if identity(each) is not None] == [
        each for each in with_ids if identity(each) not in known
    ]
    without_ids = Counter(each for each in others if identity(each) is None)
    without_ids -= Counter(each for each in some if identity(each) is None)
    assert Counter(each for each in left if identity(each) is None) == without_ids


@given(rows=ROWS)
def test_a_set_has_as_many_rows_as_it_can_tell_apart(rows: list[bytes]) -> None:
    ids = {identity(each) for each in rows} - {None}
    assert len(row_set(rows)) == len(ids) + sum(identity(each) is None for each in rows)


@given(rows=ROWS, seed=st.integers(0, 9))
def test_fault_09_the_same_rows_in_another_order_are_the_same(rows: list[bytes], seed: int) -> None:
    assert same_rows(rows, random.Random(seed).sample(rows, len(rows)))


@given(some=ROWS, others=ROWS)
def test_rows_are_the_same_only_if_each_comes_as_often(some: list[bytes], others: list[bytes]) -> None:
    assert same_rows(some, others) == (Counter(some) == Counter(others))


@given(rows=ROWS)
def test_repeats_are_dropped_only_where_id_and_content_are_the_same(rows: list[bytes]) -> None:
    deduplicated = Deduplicated(identity)
    out = list(deduplicated.of(iter(rows)))
    expected = [each for number, each in enumerate(rows) if identity(each) is None or each not in rows[:number]]
    assert out == expected
    assert deduplicated.rows == len(out)


def test_fault_54_an_id_with_several_contents_keeps_them_all_and_is_one_conflict() -> None:
    deduplicated = Deduplicated(identity)
    rows = [row("a", 0), row("a", 1), row("a", 2), row("a", 0), row("b", 0), row("b", 0)]
    assert list(deduplicated.of(rows)) == [row("a", 0), row("a", 1), row("a", 2), row("b", 0)]
    assert deduplicated.conflicts == 1
