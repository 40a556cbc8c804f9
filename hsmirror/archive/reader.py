"""An archive, read: opened without a lock, from its receipts alone, and never changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import (
    FileLike,
    IntentReceipt,
    ListReceipt,
    Marker,
    PendingReceipt,
    ShardReceipt,
    read_marker,
)
from hsmirror.archive.segments import Receipts


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive says that it holds. A run may go on meanwhile: this is the state of the moment."""

    layout: Layout
    marker: Marker
    receipts: Receipts

    @classmethod
    def open(cls, root: Path) -> Archive:
        """Read the receipts of the archive at `root`.

        Raises:
            NotAnArchiveError: there is none. StorageError: it cannot be read.
        """
        layout = Layout(root)
        marker = read_marker(layout)
        return cls(layout, marker, Receipts(layout, durable.Modes(), "reader"))

    def files(self) -> Iterator[FileLike]:
        """The receipts of all that is on disk: shards, recording files, documents."""
        for folder in self.receipts.folders:
            yield from self.files_below(folder)

    def files_below(self, folder: str) -> Iterator[FileLike]:
        """Those of an experiment, named by its folder."""
        for receipt in self.receipts.below(folder):
            if isinstance(receipt, FileLike) and receipt.sha256:
                yield receipt

    def holds(self, path: str) -> bool:
        """Does a receipt say that there is a file at `path`?"""
        receipt = self.receipts.get(path)
        return isinstance(receipt, FileLike) and receipt.sha256 is not None

    def shards(self) -> Iterator[ShardReceipt]:
        """All shard receipts, those of empty lists included."""
        return (receipt for receipt in self.receipts if isinstance(receipt, ShardReceipt))

    def lists(self) -> Iterator[ListReceipt]:
        return (receipt for receipt in self.receipts if isinstance(receipt, ListReceipt))

    def pending(self) -> Iterator[PendingReceipt]:
        """Recording files that are not held."""
        for receipt in self.receipts:
            if isinstance(receipt, PendingReceipt) and receipt.why:
                yield receipt

    def intended(self) -> dict[str, str | None]:
        """By path, the hash that a run which is under way, or has died, was about to leave there."""
        return {
            receipt.path: receipt.sha256
            for intent in self.receipts.of_no_experiment
            if isinstance(intent, IntentReceipt)
            for receipt in intent.receipts
        }
