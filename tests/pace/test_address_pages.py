"""Which page of a list is read for the addresses in it."""

from __future__ import annotations

import pytest

from hsmirror.pace.address_pages import AddressPages, PageOfAddresses

MOST = 1000


def pages_of(rows: int) -> AddressPages:
    pages = AddressPages()
    for number in range(rows):
        pages.listed(f"file-{number}")
    return pages


def sources(page: PageOfAddresses, *, moved_by: int = 0) -> list[str]:
    """What a server answers whose rows stand further down by `moved_by`."""
    return [f"file-{number - moved_by}" for number in range(page.offset, page.offset + page.rows)]


def next_page(pages: AddressPages, *wanted: int, most_rows: int = MOST) -> PageOfAddresses:
    for number in wanted:
        pages.want(f"file-{number}")
    page = pages.next_page(most_rows=most_rows)
    assert page is not None
    return page


def test_the_first_page_begins_with_the_first_that_is_wanted_and_is_as_large_as_it_may_be() -> None:
    assert next_page(pages_of(5000), 1200, 1100, 1300) == PageOfAddresses("file-1100", 1100, MOST)


def test_a_page_that_is_longer_than_the_rest_of_the_list_begins_before() -> None:
    assert next_page(pages_of(5000), 4300) == PageOfAddresses("file-4300", 4000, MOST)
    assert next_page(pages_of(500), 300) == PageOfAddresses("file-300", 0, MOST)


def test_rows_without_addresses_have_their_places_too() -> None:
    pages = AddressPages()
    pages.listed(None)
    pages.listed("file-0")
    assert next_page(pages, 0, most_rows=1).offset == 1


def test_a_row_that_is_listed_again_keeps_its_place() -> None:
    pages = pages_of(10)
    pages.listed("file-3")
    assert next_page(pages, 3, most_rows=1).offset == 3


def test_what_was_never_listed_has_no_page() -> None:
    pages = pages_of(10)
    pages.want("another")
    assert pages.next_page(most_rows=MOST) is None


def test_what_nobody_waits_for_any_more_is_not_looked_for() -> None:
    pages = pages_of(10)
    pages.want("file-1")
    pages.drop("file-1")
    assert next_page(pages, 5).source == "file-5"


def test_what_has_come_is_not_looked_for_again() -> None:
    pages = pages_of(5000)
    page = next_page(pages, 100, 200)
    assert pages.received(page, sources(page))
    assert next_page(pages, 2000).source == "file-2000"


@pytest.mark.parametrize(("used", "rows", "before"), [(1, 250, 124), (200, 400, 100), (900, MOST, 50)])
def test_the_next_page_has_twice_the_rows_that_were_of_use_and_begins_a_little_before(
    used: int, rows: int, before: int
) -> None:
    pages = pages_of(5000)
    page = next_page(pages, 1000)
    assert pages.received(page, sources(page))
    for _ in range(used):
        pages.used_one()
    assert next_page(pages, 3000) == PageOfAddresses("file-3000", 3000 - before, rows)


def test_a_page_that_is_left_before_its_time_does_not_count() -> None:
    """A download that broke off long ago goes on: its place is before the page that was read last."""
    pages = pages_of(5000)
    page = next_page(pages, 1000)
    assert pages.received(page, sources(page))
    pages.used_one()
    assert next_page(pages, 10) == PageOfAddresses("file-10", 10, MOST)


@pytest.mark.parametrize("moved_by", [7, -7])
def test_a_list_whose_rows_have_moved_is_read_where_they_are_now(moved_by: int) -> None:
    pages = pages_of(5000)
    page = next_page(pages, 1000, most_rows=5)
    assert "file-1000" not in sources(page, moved_by=moved_by)
    assert pages.received(page, sources(page, moved_by=moved_by))
    for wanted in (1000, 2000):
        page = next_page(pages, wanted, most_rows=5)
        assert f"file-{wanted}" in sources(page, moved_by=moved_by)
        assert pages.received(page, sources(page, moved_by=moved_by))


def test_what_is_gone_from_a_list_has_no_page_and_the_others_are_found() -> None:
    pages = pages_of(5000)
    without = [f"file-{number}" for number in range(5000) if number != 1000]
    for _ in range(2):
        page = next_page(pages, 1000)
        assert page.source == "file-1000"
        assert pages.received(page, without[page.offset : page.offset + page.rows])
    assert pages.next_page(most_rows=MOST) is None
    page = next_page(pages, 3000)
    assert "file-3000" in without[page.offset : page.offset + page.rows]


def test_a_list_that_is_not_as_it_was_listed_is_of_no_use() -> None:
    pages = pages_of(5000)
    page = next_page(pages, 1000)
    assert not pages.received(page, ["another", "and another"])


def test_a_list_in_another_order_is_of_no_use_once_that_is_clear() -> None:
    pages = pages_of(5000)
    first = next_page(pages, 1000)
    assert pages.received(first, ["file-3000"])
    second = next_page(pages, 1000)
    assert not pages.received(second, ["file-4000"])


def test_a_list_that_has_got_shorter_is_of_no_use() -> None:
    pages = pages_of(10)
    assert not pages.received(next_page(pages, 9), [])
