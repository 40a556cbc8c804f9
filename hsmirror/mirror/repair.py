"""What `verify` found missing or damaged, fetched again; what it replaces is kept, as always."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from hsmirror.archive.layout import sidecar_path
from hsmirror.archive.receipts import FileReceipt, Receipt, ShardReceipt
from hsmirror.clock import Clock
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.mirror.view import RunView
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, Settings


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
