"""An archive read as a stranger would read it, and held against what the lab knows to be true.

Nothing here comes from the code that writes archives: paths are taken apart by hand, shards are opened with the
standard library, hashes are computed anew.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

from hsmirror.lab.chronicle import Chronicle
from hsmirror.lab.data import MadeUpSource

EXPERIMENT = "exp_research_001"

DOCUMENTED = ("events", "recordings", "chat", "ratings/continuous", "ratings/sparse", "sync", "components")
NEWER = (
    "rooms",
    "participants",
    "videochat",
    "eyetracking",
    "variables",
    "agent-decisions",
    "agent-runs",
    "deployments",
)

Rows: TypeAlias = "Counter[tuple[str | None, bytes]]"
"""Rows as often as they occur, each with its room; None: it belongs to no room."""

_NO_ROOM = "__HIVE_DEFAULT_PARTITION__"
_ADDRESS_FIELDS = {"downloadUrl", "url", "downloadPath"}


def differences(
    archive: Path,
    source: MadeUpSource,
    experiment: str = EXPERIMENT,
    *,
    lacking: Collection[str] = (),
    untold: Collection[str] = (),
) -> dict[str, str]:
    """What the archive has too little or too much of, by data type and for `files`; empty where all is well.

    `lacking` are data types that the server does not offer: nothing of them may be there. `untold` are those
    whose rows are in no room, since nothing upstream tells their rooms.
    """
    found: dict[str, str] = {}
    for data_type in (*DOCUMENTED, *NEWER):
        held = held_rows(archive, experiment, data_type)
        expected: Rows = Counter()
        if data_type not in lacking:
            expected = ledger_rows(source, experiment, data_type)
        if data_type in untold:
            expected = Counter([(None, row) for _, row in expected.elements()])
        if held != expected:
            found[data_type] = _described(held, expected)
    files, expected_files = held_files(archive, experiment), ledger_files(source, experiment)
    if files != expected_files:
        found["files"] = f"missing {expected_files - files}, unexpected {files - expected_files}"
    return found


def _described(held: Rows, expected: Rows) -> str:
    missing, unexpected = expected - held, held - expected
    example = next(iter(missing or unexpected))
    return f"{missing.total()} rows missing, {unexpected.total()} unexpected, such as {example}"


# --- what is held ------------------------------------------------------------------------------------
def held_rows(archive: Path, experiment: str, data_type: str) -> Rows:
    """Every row of every shard. Of recordings, the address fields are checked and taken off; of agent
    decisions, the runs that a room's list ends with are left out (they are in `agent-runs`).
    """
    rows: Rows = Counter()
    for shard in shards(archive, experiment, data_type):
        room = _value(shard.parent.name, "room_id")
        for line in lines(shard):
            row = _without_addresses(line) if data_type == "recordings" else line
            if not _is_run(row, data_type):
                rows[room, row] += 1
    return rows


def shards(archive: Path, experiment: str, data_type: str) -> list[Path]:
    """The shards of one data type, in order of their paths."""
    folder = archive / f"experiment_id={experiment}" / f"data_type={data_type.replace('/', '_')}"
    return sorted(folder.glob("room_id=*/*.ndjson.gz"))


def lines(shard: Path) -> list[bytes]:
    """The rows of a gzip shard, each a line that ends."""
    content = gzip.decompress(shard.read_bytes())
    assert content.endswith(b"\n"), f"{shard.name} ends in the middle of a row"
    found = content[:-1].split(b"\n")
    for line in found:
        assert line.startswith(b"{") and line.endswith(b"}"), f"a line of {shard.name} is no object"
    return found


def held_files(archive: Path, experiment: str) -> Counter[tuple[str | None, str, str]]:
    """Every recording file: room, recording id, sha256."""
    folder = archive / f"experiment_id={experiment}" / "files"
    return Counter(
        (
            _value(path.parent.name, "room_id"),
            unquote(path.name.rpartition(".")[0]),
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.glob("*/*")
    )


def receipts(archive: Path, **fields: object) -> list[dict[str, Any]]:
    """The receipts that count, those with these fields (`kind="shard", data_type="chat"`)."""
    latest: dict[str, dict[str, Any]] = {}
    for segment in sorted((archive / "receipts").glob("*.jsonl")):
        for line in segment.read_bytes().splitlines():
            receipt = json.loads(line)
            if receipt["kind"] != "intent":
                latest[_receipt_key(receipt)] = receipt
    return [
        receipt
        for receipt in latest.values()
        if all(receipt.get(name) == value for name, value in fields.items())
    ]


def _receipt_key(receipt: dict[str, Any]) -> str:
    names = {
        "list": ("experiment", "data_type"),
        "absent": ("what",),
        "pending": ("kind", "path"),
        "forgotten": ("person",),
    }.get(receipt["kind"], ("path",))
    return "\n".join(json.dumps(receipt[name]) for name in names)


def contents(archive: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below the archive with its bytes; compressed ones a second time, as they are inside."""
    for path in sorted(archive.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            yield path, content
            if content[:2] == b"\x1f\x8b":
                yield path, gzip.decompress(content)


def state_of_files(archive: Path) -> dict[str, tuple[int, int, str]]:
    """Inode, time of change and hash of every file, except for the reports of runs and the lock."""
    found: dict[str, tuple[int, int, str]] = {}
    for path in sorted(archive.rglob("*")):
        name = path.relative_to(archive).as_posix()
        if path.is_file() and not name.startswith(".hsmirror/runs/") and name != ".hsmirror/lock":
            status = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = (status.st_ino, status.st_mtime_ns, digest)
    return found


# --- what is true ------------------------------------------------------------------------------------
def ledger_rows(source: MadeUpSource, experiment: str, data_type: str) -> Rows:
    """The same of the lab's ledger."""
    return Counter(
        (room, row) for room, row in source.ledger_rows(experiment, data_type) if not _is_run(row, data_type)
    )


def ledger_files(source: MadeUpSource, experiment: str) -> Counter[tuple[str | None, str, str]]:
    return Counter((file.room_id, file.recording_id, file.sha256) for file in source.ledger_files(experiment))


def _is_run(row: bytes, data_type: str) -> bool:
    return data_type == "agent-decisions" and row.startswith(b'{"_type":"run"')


def _without_addresses(row: bytes) -> bytes:
    """The row up to its address fields, which must be its last ones and carry no query string."""
    match = re.search(rb',"(?:downloadUrl|url|downloadPath)":', row)
    if match is None:
        return row
    fields = json.loads(b"{" + row[match.start() + 1 :])
    assert set(fields) <= _ADDRESS_FIELDS, f"unexpected fields {set(fields)} after a recording's row"
    assert not any("?" in value for value in fields.values()), "an address has kept its query string"
    return row[: match.start()] + b"}"


def _value(folder: str, name: str) -> str | None:
    key, _, value = folder.partition("=")
    assert key == name, f"a folder {folder!r} where {name}=… belongs"
    return None if value == _NO_ROOM else unquote(value)


# --- data that moved ---------------------------------------------------------------------------------
def out_of_bounds(
    archive: Path, chronicle: Chronicle, experiment: str = EXPERIMENT, *, complete: Collection[str]
) -> list[str]:
    """Where an archive does not fit what was upstream while it was made; empty where all is well.

    Of every data type no row may be held that was never there, nor more often than it ever was; of those that
    are called `complete` (`files` among them), whatever was there throughout must be held.
    """
    found: list[str] = []
    for data_type in (*DOCUMENTED, *NEWER):
        held = held_rows(archive, experiment, data_type)
        unexpected = held - _without_runs(chronicle.rows_ever(experiment, data_type), data_type)
        missing = _without_runs(chronicle.rows_throughout(experiment, data_type), data_type) - held
        found += _excess(data_type, "never were there", unexpected)
        if data_type in complete:
            found += _excess(data_type, "are missing from what is called complete", missing)
    files = held_files(archive, experiment)
    found += _excess("files", "never were there", files - Counter(chronicle.files_ever(experiment)))
    if "files" in complete:
        lost = Counter(chronicle.files_throughout(experiment)) - files
        found += _excess("files", "are missing from what is called complete", lost)
    return found


def _without_runs(rows: Rows, data_type: str) -> Rows:
    return Counter({key: count for key, count in rows.items() if not _is_run(key[1], data_type)})


def _excess(what: str, how: str, excess: Counter[Any]) -> list[str]:
    if not excess:
        return []
    return [f"{what}: {excess.total()} {how}, such as {str(next(iter(excess)))[:300]}"]
