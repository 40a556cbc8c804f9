"""What `verify` found missing or damaged, fetched again; what it replaces is kept, as always.

Stray copies of shards are put aside, where no glob finds them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout, sidecar_path
from hsmirror.archive.lock import exclusive
from hsmirror.archive.reader import Archive
from hsmirror.archive.receipts import FileReceipt, Receipt, ShardReceipt, read_marker
from hsmirror.archive.strays import copies_among, strays_among
from hsmirror.clock import Clock, SystemClock
from hsmirror.mirror.opening import open_archive
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.mirror.view import RunView
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, Settings

_FOREIGN = re.compile(r"^[.]|[^A-Za-z0-9_.%~=-]+")
_LONGEST_NAME = 200


def selection(receipts: Iterable[Receipt], damaged: Collection[str]) -> list[ExperimentSettings]:
    """The experiments and data types that have to be asked for again, so that these files come back.

    An experiment's own documents are read in every run; it is named even where nothing else of it is damaged.
    """
    types: dict[str, set[str]] = {}
    with_files: set[str] = set()
    for receipt in receipts:
        if isinstance(receipt, ShardReceipt):
            sidecar = sidecar_path(receipt.experiment, receipt.data_type, receipt.room)
            if receipt.path in damaged or sidecar in damaged:
                types.setdefault(receipt.experiment, set()).add(receipt.data_type)
        elif getattr(receipt, "path", None) in damaged and hasattr(receipt, "experiment"):
            names = types.setdefault(receipt.experiment, set())
            if isinstance(receipt, FileReceipt):
                names.add("recordings")
                with_files.add(receipt.experiment)
    return [
        # Where no type is named, all are looked at, and what is sound is not asked for.
        ExperimentSettings(id=experiment, data_types=tuple(sorted(names)), files=experiment in with_files)
        for experiment, names in sorted(types.items())
    ]


async def repair(
    settings: Settings,
    key: Secret,
    receipts: Iterable[Receipt],
    damaged: Collection[str],
    *,
    options: RunOptions,
    on_start: Callable[[RunView], None] | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Fetch again the files at `damaged` (paths as in receipts), as far as the upstream still has them.

    Raises:
        As `sync`.
    """
    options = replace(options, damaged=frozenset(damaged))
    return await sync(
        settings, key, selection(receipts, damaged), options=options, on_start=on_start, clock=clock
    )


def put_aside(settings: Settings, strays: Collection[str], *, clock: Clock | None = None) -> tuple[str, ...]:
    """Move stray copies of shards below `superseded/`; gives their paths. What a run may have left, whose rows
    nothing else has, stays where it is: the next sync takes it up.

    Raises:
        ArchiveBusyError: a run holds the archive. StorageError: the disk refuses.
    """
    layout = Layout(settings.archive.path)
    modes = durable.Modes(settings.archive.folder_mode, settings.archive.file_mode)
    with exclusive(layout, modes):
        run_id, _ = open_archive(layout, read_marker(layout).upstream, modes, clock or SystemClock())
        shards = [path for path in strays_among(layout, strays).strays if not path.startswith("receipts/")]
        copies = copies_among(Archive.open(layout.root), shards)
        for path in sorted(copies):
            aside = layout.superseded_path(run_id, _own_path(path))
            durable.retire(layout.root, layout.root / path, aside, modes)
    return tuple(copies)


def _own_path(path: str) -> str:
    """The same names as far as ours are spelt so, everything else in them as percent codes."""
    return "/".join(_own_name(name) for name in path.split("/"))


def _own_name(name: str) -> str:
    encoded = _FOREIGN.sub(lambda match: _percent_codes(match[0]), name)
    return encoded[-_LONGEST_NAME:]


def _percent_codes(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(text))
