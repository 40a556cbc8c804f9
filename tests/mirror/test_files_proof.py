"""A recording file is what every size and hash says; a part is gone on with only if it is of that object."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import google_crc32c
import pytest

from hsmirror.api.headers import OfferedHashes
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.errors import CorruptError
from hsmirror.mirror.files import PartialFile, PartialNote
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, load

CONTENT = b"the bytes of a recording"
MD5 = hashlib.md5(CONTENT).digest()
CRC32C = google_crc32c.value(CONTENT).to_bytes(4, "big")
SHA256 = hashlib.sha256(CONTENT).digest()
ALL, NOTHING = OfferedHashes(MD5, CRC32C, SHA256), OfferedHashes()


def part(root: Path, offered: OfferedHashes = NOTHING, content: bytes = CONTENT) -> PartialFile:
    partial = PartialFile(Layout(root), "experiment_id=e/files/room_id=r/rec.mp4", Modes())
    partial.open("bucket/rec.mp4")
    partial.describe(PartialNote("bucket/rec.mp4", '"1"', len(CONTENT)))
    partial.expect(offered)
    if content:
        partial.append(content)
    return partial


# --- proof ------------------------------------------------------------------------------------------------
def test_fault_33_what_agrees_with_everything_is_proven_by_all_of_it(tmp_path: Path) -> None:
    proven_by = part(tmp_path, ALL).prove(len(CONTENT))
    assert sorted(proven_by.split(",")) == ["crc32c", "md5", "sha256"]


def test_large_recordings_come_in_lent_buffers_and_are_hashed_all_the_same(tmp_path: Path) -> None:
    partial = part(tmp_path, ALL, content=b"")
    partial.append(memoryview(bytearray(CONTENT)))
    assert "crc32c" in partial.prove(len(CONTENT))


def test_where_nothing_is_offered_the_size_is_all_that_proves_it(tmp_path: Path) -> None:
    assert part(tmp_path).prove(len(CONTENT)) == "size"
    assert part(tmp_path / "other").prove(None) == ""


@pytest.mark.parametrize("offered", [NOTHING, ALL], ids=["no hash", "right hashes"])
@pytest.mark.parametrize("size", [0, len(CONTENT) - 1, len(CONTENT) + 1])
def test_fault_33_another_size_is_corrupt_whatever_the_hashes(
    tmp_path: Path, size: int, offered: OfferedHashes
) -> None:
    with pytest.raises(CorruptError, match="bytes instead of"):
        part(tmp_path, offered).prove(size)


@pytest.mark.parametrize(
    "offered",
    [
        OfferedHashes(bytes(16), CRC32C, SHA256),
        OfferedHashes(MD5, bytes(4), SHA256),
        OfferedHashes(MD5, CRC32C, bytes(32)),
    ],
    ids=["md5", "crc32c", "sha256"],
)
def test_fault_33_one_wrong_hash_is_enough(tmp_path: Path, offered: OfferedHashes) -> None:
    with pytest.raises(CorruptError, match="is not the one that its storage host names"):
        part(tmp_path, offered).prove(len(CONTENT))


# --- going on ---------------------------------------------------------------------------------------------
def again(root: Path, source: str = "bucket/rec.mp4") -> PartialFile:
    partial = PartialFile(Layout(root), "experiment_id=e/files/room_id=r/rec.mp4", Modes())
    partial.open(source)
    return partial


def test_fault_25_a_part_is_gone_on_with_and_hashed_from_its_first_byte(tmp_path: Path) -> None:
    part(tmp_path, content=CONTENT[:10]).keep()
    partial = again(tmp_path)
    partial.expect(ALL)
    partial.append(CONTENT[10:])
    assert partial.prove(len(CONTENT))
    assert partial.sha256 == SHA256.hex()


def test_fault_31_a_part_of_another_object_is_not_gone_on_with(tmp_path: Path) -> None:
    part(tmp_path, content=CONTENT[:10]).keep()
    partial = again(tmp_path, "bucket/other.mp4")
    assert (partial.size_bytes, partial.note, partial.path.exists()) == (0, None, False)


def test_fault_43_what_came_after_the_last_sync_is_cut_off(tmp_path: Path) -> None:
    partial = part(tmp_path, content=CONTENT[:10])
    partial.keep()
    with partial.path.open("ab") as file:
        file.write(b"maybe never written")
    assert again(tmp_path).size_bytes == 10
    assert partial.path.read_bytes() == CONTENT[:10]


def test_fault_64_a_link_in_the_place_of_a_part_is_removed_and_not_gone_on_with(tmp_path: Path) -> None:
    partial = part(tmp_path, content=CONTENT[:10])
    partial.keep()
    outside = tmp_path / "outside"
    outside.write_bytes(CONTENT * 2)
    partial.path.unlink()
    partial.path.symlink_to(outside)
    found = again(tmp_path)
    assert (found.size_bytes, found.path.is_symlink()) == (0, False)
    assert outside.read_bytes() == CONTENT * 2


# --- over the wire ----------------------------------------------------------------------------------------
async def test_fault_31_the_rest_of_another_version_is_not_added_where_only_the_total_tells(
    tmp_path: Path,
) -> None:
    """No hash, no ETag, no size in the row: old beginning and new rest together are as long as is said.

    It breaks off behind more than the client buffers, so that some of it has been taken for sure.
    """
    old, new = b"o" * (12 << 20), b"n" * (13 << 20)
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        if "/data/recordings/" in target:
            row = {"recordingId": "rec", "roomId": "r", "downloadUrl": f"http://{host}/rec.mp4"}
            writer.write(_answer("200 OK", json.dumps({"data": [row], "metadata": {}}).encode()))
        elif "/api/" in target:
            error = {"status": "error", "error": {"code": "NOT_FOUND", "message": "no such thing"}}
            writer.write(_answer("404 Not Found", json.dumps(error).encode()))
        else:
            asked.append(next((each for each in fields if each.startswith("Range:")), ""))
            if len(asked) == 1:
                writer.write(_answer("200 OK", old, cut=11 << 20))
            elif asked[-1]:
                start = int(asked[-1].removeprefix("Range: bytes=").removesuffix("-"))
                span = f"Content-Range: bytes {start}-{len(new) - 1}/{len(new)}"
                writer.write(_answer("206 Partial Content", new[start:], span))
            else:
                writer.write(_answer("200 OK", new))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    overrides = {"api.base_url": f"http://{host}/api/v3", "archive.path": str(tmp_path / "archive")}
    report = await sync(
        load(config=None, environ={}, overrides=overrides, cwd=tmp_path, user_config_dir=tmp_path),
        Secret("key"),
        [ExperimentSettings(id="e", data_types=("recordings",))],
        options=RunOptions(state_folder=tmp_path / "state"),
    )
    server.close()
    assert report.exit_status == 0
    (file,) = (tmp_path / "archive").glob("*/files/*/rec.mp4")
    is_new = file.read_bytes() == new  # on their own: millions of bytes are not to be shown
    assert is_new
    assert [bool(each) for each in asked] == [False, True, False]


def _answer(status: str, body: bytes, *fields: str, cut: int | None = None) -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(body)}", *fields))
    return f"{head}\r\n\r\n".encode() + body[:cut]
