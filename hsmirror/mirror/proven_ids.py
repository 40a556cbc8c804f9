"""Lists that decide what is read (experiments, rooms, participants …): their ids, and whether they are all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hsmirror.api.envelope import Page
from hsmirror.errors import BudgetExhaustedError, KeyRefusedError, UpstreamError
from hsmirror.mirror.lists import ListReader, Reading
from hsmirror.mirror.proof import Judgement, PassFacts, judge
from hsmirror.mirror.reading import OnRows
from hsmirror.model import ListKey

IdAndRoom = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class ProvenIds:
    """The id and the room of each row, once; `doubt` says why there may be more, empty where that is proven.

    `shortfall` says that the total is ahead of a list that two readings agree on. A list of rows is read again
    the next night, so that this is no failure; but where an id is missing, what is behind it is never read.
    """

    found: tuple[IdAndRoom, ...]
    doubt: str = ""
    shortfall: str = ""

    @property
    def ids(self) -> list[str]:
        return [each for each, _ in self.found if each is not None]

    @property
    def rooms(self) -> list[str]:
        return [room for _, room in self.found if room is not None]


async def read_ids(reader: ListReader, key: ListKey, on_rows: OnRows | None = None) -> ProvenIds:
    """Read a list as lists of rows are read: again while its readings disagree, until `judge` is content.

    What any reading showed counts. A list that breaks off after its first page gives what came, with a doubt.

    Raises:
        UpstreamError: nothing of it can be read. KeyRefusedError, BudgetExhaustedError: also later.
    """
    passes: list[PassFacts] = []
    found: dict[IdAndRoom, None] = {}
    strangers: set[IdAndRoom] = set()
    while True:
        ids = _Collector(key.experiment, strangers, on_rows)
        try:
            reading = await reader.read(key, ids, smaller_than=passes[-1].claims.page_rows if passes else 0)
        except (KeyRefusedError, BudgetExhaustedError):
            raise
        except UpstreamError as error:
            found.update(dict.fromkeys(ids.found))
            if not found:
                raise
            return ProvenIds(_own(found, strangers), f"it broke off: {error}")
        found.update(dict.fromkeys(ids.found))
        passes.append(_facts(reading, ids))
        verdict = judge(passes)
        if verdict.judgement is Judgement.UNPROVEN:
            return ProvenIds(_own(found, strangers), verdict.note)
        if verdict.judgement is Judgement.SHORT:
            return ProvenIds(_own(found, strangers), shortfall=verdict.note)
        if verdict.judgement is Judgement.PROVEN:
            return ProvenIds(_own(found, strangers))


def _facts(reading: Reading, ids: _Collector) -> PassFacts:
    return PassFacts(
        reading.claims,
        fingerprint=hash(frozenset(ids.found)),
        repeats=len(ids.found) - len(set(ids.found)),
        may_repeat=reading.claims.pages == 1 or len(ids.contents) == len(ids.found),
        warnings=reading.warnings,
        age_seconds=reading.age_seconds,
    )


@dataclass(slots=True)
class _Collector:
    """A sink that keeps ids and rooms alone; `on_rows` sees the rows.

    `strangers` are those of rows that name another experiment: part of the list that is to be proven, no more.
    """

    experiment: str
    strangers: set[IdAndRoom]
    on_rows: OnRows | None
    found: list[IdAndRoom] = field(default_factory=list)
    contents: set[int] = field(default_factory=set)
    """What tells whether rows with one id (a person in two rooms that are not named) are two rows."""

    async def write(self, page: Page) -> None:
        self.found.extend(zip(page.ids, page.rooms, strict=True))
        self.contents.update(map(hash, map(bytes, page.rows)))
        own = page.of({None, self.experiment}) if self.experiment else page
        if len(own.rows) < len(page.rows):
            self.strangers.update(
                set(zip(page.ids, page.rooms, strict=True)).difference(zip(own.ids, own.rooms, strict=True))
            )
        if self.on_rows is not None:
            self.on_rows(list(zip(own.rooms, own.rows, strict=True)))


def _own(found: Iterable[IdAndRoom], strangers: set[IdAndRoom]) -> tuple[IdAndRoom, ...]:
    return tuple(each for each in found if each not in strangers)
