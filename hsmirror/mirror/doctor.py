"""`doctor`: what would stop a run, and how to mend it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from hsmirror.api.data_types import DOCUMENTED
from hsmirror.api.envelope import parse_document
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import read_marker
from hsmirror.clock import Clock, SystemClock
from hsmirror.errors import (
    Exit,
    ForbiddenError,
    HsmirrorError,
    KeyRefusedError,
    NotFoundError,
    UpstreamError,
)
from hsmirror.mirror.catalogue import all_experiments
from hsmirror.mirror.connection import Connection, connected
from hsmirror.mirror.fetch import Request
from hsmirror.model import ListKey, Scope, Secret
from hsmirror.pace.agenda import Urgency
from hsmirror.settings import Settings

_LARGEST_SKEW_SECONDS = 30.0
_LEAST_FREE_BYTES = 1 << 30


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at. `is_good` None: cannot be told, or worth a look but no hindrance.

    `exit_status` is what a run would end with because of it.
    """

    name: str
    is_good: bool | None
    what: str
    todo: str = ""
    exit_status: int = Exit.COMPLETE


async def diagnose(
    settings: Settings, key: Secret | None, *, clock: Clock | None = None
) -> tuple[Finding, ...]:
    """Look at all that a run needs; without a key, at all but the API. Raises nothing of its own."""
    findings = _disk(settings.archive.path)
    if key is None:
        return (*findings, Finding("api", None, "not asked: there is no key"))
    async with connected(settings, key, clock or SystemClock(), longest_wait_seconds=60) as connection:
        async for finding in _api(settings, connection):
            findings.append(finding)
    return tuple(findings)


# --- the disk --------------------------------------------------------------------------------------------
def _disk(root: Path) -> list[Finding]:
    layout = Layout(root)
    there = root
    while not there.exists():
        there = there.parent
    findings = [_archive(layout), _writable(root, there)]
    free = shutil.disk_usage(there).free
    enough = free >= _LEAST_FREE_BYTES
    findings.append(
        Finding(
            "disk",
            True if enough else None,
            f"{free / (1 << 30):,.1f} GiB free at {there}",
            "" if enough else "recordings are large: make room, or put the archive on another disk",
        )
    )
    if root.exists() and stat.S_IMODE(root.stat().st_mode) & 0o077:
        findings.append(
            Finding(
                "privacy",
                None,
                f"{root} can be read by other users of this machine",
                f"if that is not wanted: chmod 0700 {root}",
            )
        )
    return findings


def _archive(layout: Layout) -> Finding:
    if not layout.root.exists():
        return Finding("archive", True, f"{layout.root} will be made")
    if not layout.marker.exists():
        if any(layout.root.iterdir()):
            return Finding(
                "archive",
                False,
                f"{layout.root} is not empty and not an archive",
                "choose an empty or a new folder",
                Exit.USAGE,
            )
        return Finding("archive", True, f"{layout.root} is empty")
    try:
        marker = read_marker(layout)
    except HsmirrorError as error:
        return Finding("archive", False, str(error), "", error.exit_status)
    return Finding("archive", True, f"{layout.root}, of {marker.upstream}, since {marker.created}")


def _writable(root: Path, there: Path) -> Finding:
    if os.access(there, os.W_OK | os.X_OK):
        return Finding("permissions", True, f"{there} can be written to")
    return Finding(
        "permissions",
        False,
        f"{there} cannot be written to by this user",
        f"change its owner, or another folder than {root}",
        Exit.STORAGE,
    )


# --- the API ---------------------------------------------------------------------------------------------
async def _api(settings: Settings, connection: Connection) -> AsyncIterator[Finding]:
    base_url = settings.api.base_url
    try:
        await connection.fetcher.get(Request("health", "health", {}, Urgency.CATALOGUE, timeout_seconds=20.0))
        yield Finding("server", True, f"{base_url} answers")
    except NotFoundError:
        yield Finding("server", True, f"{base_url} answers (it has no /health)")
    except KeyRefusedError as error:
        yield _key_refused(error)
        return
    except UpstreamError as error:
        yield Finding(
            "server", False, f"{base_url}: {error}", "check api.base_url and the network", Exit.INCOMPLETE
        )
        return
    skew = connection.fetcher.skew_seconds
    yield Finding(
        "clock",
        True if abs(skew) < _LARGEST_SKEW_SECONDS else None,
        f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the server's"
        if skew
        else "agrees with the server's",
        ""
        if abs(skew) < _LARGEST_SKEW_SECONDS
        else "set this machine's clock; hsmirror allows for it meanwhile",
    )
    try:
        experiments = await _experiments(settings, connection)
    except KeyRefusedError as error:
        yield _key_refused(error)
        return
    except UpstreamError as error:
        yield Finding(
            "experiments", False, str(error), "name the experiments in the configuration", Exit.INCOMPLETE
        )
        return
    if not experiments:
        yield Finding(
            "experiments",
            False,
            "none is named, and the key may read none",
            "check whose key it is, or name the experiments",
            Exit.INCOMPLETE,
        )
        return
    async for finding in _scopes(experiments[0], connection):
        yield finding
    statistics = connection.fetcher.statistics().budget
    yield Finding(
        "limits",
        True if statistics.left_this_hour > 0 else None,
        f"{statistics.left_this_hour} of {statistics.requests_per_hour} requests left this hour",
    )


def _key_refused(error: KeyRefusedError) -> Finding:
    return Finding(
        "key",
        False,
        str(error),
        "check HYPERSTUDY_API_KEY, or make a new key in the account's settings",
        Exit.KEY_REFUSED,
    )


async def _experiments(settings: Settings, connection: Connection) -> list[str]:
    named = [each.id for each in settings.experiments if each.id != "*"]
    if named:
        return named
    catalogue = await all_experiments(connection.reader)
    if catalogue.doubts and not catalogue.experiments:
        raise UpstreamError(catalogue.doubts[0])
    return catalogue.experiments


async def _scopes(experiment: str, connection: Connection) -> AsyncIterator[Finding]:
    """One row of each documented data type of one experiment: what the key may read."""
    lacking: list[str] = []
    for data_type in DOCUMENTED:
        key = ListKey(experiment, data_type, Scope.EXPERIMENT, experiment)
        try:
            await connection.reader.first_page(key, 1)
        except KeyRefusedError as error:
            yield _key_refused(error)
            return
        except ForbiddenError as error:
            if not error.required_scopes:
                yield Finding("scopes", False, f"{data_type.name}: {error}", "", Exit.INCOMPLETE)
                return
            lacking += error.required_scopes
        except NotFoundError:
            yield Finding(
                "experiment",
                False,
                f"the API knows no experiment {experiment}",
                "check the id, and who owns it",
                Exit.INCOMPLETE,
            )
            return
        except UpstreamError as error:
            yield Finding("scopes", None, f"{data_type.name}: {error}", "run doctor again")
            return
    yield Finding("key", True, "accepted")
    yield _scopes_finding(experiment, list(dict.fromkeys(lacking)))
    yield await _access(experiment, connection)


def _scopes_finding(experiment: str, lacking: list[str]) -> Finding:
    if not lacking:
        return Finding("scopes", True, f"all documented data types of {experiment} can be read")
    everything = {data_type.required_scope for data_type in DOCUMENTED} <= set(lacking)
    return Finding(
        "scopes",
        False,
        f"the key lacks {', '.join(lacking)}",
        "give the key these scopes, or leave their data types out",
        Exit.KEY_REFUSED if everything else Exit.INCOMPLETE,
    )


async def _access(experiment: str, connection: Connection) -> Finding:
    """Newer servers say outright whether an experiment may be exported."""
    request = Request("data/check-access", f"data/check-access/experiment/{experiment}", {}, Urgency.CATALOGUE)
    try:
        access, _ = await connection.fetcher.get_parsed(request, parse_document)
    except UpstreamError:
        return Finding("access", None, "this server does not say whether data may be exported")
    if isinstance(access, list):
        access = access[0] if access else {}
    if isinstance(access, dict) and access.get("canExport") is False:
        return Finding(
            "access",
            False,
            f"{experiment} may not be exported with this key",
            "ask the experiment's owner for the right to export",
            Exit.INCOMPLETE,
        )
    return Finding("access", True, f"{experiment} may be exported")
