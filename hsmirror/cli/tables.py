"""Tables without a frame that fit 80 columns: nothing is cut off, long texts go on below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text


def compact_table(headings: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Padding:
    """A table, indented; a heading that ends in `>` is of numbers, which are never broken.

    Columns that hold nothing are left out.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.show_header = any(headings)
    filled = [n for n in range(len(headings)) if any(len(row[n]) for row in rows)]
    for n in filled:
        table.add_column(
            headings[n].removesuffix(">"),
            justify="right" if headings[n].endswith(">") else "left",
            no_wrap=headings[n].endswith(">"),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(row[n] for n in filled))
    return Padding(table, (0, 0, 0, 2))
