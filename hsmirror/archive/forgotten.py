"""Who withdrew their consent: known by salted hashes alone, so that nobody who is forgotten comes back.

The hashes tell whether an id that is at hand is one of them. They do not tell the ids; but whoever has the
archive can try ids, so that short or guessable ones are not secret.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

from hsmirror.archive.receipts import ForgottenReceipt, Receipt
from hsmirror.errors import UsageError

_SALT_BYTES = 16


class Forgotten:
    """The people whose rows and files are left out; false where there are none, and nothing need be asked."""

    def __init__(self, receipts: Iterable[Receipt] = ()) -> None:
        found = [receipt for receipt in receipts if isinstance(receipt, ForgottenReceipt)]
        self._hashes = frozenset(receipt.person for receipt in found)
        self._salts = tuple(dict.fromkeys(receipt.salt for receipt in found))
        self._known: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"<Forgotten people={len(self._hashes)}>"

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, person: str) -> bool:
        """Is this one of them? Each id is hashed once."""
        is_one = self._known.get(person)
        if is_one is None:
            is_one = any(_hashed(person, salt) in self._hashes for salt in self._salts)
            self._known[person] = is_one
        return is_one

    def require_others(self, people: Iterable[str]) -> None:
        """Nobody is asked for by name who is forgotten.

        Raises:
            UsageError: somebody is.
        """
        for person in people:
            if person in self:
                raise UsageError(
                    f"participant {person} is forgotten in this archive (a withdrawn consent): nothing of them "
                    "is fetched into it; leave that participant out"
                )


def forgotten_receipt(receipts: Iterable[Receipt], person: str, began_at: str) -> ForgottenReceipt:
    """That this person is forgotten: the receipt that is held, else a new one, under the archive's salt."""
    held = [receipt for receipt in receipts if isinstance(receipt, ForgottenReceipt)]
    for receipt in held:
        if receipt.person == _hashed(person, receipt.salt):
            return receipt
    salt = held[0].salt if held else secrets.token_hex(_SALT_BYTES)
    return ForgottenReceipt(person=_hashed(person, salt), salt=salt, began_at=began_at)


def unfinished(receipts: Iterable[Receipt]) -> list[ForgottenReceipt]:
    """The removals that were begun and did not come to their end."""
    return [each for each in receipts if isinstance(each, ForgottenReceipt) and not each.finished_at]


def _hashed(person: str, salt: str) -> str:
    text = person.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=bytes.fromhex(salt), digest_size=32).hexdigest()
