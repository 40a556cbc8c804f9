from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hsmirror.archive.layout import Layout
from hsmirror.archive.retention import drop_superseded

DAY = 86_400
NOW = datetime(2026, 11, 22, 2, 0, 0, tzinfo=UTC).timestamp()
OLD, YOUNG = "20260101T020000Z-00aa", "20261121T020000Z-00bb"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "archive")
    for run in (OLD, YOUNG):
        put_aside(layout, run)
    return layout


def put_aside(layout: Layout, run: str, content: bytes = b"12345") -> Path:
    path = layout.superseded_path(run, "experiment_id=e/data_type=events/room_id=r/part-00000.ndjson.gz")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def left(layout: Layout) -> list[str]:
    return sorted(path.name for path in layout.superseded.iterdir())


def test_what_is_older_goes_and_the_rest_stays(layout: Layout) -> None:
    assert drop_superseded(layout, 180 * DAY, NOW) == 5
    assert left(layout) == [YOUNG]


def test_a_run_that_is_exactly_as_old_stays(layout: Layout) -> None:
    drop_superseded(layout, DAY, NOW)

    assert left(layout) == [YOUNG]
    assert drop_superseded(layout, DAY, NOW + 1) == 5


def test_a_run_of_the_future_stays(layout: Layout) -> None:
    """A clock was set back."""
    put_aside(layout, "20990101T000000Z-00cc")

    drop_superseded(layout, 0, NOW)

    assert left(layout) == ["20990101T000000Z-00cc"]


@pytest.mark.parametrize(
    "name", ["notes", "20260101", "20260101T020000Z", "20261301T020000Z-00aa", f"{OLD}.bak"]
)
def test_what_is_not_named_as_a_run_is_stays(layout: Layout, name: str) -> None:
    put_aside(layout, name)
    (layout.superseded / "20260101T020000Z-00dd").write_text("a file")

    drop_superseded(layout, 180 * DAY, NOW)

    assert left(layout) == sorted([name, YOUNG, "20260101T020000Z-00dd"])


def test_a_link_named_as_a_run_is_not_followed(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/data").write_text("kept")
    (layout.superseded / "20260101T020000Z-00ee").symlink_to(tmp_path / "precious")
    (layout.superseded / OLD / "inside").symlink_to(tmp_path / "precious")

    drop_superseded(layout, 180 * DAY, NOW)

    assert (tmp_path / "precious/data").read_text() == "kept"
    assert left(layout) == ["20260101T020000Z-00ee", YOUNG]


def test_a_superseded_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = Layout(tmp_path / "elsewhere")
    put_aside(elsewhere, OLD)
    layout = Layout(tmp_path / "archive")
    layout.state.mkdir(parents=True)
    layout.superseded.symlink_to(elsewhere.superseded)

    assert drop_superseded(layout, 180 * DAY, NOW) == 0
    assert left(elsewhere) == [OLD]


def test_an_archive_where_nothing_was_superseded_has_nothing_to_drop(tmp_path: Path) -> None:
    assert drop_superseded(Layout(tmp_path), 0, NOW) == 0


def test_bytes_that_have_another_name_are_not_counted_as_freed(layout: Layout) -> None:
    path = put_aside(layout, "20260102T020000Z-00ff", b"123")
    (layout.root / "current").hardlink_to(path)

    assert drop_superseded(layout, 180 * DAY, NOW) == 5
    assert (layout.root / "current").read_bytes() == b"123"
