"""Rows that hold signed URLs and have no id: each answer signs them anew, and they are the same rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest
from oracle import contents
from small_api import SmallApi, held, night, page_of

from hsmirror.errors import Exit

ROWS = 7
PAGING: list[dict[str, Any]] = [
    {},
    {"total": None},
    {"total": None, "hasMore": None},
    {"total": ROWS + 1},  # so that it is read again
]


def signing_api(told: dict[str, Any]) -> SmallApi:
    """Three rows a page, signed anew each time that they are asked for."""
    answers = count(1)

    def signed(path: str, params: Mapping[str, str]) -> Any:
        if not path.startswith("data/videochat/"):
            return None
        number = next(answers)
        rows = [
            {
                "roomId": "r1",
                "text": json.dumps({"see": f"https://h.example/{row}.png?sv=1&se={number}&sig=secret{number}"}),
                "poster": f"/files/{row}.png?id={row}&token=secret{number}",
            }
            for row in range(ROWS)
        ]
        answer = page_of(rows, params, most=3, **told)
        paging = answer["metadata"]["pagination"]
        answer["metadata"]["pagination"] = {name: said for name, said in paging.items() if said is not None}
        return answer

    return SmallApi({"rooms": [{"id": "r1", "status": "completed"}], "videochat": []}, other=signed)


@pytest.mark.parametrize("told", PAGING, ids=str)
def test_fault_61_rows_without_ids_are_the_same_under_another_signature(tmp_path, told):
    api = signing_api(told)
    reports = [night(api, tmp_path, "videochat", "rooms", full=True, days=days) for days in (0, 3)]
    if told.get("total") != ROWS + 1:
        assert [report.exit_status for report in reports] == [Exit.COMPLETE] * 2
    assert held(tmp_path, "videochat") == [
        {
            "roomId": "r1",
            "text": json.dumps({"see": f"https://h.example/{row}.png"}),
            "poster": f"/files/{row}.png?id={row}",
        }
        for row in range(ROWS)
    ]
    assert not list((tmp_path / "archive/.hsmirror/superseded").rglob("*videochat*"))
    assert not [path for path, content in contents(tmp_path) if b"secret" in content]
