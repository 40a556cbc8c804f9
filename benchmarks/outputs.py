"""Outputs read back: whatever form a contender leaves, what it comes to, and whether that is right."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import msgspec

from benchmarks.dataset import Expected
from benchmarks.fingerprints import Fingerprint, file_fingerprint, fingerprint


class Form(Enum):
    """How a contender's output lies in its folder."""

    PAGES = "answers as they came, *.json"
    NDJSON = "rows.ndjson"
    DLT = "dlt's load files: rows rewritten, so that ids alone can be compared"
    ARCHIVE = "an archive of hsmirror"
    FILES = "recording files, *.mp4"
    ARCHIVED_FILES = "recording files in an archive of hsmirror"


class _Envelope(msgspec.Struct):
    data: list[msgspec.Raw]


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def wrong(form: Form, out: Path, expected: Expected) -> str:
    """What is wrong with an output; empty where it is what it has to be."""
    what, wanted = {
        Form.DLT: ("ids", expected.ids),
        Form.FILES: ("files", expected.files),
        Form.ARCHIVED_FILES: ("files", expected.files),
    }.get(form, ("rows", expected.rows))
    try:
        found = _READERS[form](out)
    except (OSError, EOFError, ValueError, KeyError, msgspec.MsgspecError, zlib.error) as error:
        return f"unreadable: {error}"
    if found.count != wanted.count:
        return f"{found.count} {what}, not {wanted.count}"
    return "" if found == wanted else f"{what} that differ"


def _pages(out: Path) -> Fingerprint:
    pages = sorted(out.glob("*.json"))
    return fingerprint(bytes(row) for page in pages for row in _decode_envelope(page.read_bytes()).data)


def _ndjson(out: Path) -> Fingerprint:
    with (out / "rows.ndjson").open("rb") as file:
        return fingerprint(line.removesuffix(b"\n") for line in file)


def _dlt(out: Path) -> Fingerprint:
    files = [path for path in (out / "lake" / "data" / "events").iterdir() if ".jsonl" in path.name]
    return fingerprint(json.loads(line)["id"].encode() for path in files for line in _lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        yield from file


def _archive(out: Path) -> Fingerprint:
    shards = (path for path in out.glob("archive/experiment_id=*/data_type=*/**/*") if ".ndjson" in path.name)
    return fingerprint(row for shard in shards for row in _shard(shard).splitlines())


def _shard(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _files(out: Path) -> Fingerprint:
    return file_fingerprint(out.rglob("*.mp4"))


def _archived_files(out: Path) -> Fingerprint:
    return file_fingerprint(out.glob("archive/experiment_id=*/files/**/*.mp4"))


_READERS = {
    Form.PAGES: _pages,
    Form.NDJSON: _ndjson,
    Form.DLT: _dlt,
    Form.ARCHIVE: _archive,
    Form.FILES: _files,
    Form.ARCHIVED_FILES: _archived_files,
}
