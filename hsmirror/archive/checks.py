"""When each part of an archive was last verified.

`.hsmirror/checks/<k>-of-<n>.json` remembers the last `verify --sample k/n`; `1-of-1` is the whole archive. The
parts of one n are chosen by path, so that all n of them make the whole. What came to the archive after its
part was checked was hashed on its way in.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.verify import VerifyReport
from hsmirror.clock import iso_utc
from hsmirror.errors import StorageError


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What one `verify` has seen: the part-th of `parts` parts, `checked_at` (ISO 8601, when it began)."""

    part: int
    parts: int
    checked_at: str
    checked_files: int = 0
    checked_bytes: int = 0
    broken_files: int = 0
    """Missing, damaged or unreadable."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How much of an archive was verified, and since when."""

    checked_since: str | None
    """Every part was checked at this time or later; None: some part never was."""
    oldest_part: str
    """The part that was checked then, as `k/n`; where some never was, the first of those."""
    checked_parts: int
    parts: int
    last_checked_at: str
    broken_files: int
    """Found by the last check of each part."""


def remember_report(root: Path, report: VerifyReport, broken_files: int, began_at: float) -> bool:
    """What a `verify` that began at `began_at` (epoch seconds) saw; `broken_files` are left after repair."""
    part, _, parts = report.sample.partition("/")
    return remember(
        Layout(root),
        Check(
            part=int(part),
            parts=int(parts),
            checked_at=iso_utc(began_at),
            checked_files=report.checked_files,
            checked_bytes=report.checked_bytes,
            broken_files=broken_files,
        ),
    )


def remember(layout: Layout, check: Check) -> bool:
    """Write it down, with the permissions of `.hsmirror`; False where that cannot be, which is no failure.

    An archive may be read-only, a copy without `.hsmirror`, or another user's, whose way root would stand in.
    """
    try:
        state = layout.state.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(state.st_mode) or _is_root_elsewhere(state.st_uid):
        return False
    folder_mode = stat.S_IMODE(state.st_mode)
    modes = durable.Modes(folder_mode, folder_mode & 0o666)
    content = msgspec.json.encode(check) + b"\n"
    try:
        durable.write_whole(layout.root, layout.check(check.part, check.parts), content, modes)
    except StorageError:
        return False
    if check.parts == 1:  # it has seen what every part has
        for older in read_checks(layout):
            if older.parts > 1 and older.checked_at <= check.checked_at:
                with suppress(OSError):
                    layout.check(older.part, older.parts).unlink()
    return True


def _is_root_elsewhere(owner: int) -> bool:
    return os.name == "posix" and os.geteuid() == 0 and owner != 0


def read_checks(layout: Layout) -> tuple[Check, ...]:
    """All that are remembered; what cannot be read is passed over."""
    found = []
    try:
        paths = sorted(layout.checks.glob("*.json"))
    except OSError:
        return ()
    for path in paths:
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            check = msgspec.json.decode(path.read_bytes(), type=Check)
            if layout.check(check.part, check.parts) == path and 1 <= check.part <= check.parts:
                found.append(check)
    return tuple(found)


def coverage(checks: Iterable[Check]) -> Coverage | None:
    """What they come to, by the division into parts that says most; None where there are none."""
    checks = tuple(checks)
    if not checks:
        return None
    whole = next((check for check in checks if check.parts == 1), None)
    each = [_by_parts(parts, checks, whole) for parts in {check.parts for check in checks}]
    best = max(each, key=lambda one: (one.checked_since or "", one.checked_parts / one.parts, -one.parts))
    return msgspec.structs.replace(
        best,
        last_checked_at=max(check.checked_at for check in checks),
        broken_files=max(one.broken_files for one in each),
    )


def _by_parts(parts: int, checks: Iterable[Check], whole: Check | None) -> Coverage:
    """By one division. What was not checked since the last check of the whole was checked by that."""
    own = [
        check
        for check in checks
        if check.parts == parts and (whole is None or check.checked_at >= whole.checked_at)
    ]
    counted = own if whole is None or len(own) == parts else [*own, whole]
    oldest = min(counted, key=lambda check: check.checked_at)
    is_whole = whole is not None or len(own) == parts
    checked = {check.part for check in own}
    oldest_part = oldest.part if is_whole else next(part for part in count(1) if part not in checked)
    return Coverage(
        checked_since=oldest.checked_at if is_whole else None,
        oldest_part=f"{oldest_part}/{oldest.parts if is_whole else parts}",
        checked_parts=parts if is_whole else len(own),
        parts=parts,
        last_checked_at=oldest.checked_at,
        broken_files=sum(check.broken_files for check in counted),
    )
