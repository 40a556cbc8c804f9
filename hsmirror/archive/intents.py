"""Which commits were begun and not finished, told by the order of the receipts."""

from __future__ import annotations

from collections.abc import Iterator

from hsmirror.archive.receipts import IntentReceipt, Receipt


class Intents:
    """Commits that were begun, until the last of their receipts has come."""

    def __init__(self) -> None:
        self._open: dict[str, IntentReceipt] = {}
        self.awaited: dict[str, Receipt | None] = {}
        """By key, what has come since of the receipts that they name."""

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[IntentReceipt]:
        return iter(self._open.values())

    def get(self, key: str) -> IntentReceipt | None:
        return self._open.get(key)

    def begin(self, intent: IntentReceipt) -> None:
        self._open[intent.key] = intent
        for each in intent.receipts:
            self.awaited.setdefault(each.key, None)

    def note(self, receipt: Receipt) -> None:
        """A receipt has come; an intent's may be."""
        if receipt.key not in self.awaited:
            return
        self.awaited[receipt.key] = receipt
        intent = self._open.get(f"intent {receipt.key}")
        # The blocks of one write reach the disk in any order: the last receipt may be there without the others.
        if intent is not None and all(self.awaited[each.key] == each for each in intent.receipts):
            self.drop(intent.key)

    def drop(self, key: str) -> None:
        self._open.pop(key, None)
        if not self._open:
            self.awaited.clear()
