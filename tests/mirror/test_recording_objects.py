"""Which object is which, night after night: a name, once given, belongs to its object for ever."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from faults.upstream import GivenRows, Site, serving_rows, site
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import receipts
from sync_runs import run_sync, the_experiment

from hsmirror.lab.server import Lab
from hsmirror.mirror.report import RunReport

ONLY = {"data_types": ("recordings",)}


@dataclass(slots=True)
class Upstream:
    """A server whose rooms are open, so that its rows are read every night; its storage host has films."""

    lab: Lab[GivenRows]
    host: Site
    films: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)

    def lists(self, *rows: dict[str, Any], room: str = "room_a", **more: Any) -> None:
        """From now on, these."""
        given = [(row.get("roomId", room), orjson.dumps({"roomId": room} | row)) for row in rows]
        self.lab.source.rows = {"recordings": given, **more}

    def row(self, film: str, recording_id: str | None = "rec_1", **fields: Any) -> dict[str, Any]:
        """A row whose film is at a signed URL; a field that is None is left out."""
        self.films.setdefault(film, contents(film))
        url = f"{self.host.url}/bucket/{film}.mp4?X-Goog-Signature={secrets.token_hex(8)}"
        row = {"recordingId": recording_id, "format": "mp4", "downloadUrl": url, **fields}
        return {name: value for name, value in row.items() if value is not None}

    @property
    def fetched(self) -> list[str]:
        """Films that were asked for since this was last asked."""
        asked = [path for path, _ in self.host.asked]
        self.host.asked.clear()
        return asked


@asynccontextmanager
async def upstream(
    store: Callable[[Upstream, web.Request], web.StreamResponse] | None = None,
) -> AsyncIterator[Upstream]:
    async def answer(request: web.Request, _: int) -> web.StreamResponse:
        if store is not None:
            return store(it, request)
        return film_of(it, Path(request.path).stem)

    async with site(answer) as host, serving_rows({}) as lab:
        it = Upstream(lab, host)
        yield it


def film_of(it: Upstream, name: str) -> web.Response:
    if name not in it.films:
        return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
    body = it.films[name]
    etag = it.etags.get(name, hashlib.sha256(body).hexdigest()[:12])
    return web.Response(body=body, content_type="video/mp4", headers={"ETag": f'"{etag}"'} if etag else {})


def contents(film: str) -> bytes:
    return f"{film}|".encode() * 2_000


def held(folder: Path) -> dict[str, str]:
    """The films in the tree: of each name, whose film it is."""
    found = (folder / "archive").glob("experiment_id=*/files/*/*")
    return {path.name: path.read_bytes().partition(b"|")[0].decode() for path in sorted(found)}


def superseded(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in (folder / "archive/.hsmirror/superseded").rglob("*.mp4.superseded")]


def as_an_older_version_wrote_them(folder: Path) -> None:
    """Receipts of files without what newer versions add to them."""
    for segment in (folder / "archive/receipts").glob("*.jsonl"):
        lines = [json.dumps(_older(json.loads(line))) for line in segment.read_text().splitlines()]
        segment.write_text("\n".join([*lines, ""]))


def _older(receipt: dict[str, Any]) -> dict[str, Any]:
    added = {"source", "object_kind", "said", "looked_at"}
    older = {name: value for name, value in receipt.items() if name not in added}
    if "receipts" in older:  # of an intent
        older["receipts"] = [_older(each) for each in older["receipts"]]
    return older


async def night(it: Upstream, folder: Path, **how: Any) -> RunReport:
    return await run_sync(it.lab, folder, **(ONLY | how))


async def good_night(it: Upstream, folder: Path, **how: Any) -> None:
    report = await night(it, folder, **how)
    assert (report.exit_status, [each.what for each in report.problems]) == (0, [])


# --- several files of one recording -------------------------------------------------------------------
FILMS = ("speaker", "gallery", "screen")

LISTING = st.lists(st.sampled_from(FILMS), unique=True, min_size=1, max_size=3)


@settings(max_examples=6)
@given(
    nights=st.lists(LISTING, min_size=2, max_size=4),
    has_sizes=st.booleans(),
    has_people=st.booleans(),
    is_in_query=st.booleans(),
)
def test_each_object_is_held_under_one_name_and_fetched_once_whatever_is_listed_in_whatever_order(
    nights: Sequence[Sequence[str]], has_sizes: bool, has_people: bool, is_in_query: bool
) -> None:
    def by_query(it: Upstream, request: web.Request) -> web.StreamResponse:
        return film_of(it, request.query.get("file", Path(request.path).stem))

    async def script(folder: Path) -> None:
        names: dict[str, str] = {}
        async with upstream(by_query) as it:
            for films in nights:
                it.lists(*(described(it, film) for film in films))
                await good_night(it, folder)
                now = {film: name for name, film in held(folder).items()}
                assert len(now) == len(held(folder))
                assert set(films) <= set(now)
                assert names.items() <= now.items()
                assert len(it.fetched) <= 2 * (len(now) - len(names))  # looked at, and fetched
                names = now
            assert len(names) == len({film for films in nights for film in films})

    def described(it: Upstream, film: str) -> dict[str, Any]:
        row = it.row(film, participantId=film if has_people else None)
        if has_sizes:
            row["fileSize"] = len(it.films[film])
        if is_in_query:
            row["downloadUrl"] = f"{it.host.url}/download?file={film}&X-Goog-Signature={secrets.token_hex(8)}"
        return row

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(script(Path(folder)))


async def test_a_new_file_that_is_listed_first_takes_no_others_name(tmp_path):
    async with upstream() as it:
        it.lists(it.row("speaker"))
        await good_night(it, tmp_path)
        it.lists(it.row("gallery"), it.row("speaker"))
        await good_night(it, tmp_path)
    assert held(tmp_path) == {"rec_1.mp4": "speaker", "rec_1~1.mp4": "gallery"}


@pytest.mark.parametrize("fields", [{}, {"metadata": {"type": "audio"}, "format": "webm"}])
async def test_files_of_a_recording_that_only_their_urls_tell_apart_are_all_held(tmp_path, fields):
    async with upstream() as it:
        it.lists(it.row("speaker"), it.row("gallery", **fields))
        await good_night(it, tmp_path)
        await good_night(it, tmp_path)
        assert len(it.fetched) == 2
    assert sorted(held(tmp_path).values()) == ["gallery", "speaker"]


async def test_a_run_for_one_person_leaves_everybody_elses_files_where_they_are(tmp_path):
    async with upstream() as it:
        rows = [it.row(film, participantId=film, fileSize=16_000) for film in ("speaker", "viewers")]
        it.lists(*rows)
        await good_night(it, tmp_path)
        it.lists(rows[1])
        await good_night(it, tmp_path, full=True, rooms=("room_a",))
    assert held(tmp_path) == {"rec_1.mp4": "speaker", "rec_1~1.mp4": "viewers"}


async def test_two_rooms_may_use_one_id(tmp_path):
    async with upstream() as it:
        it.lists(it.row("speaker", roomId="room_a"), it.row("gallery", roomId="room_b"))
        await good_night(it, tmp_path)
        await good_night(it, tmp_path)
        assert len(it.fetched) == 2
    files = (tmp_path / "archive").glob("experiment_id=*/files/*/*")
    assert {(path.parent.name, path.name) for path in files} == {
        ("room_id=room_a", "rec_1.mp4"),
        ("room_id=room_b", "rec_1.mp4"),
    }


# --- what changes every night -------------------------------------------------------------------------
async def test_recordings_without_an_id_are_known_again_and_fetched_once(tmp_path):
    async with upstream() as it:
        for order in (1, -1, 1):
            rows = [it.row(film, None, startTime="2024-01-01T00:00:00Z") for film in ("speaker", "gallery")]
            it.lists(*rows[::order])
            await good_night(it, tmp_path)
        assert len(it.fetched) == 2
    assert sorted(held(tmp_path).values()) == ["gallery", "speaker"]


@pytest.mark.parametrize("recording_id", ["rec_1", None])
async def test_a_token_in_the_path_or_another_host_is_no_other_recording(tmp_path, recording_id):
    async with upstream() as it:
        for host in ("127.0.0.1", "127.0.0.1", "localhost"):
            row = it.row("speaker", recording_id, startTime="2024-01-01T00:00:00Z")
            place = it.host.url.replace("127.0.0.1", host)
            row["downloadUrl"] = f"{place}/t/{secrets.token_hex(8)}/speaker.mp4"
            it.lists(row)
            await good_night(it, tmp_path)
        assert len(it.fetched) == 1
    assert len(held(tmp_path)) == 1


async def test_a_server_that_mints_its_urls_from_now_on_has_nothing_fetched_again(tmp_path):
    async with upstream() as it:
        it.lists(it.row("speaker"))
        await good_night(it, tmp_path)
        it.lists(it.row("speaker", downloadUrl=None, downloadPath="/data/recordings/download/room_a/rec_1"))
        await good_night(it, tmp_path)
        assert len(it.fetched) == 1


# --- archives of older versions ------------------------------------------------------------------------
@pytest.mark.parametrize("has_size", [True, False])
async def test_what_an_older_version_held_is_taken_up_without_being_fetched_again(tmp_path, has_size):
    async with upstream() as it:
        sizes = {"fileSize": 16_000} if has_size else {}
        rows = [it.row("speaker", **sizes), it.row("viewers", "rec_2", **sizes)]
        it.lists(*rows)
        await good_night(it, tmp_path)
        as_an_older_version_wrote_them(tmp_path)
        it.fetched.clear()
        before = held(tmp_path)
        for _ in range(2):
            report = await night(it, tmp_path)
            assert (report.exit_status, the_experiment(report).files_fetched) == (0, 0)
        assert len(it.fetched) == (0 if has_size else 2)  # it was looked at, once
    assert held(tmp_path) == before
    assert all(each["source"] for each in receipts(tmp_path / "archive", kind="file"))


async def test_an_older_archives_files_of_one_recording_are_told_apart_by_their_host(tmp_path):
    async with upstream() as it:
        it.lists(it.row("speaker"), it.row("gallery"))
        await good_night(it, tmp_path)
        as_an_older_version_wrote_them(tmp_path)
        it.lists(it.row("screen"), it.row("gallery"))
        await good_night(it, tmp_path)
    assert held(tmp_path) == {"rec_1.mp4": "speaker", "rec_1~1.mp4": "gallery", "rec_1~2.mp4": "screen"}


async def test_where_the_host_tells_nothing_an_older_archives_file_is_known_by_its_bytes(tmp_path):
    async with upstream() as it:
        it.lists(it.row("speaker"), it.row("gallery"))
        it.etags = {"speaker": "", "gallery": ""}
        await good_night(it, tmp_path)
        as_an_older_version_wrote_them(tmp_path)
        it.lists(it.row("gallery"), it.row("speaker"))
        await good_night(it, tmp_path)
        before = held(tmp_path)
        assert len(before) == 2
        it.fetched.clear()
        await good_night(it, tmp_path)
        assert it.fetched == []
    assert held(tmp_path) == before


# --- recordings that are processed anew ---------------------------------------------------------------
async def test_another_object_in_a_recordings_place_takes_its_name_and_the_older_one_is_kept(tmp_path):
    async with upstream() as it:
        it.lists(it.row("raw", updatedAt=1))
        await good_night(it, tmp_path)
        it.lists(it.row("final", updatedAt=2))
        await good_night(it, tmp_path)
        await good_night(it, tmp_path)
        assert it.fetched == ["/bucket/raw.mp4", *["/bucket/final.mp4"] * 2]  # looked at, and fetched
    assert held(tmp_path) == {"rec_1.mp4": "final"}
    assert superseded(tmp_path) == [contents("raw")]


async def test_in_a_narrow_run_another_object_gets_a_name_of_its_own(tmp_path):
    async with upstream() as it:
        it.lists(it.row("raw"))
        await good_night(it, tmp_path)
        it.lists(it.row("final"))
        await good_night(it, tmp_path, rooms=("room_a",))
    assert held(tmp_path) == {"rec_1.mp4": "raw", "rec_1~1.mp4": "final"}


@pytest.mark.parametrize("said", [{"updatedAt": 2}, {"metadata": {"version": 2}}, {"md5": "other"}])
async def test_a_row_that_tells_of_a_change_has_its_host_asked_and_what_is_new_fetched(tmp_path, said):
    async with upstream() as it:
        it.lists(it.row("speaker", updatedAt=1, md5="one", metadata={"version": 1}))
        await good_night(it, tmp_path)
        it.lists(it.row("speaker", **({"updatedAt": 1, "md5": "one", "metadata": {"version": 1}} | said)))
        await good_night(it, tmp_path)
        await good_night(it, tmp_path)
        assert len(it.fetched) == 2  # it was the same after all, and is not asked for it again
        it.films["speaker"] = contents("another")
        it.lists(it.row("speaker", updatedAt=3))
        await good_night(it, tmp_path)
    assert held(tmp_path) == {"rec_1.mp4": "another"}
    assert superseded(tmp_path) == [contents("speaker")]


async def test_where_the_host_has_no_entity_tag_a_row_that_tells_of_a_change_is_fetched(tmp_path):
    async with upstream() as it:
        it.etags["speaker"] = ""
        for version in (1, 2):
            it.lists(it.row("speaker", updatedAt=version))
            await good_night(it, tmp_path)
        assert superseded(tmp_path) == []
        it.films["speaker"] = contents("another")
        it.lists(it.row("speaker", updatedAt=3))
        await good_night(it, tmp_path)
    assert held(tmp_path) == {"rec_1.mp4": "another"}


@pytest.mark.parametrize("how", [{"full": True}, {"days_later": 31}])
async def test_that_a_film_was_replaced_is_found_in_a_full_run_and_when_all_is_due_again(tmp_path, how):
    async with upstream() as it:
        it.lists(it.row("speaker"))
        await good_night(it, tmp_path)
        await good_night(it, tmp_path)
        assert len(it.fetched) == 1
        it.films["speaker"] = contents("another")
        await good_night(it, tmp_path, **how)
    assert held(tmp_path) == {"rec_1.mp4": "another"}
    assert superseded(tmp_path) == [contents("speaker")]


async def test_a_held_film_that_cannot_be_looked_at_is_held_all_the_same(tmp_path):
    async with upstream() as it:
        it.lists(it.row("speaker"))
        await good_night(it, tmp_path)
        it.films.clear()
        report = await night(it, tmp_path, full=True)
        assert report.exit_status == 0
        assert any("could not be looked at" in note for note in report.notes)
    assert held(tmp_path) == {"rec_1.mp4": "speaker"}


# --- what is not final --------------------------------------------------------------------------------
LONG_AGO = "2024-01-01T00:00:00Z"
NO_URL = {"downloadUrl": None}


def at(hours_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours_ago)).isoformat()


@pytest.mark.parametrize(
    "status",
    ["EGRESS_COMPLETE", "Completed", "ended", None, ""],
)
async def test_a_recording_that_says_that_it_is_final_in_whatever_words_is_fetched(tmp_path, status):
    async with upstream() as it:
        it.lists(it.row("speaker", status=status, startTime=at(1)))
        await good_night(it, tmp_path)
    assert held(tmp_path) == {"rec_1.mp4": "speaker"}


@pytest.mark.parametrize("status", ["active", "EGRESS_STARTING", "wrapped up"])
@pytest.mark.parametrize("where", ["its own end", "its room's end"])
async def test_a_status_is_not_believed_for_ever_once_the_recording_has_ended(tmp_path, status, where):
    async with upstream() as it:
        ends = {"endTime": at(49)} if where == "its own end" else {}
        room = {"id": "room_a", "status": "completed", "endedAt": at(49)}
        rooms = [("room_a", orjson.dumps(room))] if where == "its room's end" else []
        it.lists(it.row("speaker", status=status, **ends), **({"rooms": rooms} if rooms else {}))
        await good_night(it, tmp_path)
    assert held(tmp_path) == {"rec_1.mp4": "speaker"}


async def test_what_is_still_being_recorded_pends_and_is_fetched_once_it_is_final(tmp_path):
    async with upstream() as it:
        room = [("room_a", orjson.dumps({"id": "room_a", "status": "active"}))]
        for fields in ({"startTime": LONG_AGO}, {"endTime": at(1)}):
            it.lists(it.row("speaker", status="active", **fields), rooms=room)
            report = await night(it, tmp_path)
            assert (report.exit_status, the_experiment(report).files_pending) == (0, 1)
        assert it.fetched == []
        it.lists(it.row("speaker", status="FINISHED"), rooms=room)
        await good_night(it, tmp_path)
    assert held(tmp_path) == {"rec_1.mp4": "speaker"}


async def test_what_has_pended_as_long_as_everything_is_due_again_is_tried(tmp_path):
    async with upstream() as it:
        room = [("room_a", orjson.dumps({"id": "room_a", "status": "active"}))]
        it.lists(it.row("speaker", status="active"), rooms=room)
        await good_night(it, tmp_path)
        await good_night(it, tmp_path, days_later=31)
    assert held(tmp_path) == {"rec_1.mp4": "speaker"}


@pytest.mark.parametrize(
    "fields", [{"status": "active"}, {"status": "active", "downloadUrl": None}, {"downloadUrl": None}]
)
async def test_what_should_be_final_and_cannot_be_had_is_named(tmp_path, fields):
    async with upstream() as it:
        it.lists(it.row("speaker", endTime=LONG_AGO, **fields))
        it.films.clear()
        report = await night(it, tmp_path)
    assert report.exit_status == 3
    assert "rec_1" in report.problems[0].what


@pytest.mark.parametrize("status", ["failed", "EGRESS_FAILED", "Aborted"])
async def test_a_recording_that_failed_upstream_is_fetched_where_there_is_something_of_it(tmp_path, status):
    async with upstream() as it:
        it.lists(
            it.row("speaker", status=status),
            it.row("gallery", "rec_2", status=status),
            it.row("screen", "rec_3", status=status, downloadUrl=None),
        )
        del it.films["gallery"]
        report = await night(it, tmp_path)
        assert (report.exit_status, the_experiment(report).files_pending) == (0, 2)
        assert any("rec_2" in note for note in report.notes)
        assert any("rec_3" in note for note in report.notes)
    assert held(tmp_path) == {"rec_1.mp4": "speaker"}
