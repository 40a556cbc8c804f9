"""The keys of the configuration: their line in the example, what an error asks for, and how each is checked."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.settings.quantities import parse_duration, parse_mode, parse_rate, parse_size


# --- checks: each takes the value once its type is right, and returns it as it is kept ------------------
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


def _ping_url(text: str) -> str:
    parts = urlsplit(_printable(text))
    secure = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    _ = parts.port  # raises ValueError if it is none
    if text and (not (secure and parts.hostname) or any(sign in text for sign in "@#\\")):
        raise ValueError("not an address to ping")
    return text


def _printable(text: str) -> str:
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("not printable ASCII")
    return text


def _known_data_types(names: tuple[str, ...]) -> tuple[str, ...]:
    if not DATA_TYPES.keys() >= set(names):
        raise ValueError("an unknown data type")
    return tuple(dict.fromkeys(names))


def moment(text: str | None) -> datetime | None:
    """A time in ISO 8601, in UTC; taken as UTC where it names no offset. Raises ValueError."""
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _utc_text(text: str) -> str:
    time = moment(text)
    assert time is not None
    return time.isoformat().replace("+00:00", "Z")


def _command(text: str) -> str:
    if text and not shlex.split(text):
        raise ValueError("a command of nothing but spaces")
    return text


def _duration_or_none(text: str) -> str:
    if text:
        parse_duration(text)
    return text


def _checked_by(parse: Callable[[str], object]) -> Callable[[str], str]:
    def check(text: str) -> str:
        parse(text)
        return text

    return check


# --- the keys --------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one key, besides its type and default, which its field has."""

    comment: str
    expected: str
    check: Callable[[Any], Any] = lambda value: value
    """Takes the value once its type is right, and returns it as it is kept; raises ValueError."""
    options: tuple[str, ...] = ()


_COUNT, _CONNECTIONS = "a whole number, 1 or more", "a whole number from 1 to 1024"
_DURATION_FORM = 'a duration such as "48h", "30d" or "1h30m"'
TIME: Final = 'a time in ISO 8601, such as "2026-11-22T02:00:00Z"; without an offset it is taken as UTC'
_IDS = 'a list of ids, such as ["first_id", "second_id"]'
_COMPRESSIONS = ("gzip", "none", "zstd")
KEYS: Final[Mapping[str, Key]] = {
    "api.base_url": Key(
        "The API's address: https, or http where the host is this machine.",
        "an https address without user, query or fragment (http for loopback alone)",
        _base_url,
    ),
    "api.organization_id": Key(
        "Sent with each request; for accounts that belong to several organisations.",
        'an id without spaces, in ASCII, such as "org_abc"',
        _printable,
    ),
    "api.key_file": Key(
        "A file with the API key alone, for when HYPERSTUDY_API_KEY is not set.", "the path of a file"
    ),
    "api.key_command": Key(
        "A command that prints the API key, run without a shell; for when there is no key_file either.",
        "a command, with its quotes closed",
        _command,
    ),
    "limits.requests_per_hour": Key("What the API allows a key.", _COUNT),
    "limits.requests_per_minute_per_endpoint": Key("What the API allows a key at one endpoint.", _COUNT),
    "limits.share": Key(
        "The part of both that is ours, when others use the key too.", "a number above 0, 1 at the most"
    ),
    "limits.max_concurrent_requests": Key("Requests to the API at the same time.", _CONNECTIONS),
    "limits.max_concurrent_downloads": Key("Recording files at the same time.", _CONNECTIONS),
    "limits.max_download_rate": Key(
        'Of all recording files together, such as "50MiB/s"; empty: as fast as it goes.',
        'a rate such as "50MiB/s" or "10MB/s", or "" for none',
        _checked_by(parse_rate),
    ),
    "archive.path": Key(
        "The archive's folder; a relative path starts at this file's folder.", "the path of a folder"
    ),
    "archive.compression": Key(
        'Of the shards: "gzip", which every reader opens, "zstd" or "none".',
        '"gzip", "none" or "zstd"',
        options=_COMPRESSIONS,
    ),
    "archive.shard_size": Key(
        "A shard above this size, before compression, is split.",
        'a size such as "128MiB", "1GB" or "4096"',
        _checked_by(parse_size),
    ),
    "archive.settle": Key(
        "A finished room this old is not expected to change.",
        _DURATION_FORM,
        _checked_by(parse_duration),
    ),
    "archive.recheck": Key(
        "Yet everything is read again this often.", _DURATION_FORM, _checked_by(parse_duration)
    ),
    "archive.keep_superseded": Key(
        'How long versions that were replaced are kept, such as "180d"; empty: for ever.',
        f'{_DURATION_FORM}, or "" for ever',
        _duration_or_none,
    ),
    "archive.mode": Key(
        'Permissions of folders, such as "0750", and of files without the x; empty: 0700 and 0600.',
        'octal digits as text, such as "0750", with all rights for the owner and no writing for the world',
        _checked_by(parse_mode),
    ),
    "monitor.metrics_file": Key(
        "A file for Prometheus that each sync writes, whatever its end; empty: none.", "the path of a file"
    ),
    "monitor.ping_url": Key(
        "Told how each sync goes: at /start, as it stands if complete, at /fail if not; empty: nobody.",
        "an https address without user or fragment (http for loopback alone)",
        _ping_url,
    ),
    "experiments.id": Key(
        'An experiment; "*" is every one that the key may read, own and shared, new ones too.', "an id"
    ),
    "experiments.data_types": Key(
        'Data types, such as ["events", "ratings/continuous"]; empty: all.',
        f"a list of data types ({', '.join(DATA_TYPES)})",
        _known_data_types,
        tuple(DATA_TYPES),
    ),
    "experiments.rooms": Key("Ids of rooms; empty: all.", _IDS),
    "experiments.participants": Key("Ids of participants; empty: all.", _IDS),
    "experiments.start_time": Key("Rows from this time on; empty: from the first.", TIME, _utc_text),
    "experiments.end_time": Key("Rows before this time; empty: to the last.", TIME, _utc_text),
    "experiments.files": Key("Whether recording files are held too.", "true or false"),
}
"""By dotted key, in the order of the example."""

TABLES: Final = tuple(dict.fromkeys(key.partition(".")[0] for key in KEYS))


def names(table: str) -> tuple[str, ...]:
    """The keys of one table, in the order of the example."""
    return tuple(key.partition(".")[2] for key in KEYS if key.startswith(f"{table}."))
