"""Tables without a frame that fit 80 columns: nothing is cut off, long texts go on below."""

from __future__ import annotations

from rich.table import Table


def compact_table(*headings: str) -> Table:
    """A table with these columns; a heading that ends in `>` is of numbers, which are never broken."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", collapse_padding=True)
    for heading in headings:
        table.add_column(
            heading.removesuffix(">"),
            justify="right" if heading.endswith(">") else "left",
            no_wrap=heading.endswith(">"),
            overflow="fold",
        )
    return table
