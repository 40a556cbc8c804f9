"""Pages of made-up rows, and writers that have taken some of them in."""

from __future__ import annotations

from pathlib import Path

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page, parse_page
from hsmirror.mirror.write import ListWriter, Staging
from hsmirror.model import ListKey, Scope

EVENTS = ListKey("exp", DATA_TYPES["events"], Scope.EXPERIMENT, "exp")


def page_of(rows: int, row_bytes: int, *, rooms: int, first: int = 0) -> Page:
    """A page whose rows name one room after another."""
    head = '{{"id":"row{number:09d}","roomId":"room{room:06d}","text":"'
    texts = []
    for number in range(first, first + rows):
        text = head.format(number=number, room=number % rooms)
        texts.append(text + "x" * (row_bytes - len(text) - 2) + '"}')
    return parse_page(f'{{"status":"success","data":[{",".join(texts)}]}}'.encode(), EVENTS.data_type)


def writer_into(staging: Staging) -> ListWriter:
    return ListWriter(EVENTS, staging, on_rows=lambda count: None)


def waiting_files(folder: Path) -> list[Path]:
    """What waits on the disk: spools, and hashes of distinct rows."""
    return [path for path in folder.rglob("*.staged") if ".ndjson" not in path.name]


async def spilling(staging: Staging) -> ListWriter:
    """A writer some of whose rows are on the disk."""
    writer = writer_into(staging)
    for first in range(0, 20_000, 1000):
        await writer.write(page_of(1000, 400, rooms=50, first=first))
    return writer
