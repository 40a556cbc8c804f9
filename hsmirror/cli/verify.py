"""`verify`: every receipt against every byte."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from hsmirror.cli.invocation import Injected, Invocation, longest_wait_seconds
from hsmirror.cli.output import Output, plain
from hsmirror.cli.text import counted, printable, size, unfinished_removals
from hsmirror.errors import Exit, UsageError

if TYPE_CHECKING:
    from hsmirror.archive.verify import VerifyReport
    from hsmirror.mirror.report import Problem

_SAMPLE = re.compile("([0-9]{1,9})/([0-9]{1,9})")
_MOST_PATHS = 50


def verify(
    archive: Annotated[Path | None, Parameter(help="The archive's folder; else the configuration's.")] = None,
    /,
    *,
    sample: Annotated[
        str | None, Parameter(help="Only the k-th of n parts, as k/n: 1/7 on Mondays, 2/7 on Tuesdays …")
    ] = None,
    repair: Annotated[
        bool, Parameter(negative="", help="Fetch again what is damaged; what that replaces is kept.")
    ] = False,
    invocation: Injected,
) -> int:
    """Check every receipt against every byte."""
    root = invocation.archive(archive)
    part = None if sample is None else _part(sample)
    from hsmirror.cli.checking import shown_progress

    with shown_progress(invocation.output) as on_progress:
        report = invocation.program.verify(root, sample=part, on_progress=on_progress)
    repaired: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    if repair and report.broken_count:
        report, repaired, problems = _repaired(invocation, root, report)
    status = Exit.DAMAGED if problems else exit_status(report)
    if invocation.output.is_json:
        more = {"repaired": list(repaired), "problems": plain(problems), "exit_status": int(status)}
        invocation.output.document(plain(report) | more)
    else:
        _show(report, invocation.output, repaired, problems)
        _show_verdict(report, invocation.output, status, was_repaired=repair)
    return status


def _repaired(
    invocation: Invocation, root: Path, report: VerifyReport
) -> tuple[VerifyReport, tuple[str, ...], tuple[Problem, ...]]:
    """The report after what is broken was fetched again, the paths that are sound now, and what was lost."""
    from hsmirror.cli import progress, signals

    settings = invocation.settings({"archive.path": root})
    key, output, stopped_with = invocation.key(settings), invocation.output, list[Exit]()
    if report.broken_paths:
        output.say(f"fetching {counted(len(report.broken_paths), 'file')} again")
    with progress.showing(output) as on_start:
        left, problems = signals.run(
            lambda: invocation.program.repair(
                settings,
                key,
                report,
                longest_wait_seconds=longest_wait_seconds(None, is_terminal=output.is_terminal),
                on_start=on_start,
                stopped_with=stopped_with,
            ),
            on_signal=stopped_with.append,
        )
    repaired = tuple(path for path in report.broken_paths if path not in left.broken_paths)
    if report.unvouched:
        output.say("run sync now: it reads again what the receipts spoke of that were lost, or had changed")
        return left, repaired, problems
    still = msgspec.structs.replace(
        report,
        missing=left.missing,
        unreadable=left.unreadable,
        damaged=left.damaged,
        unproven=left.unproven,
        unvouched=left.unvouched,
        strays=left.strays,
        notes=left.notes,
        unreadable_receipts=left.unreadable_receipts,
        checked_rows=report.checked_rows + left.checked_rows,
    )
    return still, repaired, problems


def exit_status(report: VerifyReport) -> Exit:
    """6 where something that is held is missing, damaged or cannot be read."""
    return Exit.COMPLETE if report.is_sound else Exit.DAMAGED


def _part(text: str) -> tuple[int, int]:
    match = _SAMPLE.fullmatch(text)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise UsageError(f"--sample {text}: give k/n, the k-th of n parts, such as 1/7")
    return part, parts


def _show(report: VerifyReport, output: Output, repaired: Sequence[str], problems: Sequence[Problem]) -> None:
    from hsmirror.cli.summary import problem_lines

    if repaired:
        output.say(f"repaired: {counted(len(repaired), 'file')}; what was there is in .hsmirror/superseded/")
    for line in problem_lines(problems):
        output.error(line, "problem")
    for path in repaired:
        output.detail(f"repaired: {path}")
    for what, paths in (
        ("missing", report.missing),
        ("damaged", report.damaged),
        ("unreadable", report.unreadable),
    ):
        for path in paths[:_MOST_PATHS]:
            name, _, why = path.partition(": ")
            output.error(f"{what}: {path}", what, path=name, why=why)
        if len(paths) > _MOST_PATHS:
            output.error(f"{what}: {counted(len(paths) - _MOST_PATHS, 'further file')}; --json names them all")
    _show_receipts(report, output)
    _show_files_of_nobody(report, output)
    for note in report.notes:
        output.say(note)
    for what in report.unproven:
        output.say(f"not proven complete: {printable(what)}")
    if report.unfinished_removals:
        output.say(unfinished_removals(report.unfinished_removals))


def _show_receipts(report: VerifyReport, output: Output) -> None:
    """What is amiss with what vouches for the files."""
    for what in report.unvouched:
        output.error(
            f"receipts: {printable(what)}; the next sync, or --repair, makes up for it as far as it can",
            "receipts",
        )
    for line in report.unreadable_receipts:
        output.error(f"a receipt cannot be read: {line}; the next sync fetches again what it spoke of")


def _show_files_of_nobody(report: VerifyReport, output: Output) -> None:
    for path in report.strays[:_MOST_PATHS]:
        why = f"no receipt names it, and readers take it for one of ours; {_aside(path)}"
        output.error(f"stray: {printable(path)}: {why}", "stray", path=path, why=why)
    if len(report.strays) > _MOST_PATHS:
        further = counted(len(report.strays) - _MOST_PATHS, "further file")
        output.error(f"stray: {further}; --json names them all")
    for path in report.unexpected:
        output.detail(f"nobody's (no receipt names it): {printable(path)}")
    if report.unexpected:
        output.say(f"{counted(len(report.unexpected), 'file')} without a receipt: harmless; -v names them")


def _aside(path: str) -> str:
    if path.startswith("receipts/"):
        return "move it out of the archive"
    return (
        "run sync, or --repair, which puts copies aside in .hsmirror/superseded/; "
        "what stays, move out of the archive"
    )


def _show_verdict(report: VerifyReport, output: Output, status: Exit, *, was_repaired: bool) -> None:
    """The last line: how much is sound, or what to do."""
    checked = ", ".join(
        (counted(report.checked_files, "file"), counted(report.checked_rows, "row"), size(report.checked_bytes))
    )
    if status is Exit.COMPLETE:
        if output.verbosity >= 0:
            output.result(f"sound: {checked} match their receipts")
        return
    broken = len(report.broken_paths)
    amiss = [counted(broken, "file")] if broken else []
    amiss += ["what vouches for them"] if report.unvouched or report.unreadable_receipts else []
    amiss += [counted(len(report.strays), "stray file")] if report.strays else []
    if was_repaired and not amiss:
        output.result(
            f"all files match their receipts again, but not all that they held could be had ({checked})"
        )
        return
    if was_repaired:
        advice = "what is still broken could not be fetched again" if broken else "see above for what to do"
    else:
        advice = "--repair fetches them again" if broken else "run sync again, or --repair"
    output.result(f"damaged: {' and '.join(amiss)}, of {checked} checked; {advice}")
