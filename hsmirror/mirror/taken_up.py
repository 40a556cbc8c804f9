"""Files whose receipts are lost, taken up again by what `SHA256SUMS` still says of them.

What the server no longer has, nothing else could bring back into the receipts; a recording is not fetched
again. What such a receipt does not tell (what its rows are complete for), the next reading of the list does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.archive import durable
from hsmirror.archive.head import sha256_of
from hsmirror.archive.layout import NO_ROOM, Layout, decode_id, encode_id, is_own_path
from hsmirror.archive.receipts import DocumentReceipt, FileLike, FileReceipt, ShardReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.archive.shards import summed_up
from hsmirror.errors import DamagedError

_LINE = re.compile(r"([0-9a-f]{64})  (\S+)\n")
_SHARD = re.compile(
    r"experiment_id=([^/]+)/data_type=([^/]+)/room_id=([^/]+)/part-([0-9]{5,9})\.ndjson(?:\.gz|\.zst)?"
)
_FILE = re.compile(
    r"experiment_id=([^/]+)/files/room_id=([^/]+)/([^/]+?)(?:(?<!%)~[0-9]+)?(?:\.ndjson)?\.[a-z0-9]{1,8}"
)
_DOCUMENT = re.compile(r"experiment_id=([^/]+)/(?:data_type=[^/]+/room_id=[^/]+/)?[a-z]+\.json")
_TYPES = {name.replace("/", "_"): name for name in DATA_TYPES}


def taken_up(layout: Layout, receipts: Receipts) -> list[FileLike]:
    """Receipts for the files of `SHA256SUMS` that no receipt knows, or only with a hash that they do not have.

    Raises:
        StorageError: the disk does not give something.
    """
    found: list[FileLike] = []
    for path, sha256 in _named(layout):
        held = receipts.get(path)
        if isinstance(held, FileLike) and held.sha256 == sha256:
            continue
        if not layout.leads_through_link(path) and sha256_of(layout.absolute(path)) == sha256:
            receipt = _receipt(layout, path, sha256)
            found += [receipt] if receipt else []
    return found


def _named(layout: Layout) -> Iterator[tuple[str, str]]:
    if not layout.sums.is_file():
        return
    with (
        durable.disk_errors(f"read {layout.sums}"),
        layout.sums.open(encoding="utf-8", errors="replace") as file,
    ):
        for line in file:
            if (match := _LINE.fullmatch(line)) and is_own_path(match[2]):
                yield match[2], match[1]


def _receipt(layout: Layout, path: str, sha256: str) -> FileLike | None:
    """Of a file, by its path; None where that does not tell whose it is."""
    size_bytes = layout.absolute(path).stat().st_size
    try:
        if match := _DOCUMENT.fullmatch(path):
            whose = _id(match[1])
            return DocumentReceipt(path=path, experiment=whose, size_bytes=size_bytes, sha256=sha256)
        if match := _FILE.fullmatch(path):
            return FileReceipt(
                path=path,
                experiment=_id(match[1]),
                room=_room(match[2]),
                recording_id=_id(match[3]),
                size_bytes=size_bytes,
                sha256=sha256,
            )
        match = _SHARD.fullmatch(path)
        return _shard(layout, match, size_bytes, sha256) if match else None
    except (ValueError, DamagedError):
        return None


def _shard(layout: Layout, match: re.Match[str], size_bytes: int, sha256: str) -> ShardReceipt:
    rows, content_bytes, content_sha256 = summed_up(layout.absolute(match[0]))
    return ShardReceipt(
        path=match[0],
        experiment=_id(match[1]),
        data_type=_TYPES.get(match[2], match[2]),
        room=_room(match[3]),
        part=int(match[4]),
        rows=rows,
        size_bytes=size_bytes,
        sha256=sha256,
        content_bytes=content_bytes,
        content_sha256=content_sha256,
    )


def _room(name: str) -> str | None:
    return None if name == NO_ROOM else _id(name)


def _id(name: str) -> str:
    """
    Raises:
        ValueError: the name does not tell it.
    """
    id_ = decode_id(name)
    if id_ is None or encode_id(id_) != name:
        raise ValueError("not the whole id")
    return id_
