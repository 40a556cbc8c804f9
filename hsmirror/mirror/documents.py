"""JSON documents that are no rows: an experiment's definition, a variables timeline."""

from __future__ import annotations

import hashlib

from hsmirror.api.signatures import without_signatures
from hsmirror.archive.receipts import DocumentReceipt
from hsmirror.mirror.commit import Commit, Placement
from hsmirror.mirror.context import Context


def document_commit(context: Context, experiment: str, path: str, document: bytes) -> Commit | None:
    """The commit that puts a document at `path`; None where the same is held already."""
    content = without_signatures(document, always=False) + b"\n"
    sha256 = hashlib.sha256(content).hexdigest()
    held = context.receipts.document(path)
    if held is not None and held.sha256 == sha256 and context.held.is_intact(held):
        return None
    receipt = DocumentReceipt(
        path=path,
        experiment=experiment,
        size_bytes=len(content),
        sha256=sha256,
        fetched_at=context.now_text,
    )
    return Commit([Placement(context.staging.new_path(), receipt, content)])
