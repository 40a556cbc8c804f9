"""Settings: the defaults, experiments, and values that cannot be meant."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from configured import Place, new_place
from hypothesis import example as given_also
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from hsmirror.errors import ConfigurationError
from hsmirror.settings import (
    ApiSettings,
    ArchiveSettings,
    ExperimentSettings,
    LimitSettings,
    Settings,
    load,
)

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "api": ApiSettings,
    "limits": LimitSettings,
    "archive": ArchiveSettings,
}
KEYS = sorted(f"{table}.{name}" for table in SECTIONS for name in SECTIONS[table].__struct_fields__)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return new_place(tmp_path)


# --- the values -----------------------------------------------------------------------------------------------
def test_nothing_given_gives_the_defaults_with_the_archive_in_the_working_folder(place: Place) -> None:
    assert place.load() == Settings(archive=ArchiveSettings(path=place.cwd / "archive"))


def test_the_settings_give_numbers_with_their_units() -> None:
    archive = ArchiveSettings(mode="2750")
    assert (archive.shard_size_bytes, archive.settle_seconds, archive.recheck_seconds) == (
        2**27,
        172_800,
        2_592_000,
    )
    assert (archive.folder_mode, archive.file_mode) == (0o2750, 0o640)
    assert (ArchiveSettings().folder_mode, ArchiveSettings().file_mode) == (0o700, 0o600)
    assert LimitSettings().max_download_bytes_per_second is None
    assert LimitSettings(max_download_rate="1kB/s").max_download_bytes_per_second == 1000.0


def test_older_versions_are_kept_for_ever_unless_a_time_is_given() -> None:
    assert ArchiveSettings().keep_superseded_seconds is None
    assert ArchiveSettings(keep_superseded="180d").keep_superseded_seconds == 180 * 86_400


@pytest.mark.parametrize("url", ["https://ping.test/5ecret?rid=1", "http://127.0.0.1:8000/5ecret", ""])
def test_a_ping_address_is_https_or_on_this_machine(place: Place, url: str) -> None:
    monitor = place.load(overrides={"monitor.ping_url": url}).monitor
    assert (monitor.ping_address.reveal() if monitor.ping_address else "") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://ping.test/5ecret",
        "https://lab@ping.test/5ecret",
        "https://ping.test:port/5ecret",
        "ping.test",
    ],
)
def test_any_other_ping_address_is_refused_and_not_shown(place: Place, url: str) -> None:
    fault = place.fault(overrides={"monitor.ping_url": url})
    assert fault.startswith(
        "an argument: monitor.ping_url = (not shown: it may hold a secret): expected an https"
    )
    assert "5ecret" not in fault


def test_a_ping_address_is_not_in_what_the_settings_print(place: Place) -> None:
    settings = place.load('[monitor]\nping_url = "https://ping.test/5ecret"')
    assert "5ecret" not in repr(settings) + str(settings.monitor) + str(settings.monitor.ping_address)


# --- experiments ----------------------------------------------------------------------------------------------
def test_an_experiment_is_narrowed_by_its_table(place: Place) -> None:
    text = """
[[experiments]]
id = "exp_1"
data_types = ["events", "ratings/continuous", "events"]
rooms = ["room_1"]
participants = ["user_1", "user_2"]
start_time = 2024-10-20
end_time = 2024-10-21T02:00:00.5+02:00
files = false
[[experiments]]
id = "*"
"""
    narrowed = ExperimentSettings(
        id="exp_1",
        data_types=("events", "ratings/continuous"),
        rooms=("room_1",),
        participants=("user_1", "user_2"),
        start_time="2024-10-20T00:00:00Z",
        end_time="2024-10-21T00:00:00.500000Z",
        files=False,
    )
    assert place.load(text).experiments == (narrowed, ExperimentSettings(id="*"))


@pytest.mark.parametrize(
    "time",
    [
        "2024-10-20T14:30:00Z",
        "2024-10-20T14:30:00",
        "2024-10-20 16:30+02:00",
        datetime(2024, 10, 20, 14, 30, tzinfo=UTC),
    ],
)
def test_times_are_kept_in_utc_and_taken_as_utc_where_they_name_no_offset(place: Place, time: object) -> None:
    overrides = {"experiments": [{"id": "exp_1", "start_time": time, "end_time": date(2024, 10, 21)}]}
    (experiment,) = place.load(overrides=overrides).experiments
    assert experiment.start_time == "2024-10-20T14:30:00Z"
    assert experiment.end_time == "2024-10-21T00:00:00Z"


def test_experiments_from_arguments_or_the_environment_replace_those_of_the_file(place: Place) -> None:
    text = '[[experiments]]\nid = "exp_1"\nrooms = ["room_1"]'
    assert place.load(text, {"HSMIRROR_EXPERIMENTS": "exp_2"}).experiments == (ExperimentSettings(id="exp_2"),)
    overrides = {"experiments": ("exp_1", {"id": "exp_3", "files": False, "rooms": None})}
    assert place.load(text, {"HSMIRROR_EXPERIMENTS": "exp_2"}, overrides).experiments == (
        ExperimentSettings(id="exp_1"),
        ExperimentSettings(id="exp_3", files=False),
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[[experiments]]\nid = "a"\n[[experiments]]\nid = "a"', ["'a' stands there more than once"]),
        ("[[experiments]]\nfiles = true", ["experiments[0] has no id"]),
        ('[[experiments]]\nid = ""', ["experiments[0].id = ''", "expected an id"]),
        ("[[experiments]]\nid = 5", ["experiments[0].id = 5", "expected an id"]),
        ('[experiments]\nid = "a"', ["write [[experiments]]"]),
        (
            '[[experiments]]\nid = "a"\nroom = ["r"]',
            ["key in experiments[0] 'room'", "did you mean 'rooms'?"],
        ),
        ('[[experiments]]\nid = "a"\nrooms = "r"', ["experiments[0].rooms = 'r'", "expected a list of ids"]),
        (
            '[[experiments]]\nid = "a"\ndata_types = ["events", "ratings_continuous"]',
            ["experiments[0].data_types", "for 'ratings_continuous', did you mean 'ratings/continuous'?"],
        ),
        (
            '[[experiments]]\nid = "a"\ndata_types = "events"',
            ["data_types = 'events'", "a list of data types"],
        ),
        ('[[experiments]]\nid = "a"\nstart_time = "yesterday"', ["start_time = 'yesterday'", "ISO 8601"]),
        ('[[experiments]]\nid = "a"\nstart_time = 07:32:00', ["start_time = datetime.time", "ISO 8601"]),
        ('[[experiments]]\nid = "a"\nend_time = 0001-01-01T00:00:00+01:00', ["end_time", "ISO 8601"]),
        (
            '[[experiments]]\nid = "a"\nstart_time = 2024-10-20T00:00:00.5Z\nend_time = 2024-10-20T00:00:00Z',
            ["end_time = '2024-10-20T00:00:00Z'", "after start_time, 2024-10-20T00:00:00.500000Z"],
        ),
        ('[[experiments]]\nid = "a"\nfiles = "no"', ["files = 'no'", "expected true or false"]),
    ],
)
def test_a_wrong_experiment_is_told_with_its_place(place: Place, text: str, parts: list[str]) -> None:
    fault = place.fault(text)
    assert fault.startswith("hsmirror.toml: ")
    for part in parts:
        assert part in fault


def test_an_experiment_that_is_no_table_is_refused(place: Place) -> None:
    assert "experiments[1] = 5: expected a table or an id" in place.fault(overrides={"experiments": ["a", 5]})


# --- values that cannot be meant ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("limits.requests_per_hour", 0),
        ("limits.requests_per_hour", 10**30),
        ("limits.requests_per_hour", 1.5),
        ("limits.requests_per_hour", "1000"),
        ("limits.max_concurrent_requests", True),
        ("limits.max_concurrent_downloads", -4),
        ("limits.share", float("nan")),
        ("limits.share", 0),
        ("limits.max_download_rate", "50MiB"),
        ("limits.max_download_rate", "0MiB/s"),
        ("archive.path", ""),
        ("archive.path", "a\0b"),
        ("archive.path", "~no-such-user-at-all/archive"),
        ("archive.path", 5),
        ("archive.compression", "GZIP"),
        ("archive.shard_size", 4096),
        ("archive.settle", "48"),
        ("archive.recheck", "a month"),
        ("archive.mode", "750 "),
        ("archive.keep_superseded", "180"),
        ("archive.mode", 0o750),
        ("api.organization_id", "org 1"),
        ("api.organization_id", "org\r\nX-Api-Key: 1"),
        ("api.key_file", ["key"]),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_is_expected(place: Place, key: str, value: object) -> None:
    fault = place.fault(overrides={key: value})
    assert fault.startswith(f"an argument: {key} = {value!r}: expected ")


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.hyperstudy.io/api/v3",
        "https://[2001:db8::1]:8443/v3",
        "http://localhost:8080/api/v3",
        "http://127.0.0.9/api/v3",
        "http://[::1]:80",
    ],
)
def test_a_base_address_is_https_or_loopback(place: Place, base_url: str) -> None:
    assert place.load(overrides={"api.base_url": f"{base_url}/"}).api.base_url == base_url


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.hyperstudy.io",
        "http://api.hyperstudy.io/api/v3",
        "http://127.0.0.1.example.org/",
        "ftp://localhost/",
        "https://",
        "https://host:port/",
        "https://host:99999/",
        "https://[::1/",
        "https://host/a b",
        "https://host/\n",
        "https://høst/",
        "https://host\\@other/",
        "https://host/#here",
    ],
)
def test_any_other_base_address_is_refused(place: Place, base_url: str) -> None:
    assert "expected an https address" in place.fault(overrides={"api.base_url": base_url})


# --- whatever is written --------------------------------------------------------------------------------------
TEXTS = st.text(st.characters(), max_size=40) | st.from_regex(r"[0-9.]{1,4}[a-zA-Z/]{0,5}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.datetimes() | st.dates() | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def settings_or_fault(**given_: Any) -> None:
    """Anything but Settings or ConfigurationError fails the test; so does a fault that a terminal obeys."""
    arguments: dict[str, Any] = {
        "config": None,
        "environ": {},
        "cwd": Path("/nowhere"),
        "user_config_dir": Path("/no"),
    }
    try:
        settings = load(**arguments | given_)
    except ConfigurationError as error:
        assert str(error).isprintable()
        return
    assert settings.archive.path.is_absolute()
    assert settings.archive.shard_size_bytes >= 1
    assert settings.archive.settle_seconds >= 0
    assert settings.archive.recheck_seconds >= 0
    assert settings.archive.folder_mode & 0o702 == 0o700
    assert (
        settings.limits.max_download_bytes_per_second is None
        or settings.limits.max_download_bytes_per_second > 0
    )
    assert 0 < settings.limits.share <= 1


@bounded(deadline=None)  # a machine may be busy
@given(st.sampled_from(KEYS), TEXTS)
@given_also("limits.share", "\udc80")
@given_also("limits.requests_per_hour", "9" * 5000)
@given_also("archive.compression", "\udc80")
@given_also("api.base_url", "https://[")
def test_any_text_in_the_environment_gives_settings_or_a_fault(key: str, text: str) -> None:
    settings_or_fault(environ={f"HSMIRROR_{key.replace('.', '__').upper()}": text})


@bounded(deadline=None)  # a machine may be busy
@given(st.sampled_from([*KEYS, "experiments"]), VALUES)
def test_any_value_of_an_argument_gives_settings_or_a_fault(key: str, value: object) -> None:
    settings_or_fault(overrides={key: value})


@bounded(deadline=None)  # a machine may be busy
@given(st.sampled_from(ExperimentSettings.__struct_fields__), VALUES)
def test_any_value_of_an_experiment_gives_settings_or_a_fault(name: str, value: object) -> None:
    settings_or_fault(overrides={"experiments": [{"id": "exp_1", name: value}]})


@bounded(deadline=None)  # a machine may be busy
@given(st.binary(max_size=60) | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_content_of_the_file_gives_settings_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    settings_or_fault(config=path)


# --- the cost -------------------------------------------------------------------------------------------------
def test_importing_the_settings_imports_no_http_and_no_event_loop() -> None:
    code = "import sys, hsmirror.settings; print(sorted({'aiohttp', 'anyio', 'asyncio'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
