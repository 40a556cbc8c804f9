"""Lists that name rooms: where one may lack some, what is read room by room is not complete."""

from __future__ import annotations

import pytest
from small_api import SmallApi, held, night, not_found, page_of, said

from hsmirror.errors import Exit, ForbiddenError

VARIABLES = [{"roomId": room, "name": "score", "value": 1} for room in ("r1", "r2")]


@pytest.mark.parametrize("refusal", [not_found(), ForbiddenError("403", required_scopes=("read:x",))], ids=str)
def test_a_deployment_whose_sessions_are_not_listed_as_others_are_may_have_rooms(tmp_path, refusal):
    answers = {
        "data/rooms/experiment/exp_1": not_found(),
        "deployments": page_of([{"id": "d1"}, {"id": "d2"}], {}),
        "deployments/d1/sessions": page_of([{"id": "r1"}], {}),
        "deployments/d2/sessions": refusal,
    }
    api = SmallApi({"variables": VARIABLES}, other=lambda path, params: answers.get(path))
    report = night(api, tmp_path, "variables")
    assert report.exit_status == Exit.INCOMPLETE
    assert "the sessions of deployment d2" in said(report)
    assert held(tmp_path, "variables") == VARIABLES[:1]


@pytest.mark.parametrize("types", [("variables",), ("rooms", "variables")])
@pytest.mark.parametrize("first", [{"id": "r1", "status": "completed"}, {"roomId": "r1"}])
def test_a_room_without_an_id_is_a_room_that_is_not_read(tmp_path, types, first):
    api = SmallApi({"rooms": [first, {"roomId": "r2", "status": "completed"}], "variables": VARIABLES})
    for days in (0, 1):
        report = night(api, tmp_path, *types, days=days)
        assert report.exit_status == Exit.INCOMPLETE
        assert "rows without an id" in said(report)
