"""A person's data taken out of an archive, step by step; `forget` says in which order.

Each step can be left half-way and done again: what is looked for afterwards is what is still there.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hsmirror.archive import durable
from hsmirror.archive.layout import SUFFIXES, Layout, encode_id
from hsmirror.archive.receipts import (
    Claim,
    FileReceipt,
    ListReceipt,
    PendingReceipt,
    Receipt,
    ShardReceipt,
)
from hsmirror.archive.segments import Receipts
from hsmirror.archive.shards import Form, StagedPart, read_rows
from hsmirror.errors import DamagedError
from hsmirror.mirror.commit import Commit, Placement
from hsmirror.mirror.people import Sought, person_of, spellings_of, type_called, word_pattern
from hsmirror.mirror.settle import Shelf
from hsmirror.mirror.traces import OLDER, FoundFile, LooseShard, Traces, type_of_folder
from hsmirror.mirror.write import Staging, write_rows
from hsmirror.model import DataType

INSTEAD = b"(forgotten)"
"""What texts say in place of the person's id, and of their recordings'."""

_TIME = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}T")
"""Times, and the ids of runs."""

_OfAFile = TypeVar("_OfAFile", FileReceipt, PendingReceipt)
_WithReason = TypeVar("_WithReason", ListReceipt, PendingReceipt)

_DRAFT = ".staged"
"""What small files end in that are not in their place yet."""

OWN_OLDER = "-forget"
"""What the name of a run ends in whose older generations are the ones that hold the person."""


class Eraser:
    """The steps of one removal; all of them block, and belong into a worker thread."""

    def __init__(
        self, layout: Layout, receipts: Receipts, staging: Staging, person: Sought, traces: Traces
    ) -> None:
        self._layout = layout
        self._receipts = receipts
        self._staging = staging
        self._person = person
        self._traces = traces
        self._files = traces.lost_files.union(
            each.path.relative_to(layout.root).as_posix() for each in traces.recording_files
        )
        self._patterns = (
            word_pattern(_spellings_of([person.id])),
            # Ids of recordings are often the beginnings of others: rec_1, rec_1_2.
            word_pattern(_spellings_of(sorted(traces.recording_ids)), beside=b"_"),
        )

    def __repr__(self) -> str:
        return f"<Eraser in {self._layout.root}>"

    # --- what only the rows lead to ------------------------------------------------------------------
    def clear_texts(self) -> None:
        """Reports no longer name the person or their recordings; drafts that a crash left are removed."""
        layout = self._layout
        folders = {layout.staging, layout.superseded}
        state = [path for each in layout.state.iterdir() if each not in folders for path in _files_of(each)]
        drafts = (*layout.root.glob(f"*{_DRAFT}"), *layout.receipts.glob(f"*{_DRAFT}"), *state)
        _remove(path for path in drafts if path.name.endswith(_DRAFT))
        for path in sorted(path for path in state if path.suffix == ".json"):
            with durable.disk_errors(f"read {path}"):
                content = path.read_bytes()
            if (cleared := self._cleared_report(content)) != content:
                durable.write_whole(layout.root, path, cleared, self._staging.modes)

    def cleared(self, receipt: Receipt) -> Receipt | None:
        """A receipt without the person; None where it speaks of nothing else."""
        if isinstance(receipt, ShardReceipt):
            claims = tuple(each for each in receipt.complete_for if each.participant != self._person.id)
            if claims == receipt.complete_for:
                return receipt
            is_of_nothing_else = receipt.sha256 is None and not claims
            return None if is_of_nothing_else else msgspec.structs.replace(receipt, complete_for=claims)
        if isinstance(receipt, FileReceipt):
            return None if receipt.path in self._files else self._cleared_source(receipt)
        if isinstance(receipt, PendingReceipt):
            return None if self._is_own(receipt) else self._cleared_why(self._cleared_source(receipt))
        if isinstance(receipt, ListReceipt):
            return self._cleared_why(receipt)
        return receipt

    def _cleared_source(self, receipt: _OfAFile) -> _OfAFile:
        source = self._without_names(receipt.source)
        return receipt if source == receipt.source else msgspec.structs.replace(receipt, source=source)

    def _cleared_why(self, receipt: _WithReason) -> _WithReason:
        why = self._without_names(receipt.why)
        return receipt if why == receipt.why else msgspec.structs.replace(receipt, why=why)

    def _cleared_report(self, content: bytes) -> bytes:
        """Only texts are changed, never a number: an id may look like one."""
        try:
            report = msgspec.json.decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return self._without_names(content.decode("utf-8", "replace")).encode()
        cleared = self._cleared_value(report)
        return content if cleared == report else msgspec.json.format(msgspec.json.encode(cleared)) + b"\n"

    def _cleared_value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._cleared_value(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._cleared_value(each) for each in value]
        return self._without_names(value) if isinstance(value, str) and not _TIME.match(value) else value

    def _without_names(self, text: str) -> str:
        content = text.encode("utf-8", "replace")
        for pattern in self._patterns:
            content = pattern.sub(INSTEAD, content)
        return content.decode()

    def _is_own(self, receipt: PendingReceipt) -> bool:
        # A file that others' rows lead to as well is fetched again, should it still pend.
        return receipt.recording_id in self._traces.recording_ids

    def clear_receipts(self) -> None:
        """One segment, in which nothing speaks of the person's files: they are unlinked only afterwards."""
        self._receipts.rewrite(self.cleared)

    def remove_files(self) -> None:
        """The person's recordings, older generations too, and whatever downloads were under way."""
        found: Sequence[FoundFile] = (*self._traces.recording_files, *self._traces.partial_files)
        _remove(each.path for each in found)
        for folder in sorted({each.path.parent for each in found}, reverse=True):
            _remove_empty(folder, self._layout)

    # --- their rows ----------------------------------------------------------------------------------
    def without_person(self, shelf: Shelf) -> Commit:
        """The commit that leaves a shelf's other rows, in as many parts as they need.

        Raises:
            DamagedError: what is held is not what its receipts say; it is left as it is.
        """
        held = [receipt for receipt in shelf.held(self._receipts) if receipt.sha256 is not None]
        compression = _compression_of(held[0].path)
        largest_bytes = max(receipt.content_bytes for receipt in held)
        rows = (row for receipt in held for row in self._verified_rows(receipt))
        parts = write_rows(
            self._others(rows, type_called(shelf.data_type)),
            self._staging.builder(Form(compression, largest_bytes)),
        )
        left = sum(part.rows for part in parts)
        first = msgspec.structs.replace(held[0], gone_rows=min(held[0].gone_rows, left))
        placements = [
            Placement(part.path, _receipt_of(part, shelf.path(number, compression), number, first))
            for number, part in enumerate(parts)
        ]
        gone = sum(receipt.rows for receipt in held) - left
        return Commit(
            placements, [_emptied(receipt) for receipt in held[len(parts) :]], self._list_receipt(shelf, gone)
        )

    def remove_empty_folder(self, shelf: Shelf) -> None:
        """Of a shelf that has no rows any more."""
        _remove_empty(self._layout.absolute(shelf.path(0, "none")).parent, self._layout)

    def _list_receipt(self, shelf: Shelf, forgotten_rows: int) -> list[ListReceipt]:
        """The server still counts the rows: that its total is higher by so many is no news to the next sync."""
        key = ListReceipt(experiment=shelf.experiment, data_type=shelf.data_type).key
        held = self._receipts.get(key)
        if not isinstance(held, ListReceipt):
            return []
        unaccounted = held.unaccounted + (0 if held.total is None else forgotten_rows)
        return [msgspec.structs.replace(held, rows=held.rows - forgotten_rows, unaccounted=unaccounted)]

    def _verified_rows(self, receipt: ShardReceipt) -> Iterator[bytes]:
        """Damage is not to get a new receipt."""
        content = hashlib.sha256()
        for row in read_rows(self._layout.absolute(receipt.path)):
            content.update(row + b"\n")
            yield row
        if content.hexdigest() != receipt.content_sha256:
            raise DamagedError(f"{receipt.path} is damaged: its rows are not those of its receipt")

    def _others(self, rows: Iterable[bytes], data_type: DataType) -> Iterator[bytes]:
        person = self._person
        for row in rows:
            if not (person.may_stand_in(row) and person_of(row, data_type) == person.id):
                yield row

    # --- older generations ---------------------------------------------------------------------------
    def clear_older(self) -> None:
        """Generations that this removal replaced go as a whole, others lose the person's rows."""
        if self._layout.superseded.is_dir():
            for folder in sorted(self._layout.superseded.glob(f"*{OWN_OLDER}")):
                with durable.disk_errors(f"remove {folder}"):
                    shutil.rmtree(folder)
            durable.sync_folder(self._layout.superseded)
        for shard in self._traces.loose_shards:
            if shard.path.exists():
                self._clear_loose(shard)
                _remove_empty(shard.path.parent, self._layout)

    def _clear_loose(self, shard: LooseShard) -> None:
        """What cannot be read cannot be searched; no receipt relies on it, so that it goes."""
        parts: list[StagedPart] = []
        if not shard.is_damaged:
            name, folder = shard.path.name.removesuffix(OLDER), shard.path.parents[1].name
            rows = self._others(read_rows(shard.path), type_of_folder(folder))
            parts = write_rows(rows, self._staging.builder(Form(_compression_of(name), 1 << 62)))
        if not parts:
            _remove([shard.path])
            return
        (part,) = parts
        durable.sync_file(part.path)
        # What is replaced gets its other name in staging, which does not outlive this run.
        replaced = part.path.with_name(f"{part.path.name}.replaced")
        move = durable.Move(part.path, shard.path, replaced)
        durable.publish(self._layout.root, [move], self._staging.modes)
        _remove([replaced])


def _receipt_of(part: StagedPart, path: str, number: int, held: ShardReceipt) -> ShardReceipt:
    """Complete for what the held one was, but for those who are forgotten."""
    return msgspec.structs.replace(
        held,
        path=path,
        part=number,
        rows=part.rows,
        size_bytes=part.size_bytes,
        sha256=part.sha256,
        content_bytes=part.content_bytes,
        content_sha256=part.content_sha256,
    )


def _emptied(held: ShardReceipt) -> ShardReceipt:
    """A part that has no rows any more. The first one keeps its claims: its list is known to be empty now."""
    claims: tuple[Claim, ...] = held.complete_for if held.part == 0 else ()
    return msgspec.structs.replace(
        held,
        rows=0,
        size_bytes=0,
        sha256=None,
        content_bytes=0,
        content_sha256=None,
        complete_for=claims,
        gone_rows=0,
    )


def _compression_of(name: str) -> str:
    return next(compression for compression, suffix in SUFFIXES.items() if name.endswith(suffix))


def _spellings_of(ids: Iterable[str]) -> Iterator[bytes]:
    """As they stand in texts, in JSON within texts, and in paths."""
    for each in ids:
        text = each.encode("utf-8", "replace")
        yield from dict.fromkeys((text, *spellings_of(each), encode_id(each).encode()))


def _files_of(place: Path) -> list[Path]:
    found = [place, *place.rglob("*")] if place.is_dir() else [place]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _remove(paths: Iterable[Path]) -> None:
    """Unlink files, and have their names off the disk."""
    folders: dict[Path, None] = {}
    for path in paths:
        with durable.disk_errors(f"remove {path}"):
            path.unlink(missing_ok=True)
        folders[path.parent] = None
    for folder in folders:
        durable.sync_folder(folder)


def _remove_empty(folder: Path, layout: Layout) -> None:
    """Folders in which nothing is left, up to the archive's own."""
    while folder not in {layout.root, layout.superseded, layout.staging} and layout.root in folder.parents:
        with suppress(OSError):
            folder.rmdir()
            folder = folder.parent
            continue
        return
