"""Faults as a plain client meets them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from hsmirror.errors import UsageError
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.chronicle import Chronicle
from hsmirror.lab.data import MadeUpSource
from hsmirror.lab.faults import FAULTS, Outcome, lab_faults
from hsmirror.lab.faults.members import elements_of, members_of, object_of
from hsmirror.lab.server import Lab, LabFaults, LabOptions, running_lab
from hsmirror.lab.shape import LabShape

EXPERIMENT, ROOM = "exp_research_001", "room_abc123"
EVENTS = f"/data/events/room/{ROOM}"
ROOMS = f"/data/rooms/experiment/{EXPERIMENT}"


class Client:
    """Asks a lab, and tries nothing twice."""

    def __init__(self, lab: Lab[MadeUpSource], session: aiohttp.ClientSession) -> None:
        self.lab = lab
        self._session = session

    async def get(self, path: str, **query: object) -> tuple[int, bytes]:
        params = {name: str(value) for name, value in query.items()}
        async with self._session.get(
            self.lab.base_url + path, params=params, headers={"X-API-Key": self.lab.key}, allow_redirects=False
        ) as answer:
            return answer.status, await answer.read()

    async def page(self, path: str, **query: object) -> dict[str, Any]:
        status, body = await self.get(path, **query)
        assert status == 200, body
        answer: dict[str, Any] = orjson.loads(body)
        return answer

    async def outcomes(self, path: str, times: int) -> list[str]:
        """Of the same request, so many times: its status, or how it broke."""
        found = []
        for _ in range(times):
            try:
                found.append(str((await self.get(path))[0]))
            except aiohttp.ClientError as error:
                found.append(type(error).__name__)
        return found

    async def file(self, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """The first recording's file, under an address fresh from its row."""
        rows = (await self.page(f"/data/recordings/room/{ROOM}"))["data"]
        async with self._session.get(rows[0]["downloadUrl"], headers=headers) as answer:
            return answer.status, await answer.read()


@asynccontextmanager
async def meeting(
    tmp_path: Path, *faults: str, seed: int = 1, limits: None = None, **shape: Any
) -> AsyncIterator[Client]:
    options = LabOptions(
        shape=LabShape(**({"rooms": 2, "events_per_room": 30, "recordings_per_room": 1} | shape)),
        limits=limits,
        answers=AnswerOptions(page_cap=10),
        faults=lab_faults(faults, seed=seed),
    )
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(running_lab(options, files_dir=tmp_path / "files"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Client(lab, session)


def struck(client: Client) -> dict[str, int]:
    return dict(client.lab.options.faults.struck)


# --- the table -----------------------------------------------------------------------------------------
def test_every_fault_says_what_it_does_in_a_line():
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert 0 < len(fault.does) <= 72, name
        assert fault.rate is None or 0 < fault.rate <= 1, name
    assert {fault.outcome for fault in FAULTS.values()} == set(Outcome)


@pytest.mark.parametrize(
    "wanted", ["nothing-of-the-kind", "body-cut=0", "body-cut=2", "body-cut=x", "total-high=1"]
)
def test_what_cannot_be_meant_is_refused(wanted):
    with pytest.raises(UsageError):
        lab_faults([wanted])


async def test_all_faults_can_be_had_at_once(tmp_path):
    async with meeting(tmp_path, *FAULTS) as client:
        await client.outcomes("/health", 3)


# --- when they strike ----------------------------------------------------------------------------------
async def test_the_same_seed_makes_the_same_decisions(tmp_path):
    found = []
    for seed in (5, 5, 6):
        async with meeting(tmp_path, "internal-error=0.5", seed=seed) as client:
            found.append(await client.outcomes(EVENTS, 12))
    assert found[0] == found[1] != found[2]


async def test_no_request_fails_more_than_twice_in_a_row_whatever_strikes(tmp_path):
    async with meeting(tmp_path, "internal-error=0.9", "bad-gateway=0.9", "unavailable=0.9") as client:
        outcomes = await client.outcomes(EVENTS, 9)
    assert outcomes[2::3] == ["200"] * 3
    assert "200" not in outcomes[0:2]


async def test_at_a_rate_of_one_there_is_no_mercy(tmp_path):
    async with meeting(tmp_path, "unavailable=1") as client:
        assert await client.outcomes(EVENTS, 5) == ["503"] * 5


async def test_switched_off_nothing_strikes(tmp_path):
    async with meeting(tmp_path, "unavailable=1", "total-high", "file-always-corrupt") as client:
        client.lab.options.faults.switch.is_on = False
        page = await client.page(EVENTS)
        assert page["metadata"]["pagination"]["total"] == 30
        assert struck(client) == {}


async def test_middlewares_of_ones_own_still_go(tmp_path):
    assert LabFaults().adjusted(LabOptions()) == LabOptions()


# --- paging --------------------------------------------------------------------------------------------
async def test_claims_about_a_list_are_wrong_and_its_rows_are_right(tmp_path):
    async with meeting(tmp_path, "total-high", "early-end") as client:
        page = await client.page(EVENTS)
        assert page["metadata"]["pagination"] == {"total": 37, "returned": 10, "hasMore": False}
        assert len(page["data"]) == 10


async def test_every_page_is_the_first_again(tmp_path):
    async with meeting(tmp_path, "offset-ignored") as client:
        first, second = await client.page(EVENTS), await client.page(EVENTS, offset=10)
        assert first["data"] == second["data"]


async def test_a_page_is_clamped_without_a_word(tmp_path):
    async with meeting(tmp_path, "limit-clamped", events_per_room=60) as client:
        client.lab.options.faults.switch.is_on = True
        assert len((await client.page(EVENTS, limit=1000))["data"]) == 10
        assert len((await client.page(EVENTS, limit=5))["data"]) == 5


# --- data that move ------------------------------------------------------------------------------------
async def test_rows_appear_while_a_list_is_read_and_the_chronicle_knows(tmp_path):
    async with meeting(tmp_path, "rows-inserted=1") as client:
        chronicle = Chronicle(client.lab.source)
        before = (await client.page(EVENTS))["metadata"]["pagination"]["total"]
        after = (await client.page(EVENTS))["metadata"]["pagination"]["total"]
        throughout, ever = (
            rows(EXPERIMENT, "events") for rows in (chronicle.rows_throughout, chronicle.rows_ever)
        )
    assert after > before == 30
    assert throughout.total() == 60
    assert ever.total() == 60 + after - before


async def test_an_edited_row_was_there_in_both_versions_and_neither_throughout(tmp_path):
    source = MadeUpSource(LabShape(rooms=1, events_per_room=5), tmp_path)
    chronicle = Chronicle(source)
    source.edit_rows(EXPERIMENT, ROOM, "events", 2)
    assert chronicle.rows_throughout(EXPERIMENT, "events").total() == 3
    assert chronicle.rows_ever(EXPERIMENT, "events").total() == 7
    chronicle.begin_again()
    assert chronicle.rows_throughout(EXPERIMENT, "events").total() == 5


async def test_a_revised_recording_has_other_bytes_of_the_same_size(tmp_path):
    source = MadeUpSource(LabShape(rooms=1, events_per_room=5, recordings_per_room=1), tmp_path)
    chronicle = Chronicle(source)
    (old,) = source.ledger_files(EXPERIMENT)
    source.revise_recording(ROOM, old.recording_id)
    (new,) = source.ledger_files(EXPERIMENT)
    assert (new.size_bytes, new.sha256 == old.sha256) == (old.size_bytes, False)
    assert chronicle.files_throughout(EXPERIMENT).total() == 0
    assert chronicle.files_ever(EXPERIMENT).total() == 2


# --- HTTP ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("body-cut", "ClientPayloadError"),
        ("chunks-unended", "ClientPayloadError"),
        ("gzip-corrupt", "ClientPayloadError"),
        ("hung-up", "ServerDisconnectedError"),
        ("connection-reset", "ClientOSError"),
        ("headers-endless", "ClientResponseError"),
        ("gateway-timeout", "504"),
        ("throttled-silently", "429"),
        ("redirected-elsewhere", "302"),
        ("html-under-200", "200"),
    ],
)
async def test_an_answer_goes_wrong_as_its_fault_says(tmp_path, fault, outcome):
    async with meeting(tmp_path, f"{fault}=1") as client:
        outcomes = await client.outcomes(EVENTS, 4)
        # A corrupt gzip body can be one that only ends too early, which this client does not notice.
        assert outcome in outcomes
        assert struck(client)[fault] >= 4


# --- rows ----------------------------------------------------------------------------------------------
async def test_odd_rows_come_as_the_ledger_has_them(tmp_path):
    async with meeting(tmp_path, "odd-json", "new-fields", "rows-without-room", "total-high") as client:
        _, body = await client.get(EVENTS)
        rows = elements_of(members_of(body)["data"])
        ledger = [row for room, row in client.lab.source.ledger_rows(EXPERIMENT, "events") if room == ROOM]
    assert sorted(rows) == sorted(set(rows) & set(ledger))
    assert len(rows) == 10
    assert b"\\ud800" in rows[0]
    assert any(b"sessionId" not in row for row in rows)


@pytest.mark.parametrize(
    "text",
    [rb'{"a":"\ud83d\ude00","b":"\ud800","c":[1.10,1e400],"d":{}}', rb'{"a":"\\ud800","b":"\\\ud800"}', b"{}"],
)
def test_members_are_taken_apart_and_put_together_to_the_byte(text):
    assert object_of(members_of(text)) == text


# --- storage -------------------------------------------------------------------------------------------
async def test_a_file_comes_wrong_once_and_then_as_it_is(tmp_path):
    async with meeting(tmp_path, "file-corrupt=1") as client:
        (_, wrong), (_, right) = await client.file(), await client.file()
        (ledger,) = [file for file in client.lab.source.ledger_files(EXPERIMENT) if file.room_id == ROOM]
    assert len(wrong) == len(right) == ledger.size_bytes
    assert sum(one != other for one, other in zip(wrong, right, strict=True)) == 1


async def test_what_is_resumed_comes_from_its_start(tmp_path):
    async with meeting(tmp_path, "range-ignored=1") as client:
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.file()
        status, again = await client.file({"Range": "bytes=100-"})
        assert status == 200
        status, rest = await client.file({"Range": "bytes=100-"})
        assert (status, rest) == (206, again[100:])


async def test_an_address_is_refused_as_expired(tmp_path):
    async with meeting(tmp_path, "address-expired=1") as client:
        status, body = await client.file()
    assert status == 400
    assert b"<Code>ExpiredToken</Code>" in body


async def test_rows_lead_elsewhere(tmp_path):
    async with meeting(tmp_path, "address-elsewhere", recordings_per_room=6) as client:
        rows = (await client.page(f"/data/recordings/room/{ROOM}"))["data"]
        own = [row for row in rows if row["downloadUrl"].startswith(client.lab.storage_url)]
    assert 0 < len(own) < len(rows)


async def test_the_servers_clock_is_ahead(tmp_path):
    async with meeting(tmp_path, "clock-ahead") as ahead, meeting(tmp_path, "clock-behind") as behind:
        times = [(await client.page(EVENTS))["metadata"]["timestamp"] for client in (ahead, behind)]
    assert times[0][:13] != times[1][:13]
