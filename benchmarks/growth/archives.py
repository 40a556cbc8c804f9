"""Archives made up line by line, as somebody outside the project would write them, and archives made older."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from math import ceil
from pathlib import Path

DATA_TYPES = (
    "events",
    "recordings",
    "chat",
    "ratings/continuous",
    "ratings/sparse",
    "sync",
    "components",
    "participants",
    "rooms",
    "videochat",
    "eyetracking",
    "variables",
    "agent-decisions",
    "agent-runs",
)
SAMPLES = 100
"""Of a made-up archive the files of one part in so many are there, for `verify --sample 1/100`."""

_FIRST_RUN = datetime(2018, 1, 1, 2, tzinfo=UTC)
_ROWS = b'{"id":"made_up"}\n'
_SHA256 = hashlib.sha256(_ROWS).hexdigest()
_NIGHTS_A_YEAR = 365
_LINE = (
    '{"kind":"shard","path":"%s","experiment":"%s","data_type":"%s","room":"%s","rows":%d,"size_bytes":%d,'
    '"sha256":"%s","content_bytes":%d,"content_sha256":"%s","complete_for":[{}],'
    '"fetched_at":"2026-11-22T02:00:03Z"}\n'
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Receipts of shards: of so many experiments, in so many segments.

    `takes_turns`: each line is of another experiment than the one before it, as in segments of runs that
    mirrored them all at the same time; else those of one experiment stand together, as in a merged segment.
    """

    receipts: int
    experiments: int = 14
    segments: int = 1
    takes_turns: bool = False


def make_archive(root: Path, shape: Shape, upstream: str) -> None:
    """An archive that holds receipts, and of its files those of the first part in `SAMPLES`."""
    (root / "receipts").mkdir(parents=True)
    (root / ".hsmirror").mkdir()
    marker = {"format": 1, "upstream": upstream, "created": "2018-01-01T02:00:00Z"}
    (root / "archive.json").write_text(json.dumps(marker))
    lines = _lines(root, shape)
    for number in range(shape.segments):
        with (root / "receipts" / f"{_run_id(number)}.jsonl").open("w", encoding="ascii") as segment:
            segment.writelines(islice(lines, ceil(shape.receipts / shape.segments)))


def experiment_id(number: int) -> str:
    return f"exp_{number:04d}"


def _lines(root: Path, shape: Shape) -> Iterator[str]:
    of_each = [_lines_of(root, experiment_id(number)) for number in range(shape.experiments)]
    if shape.takes_turns:
        return (next(lines) for _ in range(ceil(shape.receipts / shape.experiments)) for lines in of_each)
    return chain.from_iterable(islice(lines, ceil(shape.receipts / shape.experiments)) for lines in of_each)


def _lines_of(root: Path, experiment: str) -> Iterator[str]:
    """Without end: every data type of one room after another."""
    number = 0
    while True:
        for data_type in DATA_TYPES:
            room = f"room_{number:08d}"
            folder = f"experiment_id={experiment}/data_type={data_type.replace('/', '_')}/room_id={room}"
            path = f"{folder}/part-00000.ndjson"
            if zlib.crc32(path.encode()) % SAMPLES == 0:
                (root / folder).mkdir(parents=True)
                (root / path).write_bytes(_ROWS)
                sha256, size_bytes, rows = _SHA256, len(_ROWS), 1
            else:
                sha256, size_bytes, rows = hashlib.sha256(path.encode()).hexdigest(), 12_345, 678
            yield _LINE % (path, experiment, data_type, room, rows, size_bytes, sha256, 123_456, sha256)
        number += 1


def make_older(root: Path, years: int) -> None:
    """As if it had been brought up to date on every night of so many years, each of which replaced a file.

    Each night left a report and an older generation; the segments were merged whenever there were many.
    """
    runs, superseded = root / ".hsmirror" / "runs", root / ".hsmirror" / "superseded"
    report = next(runs.glob("*.json")).read_bytes()
    for night in range(years * _NIGHTS_A_YEAR):
        run_id = _run_id(night)
        (runs / f"{run_id}.json").write_bytes(report)
        older = superseded / run_id / "experiment_id=exp_old" / "data_type=events" / f"room_id=room_{night}"
        older.mkdir(parents=True)
        (older / "part-00000.ndjson.gz.superseded").write_bytes(_ROWS)


def _run_id(night: int) -> str:
    return f"{_FIRST_RUN + timedelta(days=night):%Y%m%dT%H%M%SZ}-0000"
