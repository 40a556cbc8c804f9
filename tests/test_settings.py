"""Settings from files, the environment and arguments: what counts, and what a mistake is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example as given_also
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from hsmirror.errors import ConfigurationError, Exit
from hsmirror.model import Secret
from hsmirror.settings import (
    ApiSettings,
    ArchiveSettings,
    ExperimentSettings,
    LimitSettings,
    Settings,
    api_key,
    example,
    load,
    parse_duration,
    parse_mode,
    parse_rate,
    parse_size,
)

KEY = "hst_test_" + "k3y" * 21 + "k"
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "api": ApiSettings,
    "limits": LimitSettings,
    "archive": ArchiveSettings,
}
KEYS = sorted(f"{table}.{name}" for table in SECTIONS for name in SECTIONS[table].__struct_fields__)


@dataclass(frozen=True)
class Place:
    """A working folder and a user's configuration folder, to load from."""

    cwd: Path
    user: Path

    def load(
        self,
        text: str | bytes | None = None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
        config: Path | None = None,
    ) -> Settings:
        """The settings where `text`, if any, is ./hsmirror.toml."""
        if text is not None:
            content = text if isinstance(text, bytes) else text.encode()
            (self.cwd / "hsmirror.toml").write_bytes(content)
        return load(
            config=config,
            environ=environ or {},
            overrides=overrides or {},
            cwd=self.cwd,
            user_config_dir=self.user,
        )

    def fault(self, *arguments: Any, **named: Any) -> str:
        """What the user is told."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(*arguments, **named)
        assert caught.value.exit_status is Exit.USAGE
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "user").mkdir()
    return Place(tmp_path / "cwd", tmp_path / "user")


# --- where values come from --------------------------------------------------------------------------
def test_nothing_given_gives_the_defaults_with_the_archive_in_the_working_folder(place: Place) -> None:
    assert place.load() == Settings(archive=ArchiveSettings(path=place.cwd / "archive"))


def test_the_file_of_the_working_folder_comes_before_the_users(place: Place) -> None:
    (place.user / "hsmirror.toml").write_text("[limits]\nshare = 0.25")
    assert place.load().limits.share == 0.25
    assert place.load("[limits]\nshare = 0.5").limits.share == 0.5


def test_a_file_named_explicitly_is_the_only_one_read(place: Place) -> None:
    (place.cwd / "other.toml").write_text("[limits]\nrequests_per_hour = 7")
    settings = place.load("[limits]\nshare = 0.5", config=Path("other.toml"))
    assert (settings.limits.requests_per_hour, settings.limits.share) == (7, 1.0)


def test_arguments_beat_the_environment_which_beats_the_file_which_beats_the_defaults(place: Place) -> None:
    text = "[limits]\nrequests_per_hour = 1\nmax_concurrent_requests = 1\nmax_concurrent_downloads = 1"
    environ = {
        "HSMIRROR_LIMITS__MAX_CONCURRENT_REQUESTS": "2",
        "HSMIRROR_LIMITS__MAX_CONCURRENT_DOWNLOADS": "2",
    }
    limits = place.load(text, environ, {"limits.max_concurrent_downloads": 3}).limits
    assert limits == LimitSettings(requests_per_hour=1, max_concurrent_requests=2, max_concurrent_downloads=3)


def test_an_option_that_was_not_used_is_none_and_changes_nothing(place: Place) -> None:
    assert place.load("[limits]\nshare = 0.5", overrides={"limits.share": None}).limits.share == 0.5


@pytest.mark.parametrize(
    ("environ", "base_url"),
    [
        ({}, "https://file.test/v3"),
        ({"HYPERSTUDY_BASE_URL": ""}, "https://file.test/v3"),
        ({"HYPERSTUDY_BASE_URL": "https://sdk.test/v3"}, "https://sdk.test/v3"),
        (
            {"HYPERSTUDY_BASE_URL": "https://sdk.test/v3", "HSMIRROR_API__BASE_URL": "https://own.test/v3"},
            "https://own.test/v3",
        ),
    ],
)
def test_the_sdks_base_url_stands_between_the_file_and_our_own_variable(
    place: Place, environ: dict[str, str], base_url: str
) -> None:
    assert place.load('[api]\nbase_url = "https://file.test/v3/"', environ).api.base_url == base_url


def test_every_key_can_be_given_in_the_environment(place: Place) -> None:
    environ = {
        "HSMIRROR_API__BASE_URL": "http://127.0.0.1:8080/api/v3",
        "HSMIRROR_API__ORGANIZATION_ID": "org_1",
        "HSMIRROR_API__KEY_FILE": "key",
        "HSMIRROR_API__KEY_COMMAND": "pass show 'hyper study'",
        "HSMIRROR_LIMITS__REQUESTS_PER_HOUR": "10",
        "HSMIRROR_LIMITS__REQUESTS_PER_MINUTE_PER_ENDPOINT": "20",
        "HSMIRROR_LIMITS__SHARE": "0.5",
        "HSMIRROR_LIMITS__MAX_CONCURRENT_REQUESTS": "30",
        "HSMIRROR_LIMITS__MAX_CONCURRENT_DOWNLOADS": "40",
        "HSMIRROR_LIMITS__MAX_DOWNLOAD_RATE": "10MB/s",
        "HSMIRROR_ARCHIVE__PATH": "kept",
        "HSMIRROR_ARCHIVE__COMPRESSION": "zstd",
        "HSMIRROR_ARCHIVE__SHARD_SIZE": "1GiB",
        "HSMIRROR_ARCHIVE__SETTLE": "1h30m",
        "HSMIRROR_ARCHIVE__RECHECK": "1w",
        "HSMIRROR_ARCHIVE__MODE": "2750",
        "HSMIRROR_EXPERIMENTS": "exp_1, exp_2,",
    }
    named = {f"HSMIRROR_{key.replace('.', '__')}".upper() for key in KEYS}
    assert environ.keys() == named | {"HSMIRROR_EXPERIMENTS"}
    assert place.load(environ=environ) == Settings(
        api=ApiSettings(
            base_url="http://127.0.0.1:8080/api/v3",
            organization_id="org_1",
            key_file=place.cwd / "key",
            key_command="pass show 'hyper study'",
        ),
        limits=LimitSettings(
            requests_per_hour=10,
            requests_per_minute_per_endpoint=20,
            share=0.5,
            max_concurrent_requests=30,
            max_concurrent_downloads=40,
            max_download_rate="10MB/s",
        ),
        archive=ArchiveSettings(
            path=place.cwd / "kept",
            compression="zstd",
            shard_size="1GiB",
            settle="1h30m",
            recheck="1w",
            mode="2750",
        ),
        experiments=(ExperimentSettings(id="exp_1"), ExperimentSettings(id="exp_2")),
    )


def test_relative_paths_start_at_the_file_or_else_at_the_working_folder(place: Place) -> None:
    lab = place.cwd.parent / "lab"
    lab.mkdir()
    (lab / "night.toml").write_text('[archive]\npath = "data"\n[api]\nkey_file = "key"')
    config = Path("../lab/night.toml")
    settings = place.load(config=config)
    assert settings.archive.path.resolve() == lab / "data"
    assert settings.api.key_file is not None
    assert settings.api.key_file.resolve() == lab / "key"
    environ = {"HSMIRROR_ARCHIVE__PATH": "data"}
    assert place.load(config=config, environ=environ).archive.path == place.cwd / "data"
    assert place.load(config=config, overrides={"archive.path": Path("d")}).archive.path == place.cwd / "d"


def test_deleting_the_line_of_the_default_path_changes_nothing(place: Place) -> None:
    (place.user / "hsmirror.toml").write_text('[archive]\npath = "archive"')
    written = place.load()
    (place.user / "hsmirror.toml").write_text("[archive]\n")
    assert place.load() == written


def test_absolute_paths_and_home_are_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/lab")
    settings = place.load('[archive]\npath = "~/archive"\n[api]\nkey_file = "/run/secrets/key"')
    assert settings.archive.path == Path("/home/lab/archive")
    assert settings.api.key_file == Path("/run/secrets/key")


def test_a_byte_order_mark_does_not_hurt(place: Place) -> None:
    assert place.load(b"\xef\xbb\xbf[limits]\r\nshare = 0.5\r\n").limits.share == 0.5


# --- experiments -------------------------------------------------------------------------------------
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


# --- what a mistake is told --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[limit]\nshare = 1", "hsmirror.toml: there is no table 'limit'; did you mean 'limits'?"),
        ("[limits]\nshaer = 1", "hsmirror.toml: there is no key in [limits] 'shaer'; did you mean 'share'?"),
        ("x = 1", "hsmirror.toml: there is no table 'x'; known are api, limits, archive, experiments"),
        ("limits = 5", "hsmirror.toml: limits is a table: write [limits], and its keys below"),
        (
            "[limits]\nshare = 1.5",
            "hsmirror.toml: limits.share = 1.5: expected a number above 0, 1 at the most",
        ),
        (
            '[archive]\ncompression = "gz"',
            'hsmirror.toml: archive.compression = \'gz\': expected "gzip", "none" or "zstd"; '
            "for 'gz', did you mean 'gzip'?",
        ),
    ],
)
def test_a_fault_of_the_file_names_file_key_value_expectation_and_the_nearest(
    place: Place, text: str, fault: str
) -> None:
    assert place.fault(text) == fault


def test_a_fault_names_the_file_as_it_was_given(place: Place) -> None:
    (place.cwd / "night.toml").write_text("[limits]\nshare = 0")
    assert place.fault(config=Path("./night.toml")).startswith("night.toml: limits.share = 0: expected")
    (place.user / "hsmirror.toml").write_text("[limits]\nshare = 0")
    assert place.fault().startswith(f"{place.user}/hsmirror.toml: limits.share = 0: expected")


def test_a_fault_of_the_environment_names_the_variable(place: Place) -> None:
    fault = place.fault(environ={"HSMIRROR_LIMITS__SHARE": "half"})
    assert fault == "HSMIRROR_LIMITS__SHARE: limits.share = 'half': expected a number above 0, 1 at the most"


def test_a_fault_of_an_argument_says_so(place: Place) -> None:
    assert place.fault(overrides={"limits.share": 2}).startswith("an argument: limits.share = 2: expected")
    assert "did you mean 'limits.share'?" in place.fault(overrides={"limits.shar": 1})
    assert "did you mean 'experiments'?" in place.fault(overrides={"experiments.id": "exp_1"})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("HSMIRROR_LIMITS__SHAER", "HSMIRROR_LIMITS__SHARE"),
        ("HSMIRROR_LIMIT__SHARE", "HSMIRROR_LIMITS__SHARE"),
        ("HSMIRROR_limits__share", "HSMIRROR_LIMITS__SHARE"),
        ("HSMIRROR_LIMITS_SHARE", "HSMIRROR_LIMITS__SHARE"),
        ("HSMIRROR_EXPERIMENTS__ID", "HSMIRROR_EXPERIMENTS"),
    ],
)
def test_a_misspelt_variable_is_told_the_nearest(place: Place, name: str, nearest: str) -> None:
    fault = place.fault(environ={name: "0.5"})
    assert fault == f"the environment: there is no variable {name!r}; did you mean {nearest!r}?"


def test_variables_that_kubernetes_sets_for_a_service_are_left_alone(place: Place) -> None:
    names = (
        "HSMIRROR_SERVICE_HOST",
        "HSMIRROR_PORT_80_TCP_ADDR",
        "HSMIRROR_ARCHIVE_PORT",
        "HSMIRROR_API_PORT",
    )
    assert place.load(environ=dict.fromkeys(names, "tcp://10.0.0.1:80")) == place.load()


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


def test_a_long_value_is_cut(place: Place) -> None:
    fault = place.fault(overrides={"archive.compression": "x" * 1000})
    shown = fault.removeprefix("an argument: archive.compression = ").partition(": expected")[0]
    assert len(shown) == 80
    assert shown.endswith("…")


def test_terminal_escapes_in_names_and_values_are_escaped(place: Place) -> None:
    for text in (
        '"\\u001b[31m" = 1',
        '[limits]\n"\\u001b[31m" = 1',
        '[archive]\nmode = "\\u001b[31m"',
        "\x9b = 1",
    ):
        assert place.fault(text).isprintable()


# --- files that cannot be read -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[limits]\nshare == 1\n", "(at line 2, column 8)"),
        (b'[api]\nbase_url = "https', "(at line 2, column 18)"),
        (b"[limits]\nshare = 1 # \xff\n", "not UTF-8 (at line 2, column 13)"),
        (b"x = " + b"[" * 5000, "nested too deeply"),
    ],
)
def test_a_fault_of_the_syntax_names_its_line_and_column(place: Place, content: bytes, fault: str) -> None:
    told = place.fault(content)
    assert told.startswith("hsmirror.toml: it is not TOML: ")
    assert fault in told


def test_a_named_file_that_is_missing_is_an_error(place: Place) -> None:
    assert place.fault(config=Path("gone.toml")) == "gone.toml: there is no such file: hsmirror init writes one"


def test_a_folder_in_the_place_of_the_file_is_an_error(place: Place) -> None:
    (place.cwd / "hsmirror.toml").mkdir()
    assert place.fault() == "hsmirror.toml: cannot be read: Is a directory"


def test_a_name_that_no_file_can_have_is_an_error(place: Place) -> None:
    assert "it is not the path of a file" in place.fault(config=Path("a\0b"))


# --- secrets stay out of the configuration and of what is told -----------------------------------------
THREE_WAYS = ("HYPERSTUDY_API_KEY", "api.key_file", "api.key_command")


@pytest.mark.parametrize(
    "text",
    [
        f'[api]\nkey = "{KEY}"',
        f'[api]\napi_key = "{KEY}"',
        f'[api]\nAPI_KEY = "{KEY}"',
        f'api_key = "{KEY}"',
        f'HYPERSTUDY_API_KEY = "{KEY}"',
        f'[api]\nkey_file = "{KEY}"',
        f'[api]\nkey_command = "echo {KEY}"',
        f'[api]\n{KEY} = ""',
        f'[[experiments]]\nid = "a"\nrooms = ["{KEY}"]',
    ],
)
def test_a_key_in_the_file_is_refused_with_the_three_right_ways(place: Place, text: str) -> None:
    fault = place.fault(text)
    assert all(way in fault for way in THREE_WAYS)
    assert KEY[9:] not in fault


@pytest.mark.parametrize("name", ["HSMIRROR_API__KEY", "HSMIRROR_API__API_KEY", "HSMIRROR_API_KEY"])
def test_a_key_under_a_name_of_ours_is_refused_with_the_three_right_ways(place: Place, name: str) -> None:
    fault = place.fault(environ={name: KEY})
    assert all(way in fault for way in THREE_WAYS)
    assert KEY not in fault


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api.base_url", "http://lab:p4ssw0rd@host/v3"),
        ("api.base_url", "https://lab:p4ss/w0rd@host/v3"),
        ("api.base_url", "https://host/v3?token=p4ssw0rd"),
        ("api.key_command", "curl -H 'Authorization: p4ssw0rd"),
        ("archive.compression", "hst_live_p4ssw0rd"),
    ],
)
def test_a_value_that_may_hold_a_secret_is_not_shown(place: Place, key: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        place.load(overrides={key: value})
    told = str(caught.value)
    assert "p4ss" not in told
    assert key in told
    assert caught.value.__suppress_context__


def test_the_value_under_an_unknown_name_is_not_shown(place: Place) -> None:
    assert "p4ssw0rd" not in place.fault('[api]\nkeyy = "p4ssw0rd"')


# --- sizes, rates, durations, permissions --------------------------------------------------------------
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


# --- the key -------------------------------------------------------------------------------------------
def key_fault(settings: ApiSettings, environ: Mapping[str, str], **named: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        api_key(Settings(api=settings), environ, **named)
    return str(caught.value)


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "key file"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def printing(output: bytes, status: int = 0) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """A `subprocess.run` whose command prints `output`."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, status, stdout=output)

    return run


def test_the_key_of_the_environment_comes_first(tmp_path: Path) -> None:
    api = ApiSettings(key_file=key_file(tmp_path, b"of-the-file"), key_command="false")
    assert api_key(Settings(api=api), {"HYPERSTUDY_API_KEY": f" {KEY}\n"}) == Secret(KEY)


@pytest.mark.parametrize("environ", [{}, {"HYPERSTUDY_API_KEY": " "}])
def test_the_key_file_comes_before_the_command(tmp_path: Path, environ: dict[str, str]) -> None:
    api = ApiSettings(key_file=key_file(tmp_path, f"{KEY}\r\n".encode()), key_command="false")
    assert api_key(Settings(api=api), environ) == Secret(KEY)


def test_the_command_runs_without_a_shell_and_its_output_is_the_key() -> None:
    command = f"""'{sys.executable}' -c "print('  $HOME;' + __import__('os').environ['PART'])" """
    settings = Settings(api=ApiSettings(key_command=command))
    assert api_key(settings, {"PART": "rest"}) == Secret("$HOME;rest")


def test_without_a_key_the_three_ways_are_named() -> None:
    fault = key_fault(ApiSettings(), {})
    assert all(way in fault for way in THREE_WAYS)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_key_file_for_the_owner_or_the_group_is_read(tmp_path: Path, mode: int) -> None:
    api = ApiSettings(key_file=key_file(tmp_path, KEY.encode(), mode))
    assert api_key(Settings(api=api), {}) == Secret(KEY)


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o602])
def test_a_key_file_of_ours_that_is_open_to_the_world_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, KEY.encode(), mode)
    fault = key_fault(ApiSettings(key_file=path), {})
    assert f"chmod 600 '{path}'" in fault
    assert KEY not in fault


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_key_file_of_another_owner_is_read_though_the_world_may_read_it(tmp_path: Path) -> None:
    """So Kubernetes mounts secrets: symbolic links to files of root, 0644, for a process that is not root."""
    path = key_file(tmp_path, KEY.encode(), 0o644)
    os.chown(path, 65534, 65534)
    (tmp_path / "mounted").symlink_to(path)
    assert api_key(Settings(api=ApiSettings(key_file=tmp_path / "mounted")), {}) == Secret(KEY)


def test_a_key_file_on_a_read_only_file_system_is_read_though_the_world_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So Docker mounts secrets for a process of root."""
    path = key_file(tmp_path, KEY.encode(), 0o444)
    read_only = os.statvfs_result((*os.statvfs(path)[:8], os.ST_RDONLY, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: read_only)
    assert api_key(Settings(api=ApiSettings(key_file=path)), {}) == Secret(KEY)


def test_a_key_file_that_is_missing_is_an_error_even_where_a_command_is_set(tmp_path: Path) -> None:
    fault = key_fault(ApiSettings(key_file=tmp_path / "gone", key_command="echo x"), {})
    assert "gone" in fault
    assert "No such file or directory" in fault


def test_an_empty_key_file_is_an_error(tmp_path: Path) -> None:
    assert "there is no API key in it" in key_fault(ApiSettings(key_file=key_file(tmp_path, b" \n")), {})


@pytest.mark.parametrize(
    "content", [b"hst_test_a b", b"hst_test_a\nb", "hst_test_ä".encode(), b"hst_test_\0", b"k" * 5000]
)
def test_what_cannot_be_a_key_is_refused_unseen(tmp_path: Path, content: bytes) -> None:
    faults = [
        key_fault(ApiSettings(key_file=key_file(tmp_path, content)), {}),
        key_fault(ApiSettings(key_command="show"), {}, run=printing(content)),
        key_fault(ApiSettings(), {"HYPERSTUDY_API_KEY": content.decode("latin-1")}),
    ]
    for fault in faults:
        assert "is no API key" in fault
        assert "hst_test_" not in fault
        assert "kkk" not in fault


def test_a_command_that_fails_is_told_by_its_status_alone() -> None:
    fault = key_fault(ApiSettings(key_command="show s3cret"), {}, run=printing(b"s3cret", status=3))
    assert "status 3" in fault
    assert "s3cret" not in fault


def test_a_command_that_does_not_exist_is_told_without_its_arguments() -> None:
    fault = key_fault(ApiSettings(key_command="/nowhere/show s3cret"), {})
    assert "No such file or directory" in fault
    assert "s3cret" not in fault


def test_a_command_has_thirty_seconds() -> None:
    def run(command: list[str], *, timeout: float, **_: object) -> subprocess.CompletedProcess[bytes]:
        raise subprocess.TimeoutExpired(command, timeout, output=b"s3cret")

    with pytest.raises(ConfigurationError, match="longer than 30 s") as caught:
        api_key(Settings(api=ApiSettings(key_command="show s3cret")), {}, run=run)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


# --- the example ---------------------------------------------------------------------------------------
def uncommented(text: str) -> str:
    """`text` with the keys in force that stand there after `#` alone."""
    return re.sub("^#(?=[a-z])", "", text, flags=re.MULTILINE)


def test_the_example_in_the_repository_is_the_one_that_init_writes() -> None:
    assert (Path(__file__).parents[1] / "config.example.toml").read_text(encoding="utf-8") == example()


def test_the_example_holds_every_key_with_its_default_and_no_other() -> None:
    def as_written(section: msgspec.Struct) -> dict[str, object]:
        fields = msgspec.to_builtins(section, enc_hook=str)
        lists = {name: list(value) for name, value in fields.items() if isinstance(value, tuple)}
        return {name: "" if value is None else value for name, value in fields.items()} | lists

    assert tomllib.loads(uncommented(example())) == {
        "api": as_written(ApiSettings()),
        "limits": as_written(LimitSettings()),
        "archive": as_written(ArchiveSettings()),
        "experiments": [as_written(ExperimentSettings(id="exp_research_001"))],
    }


def test_every_key_of_the_example_has_a_comment_of_one_line() -> None:
    lines = example().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match("#?[a-z_]+ = ", line)]
    assert len(keys) == len(KEYS) + len(ExperimentSettings.__struct_fields__)
    for number in keys:
        assert re.match("# [A-Z].*[.]$", lines[number - 1])
        assert not lines[number - 2].startswith("# ")


def test_the_example_loads_to_the_defaults(place: Place) -> None:
    loaded = place.load(example())
    assert loaded == msgspec.structs.replace(
        place.load(""), experiments=(ExperimentSettings(id="exp_research_001"),)
    )
    assert place.load(uncommented(example())) == loaded


def test_the_example_takes_answers_which_load_again(place: Place) -> None:
    text = example(
        {"archive.path": '/data/"lab" 🧠\x7f', "limits.share": 0.5, "experiments": ["exp_1", "exp\\2"]}
    )
    settings = place.load(text)
    assert settings.archive.path == Path('/data/"lab" 🧠\x7f')
    assert settings.limits.share == 0.5
    assert [experiment.id for experiment in settings.experiments] == ["exp_1", "exp\\2"]
    with pytest.raises(ConfigurationError, match=r"archive\.path"):
        example({"archive.paht": "x"})


# --- whatever is written -------------------------------------------------------------------------------
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


# --- the cost --------------------------------------------------------------------------------------------
def test_importing_the_settings_imports_no_http_and_no_event_loop() -> None:
    code = "import sys, hsmirror.settings; print(sorted({'aiohttp', 'anyio', 'asyncio'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
