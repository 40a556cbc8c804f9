"""Files over loopback: whole, in part, and slowly."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hsmirror.serve.files import Sending, entity_tag, file_answer
from hsmirror.serve.source import RecordingFile

CONTENT = bytes(range(256)) * 10_000


@pytest.fixture
def file(tmp_path: Path) -> RecordingFile:
    path = tmp_path / "rec_1.mp4"
    path.write_bytes(CONTENT)
    md5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
    return RecordingFile("rec_1", "room_1", path, len(CONTENT), "video/mp4", md5, "AAAAAA==")


@pytest.fixture
def sent() -> list[int]:
    return []


@pytest.fixture
async def client(file: RecordingFile, sent: list[int]) -> AsyncIterator[TestClient[Any, Any]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        sending = Sending(bytes_per_second=2_000_000_000, on_sent=sent.append)
        return await file_answer(request, file, headers={"X-Extra": "1"}, sending=sending)

    app = web.Application()
    app.router.add_get("/file", answer)
    async with TestClient(TestServer(app)) as running:
        yield running


async def test_a_whole_file_comes_with_its_length_and_tag(client, file, sent):
    answer = await client.get("/file")
    assert await answer.read() == CONTENT
    assert (answer.status, answer.content_length) == (200, len(CONTENT))
    assert answer.headers["ETag"] == entity_tag(file) == f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert (answer.headers["Accept-Ranges"], answer.headers["X-Extra"]) == ("bytes", "1")
    assert sum(sent) == len(CONTENT)


async def test_a_part_comes_with_its_place(client):
    answer = await client.get("/file", headers={"Range": "bytes=1000000-1999999"})
    assert await answer.read() == CONTENT[1_000_000:2_000_000]
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes 1000000-1999999/{len(CONTENT)}"


async def test_a_part_beyond_the_end_names_the_size(client):
    answer = await client.get("/file", headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


async def test_another_version_fails_the_precondition(client):
    assert (await client.get("/file", headers={"If-Match": '"other"'})).status == 412


async def test_head_has_the_headers_alone(client, sent):
    answer = await client.head("/file")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(CONTENT)))
    assert sent == []
