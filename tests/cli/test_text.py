from __future__ import annotations

import pytest

from hsmirror.api.words import redacted
from hsmirror.cli.text import age, counted, duration, exit_words, printable, size

NOW = 1_795_312_803.0  # 2026-11-22T02:00:03Z


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Étude № 1, 実験", "Étude № 1, 実験"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("right\u202eto left", "right\\u202eto left"),
        ("lone \ud800", "lone \\ud800"),
    ],
)
def test_what_could_change_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_keys_and_the_queries_of_addresses_are_taken_out() -> None:
    text = f"GET https://h/x?X-Goog-Signature=abc&b=1 with hst_live_{'a' * 64}, 'http://h/y?sig=1'"

    assert redacted(text) == "GET https://h/x?… with hst_…, 'http://h/y?…'"


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_449, "99.4 kB"),
        (999_499, "999 kB"),
        (999_600, "1.0 MB"),
        (4_200_000_000_000_000, "4200 TB"),
    ],
)
def test_sizes_are_decimal_with_two_or_three_digits(size_bytes: int, shown: str) -> None:
    assert size(size_bytes) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.0 s"),
        (0.84, "0.8 s"),
        (9.99, "10 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (5 * 3600 + 420, "5 h 07 min"),
        (52 * 3600, "2 d 4 h"),
    ],
)
def test_durations_have_two_units_at_the_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_an_age_is_seen_from_now_and_what_is_no_time_is_shown_as_it_is() -> None:
    assert age("2026-11-22T01:00:03Z", NOW) == "60 min ago"
    assert age("2026-11-19T02:00:03+00:00", NOW) == "3 d ago"
    assert age("2026-11-22T02:00:01Z", NOW) == "2 s ago"
    assert age("2026-11-22T02:00:03", NOW) == "just now"
    assert age("yesterday\x07", NOW) == "yesterday\\x07"


def test_one_thing_has_no_s() -> None:
    assert [counted(1, "room"), counted(0, "room"), counted(1200, "room")] == [
        "1 room",
        "0 rooms",
        "1,200 rooms",
    ]


@pytest.mark.parametrize(("status", "words"), [(0, "complete"), (4, "key refused"), (99, "status 99")])
def test_an_exit_status_has_words(status: int, words: str) -> None:
    assert exit_words(status) == words
