"""The configuration: one frozen, validated value, made from a TOML file, the environment and arguments.

Where a key is given more than once, arguments stand above the environment, the environment above the file,
and the file above the defaults. Values keep the text that the user wrote; properties give them as numbers,
with the unit in the name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec

from hsmirror.config_keys import KEYS, TIME, Key, moment, names
from hsmirror.config_sources import (
    FILE_NAME,
    FULL_KEY_TEXT,
    Given,
    Source,
    config_file,
    from_arguments,
    from_environment,
    from_file,
    nearest,
    refuse_unknown,
    shown,
)
from hsmirror.credentials import KEY_WAYS, api_key
from hsmirror.errors import ConfigurationError
from hsmirror.quantities import parse_duration, parse_mode, parse_rate, parse_size

__all__ = [
    "FIELDS",
    "FILE_NAME",
    "ApiSettings",
    "ArchiveSettings",
    "ExperimentSettings",
    "LimitSettings",
    "Settings",
    "api_key",
    "example",
    "load",
    "parse_duration",
    "parse_size",
]

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
_Connections = Annotated[int, msgspec.Meta(ge=1, le=1024)]
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]


# --- what is configured ------------------------------------------------------------------------------
class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the API is and where its key is kept. The key itself comes from `credentials.api_key`."""

    base_url: str = "https://api.hyperstudy.io/api/v3"
    organization_id: str = ""
    key_file: Path | None = None
    key_command: str = ""


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be asked of the API and of the storage hosts."""

    requests_per_hour: _Count = 1000
    requests_per_minute_per_endpoint: _Count = 100
    share: _Share = 1.0
    max_concurrent_requests: _Connections = 16
    max_concurrent_downloads: _Connections = 4
    max_download_rate: str = ""

    @property
    def max_download_bytes_per_second(self) -> float | None:
        """None: as fast as it goes."""
        return parse_rate(self.max_download_rate)


class ArchiveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the archive is and how it is written. `load` makes `path` absolute."""

    path: Path = Path("archive")
    compression: Literal["gzip", "none", "zstd"] = "gzip"
    shard_size: str = "128MiB"
    settle: str = "48h"
    recheck: str = "30d"
    mode: str = ""

    @property
    def shard_size_bytes(self) -> int:
        return parse_size(self.shard_size)

    @property
    def settle_seconds(self) -> float:
        return parse_duration(self.settle)

    @property
    def recheck_seconds(self) -> float:
        return parse_duration(self.recheck)

    @property
    def folder_mode(self) -> int:
        """Permission bits of each folder."""
        return parse_mode(self.mode)

    @property
    def file_mode(self) -> int:
        """Permission bits of each file: those of the folders, without execution."""
        return parse_mode(self.mode) & 0o666


class ExperimentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One experiment to hold, and what to narrow it to. Empty tuples and None: not narrowed.

    `start_time` and `end_time` are ISO 8601 in UTC (`2026-11-22T02:00:03Z`).
    """

    id: _Text
    data_types: tuple[str, ...] = ()
    rooms: tuple[_Text, ...] = ()
    participants: tuple[_Text, ...] = ()
    start_time: str | None = None
    end_time: str | None = None
    files: bool = True


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that a run is told."""

    api: ApiSettings = ApiSettings()
    limits: LimitSettings = LimitSettings()
    archive: ArchiveSettings = ArchiveSettings()
    experiments: tuple[ExperimentSettings, ...] = ()


_TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "api": ApiSettings,
    "limits": LimitSettings,
    "archive": ArchiveSettings,
    "experiments": ExperimentSettings,  # one of them
}
FIELDS: Final[Mapping[str, msgspec.structs.FieldInfo]] = {
    f"{table}.{field.name}": field
    for table, struct in _TABLES.items()
    for field in msgspec.structs.fields(struct)
}
"""Every field by its dotted key."""


# --- loading ---------------------------------------------------------------------------------------------
def load(
    *,
    config: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] = _NOTHING,
    cwd: Path,
    user_config_dir: Path,
) -> Settings:
    """The settings, checked. Relative paths start at the file's folder, or at `cwd` if not from a file.

    `config` must exist; None: `hsmirror.toml` in `cwd`, else in `user_config_dir`, else no file. `overrides`
    are arguments by dotted key (`{"archive.path": "here", "experiments": ["exp_1", {"id": "exp_2"}]}`); None
    stands for an option that was not used. `experiments` from arguments or from HSMIRROR_EXPERIMENTS
    (ids, with commas between) replace the file's. Raises ConfigurationError.
    """
    file = config_file(config, cwd, user_config_dir)
    # It starts where a written one would: deleting a line that states a default changes nothing.
    given = {"archive.path": Given(ArchiveSettings().path, file.source if file else Source("default", cwd))}
    if file is not None:
        given |= from_file(file)
    given |= from_environment(environ, cwd)
    given |= from_arguments(overrides, cwd)

    def section(table: str) -> dict[str, Any]:
        return {
            key.partition(".")[2]: _value(key, given[key])
            for key in FIELDS
            if key in given and key.startswith(table)
        }

    return Settings(
        api=ApiSettings(**section("api.")),
        limits=LimitSettings(**section("limits.")),
        archive=ArchiveSettings(**section("archive.")),
        experiments=_experiments(given["experiments"]) if "experiments" in given else (),
    )


# --- values are checked one at a time, so that an error can name the one that is wrong --------------------
def _value(key: str, given: Given, shown_key: str = "") -> Any:
    field, rule, value = FIELDS[key], KEYS[key], given.value
    if value == "" and field.default is None:
        return None
    if isinstance(value, date) and rule.expected is TIME:  # TOML has times of its own
        value = value.isoformat()
    place = f"{given.source.label}: {shown_key or key}"
    if given.source.strict and FULL_KEY_TEXT.search(str(value)):
        raise ConfigurationError(f"{place} holds an API key, and keys never stand there: {KEY_WAYS}")
    try:
        converted = msgspec.convert(
            value, field.type, strict=given.source.strict, dec_hook=given.source.absolute
        )
        return rule.check(converted)
    except (msgspec.ValidationError, ValueError, OverflowError):
        expected = f"expected {rule.expected}{_hint(rule, value)}"
        # The cause would show what the message leaves out.
        raise ConfigurationError(f"{place} = {shown(key, value)}: {expected}") from None


def _experiments(given: Given) -> tuple[ExperimentSettings, ...]:
    if not isinstance(given.value, (list, tuple)):
        raise ConfigurationError(
            f"{given.source.label}: experiments is a list of tables: write [[experiments]]"
        )
    experiments = tuple(
        _experiment(f"experiments[{n}]", entry, given.source) for n, entry in enumerate(given.value)
    )
    counts = Counter(experiment.id for experiment in experiments)
    repeated = [id_ for id_, count in counts.items() if count > 1]
    if repeated:
        place = f"{given.source.label}: experiments: id = {shown('', repeated[0])}"
        raise ConfigurationError(f"{place} stands there more than once: expected one entry")
    return experiments


def _experiment(place: str, entry: object, source: Source) -> ExperimentSettings:
    content = {"id": entry} if isinstance(entry, str) else entry
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{source.label}: {place} = {shown('', entry)}: expected a table or an id")
    for name in content:
        if name not in names("experiments"):
            refuse_unknown(source, f"key in {place}", str(name), names("experiments"))
    if content.get("id") is None:
        raise ConfigurationError(
            f'{source.label}: {place} has no id: expected id = "…", or id = "*" for every experiment'
        )
    fields = {
        name: _value(f"experiments.{name}", Given(value, source), f"{place}.{name}")
        for name, value in content.items()
        if value is not None
    }
    experiment = ExperimentSettings(**fields)
    start, end = moment(experiment.start_time), moment(experiment.end_time)
    if start and end and start >= end:
        expected = f"expected a time after start_time, {experiment.start_time}"
        raise ConfigurationError(f"{source.label}: {place}.end_time = {experiment.end_time!r}: {expected}")
    return experiment


def _hint(rule: Key, value: object) -> str:
    words = value if isinstance(value, (list, tuple)) else [value]
    for word in words:
        if rule.options and isinstance(word, str) and word not in rule.options:
            close = nearest(word, rule.options)
            return f"; for {shown('', word)}, did you mean {close!r}?" if close else ""
    return ""


def example(values: Mapping[str, object] = _NOTHING) -> str:
    """As `config_example.example`."""
    from hsmirror import config_example  # noqa: PLC0415  # it imports this module for the defaults

    return config_example.example(values)
