"""Files, the environment and arguments: which counts, and what a mistake in one of them is told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from configured import KEY, THREE_WAYS, Place, new_place

from hsmirror.errors import ConfigurationError
from hsmirror.settings import (
    ApiSettings,
    ArchiveSettings,
    ExperimentSettings,
    LimitSettings,
    MonitorSettings,
    Settings,
)

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "api": ApiSettings,
    "limits": LimitSettings,
    "archive": ArchiveSettings,
    "monitor": MonitorSettings,
}
KEYS = sorted(f"{table}.{name}" for table in SECTIONS for name in SECTIONS[table].__struct_fields__)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return new_place(tmp_path)


# --- which counts ---------------------------------------------------------------------------------------------
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
        "HSMIRROR_ARCHIVE__KEEP_SUPERSEDED": "180d",
        "HSMIRROR_ARCHIVE__MODE": "2750",
        "HSMIRROR_MONITOR__METRICS_FILE": "hsmirror.prom",
        "HSMIRROR_MONITOR__PING_URL": "https://ping.test/5ecret",
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
            keep_superseded="180d",
            mode="2750",
        ),
        monitor=MonitorSettings(metrics_file=place.cwd / "hsmirror.prom", ping_url="https://ping.test/5ecret"),
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


# --- what a mistake is told -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("HSMIRROR_LIMITS__SHAER", "HSMIRROR_LIMITS__SHARE"),
        ("HSMIRROR_LIMIT__SHARE", "HSMIRROR_LIMITS__SHARE"),
        ("HSMIRROR_limits__share", "HSMIRROR_LIMITS__SHARE"),
        ("HSMIRROR_LIMITS_SHARE", "HSMIRROR_LIMITS__SHARE"),
        ("HSMIRROR_EXPERIMENTS__ID", "HSMIRROR_EXPERIMENTS"),
        ("HSMIRROR_EXPERIMENT", "HSMIRROR_EXPERIMENTS"),
        ("HSMIRROR_ARCHIV", "HSMIRROR_ARCHIVE__PATH"),
        ("HSMIRROR_PING_URL", "HSMIRROR_MONITOR__PING_URL"),
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
        "HSMIRROR_LAB_SERVICE_PORT_HTTP",
    )
    assert place.load(environ=dict.fromkeys(names, "tcp://10.0.0.1:80")) == place.load()


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


def test_terminal_escapes_in_names_and_values_are_escaped(place: Place) -> None:
    for text in (
        '"\\u001b[31m" = 1',
        '[limits]\n"\\u001b[31m" = 1',
        '[archive]\nmode = "\\u001b[31m"',
        "\x9b = 1",
    ):
        assert place.fault(text).isprintable()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[limit]\nshare = 1", "hsmirror.toml: there is no table 'limit'; did you mean 'limits'?"),
        ("[limits]\nshaer = 1", "hsmirror.toml: there is no key in [limits] 'shaer'; did you mean 'share'?"),
        ("x = 1", "hsmirror.toml: there is no table 'x'; known are api, limits, archive, monitor, experiments"),
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


def test_a_long_value_is_cut(place: Place) -> None:
    fault = place.fault(overrides={"archive.compression": "x" * 1000})
    shown = fault.removeprefix("an argument: archive.compression = ").partition(": expected")[0]
    assert len(shown) == 80
    assert shown.endswith("…")


# --- files that cannot be read --------------------------------------------------------------------------------
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


# --- secrets stay out of the configuration and of what is told ------------------------------------------------
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
        ("monitor.ping_url", "ftp://ping.test/p4ssw0rd"),
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
