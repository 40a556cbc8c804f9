"""A report's files: every sample as JSON, the tables, the drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from benchmarks.chart import drawn
from benchmarks.report import Report
from benchmarks.table import document


def write(report: Report, folder: Path, drawing: Path) -> None:
    """`speed.json` and `speed.md` into the folder, the drawing where it is said."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(_plain(report)), indent=1) + b"\n"
    )
    (folder / "speed.md").write_text(document(report), encoding="utf-8")
    drawing.write_text(drawn(report), encoding="utf-8")


def _plain(report: Report) -> dict[str, Any]:
    """Samples by job, without what they can be reckoned from."""
    return {
        "began_at": report.began_at,
        "command": report.command,
        "machine": report.machine,
        "server": report.server,
        "load": report.load,
        "rounds": report.rounds,
        "versions": report.versions,
        "jobs": {
            result.job.key: {
                "title": result.job.title,
                "records": result.expected.rows.count,
                "row_bytes": result.expected.row_bytes,
                "file_bytes": result.expected.file_bytes,
                "absent": result.absent,
                "failures": result.failures,
                "samples": result.samples,
            }
            for result in report.results
        },
    }
