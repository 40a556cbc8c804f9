"""The data on disk: long lists as NDJSON with an index, recording files, and what all of it comes to."""

from __future__ import annotations

import json
import mmap
import shutil
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import msgspec

from benchmarks.experiments import Experiment, file_blocks, made_rows
from benchmarks.fingerprints import Fingerprint, file_fingerprint, fingerprint
from benchmarks.rows import ID_FIELDS

_DONE = "expected.json"


@dataclass(frozen=True, slots=True)
class Expected:
    """What every contender has to end up with."""

    rows: Fingerprint
    """Of the rows, as bytes."""
    ids: Fingerprint
    """Of their ids, for contenders that rewrite rows."""
    files: Fingerprint
    row_bytes: int
    file_bytes: int


class Dataset:
    """Prepared experiments under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self, experiment: Experiment) -> Expected:
        """Write the experiment's data, unless they are there already."""
        folder = self.root / experiment.id
        done = folder / _DONE
        made_from = json.loads(json.dumps(asdict(experiment)))
        if done.exists() and (kept := json.loads(done.read_bytes()))["experiment"] == made_from:
            return msgspec.convert(kept["expected"], Expected)
        shutil.rmtree(folder, ignore_errors=True)
        self.files_of(experiment).mkdir(parents=True)
        expected = self._write(experiment)
        done.write_text(json.dumps({"experiment": made_from, "expected": asdict(expected)}))
        return expected

    def files_of(self, experiment: Experiment) -> Path:
        """The folder of its recording files."""
        return self.root / experiment.id / "files"

    def opened(self, experiment: Experiment, data_type: str) -> ListOfRows:
        """One long list; empty where the experiment has no rows of that type."""
        return ListOfRows(self._list_path(experiment, data_type))

    def _list_path(self, experiment: Experiment, data_type: str) -> Path:
        return self.root / experiment.id / f"{data_type.replace('/', '_')}.ndjson"

    def _write(self, experiment: Experiment) -> Expected:
        rows, ids, row_bytes = Fingerprint(), Fingerprint(), 0
        for data_type in experiment.data_types:
            path = self._list_path(experiment, data_type)
            row_bytes += _write_list(path, made_rows(experiment, data_type))
            lines = path.read_bytes().splitlines()
            rows += fingerprint(lines)
            if (id_field := ID_FIELDS.get(data_type)) is not None:
                ids += fingerprint(json.loads(line)[id_field].encode() for line in lines)
        paths = [self.files_of(experiment) / name for name in experiment.file_names()]
        for path in paths:
            with path.open("wb") as file:
                file.writelines(file_blocks(experiment, path.name))
        return Expected(rows, ids, file_fingerprint(paths), row_bytes, len(paths) * experiment.file_bytes)


class ListOfRows:
    """One list, mapped into memory: any run of its rows at once."""

    def __init__(self, path: Path) -> None:
        self._ends, self._rooms = array("Q"), array("I")
        self._bytes: mmap.mmap | bytes = b""
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._ends.frombytes(path.with_suffix(".ends").read_bytes())
            self._rooms.frombytes(path.with_suffix(".rooms").read_bytes())
        self.numbers_of = cache(self._numbers_of)

    def __len__(self) -> int:
        return len(self._ends)

    def rows(self, numbers: Sequence[int]) -> list[bytes]:
        """The rows of these numbers."""
        starts = (self._ends[number - 1] if number else 0 for number in numbers)
        return [
            self._bytes[start : self._ends[number] - 1] for start, number in zip(starts, numbers, strict=True)
        ]

    def _numbers_of(self, room: int) -> Sequence[int]:
        """Numbers of the rows of one room."""
        return tuple(number for number, each in enumerate(self._rooms) if each == room)


def _write_list(path: Path, rows: Iterable[tuple[int, bytes]]) -> int:
    ends, rooms, end = array("Q"), array("I"), 0
    with path.open("wb") as file:
        for room, row in rows:
            end += file.write(row + b"\n")
            ends.append(end)
            rooms.append(room)
    path.with_suffix(".ends").write_bytes(ends.tobytes())
    path.with_suffix(".rooms").write_bytes(rooms.tobytes())
    return end
