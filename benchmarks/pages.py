"""Answers of the API, rendered: for a path and its query, the body that the server sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmarks.dataset import Dataset, ListOfRows
from benchmarks.experiments import Experiment, document, recording_rows, room_rows
from benchmarks.rows import encoded

_DEFAULT_LIMIT = 1_000
_RENDERED_AT = "2025-06-01T12:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Page:
    """A run of a list's rows, and where it lies in the list."""

    rows: Sequence[bytes]
    total: int
    limit: int
    offset: int


class Pages:
    """Renders; the same answer for the same question. `page_cap`: no page has more rows.

    `address` gives the signed address of a recording file: of an experiment's id and the file's name.
    """

    def __init__(
        self,
        dataset: Dataset,
        experiments: Sequence[Experiment],
        page_cap: int,
        address: Callable[[str, str], str],
    ) -> None:
        self._experiments = {experiment.id: experiment for experiment in experiments}
        self._page_cap = page_cap
        self._address = address
        self._list = cache(dataset.opened)

    def answer(self, path: str, query: Mapping[str, str]) -> bytes | None:
        """The body for a path below the API's base; None: there is no such thing."""
        match path.split("/"):
            case ["experiments", experiment_id, *part] if part in ([], ["config"], ["export"]):
                if (experiment := self._experiments.get(experiment_id)) is not None:
                    return _envelope({}, [document(experiment, "".join(part))])
            case ["data", *data_type, ("experiment" | "room") as scope, scope_id]:
                return self._list_answer("/".join(data_type), scope, scope_id, query)
        return None

    def _list_answer(self, data_type: str, scope: str, scope_id: str, query: Mapping[str, str]) -> bytes | None:
        limit = min(int(query.get("limit", _DEFAULT_LIMIT)), self._page_cap)
        offset = int(query.get("offset", 0))
        of_scope = self._of_experiment if scope == "experiment" else self._of_room
        page = of_scope(data_type, scope_id, limit, offset)
        return None if page is None else _envelope(_metadata(page, data_type, scope, scope_id), page.rows)

    def _of_experiment(self, data_type: str, scope_id: str, limit: int, offset: int) -> Page | None:
        experiment = self._experiments.get(scope_id)
        if experiment is None:
            return None
        short: list[bytes] | None = None
        if data_type == "rooms":
            short = room_rows(experiment)
        elif data_type == "recordings":
            short = recording_rows(experiment, lambda name: self._address(experiment.id, name))
        if short is not None:
            return Page(short[offset : offset + limit], len(short), limit, offset)
        rows = self._list(experiment, data_type)
        return _page(rows, range(len(rows)), limit, offset)

    def _of_room(self, data_type: str, room: str, limit: int, offset: int) -> Page | None:
        for experiment in self._experiments.values():
            if room in experiment.room_ids():
                rows = self._list(experiment, data_type)
                return _page(rows, rows.numbers_of(experiment.room_ids().index(room)), limit, offset)
        return None


def _page(rows: ListOfRows, numbers: Sequence[int], limit: int, offset: int) -> Page:
    return Page(rows.rows(numbers[offset : offset + limit]), len(numbers), limit, offset)


def _metadata(page: Page, data_type: str, scope: str, scope_id: str) -> dict[str, Any]:
    after = page.offset + len(page.rows)
    pagination: dict[str, Any] = {
        "total": page.total,
        "returned": len(page.rows),
        "limit": page.limit,
        "offset": page.offset,
        "hasMore": after < page.total,
    }
    if after < page.total:
        pagination["nextOffset"] = after
    return {
        "version": "v3",
        "dataType": data_type,
        "scope": scope,
        "scopeId": scope_id,
        "timestamp": _RENDERED_AT,
        "query": {"limit": page.limit, "offset": page.offset},
        "processing": {"processingTimeMs": 41, "enriched": True},
        "pagination": pagination,
    }


def _envelope(metadata: Mapping[str, Any], rows: Sequence[bytes]) -> bytes:
    head = b'{"status":"success","metadata":' + encoded(metadata) + b',"data":['
    return b"".join((head, b",".join(rows), b"]}"))
