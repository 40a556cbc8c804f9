"""Times as servers spell them."""

from __future__ import annotations

import pytest

from hsmirror.api.times import epoch_of, wider_range
from hsmirror.model import Window

AT = 1718445600.0


@pytest.mark.parametrize(
    "value",
    [
        "2024-06-15T10:00:00Z",
        "2024-06-15T10:00:00",
        "2024-06-15T12:00:00.000+02:00",
        "20240615T100000Z",
        1718445600,
        1718445600.0,
        1718445600000,
        1718445600000000,
        "1718445600",
        "1718445600000",
        {"_seconds": 1718445600, "_nanoseconds": 0},
        {"seconds": 1718445600},
    ],
)
def test_one_time_has_many_spellings(value: object) -> None:
    assert epoch_of(value) == AT


@pytest.mark.parametrize(
    "value", [None, "", "soon", True, 12.5, 0, -1, [], {}, "1e400", "nan", 10**400, "9999-99"]
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert epoch_of(value) is None


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(), {}),
        (Window(start="2024-06-15T10:00:00.5Z"), {"startTime": "2024-06-15T09:59:00Z"}),
        (Window(end="2024-06-15T10:00:00+02:00"), {"endTime": "2024-06-15T08:01:00Z"}),
        (Window(start="0001-01-01T00:00:00Z"), {"startTime": "0001-01-01T00:00:00Z"}),
    ],
)
def test_fault_79_a_range_is_asked_for_wider_than_its_window(window: Window, expected: dict[str, str]) -> None:
    assert wider_range(window) == expected
