"""What is held: the receipts that count, read from the segments and appended to this run's.

A run writes one segment. The segments are the store: of a line only the place is kept in memory, by experiment,
and by key for those experiments that are worked on; the receipt itself is read when it is asked for. A line cut
short by a crash can only be a segment's last, and is passed over.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from threading import RLock

import msgspec

from hsmirror.archive import durable
from hsmirror.archive.intents import Intents
from hsmirror.archive.layout import Layout, experiment_folder, is_own_path
from hsmirror.archive.lines import HeldFile, LineDecoder, LineFiles, in_pieces
from hsmirror.archive.receipts import (
    DocumentReceipt,
    FileReceipt,
    IntentReceipt,
    Receipt,
    ShardReceipt,
    encode,
    has_check,
    require_sane,
    require_unchanged,
    with_check,
)
from hsmirror.errors import StorageError

MOST_SEGMENTS = 50
"""More than this are merged into one, when a run begins and when it ends."""

MOST_OPEN_SEGMENTS = 64
"""So many of the newest stay open, so that a run may merge them while somebody reads. There are more only where
no run has merged them for long; and a process may have no more than 256 files open on some systems.
"""


class _Head(msgspec.Struct, gc=False):
    """As much of a line as tells whose it is."""

    kind: str = ""
    path: str = ""
    experiment: str = ""


_SEGMENT = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-z]+(?:-merged)*\.jsonl")
_OF_PATHS = frozenset({"shard", "file", "document", "pending"})
_OF_EXPERIMENTS = _OF_PATHS | {"list"}
_KINDS = _OF_EXPERIMENTS | {"absent", "intent", "forgotten"}
_decoder: msgspec.json.Decoder[Receipt] = msgspec.json.Decoder(Receipt)
_heads = LineDecoder(msgspec.json.Decoder(_Head))


def _require_as_written(line: bytes, receipt: Receipt) -> None:
    require_unchanged(line)
    require_sane(receipt)


_receipts = LineDecoder(_decoder, _require_as_written)
_known_receipts = LineDecoder(_decoder)  # of lines that were looked at like that before


class Receipts:
    """All that is held, by key, read from the segments; and this run's segment, appended to.

    A segment is made by its first receipt, so that a run which changes nothing leaves none. Any thread may ask;
    one at a time appends.
    """

    def __init__(self, layout: Layout, modes: durable.Modes, run_id: str) -> None:
        self._layout = layout
        self._modes = modes
        self.segment = layout.segment(run_id)
        """This run's own."""
        self._lock = RLock()
        self.have_changed = False
        """Has this run appended one, or written them anew?"""
        self._left_out: list[str] = []
        self._take_in_segments()

    def __repr__(self) -> str:
        return f"<Receipts of {len(self._extents)} experiments>"

    def __iter__(self) -> Iterator[Receipt]:
        """Every receipt that counts, those of one experiment after another's."""
        for folder in list(self._sorted_extents):
            yield from self.below(folder)
        yield from self.of_no_experiment

    def __contains__(self, key: str) -> bool:
        return self._address(key) is not None or key in self._of_no_experiment

    @property
    def is_empty(self) -> bool:
        return not (self._extents or self._unsorted or self._of_no_experiment or self._intents)

    @property
    def folders(self) -> list[str]:
        """The experiments' folders that receipts speak of."""
        return sorted(self._sorted_extents)

    @property
    def of_no_experiment(self) -> list[Receipt]:
        """Absences, persons who are forgotten, and what commits that did not come to their end intended."""
        return [*self._of_no_experiment.values(), *self._intents]

    @property
    def unreadable_lines(self) -> list[str]:
        """Lines that are no receipts, as far as they have been read: those of an experiment with the others.
        Some may have been left out meanwhile, by writing all receipts anew.
        """
        return [*self._left_out, *self._lines.names(self._unreadable)]

    # --- one receipt ---------------------------------------------------------------------------------
    def get(self, key: str) -> Receipt | None:
        address = self._address(key)
        if address is None:
            return self._of_no_experiment.get(key) or self._intents.get(key)
        return _known_receipts.one(self._lines.line(address))

    def shard(self, path: str) -> ShardReceipt | None:
        """The receipt of the shard at `path`."""
        receipt = self.get(path)
        return receipt if isinstance(receipt, ShardReceipt) else None

    def file(self, path: str) -> FileReceipt | None:
        """The receipt of the recording file at `path`."""
        receipt = self.get(path)
        return receipt if isinstance(receipt, FileReceipt) else None

    def document(self, path: str) -> DocumentReceipt | None:
        receipt = self.get(path)
        return receipt if isinstance(receipt, DocumentReceipt) else None

    def _address(self, key: str) -> int | None:
        folder = _folder_of(key)
        if folder is None or folder not in self._sorted_extents:
            return None
        return self._by_key(folder).get(key)

    # --- an experiment's -----------------------------------------------------------------------------
    def load(self, experiment: str) -> None:
        """Have the experiment's receipts at hand. Takes microseconds a receipt, once: for a thread."""
        self._by_key(experiment_folder(experiment))

    def release(self, experiment: str) -> None:
        """The experiment is done with: whoever asks for its receipts all the same has them loaded again."""
        with self._lock:
            self._addresses.pop(experiment_folder(experiment), None)

    def of(self, experiment: str) -> Iterator[Receipt]:
        """The experiment's receipts that count."""
        return self.below(experiment_folder(experiment))

    def below(self, folder: str) -> Iterator[Receipt]:
        """The receipts that count of what lies below an experiment's folder."""
        return (receipt for _, receipt in self._counting(folder))

    def _counting(self, folder: str) -> Iterator[tuple[bytes, Receipt]]:
        """Each receipt that counts now and its line, in the order of the lines; none that comes meanwhile."""
        with self._lock:
            extents = self._extents_of(folder)
            held = self._addresses.get(folder)
            by_key = None if held is None else held.copy()
        if by_key is None:
            by_key = self._indexed(extents)
        for address, line, receipt in self._read(extents, _known_receipts):
            if receipt is not None and by_key.get(receipt.key) == address:
                yield line, receipt

    def _by_key(self, folder: str) -> dict[str, int]:
        """Where the lines are that count; kept until it is released."""
        by_key = self._addresses.get(folder)
        if by_key is None:
            with self._lock:
                by_key = self._addresses.get(folder)
                if by_key is None:
                    by_key = self._addresses[folder] = self._indexed(self._extents_of(folder))
        return by_key

    def _extents_of(self, folder: str) -> array[int]:
        """As they are now; to be called with the lock held."""
        return self._sorted_extents.get(folder, array("q"))[:]

    def _indexed(self, extents: array[int]) -> dict[str, int]:
        by_key: dict[str, int] = {}
        for address, line, receipt in self._read(extents, _receipts):
            if receipt is not None:
                by_key[receipt.key] = address
            else:
                self._pass_over(address, line)
        return by_key

    def _read(
        self, extents: array[int], decoder: LineDecoder[Receipt]
    ) -> Iterator[tuple[int, bytes, Receipt | None]]:
        begins_and_ends = zip(extents[::2], extents[1::2], strict=True)
        for begin, chunk in self._lines.read(begins_and_ends):
            address = begin
            for line, receipt in decoder.each(chunk):
                yield address, line, receipt
                address += len(line) + 1

    # --- appending -----------------------------------------------------------------------------------
    def append(self, receipts: Sequence[Receipt]) -> None:
        """Write receipts to this run's segment and sync it; the files they speak of are in place already."""
        if not receipts:
            return
        self.have_changed = True
        lines = [encode(receipt) for receipt in receipts]
        is_new = not self.segment.exists()
        held_bytes = 0 if is_new else self.segment.stat().st_size
        durable.make_folder(self._layout.root, self.segment.parent, self._modes)
        durable.append(self.segment, b"".join(lines), self._modes, synced=True)
        if is_new:
            durable.sync_folder(self.segment.parent)
        with self._lock:
            for receipt, line in zip(receipts, lines, strict=True):
                self._keep(receipt, self._lines.add(self.segment, held_bytes, len(line)), len(line))
                held_bytes += len(line)

    def drop(self, key: str) -> None:
        """Forget an intent that came to nothing: for this run, as for each later one that reads it."""
        self._intents.drop(key)

    def _keep(self, receipt: Receipt, address: int, size_bytes: int) -> None:
        folder = _folder_of(receipt.key)
        if folder is None:
            self._keep_general(receipt)
            return
        _extend(self._sorted_extents, folder, address, address + size_bytes)
        if folder in self._addresses:
            self._addresses[folder][receipt.key] = address
        self._intents.note(receipt)

    # --- merging -------------------------------------------------------------------------------------
    def merge(self) -> None:
        """Write all receipts that count into one segment, where there are many, or a line cannot be read."""
        if self._unreadable:
            self.rewrite(lambda receipt: receipt)
        else:
            self.merge_many()

    def merge_many(self) -> None:
        """The same only where there are many."""
        if len(segments(self._layout)) > MOST_SEGMENTS:
            self.rewrite(lambda receipt: receipt)

    def rewrite(self, change: Callable[[Receipt], Receipt | None]) -> None:
        """Write what `change` makes of each receipt that counts into one segment, and remove all others.

        None: that receipt is to count no more. Left half-way, all older receipts may still count.
        """
        old = segments(self._layout)
        if not old:
            return
        self.have_changed = True
        # Named after the newest, so that the segments of later runs still come after it.
        merged = old[-1].with_name(f"{old[-1].stem}-merged.jsonl")
        durable.write_whole(self._layout.root, merged, in_pieces(self._changed(change)), self._modes)
        self._left_out = self.unreadable_lines
        with durable.disk_errors("remove merged receipts"):
            for segment in old:
                if segment != merged:
                    segment.unlink()
        durable.sync_folder(merged.parent)
        self._take_in_segments()

    def _changed(self, change: Callable[[Receipt], Receipt | None]) -> Iterator[bytes]:
        for folder in list(self._sorted_extents):
            for line, receipt in self._counting(folder):
                new = change(receipt)
                if new is not None:
                    yield with_check(line) + b"\n" if new is receipt else encode(new)
        for receipt in self.of_no_experiment:
            new = change(receipt)
            if new is not None:
                yield encode(new)
        for line in self._of_newer_versions:
            yield line + b"\n"

    # --- reading the segments ------------------------------------------------------------------------
    def _take_in_segments(self) -> None:
        while True:
            paths = segments(self._layout)
            try:
                self._take_in_all(paths)
                return
            except StorageError:
                if segments(self._layout) == paths:
                    raise
                # Merged in this very moment.

    def _take_in_all(self, paths: Sequence[Path]) -> None:
        self.known_segments = set(paths)
        """Those that were read, or written."""
        self._lines = LineFiles()
        self._extents: dict[str, array[int]] = {}
        self._unsorted: list[tuple[int, int]] = []
        self._was_mixed = False
        self._addresses: dict[str, dict[str, int]] = {}
        self._of_no_experiment: dict[str, Receipt] = {}
        self._intents = Intents()
        self._of_newer_versions: list[bytes] = []
        """Lines of kinds that are not known here, as they came: they are kept."""
        self._unreadable: set[int] = set()
        for segment in _held(self._layout, paths):
            for address, chunk in self._lines.take_in(segment):
                self._take_in(address, chunk)

    def _take_in(self, address: int, chunk: bytes) -> None:
        """What is of no experiment is taken in now; of the rest is noted whose it is, where all is one's."""
        heads = _heads.all(chunk) or ()
        kinds = {head.kind for head in heads}
        if not heads or self._intents or not kinds <= _OF_EXPERIMENTS:
            self._take_in_lines(address, chunk)
        folder = _common_folder(heads) if heads and kinds <= _OF_PATHS else None
        if self._unsorted or (folder is None and self._was_mixed):
            self._unsorted.append((address, address + len(chunk)))
        elif folder is None:
            self._sort(address, chunk)
        else:
            _extend(self._extents, folder, address, address + len(chunk))
        self._was_mixed = folder is None

    def _sort(self, address: int, chunk: bytes) -> None:
        for line, head in _heads.each(chunk):
            end = address + len(line) + 1
            if head is not None and head.kind in _OF_EXPERIMENTS:
                folder = _folder_of_head(head)
                # A line that was planted or damaged makes no folder of `..`.
                if folder in self._extents or is_own_path(folder):
                    _extend(self._extents, folder, address, end)
                else:
                    self._pass_over(address, line)
            address = end

    def _take_in_lines(self, address: int, chunk: bytes) -> None:
        end = address + len(chunk)
        for line, head in _heads.each(chunk):
            is_general = head is None or head.kind not in _OF_EXPERIMENTS
            if head is None or is_general or head.path in self._intents.awaited:
                receipt = _receipts.one(line)
                if receipt is None and head is not None and _is_of_newer_version(line, head):
                    self._of_newer_versions.append(line)
                elif receipt is None:
                    # The last of a file may be of a run that died while writing it, or that is writing it now.
                    if address + len(line) < end:
                        self._pass_over(address, line)
                elif is_general:
                    self._keep_general(receipt)
                else:
                    self._intents.note(receipt)
            address += len(line) + 1

    @property
    def _sorted_extents(self) -> dict[str, array[int]]:
        """Where the lines of each experiment are, by its folder: beginnings and ends in turn.

        From where those of several take turns, each line is looked at a second time, once somebody asks.
        """
        if self._unsorted:
            with self._lock:
                for address, chunk in self._lines.read(self._unsorted):
                    self._sort(address, chunk)
                self._unsorted = []
        return self._extents

    def _keep_general(self, receipt: Receipt) -> None:
        if isinstance(receipt, IntentReceipt):
            self._intents.begin(receipt)
        else:
            self._of_no_experiment[receipt.key] = receipt

    def _pass_over(self, address: int, line: bytes) -> None:
        if line and b"\0" not in line:  # zeros are what a power loss leaves of a write
            self._unreadable.add(address)


def _is_of_newer_version(line: bytes, head: _Head) -> bool:
    """A kind that is not known here, whole as its check says: damage makes no such line."""
    try:
        require_unchanged(line)
    except ValueError:
        return False
    return has_check(line) and head.kind not in _KINDS


def is_segment(name: str) -> bool:
    """Is a file in the folder of receipts that is called so a segment?"""
    return _SEGMENT.fullmatch(name) is not None


def segments(layout: Layout) -> list[Path]:
    """The segments of receipts, oldest first: their names begin with the time of their run.

    What has another name is not ours, such as the copy of a segment that a file-sync program has left.
    """
    try:
        found = sorted(path for path in layout.receipts.iterdir() if is_segment(path.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read {layout.receipts}: {error.strerror}") from error
    return found


def _held(layout: Layout, paths: Sequence[Path]) -> list[HeldFile]:
    """The segments, the newest of them open; from there on a run may merge them."""
    older = len(paths) - MOST_OPEN_SEGMENTS
    with durable.disk_errors(f"read the receipts in {layout.receipts}"):
        return [HeldFile(path, stays_open=number >= older) for number, path in enumerate(paths)]


def _folder_of(key: str) -> str | None:
    """The experiment's folder below which a receipt with this key counts; None: it is of no experiment."""
    kind, blank, what = key.partition(" ")
    if not blank or kind == "pending":
        return (what or kind).partition("/")[0]
    return experiment_folder(what.partition(" of ")[2]) if kind == "list" else None


def _folder_of_head(head: _Head) -> str:
    """The same by what a line says that is of an experiment."""
    return head.path.partition("/")[0] if head.kind in _OF_PATHS else experiment_folder(head.experiment)


def _common_folder(heads: Collection[_Head]) -> str | None:
    """The folder of ours below which all of these receipts of paths count; None where there is no such one."""
    paths = [head.path for head in heads]
    first, last = min(paths), max(paths)
    folder = first.partition("/")[0]
    if not is_own_path(folder):
        return None
    # What stands between two texts in order begins as both of them do.
    return folder if last.startswith(f"{folder}/") and first.startswith(f"{folder}/") else None


def _extend(by_folder: dict[str, array[int]], folder: str, begin: int, end: int) -> None:
    """These lines are of this experiment, too."""
    extents = by_folder.get(folder)
    if extents is None:
        by_folder[folder] = array("q", (begin, end))
    elif extents[-1] == begin:
        extents[-1] = end
    else:
        extents.append(begin)
        extents.append(end)
