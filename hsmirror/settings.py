"""The configuration: one frozen, validated value, made from a TOML file, the environment and arguments.

Where a key is given more than once, arguments stand above the environment, the environment above the file,
and the file above the defaults. Values keep the text that the user wrote; properties give them as numbers,
with the unit in the name.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import shlex
import stat
import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NoReturn
from urllib.parse import urlsplit

import msgspec

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.errors import ConfigurationError
from hsmirror.model import Secret

FILE_NAME: Final = "hsmirror.toml"
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
_Connections = Annotated[int, msgspec.Meta(ge=1, le=1024)]
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]


# --- what is configured ------------------------------------------------------------------------------
class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the API is and where its key is kept. The key itself comes from `api_key`."""

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


# --- texts that stand for numbers: a ValueError says that the text is none of them ---------------------
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_UNIT_BYTES = {"": 1, "B": 1, "kB": 1000, "KB": 1000}
_UNIT_BYTES |= {f"{prefix}B": 1000**power for power, prefix in enumerate("MGT", start=2)}
_UNIT_BYTES |= {f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)}
_NUMBER = r"([0-9]{1,6}(?:\.[0-9]{1,6})?)"
_DURATION = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in "wdhms"))
_UNIT_SECONDS = (604800, 86400, 3600, 60, 1)
_PRIVATE_MODE = 0o700


def parse_size(text: str) -> int:
    """Bytes, at least 1: `128MiB` (1024²), `1GB` (1000³), `4096`. `Mb` and `M` are refused as ambiguous."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _UNIT_BYTES:
        raise ValueError("not a size")
    size_bytes = int(Decimal(match[1]) * _UNIT_BYTES[match[2]])
    if size_bytes < 1:
        raise ValueError("a size of no bytes")
    return size_bytes


def parse_rate(text: str) -> float | None:
    """Bytes a second: `50MiB/s`, `10MB/s`; None for the empty text, which sets no limit."""
    if not text:
        return None
    if not text.endswith("/s"):
        raise ValueError("not a rate")
    return float(parse_size(text.removesuffix("/s")))


def parse_duration(text: str) -> float:
    """Seconds: `48h`, `30d`, `90s`, `1h30m`; units from the longest (w, d, h, m, s), each once at most."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError("not a duration")
    return sum(
        float(number or 0) * seconds for number, seconds in zip(match.groups(), _UNIT_SECONDS, strict=True)
    )


def parse_mode(text: str) -> int:
    """Permission bits of folders: `0750`, or `2750` with the group inherited; 0700 for the empty text.

    The owner must have every right, and the world must not write.
    """
    if not text:
        return _PRIVATE_MODE
    mode = int(text, 8) if re.fullmatch("[02]?[0-7]{3}", text) else 0
    if mode & 0o700 != 0o700 or mode & 0o002:
        raise ValueError("not a mode")
    return mode


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _base_url(text: str) -> str:
    parts = urlsplit(_printable(text))
    secure = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    _ = parts.port  # raises ValueError if it is none
    if not (secure and parts.hostname) or any(sign in text for sign in "@?#\\"):
        raise ValueError("not a base address")
    return text.rstrip("/")


def _printable(text: str) -> str:
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("not printable ASCII")
    return text


def _known_data_types(names: tuple[str, ...]) -> tuple[str, ...]:
    if not DATA_TYPES.keys() >= set(names):
        raise ValueError("an unknown data type")
    return tuple(dict.fromkeys(names))


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _utc_text(text: str) -> str:
    moment = _moment(text)
    assert moment is not None
    return moment.isoformat().replace("+00:00", "Z")


def _command(text: str) -> str:
    if text and not shlex.split(text):
        raise ValueError("a command of nothing but spaces")
    return text


def _checked_by(parse: Callable[[str], object]) -> Callable[[str], str]:
    def check(text: str) -> str:
        parse(text)
        return text

    return check


# --- the keys: their line in the example, and what an error asks for -----------------------------------
@dataclass(frozen=True, slots=True)
class _Key:
    comment: str
    expected: str
    check: Callable[[Any], Any] = lambda value: value
    """Takes the value once its type is right, and returns it as it is kept; raises ValueError."""
    options: tuple[str, ...] = ()


_COUNT, _CONNECTIONS = "a whole number, 1 or more", "a whole number from 1 to 1024"
_DURATION_FORM = 'a duration such as "48h", "30d" or "1h30m"'
_TIME = 'a time in ISO 8601, such as "2026-11-22T02:00:00Z"; without an offset it is taken as UTC'
_IDS = 'a list of ids, such as ["first_id", "second_id"]'
_COMPRESSIONS = ("gzip", "none", "zstd")
_KEYS: Final[Mapping[str, _Key]] = {
    "api.base_url": _Key(
        "The API's address: https, or http where the host is this machine.",
        "an https address without user, query or fragment (http for loopback alone)",
        _base_url,
    ),
    "api.organization_id": _Key(
        "Sent with each request; for accounts that belong to several organisations.",
        'an id without spaces, in ASCII, such as "org_abc"',
        _printable,
    ),
    "api.key_file": _Key(
        "A file with the API key alone, for when HYPERSTUDY_API_KEY is not set.", "the path of a file"
    ),
    "api.key_command": _Key(
        "A command that prints the API key, run without a shell; for when there is no key_file either.",
        "a command, with its quotes closed",
        _command,
    ),
    "limits.requests_per_hour": _Key("What the API allows a key.", _COUNT),
    "limits.requests_per_minute_per_endpoint": _Key("What the API allows a key at one endpoint.", _COUNT),
    "limits.share": _Key(
        "The part of both that is ours, when others use the key too.", "a number above 0, 1 at the most"
    ),
    "limits.max_concurrent_requests": _Key("Requests to the API at the same time.", _CONNECTIONS),
    "limits.max_concurrent_downloads": _Key("Recording files at the same time.", _CONNECTIONS),
    "limits.max_download_rate": _Key(
        'Of all recording files together, such as "50MiB/s"; empty: as fast as it goes.',
        'a rate such as "50MiB/s" or "10MB/s", or "" for none',
        _checked_by(parse_rate),
    ),
    "archive.path": _Key(
        "The archive's folder; a relative path starts at this file's folder.", "the path of a folder"
    ),
    "archive.compression": _Key(
        'Of the shards: "gzip", which every reader opens, "zstd" or "none".',
        '"gzip", "none" or "zstd"',
        options=_COMPRESSIONS,
    ),
    "archive.shard_size": _Key(
        "A shard above this size, before compression, is split.",
        'a size such as "128MiB", "1GB" or "4096"',
        _checked_by(parse_size),
    ),
    "archive.settle": _Key(
        "A finished room this old is not expected to change.", _DURATION_FORM, _checked_by(parse_duration)
    ),
    "archive.recheck": _Key(
        "Yet everything is read again this often.", _DURATION_FORM, _checked_by(parse_duration)
    ),
    "archive.mode": _Key(
        'Permissions of folders, such as "0750", and of files without the x; empty: 0700 and 0600.',
        'octal digits as text, such as "0750", with all rights for the owner and no writing for the world',
        _checked_by(parse_mode),
    ),
    "experiments.id": _Key(
        'An experiment; "*" is every one that the key may read, own and shared, new ones too.', "an id"
    ),
    "experiments.data_types": _Key(
        'Data types, such as ["events", "ratings/continuous"]; empty: all.',
        f"a list of data types ({', '.join(DATA_TYPES)})",
        _known_data_types,
        tuple(DATA_TYPES),
    ),
    "experiments.rooms": _Key("Ids of rooms; empty: all.", _IDS),
    "experiments.participants": _Key("Ids of participants; empty: all.", _IDS),
    "experiments.start_time": _Key("Rows from this time on; empty: from the first.", _TIME, _utc_text),
    "experiments.end_time": _Key("Rows before this time; empty: to the last.", _TIME, _utc_text),
    "experiments.files": _Key("Whether recording files are held too.", "true or false"),
}
_TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "api": ApiSettings,
    "limits": LimitSettings,
    "archive": ArchiveSettings,
    "experiments": ExperimentSettings,  # one of them
}
_FIELDS: Final[Mapping[str, msgspec.structs.FieldInfo]] = {
    f"{table}.{field.name}": field
    for table, struct in _TABLES.items()
    for field in msgspec.structs.fields(struct)
}
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "HYPERSTUDY_BASE_URL": "api.base_url",  # the official SDK's name; below HSMIRROR_API__BASE_URL
    **{
        f"HSMIRROR_{key.replace('.', '__').upper()}": key for key in _KEYS if not key.startswith("experiments.")
    },
    "HSMIRROR_EXPERIMENTS": "experiments",
}
_ALMOST = frozenset(name.replace("__", "_") for name in _ENVIRONMENT) | {"HSMIRROR_API_KEY"}
_KEY_WAYS = (
    "set HYPERSTUDY_API_KEY, or name a file that holds the key in api.key_file, "
    "or a command that prints it in api.key_command"
)
_KEY_NAMES = frozenset({"key", "api_key", "apikey", "secret", "token", "hyperstudy_api_key"})
_SHOWN_LENGTH: Final = 80
_KEY_TEXT = re.compile(r"hst_(?:live|test)_\w*")
_FULL_KEY_TEXT = re.compile(r"hst_(?:live|test)_\w{32}")


# --- where values come from ----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Source:
    """Who gave a value: what an error calls it, and the folder where its relative paths start."""

    label: str
    folder: Path
    strict: bool = True
    """False: values are texts, to be read as numbers where a number is due."""

    def absolute(self, _: type, path: object) -> Path:
        if not isinstance(path, (str, PurePath)) or not str(path) or "\0" in str(path):
            raise ValueError("not a path")
        try:
            return self.folder / Path(path).expanduser()
        except RuntimeError:  # `~somebody`, and there is no such user
            raise ValueError("not a path") from None


@dataclass(frozen=True, slots=True)
class _Given:
    value: Any
    source: _Source


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
    file = _config_file(config, cwd, user_config_dir)
    # It starts where a written one would: deleting a line that states a default changes nothing.
    given = {"archive.path": _Given(ArchiveSettings().path, file.source if file else _Source("default", cwd))}
    if file is not None:
        given |= _from_file(file)
    given |= _from_environment(environ, cwd)
    given |= _from_overrides(overrides, cwd)

    def section(table: str) -> dict[str, Any]:
        return {
            key.partition(".")[2]: _value(key, given[key])
            for key in _FIELDS
            if key in given and key.startswith(table)
        }

    return Settings(
        api=ApiSettings(**section("api.")),
        limits=LimitSettings(**section("limits.")),
        archive=ArchiveSettings(**section("archive.")),
        experiments=_experiments(given["experiments"]) if "experiments" in given else (),
    )


@dataclass(frozen=True, slots=True)
class _File:
    source: _Source
    content: bytes


def _config_file(config: Path | None, cwd: Path, user_config_dir: Path) -> _File | None:
    candidates = (Path(FILE_NAME), user_config_dir / FILE_NAME) if config is None else (config,)
    for path in candidates:
        place = cwd / path
        try:
            return _File(_Source(str(path), place.parent), place.read_bytes())
        except FileNotFoundError as error:
            if config is not None:
                raise ConfigurationError(f"{path}: there is no such file: hsmirror init writes one") from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not the path of a file"
            raise ConfigurationError(f"{path}: cannot be read: {reason}") from error
    return None


def _from_file(file: _File) -> dict[str, _Given]:
    try:
        # Notepad begins files with a byte order mark, which TOML does not know.
        text = file.content.decode("utf-8-sig")
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # The cause may hold the whole text, and with it whatever was written there by mistake.
        fault = _toml_fault(error, file.content)
        raise ConfigurationError(f"{file.source.label}: it is not TOML: {fault}") from None
    return {key: _Given(value, file.source) for key, value in _flat(document, file.source)}


def _toml_fault(error: Exception, content: bytes) -> str:
    match error:
        case UnicodeDecodeError():
            line = content.count(b"\n", 0, error.start) + 1
            column = error.start - content.rfind(b"\n", 0, error.start)
            return f"not UTF-8 (at line {line}, column {column})"
        case RecursionError():
            return "tables or lists nested too deeply"
        case _:
            lines = content.split(b"\n")
            end = f"(at line {len(lines)}, column {len(lines[-1]) + 1})"
            text = _KEY_TEXT.sub("hst_…", str(error)).replace("(at end of document)", end)
            return "".join(character if character.isprintable() else "�" for character in text)


def _flat(document: Mapping[str, Any], source: _Source) -> Iterator[tuple[str, Any]]:
    for table, content in document.items():
        if table not in _TABLES:
            _refuse_unknown(source, "table", table, _TABLES)
        if table == "experiments":
            yield table, content
            continue
        if not isinstance(content, dict):
            raise ConfigurationError(f"{source.label}: {table} is a table: write [{table}], and its keys below")
        for name in content:
            if f"{table}.{name}" not in _KEYS:
                _refuse_unknown(source, f"key in [{table}]", name, _names(table))
            yield f"{table}.{name}", content[name]


def _from_environment(environ: Mapping[str, str], cwd: Path) -> dict[str, _Given]:
    for name in environ:
        # Names without a section are left alone: Kubernetes, for one, sets HSMIRROR_SERVICE_HOST.
        if name.startswith("HSMIRROR_") and name not in _ENVIRONMENT and ("__" in name or name in _ALMOST):
            _refuse_unknown(_Source("the environment", cwd), "variable", name, _ENVIRONMENT)
    given = {}
    for name, key in _ENVIRONMENT.items():
        text = environ.get(name)
        if text is None or (name == "HYPERSTUDY_BASE_URL" and not text):
            continue
        ids = [id_.strip() for id_ in text.split(",") if id_.strip()]
        given[key] = _Given(ids if key == "experiments" else text, _Source(name, cwd, strict=False))
    return given


def _from_overrides(overrides: Mapping[str, object], cwd: Path) -> dict[str, _Given]:
    source = _Source("an argument", cwd)
    known = dict.fromkeys(_ENVIRONMENT.values())
    for key in overrides:
        if key not in known:
            _refuse_unknown(source, "key", key, known)
    return {key: _Given(value, source) for key, value in overrides.items() if value is not None}


# --- values are checked one at a time, so that an error can name the one that is wrong --------------------
def _value(key: str, given: _Given, shown_key: str = "") -> Any:
    field, rule, value = _FIELDS[key], _KEYS[key], given.value
    if value == "" and field.default is None:
        return None
    if isinstance(value, date) and rule.expected is _TIME:  # TOML has times of its own
        value = value.isoformat()
    place = f"{given.source.label}: {shown_key or key}"
    if given.source.strict and _FULL_KEY_TEXT.search(str(value)):
        raise ConfigurationError(f"{place} holds an API key, and keys never stand there: {_KEY_WAYS}")
    try:
        converted = msgspec.convert(
            value, field.type, strict=given.source.strict, dec_hook=given.source.absolute
        )
        return rule.check(converted)
    except (msgspec.ValidationError, ValueError, OverflowError):
        expected = f"expected {rule.expected}{_hint(rule, value)}"
        # The cause would show what the message leaves out.
        raise ConfigurationError(f"{place} = {_shown(key, value)}: {expected}") from None


def _experiments(given: _Given) -> tuple[ExperimentSettings, ...]:
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
        place = f"{given.source.label}: experiments: id = {_shown('', repeated[0])}"
        raise ConfigurationError(f"{place} stands there more than once: expected one entry")
    return experiments


def _experiment(place: str, entry: object, source: _Source) -> ExperimentSettings:
    content = {"id": entry} if isinstance(entry, str) else entry
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{source.label}: {place} = {_shown('', entry)}: expected a table or an id")
    for name in content:
        if name not in _names("experiments"):
            _refuse_unknown(source, f"key in {place}", str(name), _names("experiments"))
    if content.get("id") is None:
        raise ConfigurationError(
            f'{source.label}: {place} has no id: expected id = "…", or id = "*" for every experiment'
        )
    fields = {
        name: _value(f"experiments.{name}", _Given(value, source), f"{place}.{name}")
        for name, value in content.items()
        if value is not None
    }
    experiment = ExperimentSettings(**fields)
    start, end = _moment(experiment.start_time), _moment(experiment.end_time)
    if start and end and start >= end:
        expected = f"expected a time after start_time, {experiment.start_time}"
        raise ConfigurationError(f"{source.label}: {place}.end_time = {experiment.end_time!r}: {expected}")
    return experiment


def _names(table: str) -> tuple[str, ...]:
    return _TABLES[table].__struct_fields__


def _refuse_unknown(source: _Source, kind: str, name: str, known: Iterable[str]) -> NoReturn:
    """What stands under an unknown name is never shown: it may be a key under a misspelt one."""
    bare = name.lower().removeprefix("hsmirror_").removeprefix("api__").removeprefix("api.")
    if bare in _KEY_NAMES or _FULL_KEY_TEXT.search(name):
        shown = _shown("", name)
        raise ConfigurationError(f"{source.label}: {shown}: the API key never stands there: {_KEY_WAYS}")
    nearest = _nearest(name, known)
    hint = f"did you mean {nearest!r}?" if nearest else f"known are {', '.join(known)}"
    raise ConfigurationError(f"{source.label}: there is no {kind} {_shown('', name)}; {hint}")


def _nearest(word: str, known: Iterable[str]) -> str | None:
    spelt = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word[:_SHOWN_LENGTH].casefold(), spelt, n=1, cutoff=0.5)
    return spelt[close[0]] if close else None


def _hint(rule: _Key, value: object) -> str:
    words = value if isinstance(value, (list, tuple)) else [value]
    for word in words:
        if rule.options and isinstance(word, str) and word not in rule.options:
            nearest = _nearest(word, rule.options)
            return f"; for {_shown('', word)}, did you mean {nearest!r}?" if nearest else ""
    return ""


def _shown(key: str, value: object) -> str:
    """A value as an error may show it: cut, escaped, and nothing where a secret may be in it."""
    text = repr(value)
    if key == "api.key_command" or (key == "api.base_url" and any(sign in text for sign in "@?#")):
        return "(not shown: it may hold a secret)"
    text = _KEY_TEXT.sub("hst_…", text)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 1]}…"


# --- the key -------------------------------------------------------------------------------------------
_KEY_LENGTH_LIMIT: Final = 4096
_KEY_COMMAND_SECONDS: Final = 30.0


def api_key(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run,
) -> Secret:
    """The key: from HYPERSTUDY_API_KEY, else from `api.key_file`, else from what `api.key_command` prints.

    White space around it is dropped. A key file that is ours and open to the world is refused; one of another
    owner, or on a read-only file system (both are so in the secrets of Docker and Kubernetes), is not, as it
    is not ours to close. Raises ConfigurationError, whose text never holds the key nor a command's output.
    """
    text, source = environ.get("HYPERSTUDY_API_KEY", "").strip(), "HYPERSTUDY_API_KEY"
    if not text and settings.api.key_file is not None:
        text, source = _key_in(settings.api.key_file), f"api.key_file {str(settings.api.key_file)!r}"
    elif not text and settings.api.key_command:
        text, source = _key_from(settings.api.key_command, environ, run), "api.key_command"
    elif not text:
        raise ConfigurationError(f"there is no API key: {_KEY_WAYS}")
    if not text:
        raise ConfigurationError(f"{source}: there is no API key in it: expected the key alone")
    if len(text) > _KEY_LENGTH_LIMIT or not all("!" <= character <= "~" for character in text):
        raise ConfigurationError(
            f"{source}: what it gives is no API key (too long, or with spaces, line breaks or characters "
            "beyond ASCII within; it is not shown): expected the key alone"
        )
    return Secret(text)


def _key_in(path: Path) -> str:
    place = f"api.key_file {str(path)!r}"
    try:
        with path.open("rb") as file:
            if os.name == "posix" and _is_ours_and_open(file.fileno()):
                mend = f"run chmod 600 {shlex.quote(str(path))}"
                raise ConfigurationError(f"{place}: every user of this machine may open it: {mend}")
            content = file.read(_KEY_LENGTH_LIMIT * 2)
    except OSError as error:
        raise ConfigurationError(f"{place}: cannot be read: {error.strerror}") from error
    return content.decode("latin-1").strip()


def _is_ours_and_open(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    may_change = found.st_uid == os.geteuid() and not os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
    return stat.S_ISREG(found.st_mode) and may_change and bool(found.st_mode & stat.S_IRWXO)


def _key_from(
    command: str, environ: Mapping[str, str], run: Callable[..., subprocess.CompletedProcess[bytes]]
) -> str:
    try:
        result = run(
            shlex.split(command),
            env=dict(environ),
            stdin=subprocess.DEVNULL,  # a question nobody can answer at night fails at once
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_KEY_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        # The cause would show the command, which may hold a secret, and what it printed so far.
        raise ConfigurationError(
            f"api.key_command: it took longer than {_KEY_COMMAND_SECONDS:.0f} s: run it by hand"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a command"
        raise ConfigurationError(f"api.key_command: it could not be started: {reason}") from None
    if result.returncode:
        raise ConfigurationError(
            f"api.key_command: it ended with status {result.returncode}: run it by hand to see why"
        )
    return result.stdout.decode("latin-1").strip()


# --- the example ---------------------------------------------------------------------------------------
_EXAMPLE_HEAD: Final = """\
# The configuration of hsmirror: every key, with its default. Each also has an environment variable:
# limits.share is HSMIRROR_LIMITS__SHARE; HSMIRROR_EXPERIMENTS is a list of ids with commas between.
# The API key never stands here: set HYPERSTUDY_API_KEY, or use key_file or key_command.
"""


def example(values: Mapping[str, object] = _NOTHING) -> str:
    """A commented configuration with every key: its default, or what `values` holds for it.

    `values` are as the `overrides` of `load`, experiments by their ids. Keys that only narrow an experiment
    are commented out, with `#` alone before them. Raises ConfigurationError for an unknown key.
    """
    given = _from_overrides(values, Path())
    ids = given["experiments"].value if "experiments" in given else ["exp_research_001"]
    lines = [_EXAMPLE_HEAD]
    for table in ("api", "limits", "archive"):
        lines.append(f"[{table}]")
        for name in _names(table):
            key = f"{table}.{name}"
            value = given[key].value if key in given else _FIELDS[key].default
            lines += [f"# {_KEYS[key].comment}", f"{name} = {_toml(value)}"]
        lines.append("")
    for n, id_ in enumerate(ids):
        lines += [
            "[[experiments]]",
            *([f"# {_KEYS['experiments.id'].comment}"] if n == 0 else []),
            f"id = {_toml(id_)}",
        ]
        lines += _narrowing() if n == 0 else []
        lines.append("")
    return "\n".join(lines)


def _narrowing() -> Iterator[str]:
    for name in _names("experiments")[1:]:
        key = f"experiments.{name}"
        yield f"# {_KEYS[key].comment}"
        yield f"#{name} = {_toml(_FIELDS[key].default)}"


def _toml(value: object) -> str:
    if value is None:
        return '""'
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    # TOML's basic strings are JSON's, but for surrogate pairs and DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
