"""Faults 82 to 88 and 119: a recording is one whole version of its object, and what is none is not held."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web
from oracle import receipts
from sync_runs import run_sync, the_experiment

from faults.upstream import Site, connection_of, recording, serving_rows, site
from hsmirror.errors import Exit
from hsmirror.mirror import download
from hsmirror.mirror.report import RunReport
from hsmirror.pace.retry import Backoff

SIZE = 40_000
OLD, NEW = (Random(seed).randbytes(SIZE) for seed in ("old", "new"))
FILM = b"\0\0\0\x18ftypmp42" + 20 * Random("film").randbytes(2_000)
PACKED = gzip.compress(FILM, mtime=0)
MONDAY, TUESDAY = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"
NOTHING: Mapping[str, str] = {}
HALF = SIZE // 2
HALVED = f"bytes={HALF}-"


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "REQUESTS", Backoff(first_seconds=0.0))
    monkeypatch.setattr(download, "CORRUPT", Backoff(first_seconds=0.0))


def md5_of(body: bytes) -> dict[str, str]:
    return {"x-goog-hash": "md5=" + base64.b64encode(hashlib.md5(body).digest()).decode()}


async def half(request: web.Request, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
    """All is promised, and half of it comes."""
    response = web.StreamResponse(headers=dict(headers))
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    await asyncio.sleep(0.05)  # time to arrive
    connection_of(request).close()
    return response


def whole(
    request: web.Request, body: bytes, headers: Mapping[str, str] = NOTHING, *, most: int = 1 << 30
) -> web.Response:
    """As a storage host in order answers, but for no more than `most` bytes of a range."""
    asked = request.headers.get("Range")
    if asked is None:
        return web.Response(body=body, headers=dict(headers))
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= len(body):
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{len(body)}"})
    part = body[start : start + most]
    span = f"bytes {start}-{start + len(part) - 1}/{len(body)}"
    return web.Response(status=206, body=part, headers={**headers, "Content-Range": span})


async def chunked(
    request: web.Request, body: bytes, headers: Mapping[str, str] = NOTHING
) -> web.StreamResponse:
    """All of it, and not how much that is."""
    response = web.StreamResponse(headers=dict(headers))
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(body)
    await response.write_eof()
    return response


async def synced(
    folder: Path, answer: Any, *, times: int = 1, **row: Any
) -> tuple[RunReport, list[bytes], Site]:
    """The last of so many runs over one recording, what is held then, and what its host was asked."""
    async with site(answer) as host:
        fields = {"downloadUrl": f"{host.url}/1.mp4?sig=s", **row}
        async with serving_rows({"recordings": [("room_a", recording(1, **fields))]}) as lab:
            for _ in range(times):
                report = await run_sync(lab, folder, data_types=("recordings",))
    return report, held_in(folder), host


def held_in(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "archive").glob("*/files/*/*"))]


# --- an object that is replaced --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"ETag": '"1"'}, {"ETag": '"2"'}),
        ({"ETag": 'W/"1"'}, {"ETag": 'W/"2"'}),
        ({"ETag": '"1"', **md5_of(OLD)}, {"ETag": '"2"'}),
        ({"ETag": '"1"'}, {"ETag": '"2"', **md5_of(NEW)}),
        ({"x-goog-generation": "1"}, {"x-goog-generation": "2"}),
        ({"ETag": '"1"', "x-goog-generation": "1"}, {"ETag": '"1"', "x-goog-generation": "2"}),
        ({"ETag": '"1"', "x-amz-version-id": "a"}, {"ETag": '"1"', "x-amz-version-id": "b"}),
        ({"Last-Modified": MONDAY}, {"Last-Modified": TUESDAY}),
        (md5_of(OLD), md5_of(NEW)),
        ({"ETag": '"1"'}, {}),
        ({}, {"ETag": '"2"'}),
        ({}, {}),
        ({"ETag": 'W/"1"'}, {"ETag": 'W/"1"'}),
        ({"x-amz-version-id": "null"}, {"x-amz-version-id": "null"}),
    ],
)
async def test_fault_82_an_object_that_is_replaced_between_two_parts_begins_anew(tmp_path, first, later):
    """Whatever tells of it, and where nothing does: the same number of bytes is no proof."""

    async def replaced(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, NEW, later) if number else await half(request, OLD, first)

    report, held, _ = await synced(tmp_path, replaced, fileSize=SIZE)
    assert (report.exit_status, held) == (0, [NEW])


async def test_fault_82_what_a_part_began_with_is_known_to_the_next_run_too(tmp_path):
    """The first run gets half of it and an error; by the second it was replaced."""

    async def replaced(request: web.Request, number: int) -> web.StreamResponse:
        if not number:
            return await half(request, OLD, {"x-goog-generation": "1"})
        return web.Response(status=410) if number == 1 else whole(request, NEW, {"x-goog-generation": "2"})

    report, held, host = await synced(tmp_path, replaced, times=2)
    assert (report.exit_status, held) == (0, [NEW])
    assert host.ranges() == [None, HALVED, HALVED, None]


@pytest.mark.parametrize("headers", [{"ETag": '"1"'}, {"x-goog-generation": "1"}, {"Last-Modified": MONDAY}])
async def test_fault_25_the_rest_of_the_same_version_is_added(tmp_path, headers):
    async def same(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, OLD, headers) if number else await half(request, OLD, headers)

    report, held, host = await synced(tmp_path, same)
    assert (report.exit_status, held, host.ranges()) == (0, [OLD], [None, HALVED])


async def test_fault_82_a_hash_of_the_whole_decides_where_the_rest_names_no_version(tmp_path):
    async def bare(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, OLD) if number else await half(request, OLD, md5_of(OLD))

    report, held, host = await synced(tmp_path, bare)
    assert (report.exit_status, held, host.ranges()) == (0, [OLD], [None, HALVED])


async def test_fault_82_where_a_host_names_no_version_a_part_is_added_and_all_of_it_read_twice(tmp_path):
    """Every answer is cut, and none says what it is of."""

    async def untold(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, OLD) if "Range" in request.headers else await half(request, OLD, {})

    report, held, host = await synced(tmp_path, untold)
    compared = f"bytes={HALF - (16 << 10)}-"
    assert (report.exit_status, held) == (0, [OLD])
    assert host.ranges() == [None, HALVED, compared, None, compared]


async def test_fault_82_copies_that_differ_and_say_nothing_are_not_mixed(tmp_path):
    """Behind one address the old and the new take turns, and every first part is of the old."""

    async def turns(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, NEW) if "Range" in request.headers else await half(request, OLD, {})

    report, held, host = await synced(tmp_path, turns, fileSize=SIZE)
    assert (report.exit_status, held) == (Exit.INCOMPLETE, [])
    assert len(host.asked) < 15


# --- If-Match --------------------------------------------------------------------------------------------
async def test_fault_83_a_weak_etag_is_never_to_be_matched_and_what_it_joins_is_read_twice(tmp_path):
    async def weak(request: web.Request, number: int) -> web.StreamResponse:
        assert "If-Match" not in request.headers
        return (
            await half(request, OLD, {"ETag": 'W/"1"'})
            if number in {0, 2}
            else whole(request, OLD, {"ETag": 'W/"1"'})
        )

    report, held, host = await synced(tmp_path, weak)
    assert (report.exit_status, held, host.ranges()) == (0, [OLD], [None, HALVED, None, HALVED])


async def test_fault_83_a_host_that_refuses_every_match_is_asked_without(tmp_path):
    async def refuses(request: web.Request, number: int) -> web.StreamResponse:
        if "If-Match" in request.headers:
            return web.Response(status=412)
        is_cut = "Range" not in request.headers
        return await half(request, OLD, {"ETag": '"1"'}) if is_cut else whole(request, OLD, {"ETag": '"1"'})

    report, held, host = await synced(tmp_path, refuses)
    assert (report.exit_status, held, host.ranges()) == (0, [OLD], [None, HALVED, None, HALVED])


# --- ranges shorter than asked for -----------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers", [{"ETag": '"1"'}, {"ETag": 'W/"1"'}, {"Last-Modified": MONDAY}, md5_of(OLD)]
)
async def test_fault_84_a_host_that_gives_less_of_a_range_is_asked_for_the_rest(tmp_path, headers):
    async def short(request: web.Request, number: int) -> web.StreamResponse:
        is_cut = "Range" not in request.headers
        return await half(request, OLD, headers) if is_cut else whole(request, OLD, headers, most=1_000)

    report, held, host = await synced(tmp_path, short)
    assert (report.exit_status, held) == (0, [OLD])
    readings = 2 if headers.get("ETag", "").startswith("W/") else 1
    assert host.ranges() == readings * [None, *(f"bytes={start}-" for start in range(HALF, SIZE, 1_000))]


async def test_fault_84_a_range_whose_body_is_other_than_it_says_is_not_taken(tmp_path):
    async def longer(request: web.Request, number: int) -> web.StreamResponse:
        if number == 1:
            span = f"bytes {HALF}-{SIZE - 101}/{SIZE}"
            return web.Response(status=206, body=OLD[HALF:], headers={"ETag": '"1"', "Content-Range": span})
        return whole(request, OLD, {"ETag": '"1"'}) if number else await half(request, OLD, {"ETag": '"1"'})

    report, held, _ = await synced(tmp_path, longer)
    assert (report.exit_status, held) == (0, [OLD])


# --- bodies without a length -----------------------------------------------------------------------------
async def test_fault_119_a_body_without_a_length_is_proven_by_what_its_host_says_of_what_comes_behind(tmp_path):
    async def no_length(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, OLD) if number else await chunked(request, OLD)

    report, held, host = await synced(tmp_path, no_length)
    assert (report.exit_status, held, host.ranges()) == (0, [OLD], [None, f"bytes={SIZE}-"])


@pytest.mark.parametrize("status", [200, 400, 403, 416, 501])
async def test_fault_119_where_that_tells_nothing_a_second_reading_has_to_be_the_same(tmp_path, status):
    async def no_length(request: web.Request, number: int) -> web.StreamResponse:
        if status != 200 and "Range" in request.headers:
            return web.Response(status=status)
        return await chunked(request, OLD)

    report, held, _ = await synced(tmp_path, no_length)
    assert (report.exit_status, held) == (0, [OLD])
    (receipt,) = receipts(tmp_path / "archive", kind="file")
    assert receipt["verified_by"] == "readings"


async def test_fault_119_a_body_without_a_length_of_as_many_bytes_as_its_row_says_needs_no_more(tmp_path):
    async def no_length(request: web.Request, number: int) -> web.StreamResponse:
        return await chunked(request, OLD)

    report, held, host = await synced(tmp_path, no_length, fileSize=SIZE)
    assert (report.exit_status, held, host.ranges()) == (0, [OLD], [None])


async def test_fault_119_a_body_without_a_length_that_is_ever_another_is_not_held(tmp_path):
    async def ever_another(request: web.Request, number: int) -> web.StreamResponse:
        return await chunked(request, Random(number).randbytes(SIZE))

    report, held, host = await synced(tmp_path, ever_another)
    assert (report.exit_status, held) == (Exit.INCOMPLETE, [])
    assert "no reading of it is like another" in report.problems[0].what
    assert len(host.asked) < 10


@pytest.mark.parametrize("size", [None, SIZE])
async def test_fault_119_a_body_without_a_length_that_breaks_off_is_not_whole(tmp_path, size):
    """Cut off, it looks like one that has ended, and only the rest shows that there is more."""

    async def until_it_closes(request: web.Request, number: int) -> web.StreamResponse:
        if number:
            return whole(request, OLD, {"ETag": '"1"'})
        connection_of(request).write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nETag: "1"\r\n\r\n' + OLD[:HALF])
        await asyncio.sleep(0.05)
        connection_of(request).close()
        return web.Response()

    report, held, host = await synced(tmp_path, until_it_closes, **({"fileSize": size} if size else {}))
    assert (report.exit_status, held, host.ranges()) == (0, [OLD], [None, HALVED])


# --- sizes that do not agree -----------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1, SIZE - 1, SIZE + 1])
async def test_fault_87_a_row_is_not_believed_against_the_hash_and_length_of_the_host(tmp_path, size):
    async def hashed(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, OLD, md5_of(OLD))

    report, held, host = await synced(tmp_path, hashed, fileSize=size, times=1)
    assert (report.exit_status, held) == (0, [OLD])
    assert any(f"its row says {size}" in note for note in report.notes)
    report, held, host = await synced(tmp_path, hashed, fileSize=size)
    assert (report.exit_status, held, host.asked) == (0, [OLD], [])


async def test_fault_87_what_is_shorter_than_its_row_says_and_has_no_hash_may_have_been_cut(tmp_path):
    async def cut(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, OLD, {"ETag": '"1"'})

    report, held, host = await synced(tmp_path, cut, fileSize=SIZE + 1)
    assert (report.exit_status, held, len(host.asked)) == (Exit.INCOMPLETE, [], 2)
    assert f"{SIZE} bytes instead of {SIZE + 1}" in report.problems[0].what


async def test_fault_87_what_is_longer_than_its_row_says_is_held_if_the_host_says_so_twice(tmp_path):
    async def longer(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, OLD)

    report, held, host = await synced(tmp_path, longer, fileSize=0)
    assert (report.exit_status, held, host.ranges()) == (0, [OLD], [None, f"bytes={SIZE}-"])
    assert any("its row says 0" in note for note in report.notes)


# --- stored gzip-encoded ---------------------------------------------------------------------------------
def google(request: web.Request, number: int, *, cut: bool = False) -> Any:
    """Inflated on the way, without a length, unless gzip is asked for."""
    stored = {"x-goog-stored-content-encoding": "gzip", "x-goog-generation": "1", **md5_of(PACKED)}
    if "gzip" not in request.headers["Accept-Encoding"]:
        return chunked(request, FILM, stored)
    headers = {**stored, "Content-Encoding": "gzip"}
    return half(request, PACKED, headers) if cut else whole(request, PACKED, headers)


def amazon(request: web.Request, number: int, *, cut: bool = False) -> Any:
    headers = {
        "Content-Encoding": "x-gzip",
        "ETag": f'"{hashlib.md5(PACKED).hexdigest()}"',
        "x-amz-request-id": "1",
    }
    return half(request, PACKED, headers) if cut else whole(request, PACKED, headers)


def untold(request: web.Request, number: int, *, cut: bool = False) -> Any:
    """Nothing says that it is packed."""
    return half(request, PACKED, {"ETag": '"1"'}) if cut else whole(request, PACKED, {"ETag": '"1"'})


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("size", [None, len(FILM), len(PACKED)])
@pytest.mark.parametrize("host", [google, amazon, untold])
async def test_fault_85_what_is_stored_packed_is_proven_as_stored_and_kept_unpacked(
    tmp_path, host, size, is_cut
):
    cuts = 0

    async def answer(request: web.Request, number: int) -> web.StreamResponse:
        nonlocal cuts
        is_of_stored = host is not google or "gzip" in request.headers["Accept-Encoding"]
        cuts += is_of_stored
        given = host(request, number, cut=is_cut and is_of_stored and cuts == 1)
        return given if isinstance(given, web.StreamResponse) else await given

    report, held, _ = await synced(tmp_path, answer, **({"fileSize": size} if size else {}))
    assert (report.exit_status, held) == (0, [FILM])
    assert any("stored gzip-encoded" in note for note in report.notes)
    (receipt,) = receipts(tmp_path / "archive", kind="file")
    assert (receipt["size_bytes"], receipt["sha256"]) == (len(FILM), hashlib.sha256(FILM).hexdigest())
    assert (receipt["stored_coding"], receipt["stored_bytes"]) == ("gzip", len(PACKED))
    assert receipt["stored_sha256"] == hashlib.sha256(PACKED).hexdigest()
    assert receipt["verified_by"] == ("size" if host is untold else "md5")
    assert not list((tmp_path / "archive/.hsmirror/staging").rglob("*.*"))


async def test_fault_85_what_is_packed_in_a_way_that_cannot_be_undone_is_named(tmp_path):
    async def brotli(request: web.Request, number: int) -> web.StreamResponse:
        return web.Response(body=OLD, headers={"Content-Encoding": "br"})

    report, held, host = await synced(tmp_path, brotli)
    assert (report.exit_status, held, len(host.asked)) == (Exit.INCOMPLETE, [], 1)
    assert "br-encoded" in report.problems[0].what


# --- what is no recording --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "media_type", ["video/mp4", "application/json", "text/plain", "application/octet-stream"]
)
@pytest.mark.parametrize(
    "body",
    [
        b'{"status": "error"}',
        b"Service Unavailable",
        b"<Error/>",
        b"\x89PNG\r\n\x1a\n" + OLD,
        gzip.compress(b"{}"),
    ],
    ids=["json", "text", "xml", "picture", "packed json"],
)
async def test_fault_119_what_is_no_recording_is_not_held_as_one(tmp_path, body, media_type):
    async def none(request: web.Request, number: int) -> web.StreamResponse:
        return web.Response(body=body, content_type=media_type, headers=md5_of(body))

    report, held, host = await synced(tmp_path, none, fileSize=len(body))
    assert (report.exit_status, held, len(host.asked)) == (Exit.INCOMPLETE, [], 2)
    assert "instead of a recording" in report.problems[0].what


async def test_fault_119_a_film_is_held_whatever_its_host_calls_it(tmp_path):
    async def called_a_page(request: web.Request, number: int) -> web.StreamResponse:
        return web.Response(body=FILM, content_type="text/html")

    report, held, _ = await synced(tmp_path, called_a_page)
    assert (report.exit_status, held) == (0, [FILM])


# --- playlists -------------------------------------------------------------------------------------------
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nsegment0.ts\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("extension", ["mp4", "m3u8"])
async def test_fault_88_a_playlist_in_place_of_a_film_is_kept_and_named_for_what_it_is(tmp_path, extension):
    is_film = False

    async def playlist(request: web.Request, number: int) -> web.StreamResponse:
        return whole(request, FILM if is_film else PLAYLIST)

    async with site(playlist) as host:
        row = recording(1, downloadUrl=f"{host.url}/1.mp4?sig=s", format=extension)
        async with serving_rows({"recordings": [("room_a", row)]}) as lab:
            for nights in (1, 2):  # the second changes nothing, and says the same
                report = await run_sync(lab, tmp_path, data_types=("recordings",))
                assert (report.exit_status, held_in(tmp_path)) == (Exit.INCOMPLETE, [PLAYLIST])
                assert "HLS playlist" in report.problems[0].what
                assert the_experiment(report).files_failed == 1
                assert len(host.asked) == nights
                (receipt,) = receipts(tmp_path / "archive", kind="file")
                assert receipt["path"].endswith(".m3u8")
            is_film = True
            report = await run_sync(lab, tmp_path, data_types=("recordings",))
    assert report.exit_status == 0
    assert FILM in held_in(tmp_path)
