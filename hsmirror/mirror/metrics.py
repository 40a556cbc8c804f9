"""A run, and what the archive holds after it, in Prometheus' text format.

Every sample has the archive's path as a label, so that the files of several archives can lie side by side. All
are gauges: each run writes the file anew, with figures of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from hsmirror import __version__
from hsmirror.archive.receipts import instant
from hsmirror.archive.status import HeldExperiment, StatusReport
from hsmirror.clock import iso_utc
from hsmirror.errors import Exit
from hsmirror.mirror.report import RunReport

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `report` is None where it ended before it had begun: a busy archive, a missing key."""

    archive: str
    exit_status: int
    ended_at: float
    duration_seconds: float
    report: RunReport | None = None


@dataclass(frozen=True, slots=True)
class _Family:
    """One metric: its name, its help, and its samples by labels."""

    name: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], float]]


def render(ended: Ended, held: StatusReport | None) -> bytes:
    """The whole file. `held` None: the archive cannot be read, and what it holds is left out."""
    lines: list[str] = []
    for family in (*_of_run(ended, held), *_of_archive(held)):
        samples = list(family.samples)
        if not samples:
            continue
        name = f"hsmirror_{family.name}"
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} gauge"]
        for labels, value in samples:
            lines.append(f"{name}{{{_labels({'archive': ended.archive} | dict(labels))}}} {_number(value)}")
    return "".join(f"{line}\n" for line in lines).encode()


def _labels(labels: Mapping[str, str]) -> str:
    """Texts from the server are shown as they are, but for what would break a line."""
    escaped = {name: _plain(text).translate(_ESCAPES) for name, text in labels.items()}
    return ",".join(f'{name}="{text}"' for name, text in escaped.items())


def _plain(text: str) -> str:
    """UTF-8 has no lone surrogates; a carriage return ends a line for some readers."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\r", "\\r")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _of_run(ended: Ended, held: StatusReport | None) -> Iterator[_Family]:
    def one(name: str, text: str, value: float) -> _Family:
        return _Family(name, text, [({}, value)])

    yield _Family("build_info", "The version of hsmirror that ran.", [({"version": __version__}, 1)])
    yield one("last_run_timestamp_seconds", "When the last run ended, since 1970.", ended.ended_at)
    yield one(
        "last_success_timestamp_seconds",
        "When the last run that was complete ended, since 1970; 0 if none ever was.",
        _last_success(ended, held),
    )
    yield one("last_run_exit_status", "How the last run ended; 0 is complete.", ended.exit_status)
    yield one("last_run_duration_seconds", "How long the last run took.", ended.duration_seconds)
    report = ended.report
    if report is None:
        return
    for name, text, value in (
        ("received_rows", "rows that the API sent", report.received_rows),
        ("received_bytes", "bytes of the API's answers, decoded", report.received_bytes),
        ("downloaded_bytes", "bytes of recording files received", report.downloaded_bytes),
        ("requests", "requests to the API", report.requests),
        ("throttled_requests", "requests that the API refused for its limits", report.throttled),
        ("retries", "requests that were repeated", report.retried),
        ("failures", "problems, each something that could not be archived", len(report.problems)),
        ("notes", "what was odd and no failure", len(report.notes)),
        ("changed_files", "files of the archive that are new or changed", report.changed_files),
        ("files_fetched", "recording files fetched", sum(each.files_fetched for each in report.experiments)),
    ):
        yield one(f"last_run_{name}", f"The last run: {text}.", value)


def _last_success(ended: Ended, held: StatusReport | None) -> float:
    told = held.last_success_at if held is not None else None
    if ended.exit_status == Exit.COMPLETE:  # in the words of its report, which later runs find it by
        told = ended.report.ended_at if ended.report is not None else iso_utc(ended.ended_at)
    try:
        return instant(told).timestamp() if told else 0
    except ValueError:
        return 0


def _of_archive(held: StatusReport | None) -> Iterator[_Family]:
    experiments = held.experiments if held is not None else ()
    yield _Family(
        "rows",
        "Rows held.",
        [
            ({"experiment": each.id, "data_type": kind.data_type}, kind.rows)
            for each in experiments
            for kind in each.types
        ],
    )
    yield _Family(
        "type_complete",
        "Whether all rows of a data type are proven to be held.",
        [
            ({"experiment": each.id, "data_type": kind.data_type}, kind.is_complete)
            for each in experiments
            for kind in each.types
        ],
    )
    for name, text, value in (
        ("complete", "Whether all of an experiment is held.", lambda each: each.is_complete),
        ("files", "Recording files held.", lambda each: each.files),
        ("file_bytes", "Bytes of the recording files held.", lambda each: each.file_bytes),
        ("files_pending", "Recording files that are not final yet.", lambda each: len(each.pending)),
        ("files_failed", "Recording files that could not be fetched.", lambda each: len(each.failed)),
    ):
        yield _Family(name, text, _by_experiment(experiments, value))


def _by_experiment(
    experiments: Iterable[HeldExperiment], value: Callable[[HeldExperiment], float]
) -> Iterator[tuple[Mapping[str, str], float]]:
    return (({"experiment": each.id}, value(each)) for each in experiments)
