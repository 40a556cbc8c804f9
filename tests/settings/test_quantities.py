"""Texts that stand for numbers: what each means, and which mean nothing."""

from __future__ import annotations

import pytest

from hsmirror.settings.quantities import parse_duration, parse_mode, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4096", 4096),
        ("1B", 1),
        ("1kB", 1000),
        ("1.5KiB", 1536),
        ("128MiB", 2**27),
        ("1GB", 10**9),
        ("2 TiB", 2**41),
    ],
)
def test_a_size_is_read_in_bytes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "0", "0.5", "128M", "50Mb", "-1", "1e3", "MiB", "1MiB ", "٣MiB", "1,5GB", "9" * 99]
)
def test_a_size_that_could_mean_two_things_or_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(("text", "bytes_per_second"), [("", None), ("50MiB/s", 50 * 2**20), ("10MB/s", 10**7)])
def test_a_rate_is_read_in_bytes_a_second(text: str, bytes_per_second: float | None) -> None:
    assert parse_rate(text) == bytes_per_second


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("48h", 172_800),
        ("30d", 2_592_000),
        ("90s", 90),
        ("1h30m", 5400),
        ("2w", 1_209_600),
        ("0.5h", 1800),
        ("0s", 0),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "48", "30m1h", "1h1h", "1 h", "-1h", "1y", "h", "1H", "1h\n"])
def test_a_duration_without_a_unit_or_out_of_order_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "mode"), [("", 0o700), ("750", 0o750), ("0750", 0o750), ("2770", 0o2770), ("0755", 0o755)]
)
def test_a_mode_is_read_in_octal(text: str, mode: int) -> None:
    assert parse_mode(text) == mode


@pytest.mark.parametrize("text", ["0", "0777", "0650", "0400", "4750", "rwx", "0o750", "0798", "00750"])
def test_a_mode_that_shuts_out_the_owner_or_lets_the_world_write_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="mode"):
        parse_mode(text)
