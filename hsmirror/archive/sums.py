"""`SHA256SUMS`: for `sha256sum -c`, which needs no hsmirror."""

from __future__ import annotations

from hsmirror.archive import durable
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import DocumentReceipt, FileReceipt, Receipts, ShardReceipt


def write_sums(layout: Layout, receipts: Receipts, modes: durable.Modes) -> None:
    """Write a line for every file that has a receipt; the file is left alone where nothing changed."""
    lines = sorted(
        (receipt.path, receipt.sha256)
        for receipt in receipts
        if isinstance(receipt, ShardReceipt | FileReceipt | DocumentReceipt) and receipt.sha256 is not None
    )
    content = "".join(f"{sha256}  {path}\n" for path, sha256 in lines).encode()
    with durable.disk_errors(f"read {layout.sums}"):
        if layout.sums.is_file() and layout.sums.read_bytes() == content:
            return
    durable.write_whole(layout.root, layout.sums, content, modes)
