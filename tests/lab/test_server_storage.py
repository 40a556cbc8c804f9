"""The storage origin over loopback: signed addresses, expiry in two dialects, ranges, hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree

import aiohttp
import google_crc32c
import pytest
from aiohttp import web

from hsmirror.clock import ManualClock
from hsmirror.errors import UsageError
from hsmirror.lab.server import Lab, LabFaults
from hsmirror.lab.storage import StorageOptions

DIALECTS = pytest.mark.parametrize("dialect", ["gcs", "s3"])
RECORDINGS = "/data/recordings/experiment/exp_research_001"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def rows(session: aiohttp.ClientSession, lab: Lab[Any], path: str = RECORDINGS) -> list[dict[str, Any]]:
    async with session.get(lab.base_url + path, headers={"X-API-Key": lab.key}) as answer:
        assert answer.status == 200
        return json.loads(await answer.read())["data"]


async def xml(answer: aiohttp.ClientResponse) -> dict[str, str]:
    assert answer.content_type == "application/xml"
    return {element.tag: element.text or "" for element in ElementTree.fromstring(await answer.text())}


@pytest.mark.parametrize(
    "impossible", [{"address_seconds": 0}, {"address_seconds": 604_801}, {"bytes_per_second": 0}]
)
def test_storage_that_cannot_be_is_refused(impossible):
    with pytest.raises(UsageError):
        StorageOptions(**impossible)


@DIALECTS
async def test_an_address_in_a_row_gives_the_recording(start_lab, session, dialect):
    lab = await start_lab(rooms=2, storage=StorageOptions(dialect=dialect))
    expected = {file.recording_id: file for file in lab.source.ledger_files("exp_research_001")}
    listed = await rows(session, lab)
    assert {row["recordingId"] for row in listed} == set(expected)
    for row in listed:
        async with session.get(row["downloadUrl"]) as answer:
            content = await answer.read()
        file = expected[row["recordingId"]]
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.size_bytes)
    assert lab.statistics().storage_bytes_sent == sum(file.size_bytes for file in expected.values())


async def test_google_gives_both_hashes_and_the_generation(start_lab, session):
    lab = await start_lab(rooms=1)
    async with session.get((await rows(session, lab))[0]["downloadUrl"]) as answer:
        content = await answer.read()
    crc32c = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    assert answer.headers["x-goog-hash"] == f"crc32c={crc32c},md5={md5}"
    assert answer.headers["x-goog-generation"] == "1"


async def test_amazon_gives_the_md5_as_the_tag(start_lab, session):
    lab = await start_lab(rooms=1, storage=StorageOptions(dialect="s3"))
    async with session.get((await rows(session, lab))[0]["downloadUrl"]) as answer:
        content = await answer.read()
    assert answer.headers["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    assert "x-goog-hash" not in answer.headers


async def test_an_expired_address_answers_400_on_google(start_lab, session):
    clock = ManualClock()
    lab = await start_lab(rooms=1, storage=StorageOptions(address_seconds=60), clock=clock)
    address = (await rows(session, lab))[0]["downloadUrl"]
    clock.advance(61)
    async with session.get(address) as answer:
        assert answer.status == 400
        assert (await xml(answer))["Code"] == "ExpiredToken"


async def test_an_expired_address_answers_403_on_amazon_and_tells_the_time(start_lab, session):
    clock = ManualClock(1_700_000_000.0)
    lab = await start_lab(rooms=1, storage=StorageOptions(dialect="s3", address_seconds=60), clock=clock)
    address = (await rows(session, lab))[0]["downloadUrl"]
    clock.advance(61)
    async with session.get(address) as answer:
        assert answer.status == 403
        assert answer.headers["Date"] == "Tue, 14 Nov 2023 22:14:21 GMT"
        assert await xml(answer) == {
            "Code": "AccessDenied",
            "Message": "Request has expired",
            "Expires": "2023-11-14T22:14:20Z",
            "ServerTime": "2023-11-14T22:14:21Z",
        }


@DIALECTS
async def test_a_wrong_signature_and_another_verb_answer_403(start_lab, session, dialect):
    lab = await start_lab(rooms=1, storage=StorageOptions(dialect=dialect))
    address = (await rows(session, lab))[0]["downloadUrl"]
    async with session.get(address[:-1] + ("0" if address[-1] != "0" else "1")) as answer:
        assert (answer.status, (await xml(answer))["Code"]) == (403, "SignatureDoesNotMatch")
    async with session.head(address) as answer:
        assert answer.status == 403


async def test_without_a_signature_nothing_is_given(start_lab, session):
    lab = await start_lab(rooms=1)
    async with session.get((await rows(session, lab))[0]["url"]) as answer:
        assert (answer.status, (await xml(answer))["Code"]) == (403, "AccessDenied")


async def test_minted_addresses_are_asked_for_one_by_one(start_lab, session):
    lab = await start_lab(rooms=1, storage=StorageOptions(addresses="minted", address_seconds=300))
    row = (await rows(session, lab))[0]
    assert row["downloadPath"] == f"/data/recordings/download/room_abc123/{row['recordingId']}"
    assert not {"url", "downloadUrl"} & set(row)
    async with session.get(lab.base_url + row["downloadPath"], headers={"X-API-Key": lab.key}) as answer:
        minted = (await answer.json())["data"]["url"]
    assert "X-Goog-Expires=300" in minted
    async with session.get(minted) as answer:
        assert answer.status == 200


async def test_the_oldest_rows_have_one_signed_url(start_lab, session):
    lab = await start_lab(rooms=1, storage=StorageOptions(addresses="url"))
    row = (await rows(session, lab))[0]
    assert not {"downloadPath", "downloadUrl"} & set(row)
    async with session.get(row["url"]) as answer:
        assert answer.status == 200


async def test_an_address_is_given_even_where_no_row_names_its_room(start_lab, session):
    lab = await start_lab(rooms=2, rows_name_rooms=False)
    for row in await rows(session, lab):
        async with session.get(row["downloadUrl"]) as answer:
            assert answer.status == 200


async def test_a_recording_that_still_runs_has_no_address(start_lab, session):
    lab = await start_lab(rooms=1, last_room_active=True)
    listed = await rows(session, lab)
    assert {row["status"]: "downloadUrl" in row for row in listed}["active"] is False


async def test_a_download_goes_on_from_its_byte(start_lab, session):
    lab = await start_lab(rooms=1, recording_bytes=200_000)
    address = (await rows(session, lab))[0]["downloadUrl"]
    async with session.get(address) as answer:
        whole, tag = await answer.read(), answer.headers["ETag"]
    headers = {"Range": "bytes=150000-", "If-Range": tag}
    async with session.get(address, headers=headers) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (206, "bytes 150000-199999/200000")
        assert await answer.read() == whole[150_000:]
    async with session.get(address, headers={"If-Match": '"other"'}) as answer:
        assert (answer.status, (await xml(answer))["Code"]) == (412, "PreconditionFailed")


async def test_an_open_download_outlives_its_address(start_lab, session):
    clock = ManualClock()
    storage = StorageOptions(address_seconds=60, bytes_per_second=2_000_000)
    lab = await start_lab(rooms=1, recording_bytes=500_000, storage=storage, clock=clock)
    address = (await rows(session, lab))[0]["downloadUrl"]
    async with session.get(address) as answer:
        head = await answer.content.readexactly(1000)
        clock.advance(3600)
        assert len(head + await answer.read()) == 500_000
    async with session.get(address) as answer:
        assert answer.status == 400


async def test_a_key_that_reaches_the_storage_host_is_noticed(start_lab, session):
    lab = await start_lab(rooms=1)
    address = (await rows(session, lab))[0]["downloadUrl"]
    async with session.get(address):
        pass
    assert lab.statistics().storage_requests_with_key == 0
    async with session.get(address, headers={"X-API-Key": lab.key}):
        pass
    assert lab.statistics().storage_requests_with_key == 1


async def test_the_log_keeps_no_signature(start_lab, session):
    lab = await start_lab(rooms=1)
    async with session.get((await rows(session, lab))[0]["downloadUrl"]) as answer:
        await answer.read()
    logged = [request for request in lab.requests if request.site == "storage"]
    assert len(logged) == 1
    assert "Signature" not in repr(lab.requests)


async def test_faults_can_be_put_before_the_files(start_lab, session):
    @web.middleware
    async def gone(request, handler):
        return web.Response(status=502)

    lab = await start_lab(rooms=1, faults=LabFaults(storage=(gone,)))
    async with session.get((await rows(session, lab))[0]["downloadUrl"]) as answer:
        assert answer.status == 502
    assert lab.statistics().storage_by_status == {502: 1}
