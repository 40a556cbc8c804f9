"""What the demo shows: what came out, how to read it, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from hsmirror.cli.output import Output
from hsmirror.cli.tables import compact_table
from hsmirror.cli.text import counted, duration, number, printable, size

if TYPE_CHECKING:
    from hsmirror.archive.verify import VerifyReport
    from hsmirror.mirror.report import ExperimentReport, RunReport

_NEXT = """\
  export HYPERSTUDY_API_KEY=…      your key
  hsmirror doctor                  would a run work?
  hsmirror sync '*' --archive my-archive"""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to read the archive, ready to be copied."""

    name: str
    code: str


def ways_to_read(archive: Path, data_type: str = "events") -> tuple[Way, ...]:
    """For DuckDB, pandas and R; each reads one data type of all experiments and rooms."""
    folder = archive.as_posix()
    shards = f"{folder}/*/data_type={data_type}/*/*.ndjson.gz"
    return (
        Way(
            "DuckDB",
            f"SELECT room_id, count(*) FROM read_json(\n  '{shards}',\n"  # noqa: S608 - a text to read, not run
            "  hive_partitioning = true, union_by_name = true) GROUP BY room_id;",
        ),
        Way(
            "pandas",
            "import glob, pandas\n"
            f"shards = glob.glob('{shards}')\n"
            f"{data_type} = pandas.concat(\n"
            "  pandas.read_json(shard, lines=True, dtype=False) for shard in shards)",
        ),
        Way(
            "R",
            f"shards <- Sys.glob('{shards}')\n"
            "rows <- unlist(lapply(shards, readLines, encoding = 'UTF-8'))\n"
            f"{data_type} <- jsonlite::fromJSON(\n"
            "  paste0('[', paste(rows, collapse = ','), ']'), flatten = TRUE)",
        ),
    )


def show_tour(output: Output, root: Path, shown: Path, report: RunReport, checked: VerifyReport) -> None:
    """On stdout. `shown` is the archive's path as the reader would type it."""
    for experiment in report.experiments:
        _show_counts(output, experiment)
    output.result("", _ending(report, checked), "")
    _heading(output, f"What is in {printable(shown.as_posix())}/")
    output.text("\n".join([*_tree(root), ""]))
    _heading(output, "Read it with what you have")
    for way in ways_to_read(shown):
        output.text("\n".join([f"  # {way.name}", *(f"  {line}" for line in way.code.splitlines()), ""]))
    _heading(output, "Your own data")
    output.text(_NEXT)


def _heading(output: Output, text: str) -> None:
    output.result(Text(text, style="bold"))


def _show_counts(output: Output, experiment: ExperimentReport) -> None:
    rooms = f" · {counted(experiment.rooms, 'room')}"
    output.result(
        "", Text.assemble((printable(experiment.id), "bold"), f"  {printable(experiment.name)}", rooms)
    )
    rows: list[tuple[str | Text, ...]] = [
        (output.mark(kind.is_complete), kind.data_type, number(kind.rows), number(kind.rooms))
        for kind in experiment.types
        if kind.rows or not kind.is_complete
    ]
    rows.append((output.mark(not experiment.files_failed), "recording files", number(experiment.files), ""))
    output.result(compact_table(("", "data type", "rows>", "rooms>"), rows))


def _ending(report: RunReport, checked: VerifyReport) -> Text:
    changed = f"{counted(report.changed_files, 'file')} changed" if report.changed_files else "nothing changed"
    sound = f"{counted(checked.checked_files, 'file')} ({size(checked.checked_bytes)}) match their receipts"
    if not checked.is_sound:
        sound = "damage was found: run hsmirror verify on it"
    cost = f"{counted(report.requests, 'request')}, {duration(report.seconds)}"
    word = ("Complete", "bold green") if report.is_complete else ("Incomplete", "bold red")
    return Text.assemble(word, f": {changed} in {cost}; {sound}.", overflow="fold")


def _tree(root: Path) -> Iterator[str]:
    """One of each kind of thing in an archive, as far as there is one, and how many more."""
    yield "  archive.json"
    yield "  SHA256SUMS      sha256sum -c SHA256SUMS checks every byte without hsmirror"
    yield "  receipts/       what is held, with its hashes"
    for experiment in sorted(root.glob("experiment_id=*"))[:1]:
        yield f"  {printable(experiment.name)}/"
        yield from (f"    {name}" for name in ("experiment.json",) if (experiment / name).exists())
        yield from _some(experiment, "data_type=events/*/*.ndjson*", "data_type=*/*/*.ndjson*", "shards")
        yield from _some(experiment, "files/*/*", "files/*/*", "recording files")


def _some(experiment: Path, shown: str, counted_: str, what: str) -> Iterator[str]:
    for path in sorted(experiment.glob(shown))[:1]:
        yield f"    {printable(path.relative_to(experiment).as_posix())}"
    more = sum(1 for _ in experiment.glob(counted_)) - 1
    if more > 0:
        yield f"    … {number(more)} more {what}"
