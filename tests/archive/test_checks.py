from __future__ import annotations

import os
from pathlib import Path

import pytest

from hsmirror.archive.checks import Check, coverage, read_checks, remember
from hsmirror.archive.layout import Layout


def checked(part: int, parts: int, day: int, broken_files: int = 0) -> Check:
    return Check(part=part, parts=parts, checked_at=f"2026-11-{day:02}T02:00:00Z", broken_files=broken_files)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.state.mkdir(mode=0o700)
    return layout


# --- what is remembered ------------------------------------------------------------------------------------
def test_what_is_remembered_is_read_again(layout: Layout) -> None:
    assert remember(layout, checked(2, 7, 1))
    assert remember(layout, checked(2, 7, 8))
    assert remember(layout, checked(3, 7, 2))

    assert set(read_checks(layout)) == {checked(2, 7, 8), checked(3, 7, 2)}


def test_a_check_of_the_whole_takes_the_place_of_those_of_parts(layout: Layout) -> None:
    for check in (checked(1, 7, 1), checked(2, 7, 9), checked(1, 1, 5)):
        remember(layout, check)

    assert set(read_checks(layout)) == {checked(2, 7, 9), checked(1, 1, 5)}


def test_permissions_are_those_of_the_state_folder(layout: Layout) -> None:
    layout.state.chmod(0o2750)

    remember(layout, checked(1, 1, 1))

    assert layout.checks.stat().st_mode & 0o7777 == 0o2750
    assert layout.check(1, 1).stat().st_mode & 0o7777 == 0o640


def test_an_archive_without_state_is_left_as_it_is(tmp_path: Path) -> None:
    assert not remember(Layout(tmp_path), checked(1, 1, 1))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_state_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    layout = Layout(tmp_path / "archive")
    layout.root.mkdir()
    layout.state.symlink_to(tmp_path / "elsewhere")

    assert not remember(layout, checked(1, 1, 1))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_where_nothing_can_be_written_nothing_is_remembered_and_nothing_fails(layout: Layout) -> None:
    layout.checks.write_text("a file in the folder's place")

    assert not remember(layout, checked(1, 1, 1))
    assert read_checks(layout) == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may write everywhere")
def test_root_leaves_no_file_in_another_users_archive(layout: Layout) -> None:
    os.chown(layout.state, 12345, 12345)

    assert not remember(layout, checked(1, 1, 1))
    assert not layout.checks.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"part": 9, "parts": 7, "checked_at": "2026-11-01T02:00:00Z"}']
)
def test_what_makes_no_sense_is_passed_over(layout: Layout, content: bytes) -> None:
    remember(layout, checked(1, 7, 1))
    (layout.checks / "9-of-7.json").write_bytes(content)
    (layout.checks / "2-of-7.json").write_bytes(content)

    assert read_checks(layout) == (checked(1, 7, 1),)


def test_a_check_under_another_parts_name_is_passed_over(layout: Layout) -> None:
    remember(layout, checked(1, 7, 1))
    layout.check(1, 7).rename(layout.check(2, 7))

    assert read_checks(layout) == ()


# --- what it comes to --------------------------------------------------------------------------------------
def test_without_a_check_there_is_no_coverage() -> None:
    assert coverage([]) is None


def test_a_whole_check_covers_everything_since_then() -> None:
    found = coverage([checked(1, 1, 5)])

    assert found is not None
    assert (found.checked_since, found.oldest_part, found.parts) == ("2026-11-05T02:00:00Z", "1/1", 1)


def test_a_week_of_parts_covers_everything_since_the_oldest() -> None:
    found = coverage([checked(part, 7, 20 - part) for part in range(1, 8)])

    assert found is not None
    assert (found.checked_since, found.oldest_part) == ("2026-11-13T02:00:00Z", "7/7")
    assert found.last_checked_at == "2026-11-19T02:00:00Z"


def test_a_part_that_was_never_checked_is_named() -> None:
    found = coverage([checked(1, 3, 1), checked(3, 3, 2)])

    assert found is not None
    assert (found.checked_since, found.oldest_part) == (None, "2/3")
    assert (found.checked_parts, found.parts) == (2, 3)


def test_parts_after_a_whole_check_leave_the_rest_as_old_as_the_whole() -> None:
    found = coverage([checked(1, 1, 5), checked(1, 3, 6), checked(2, 3, 7)])

    assert found is not None
    assert (found.checked_since, found.last_checked_at) == ("2026-11-05T02:00:00Z", "2026-11-07T02:00:00Z")


def test_all_parts_after_a_whole_check_are_younger_than_it() -> None:
    found = coverage([checked(1, 1, 5), checked(1, 2, 6), checked(2, 2, 7)])

    assert found is not None
    assert (found.checked_since, found.oldest_part) == ("2026-11-06T02:00:00Z", "1/2")


def test_divisions_that_do_not_match_are_not_added_up() -> None:
    found = coverage([checked(1, 2, 6), checked(2, 3, 7)])

    assert found is not None
    assert (found.checked_since, found.checked_parts, found.parts) == (None, 1, 2)


def test_damage_counts_until_the_part_is_checked_again() -> None:
    damaged = coverage([checked(1, 2, 6, broken_files=2), checked(2, 2, 7)])
    mended = coverage([checked(1, 2, 6, broken_files=2), checked(2, 2, 7), checked(1, 1, 8)])

    assert damaged is not None and mended is not None
    assert (damaged.broken_files, mended.broken_files) == (2, 0)
