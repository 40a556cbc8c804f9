"""`forget`: a withdrawn consent."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hsmirror.cli import signals
from hsmirror.cli.invocation import Injected, Invocation
from hsmirror.cli.output import Output, plain
from hsmirror.cli.text import counted, printable, size
from hsmirror.errors import UsageError

if TYPE_CHECKING:
    from hsmirror.mirror.forget import ForgetReport
    from hsmirror.mirror.traces import RowCount

_MOST_NAMED = 20


def forget(
    archive: Annotated[Path | None, Parameter(help="The archive's folder; else the configuration's.")] = None,
    /,
    *,
    participant: Annotated[str, Parameter(help="The id of the person to forget, as it stands in their rows.")],
    dry_run: Annotated[
        bool, Parameter(name=["--dry-run", "-n"], help="Only say what would be removed.")
    ] = False,
    yes: Annotated[
        bool, Parameter(name=["--yes", "-y"], help="Do not ask. Nobody is asked without a terminal.")
    ] = False,
    invocation: Injected,
) -> int:
    """Remove a person's rows and recordings for good, and leave them out from now on."""
    root = invocation.archive(archive)
    output = invocation.output
    if not dry_run and not yes and _can_ask(output):
        found = _run(invocation, root, participant, dry_run=True)
        _print(_found(found, output.verbosity), output)
        if not (found.found_nothing and found.was_forgotten) and not _is_confirmed(output):
            raise UsageError("nothing was removed")
    report = _run(invocation, root, participant, dry_run=dry_run)
    if output.is_json:
        output.document(plain(report) | {"exit_status": int(report.exit_status)})
    elif output.verbosity >= 0:
        _print(_found(report, output.verbosity), output)
        _print(_outcome(report), output)
    if report.unreadable and not dry_run:
        output.error(
            f"{counted(len(report.unreadable), 'damaged shard')} may still hold rows of this person: mend what "
            "hsmirror verify finds, and run forget again"
        )
    return int(report.exit_status)


def _run(invocation: Invocation, root: Path, participant: str, *, dry_run: bool) -> ForgetReport:
    return signals.run(lambda: invocation.program.forget(root, participant, dry_run=dry_run))


def _can_ask(output: Output) -> bool:
    return sys.stdin.isatty() and output.is_terminal and not output.is_json


def _is_confirmed(output: Output) -> bool:
    output.console.print("This cannot be undone. Remove it? [y/N]", end=" ")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _print(lines: Iterable[str], output: Output) -> None:
    from rich.text import Text

    for line in lines:
        output.result(Text(printable(line), overflow="fold"))


def _outcome(report: ForgetReport) -> Iterator[str]:
    person = report.participant
    if report.found_nothing and report.was_forgotten:
        return
    if report.is_dry_run:
        yield f"nothing was removed; without --dry-run it is, and {person} is left out from then on"
    elif report.is_finished:
        yield f"{'' if report.found_nothing else 'removed; '}later syncs leave {person} out"


def _found(report: ForgetReport, verbosity: int) -> Iterator[str]:
    person = report.participant
    if report.found_nothing:
        yield f"nothing {'left' if report.was_forgotten else 'held'} of {person}"
    else:
        files = f"{counted(report.files, 'recording file')} ({size(report.file_bytes)})"
        yield f"of {person}: {counted(report.rows, 'row')}, {files}"
    yield from _rows(report.by_room, verbosity)
    if report.older_rows or report.older_files:
        files = f"{counted(report.older_files, 'recording file')} ({size(report.older_file_bytes)})"
        yield f"  in older versions: {counted(report.older_rows, 'row')}, {files}"
    if report.unreadable_older_shards:
        yield f"  older versions that cannot be read go as a whole: {report.unreadable_older_shards}"
    if report.partial_files and not (report.found_nothing and report.was_forgotten):
        yield f"  unfinished downloads, which begin anew: {counted(report.partial_files, 'file')}"
    yield from _staying(report, verbosity)


def _staying(report: ForgetReport, verbosity: int) -> Iterator[str]:
    """What names the person, or may be theirs, and is not removed."""
    if report.still_naming:
        rows = counted(sum(each.rows for each in report.still_naming), "row")
        yield f"stays: {rows} of other people that name {report.participant}"
        yield from _rows(report.still_naming, verbosity)
    if report.older_rows_still_naming:
        yield f"stays: {counted(report.older_rows_still_naming, 'such row')} in older versions"
    if report.rows_of_nobody:
        rows = counted(sum(each.rows for each in report.rows_of_nobody), "row")
        yield f"stays: {rows} of the same rooms that do not tell whose they are"
        yield from _rows(report.rows_of_nobody, verbosity)
    for what, paths in (
        ("stays: it names this person", report.documents_naming),
        ("stays: it may be somebody else's", report.shared_files),
        ("damaged, and not searched", report.unreadable),
    ):
        yield from (f"{what}: {path}" for path in paths[:_MOST_NAMED])
        if len(paths) > _MOST_NAMED:
            yield f"{what}: {len(paths) - _MOST_NAMED} more; --json names them all"


def _rows(counts: Iterable[RowCount], verbosity: int) -> Iterator[str]:
    """By data type; by room, too, with `-v`."""
    if verbosity > 0:
        for each in counts:
            room = "no room" if each.room is None else f"room {each.room}"
            yield f"  {each.data_type} of {room} of {each.experiment}: {counted(each.rows, 'row')}"
        return
    by_type: dict[str, list[int]] = {}
    for each in counts:
        by_type.setdefault(each.data_type, []).append(each.rows)
    for data_type, rows in sorted(by_type.items()):
        yield f"  {data_type}: {counted(sum(rows), 'row')} in {counted(len(rows), 'room')}"
