"""What a receipt says: what it is complete for; and the marker, what the archive is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FORMAT, WHOLE, Claim, Marker, read_marker, write_marker
from hsmirror.errors import NotAnArchiveError

MODES = Modes()


# --- claims ----------------------------------------------------------------------------------------------
START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.none() | st.integers(-3, 3).map(lambda halves: START + timedelta(seconds=halves / 2))


def text(moment: datetime | None) -> str | None:
    """As the settings normalise a time."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


@given(a=st.tuples(MOMENTS, MOMENTS), b=st.tuples(MOMENTS, MOMENTS))
@example(a=(None, START), b=(None, START + timedelta(seconds=0.5)))
@example(a=(START + timedelta(seconds=0.5), None), b=(START, None))
def test_a_claim_covers_another_only_where_its_times_do(
    a: tuple[datetime | None, datetime | None], b: tuple[datetime | None, datetime | None]
) -> None:
    """Whole seconds and fractions of them are written differently, and a text order is not a time order."""
    starts_early = a[0] is None or (b[0] is not None and a[0] <= b[0])
    ends_late = a[1] is None or (b[1] is not None and a[1] >= b[1])
    covers = Claim(text(a[0]), text(a[1])).covers(Claim(text(b[0]), text(b[1])))
    assert covers == (starts_early and ends_late)


def test_a_claim_for_one_participant_never_passes_for_all_or_for_another() -> None:
    one, other = Claim(participant="p"), Claim(participant="q")
    assert one.covers(one)
    assert WHOLE.covers(one)
    assert not one.covers(WHOLE)
    assert not one.covers(other)


# --- the marker ------------------------------------------------------------------------------------------
def test_the_marker_says_what_the_archive_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    marker = Marker(FORMAT, "https://api.hyperstudy.io/api/v3", "2026-01-01T00:00:00Z")
    write_marker(layout, marker, MODES)
    assert read_marker(layout) == marker


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not an archive"),
        (b"[]", "not what hsmirror writes"),
        (b'{"format":1,"upstream":"\xff","created":"c"}', "not what hsmirror writes"),
        (b'{"format":99,"upstream":"u","created":"c"}', "update hsmirror"),
    ],
)
def test_a_folder_that_is_no_archive_of_ours_is_refused(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    layout = Layout(tmp_path)
    if content is not None:
        layout.marker.write_bytes(content)
    with pytest.raises(NotAnArchiveError, match=said):
        read_marker(layout)
