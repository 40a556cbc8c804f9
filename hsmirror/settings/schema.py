"""What can be configured: tables and keys, their types and defaults.

Values keep the text that the user wrote; properties give them as numbers, with the unit in the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from hsmirror.model import Secret
from hsmirror.settings.quantities import parse_duration, parse_mode, parse_rate, parse_size

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
    keep_superseded: str = ""
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
    def keep_superseded_seconds(self) -> float | None:
        """None: for ever."""
        return parse_duration(self.keep_superseded) if self.keep_superseded else None

    @property
    def folder_mode(self) -> int:
        """Permission bits of each folder."""
        return parse_mode(self.mode)

    @property
    def file_mode(self) -> int:
        """Permission bits of each file: those of the folders, without execution."""
        return parse_mode(self.mode) & 0o666


class MonitorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is told how each `sync` went."""

    metrics_file: Path | None = None
    ping_url: str = ""

    @property
    def ping_address(self) -> Secret | None:
        """Whoever knows it can report in our name, so it is never shown."""
        return Secret(self.ping_url) if self.ping_url else None

    def __repr__(self) -> str:
        return f"<MonitorSettings metrics_file={self.metrics_file} ping={'yes' if self.ping_url else 'no'}>"


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
    monitor: MonitorSettings = MonitorSettings()
    experiments: tuple[ExperimentSettings, ...] = ()


_TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "api": ApiSettings,
    "limits": LimitSettings,
    "archive": ArchiveSettings,
    "monitor": MonitorSettings,
    "experiments": ExperimentSettings,  # one of them
}
FIELDS: Final[Mapping[str, msgspec.structs.FieldInfo]] = {
    f"{table}.{field.name}": field
    for table, struct in _TABLES.items()
    for field in msgspec.structs.fields(struct)
}
"""Every field by its dotted key."""
