"""`verify`: every receipt against every byte."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hsmirror.cli.invocation import Injected
from hsmirror.cli.output import Output, plain
from hsmirror.cli.text import counted, printable, size
from hsmirror.errors import Exit, UsageError

if TYPE_CHECKING:
    from hsmirror.archive.verify import VerifyReport

_SAMPLE = re.compile("([0-9]{1,9})/([0-9]{1,9})")
_MOST_PATHS = 50


def verify(
    archive: Annotated[Path | None, Parameter(help="The archive's folder; else the configuration's.")] = None,
    /,
    *,
    sample: Annotated[
        str | None, Parameter(help="Only the k-th of n parts, as k/n: 1/7 on Mondays, 2/7 on Tuesdays …")
    ] = None,
    invocation: Injected,
) -> int:
    """Check every receipt against every byte."""
    root = invocation.archive(archive)
    part = None if sample is None else _part(sample)
    from hsmirror.cli.checking import shown_progress

    with shown_progress(invocation.output) as on_progress:
        report = invocation.program.verify(root, sample=part, on_progress=on_progress)
    if invocation.output.is_json:
        invocation.output.document(plain(report) | {"exit_status": int(exit_status(report))})
    else:
        _show(report, invocation.output)
    return exit_status(report)


def exit_status(report: VerifyReport) -> Exit:
    """6 where something that is held is missing, damaged or cannot be read."""
    return Exit.DAMAGED if report.missing or report.damaged or report.unreadable else Exit.COMPLETE


def _part(text: str) -> tuple[int, int]:
    match = _SAMPLE.fullmatch(text)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise UsageError(f"--sample {text}: give k/n, the k-th of n parts, such as 1/7")
    return part, parts


def _show(report: VerifyReport, output: Output) -> None:
    for what, paths in (
        ("missing", report.missing),
        ("damaged", report.damaged),
        ("unreadable", report.unreadable),
    ):
        for path in paths[:_MOST_PATHS]:
            output.error(f"{what}: {path}")
        if len(paths) > _MOST_PATHS:
            output.error(f"{what}: {counted(len(paths) - _MOST_PATHS, 'further file')}; --json names them all")
    for path in report.unexpected:
        output.detail(f"nobody's (no receipt names it): {printable(path)}")
    if report.unexpected:
        output.say(f"{counted(len(report.unexpected), 'file')} without a receipt: harmless; -v names them")
    for what in report.unproven:
        output.say(f"not proven complete: {printable(what)}")
    checked = ", ".join(
        (counted(report.checked_files, "file"), counted(report.checked_rows, "row"), size(report.checked_bytes))
    )
    if exit_status(report) is Exit.COMPLETE:
        output.result(f"sound: {checked} match their receipts")
        return
    broken = len(report.missing) + len(report.damaged) + len(report.unreadable)
    output.result(
        f"damaged: {counted(broken, 'file')} of {checked} checked; remove what is damaged, and the next sync "
        "fetches it again"
    )
