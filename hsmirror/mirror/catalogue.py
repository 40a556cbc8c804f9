"""Which experiments the key may read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hsmirror.api.data_types import EXPERIMENTS, SHARED_EXPERIMENTS
from hsmirror.archive.receipts import DocumentReceipt, ListReceipt, ShardReceipt
from hsmirror.archive.segments import Receipts
from hsmirror.errors import BudgetExhaustedError, KeyRefusedError, NotFoundError, UpstreamError
from hsmirror.mirror.lists import ListReader
from hsmirror.mirror.proven_ids import read_ids
from hsmirror.model import DataType, ListKey, Scope


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The experiments that the server lists, own and shared, in its order.

    `doubts` say why there may be more; none where that is proven.
    """

    own: Sequence[str]
    shared: Sequence[str]
    doubts: tuple[str, ...]

    @property
    def experiments(self) -> list[str]:
        return list(dict.fromkeys((*self.own, *self.shared)))

    def unlisted(self, held: Sequence[str]) -> list[str]:
        """Experiments that are held, and that the server does not list any more."""
        listed = set(self.experiments)
        return [each for each in held if each not in listed]

    def doubts_beside(self, held: Sequence[str]) -> tuple[str, ...]:
        """Why it cannot be all, the experiments that are held taken into account."""
        unlisted = self.unlisted(held)
        if self.doubts or not unlisted or (self.own and len(unlisted) < len(held)):
            return self.doubts
        named = "none of those" if self.own else "no experiments as the key's own, and not the"
        return (f"the server lists {named} {len(unlisted)} that are held: check whose key it is",)


async def all_experiments(reader: ListReader) -> Catalogue:
    """Read both lists; what one of them lacks does not count against the other.

    Raises:
        KeyRefusedError, BudgetExhaustedError: as the reader's.
    """
    own, doubts = await _listed(reader, EXPERIMENTS)
    shared, shared_doubts = await _listed(reader, SHARED_EXPERIMENTS)
    return Catalogue(own, shared, (*doubts, *shared_doubts))


async def _listed(reader: ListReader, which: DataType) -> tuple[list[str], tuple[str, ...]]:
    name = "shared experiments" if which is SHARED_EXPERIMENTS else "experiments"
    try:
        listed = await read_ids(reader, ListKey("", which, Scope.EXPERIMENT, ""))
    except (KeyRefusedError, BudgetExhaustedError):
        raise
    except NotFoundError as error:
        if which is SHARED_EXPERIMENTS:
            return [], ()  # nothing is shared on this server
        return [], (
            f'the server does not list experiments, so that "*" means nothing to it; name them ({error})',
        )
    except UpstreamError as error:
        return [], (f"{name} cannot be listed: {error}",)
    doubt = listed.doubt or listed.shortfall
    if not doubt and len(listed.ids) < len(listed.found):
        doubt = "some of its rows have no id"
    return listed.ids, (f"the list of {name} is not proven: {doubt}",) if doubt else ()


def held_experiments(receipts: Receipts) -> list[str]:
    """The experiments of which anything is held. Looks at the receipts of all: for a thread."""
    held: dict[str, None] = {}
    for folder in receipts.folders:
        own = (each for each in receipts.below(folder) if isinstance(each, _OF_EXPERIMENTS))
        if (first := next(own, None)) is not None:
            held[first.experiment] = None
    return list(held)


_OF_EXPERIMENTS = DocumentReceipt | ListReceipt | ShardReceipt
