"""A few rows in place of the API, and runs over them in made-up time: retries and nights take no time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from oracle import lines as lines_of
from oracle import shards
from reliability.jumping_time import run_jumping
from virtual_time import FakeAnswer, VirtualClock

from hsmirror.api.data_types import DATA_TYPES
from hsmirror.errors import NotFoundError
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, load

DAY = 86_400.0
Rows = list[dict[str, Any]]
Answer = dict[str, Any]
Other = Callable[[str, Mapping[str, str]], "Answer | Exception | None"]

PERSON_FIELDS = {"chat": "senderId"}


def not_found(what: str = "no such thing") -> NotFoundError:
    """In the API's own words, of something that is no endpoint."""
    return NotFoundError(f"the API does not have it (404 {what})")


def no_route() -> NotFoundError:
    return NotFoundError("the API does not have it (404 Route not found)", is_of_route=True)


def page_of(rows: Rows, params: Mapping[str, str], *, most: int = 1_000, **told: Any) -> Answer:
    """The part of a list that is asked for, `most` rows at once; `told` replaces what is said of the list."""
    at, limit = int(params.get("offset", 0)), min(int(params.get("limit", most)), most)
    paging = {"total": len(rows), "hasMore": at + limit < len(rows), **told}
    return {"status": "success", "data": rows[at : at + limit], "metadata": {"pagination": paging}}


@dataclass
class SmallApi:
    """`rows` by data type: a newer one that is not named is 404. `other` may answer in place of the usual."""

    rows: dict[str, Rows] = field(default_factory=dict)
    experiments: list[str] = field(default_factory=lambda: ["exp_1"])
    other: Other = lambda path, params: None
    asked: list[str] = field(default_factory=list)

    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
        path = unquote(path)
        self.asked.append(path)
        answer = self.other(path, params) or self._usual(path, params)
        if isinstance(answer, Exception):
            raise answer
        return FakeAnswer(json.dumps(answer).encode())

    def _usual(self, path: str, params: Mapping[str, str]) -> Answer | Exception:
        parts = path.split("/")
        if path in {"experiments", "experiments/shared"}:
            own = [{"id": each} for each in self.experiments] if len(parts) == 1 else []
            return page_of(own, params)
        if parts[0] == "experiments" and parts[1] in self.experiments:
            return {"status": "success", "data": {"id": parts[1], "part": "/".join(parts[2:])}}
        return self._list(parts[1:], params) if parts[0] == "data" else not_found()

    def _list(self, parts: list[str], params: Mapping[str, str]) -> Answer | Exception:
        *kind, scope, name = parts
        is_documented = DATA_TYPES["/".join(kind)].documented
        rows = self.rows.get("/".join(kind), [] if is_documented else None)
        if rows is None:
            return not_found()
        if scope == "experiment":
            return page_of([row for row in rows if row.get("experimentId", name) == name], params)
        person = PERSON_FIELDS.get("/".join(kind), "participantId")
        wanted = {"roomId": name} if scope == "room" else {person: name, "roomId": params["roomId"]}
        return page_of([row for row in rows if wanted.items() <= row.items()], params)

    def requests(self) -> Counter[str]:
        """How often each path has been asked for since this was last called."""
        counted = Counter(self.asked)
        self.asked.clear()
        return counted


def night(
    api: SmallApi,
    folder: Path,
    *types: str,
    experiments: tuple[str, ...] = ("exp_1",),
    days: float = 0.0,
    full: bool = False,
    **narrowing: Any,
) -> RunReport:
    """One run, `days` after the first; of all data types where none is named."""
    given = {
        "api.base_url": "http://127.0.0.1:1/api/v3",
        "archive.path": str(folder / "archive"),
        "limits.requests_per_hour": 100_000,
        "limits.requests_per_minute_per_endpoint": 100_000,
    }
    settings = load(config=None, environ={}, overrides=given, cwd=folder, user_config_dir=folder)
    chosen = [ExperimentSettings(id=each, data_types=types, files=False, **narrowing) for each in experiments]

    async def run(clock: VirtualClock) -> RunReport:
        clock.epoch_at_zero += days * DAY
        options = RunOptions(full=full, state_folder=folder / "state", wire=api)
        return await sync(settings, Secret("hst_test_" + "k" * 64), chosen, options=options, clock=clock)

    return run_jumping(run)


def held(folder: Path, data_type: str, experiment: str = "exp_1") -> Rows:
    """The rows that a reader of the tree finds."""
    return [
        json.loads(line)
        for shard in shards(folder / "archive", experiment, data_type)
        for line in lines_of(shard)
    ]


def said(report: RunReport) -> str:
    """All that a report says in words."""
    return " | ".join(
        (*(f"{each.experiment} {each.data_type} {each.what}" for each in report.problems), *report.notes)
    )
