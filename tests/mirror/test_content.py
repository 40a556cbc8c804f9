"""What is kept of a recording that its host stores packed, and what is not kept at all."""

from __future__ import annotations

import gzip
import hashlib
from functools import partial
from pathlib import Path
from random import Random

import pytest

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.errors import CorruptError
from hsmirror.mirror import content
from hsmirror.mirror.content import content_of
from hsmirror.mirror.files import PartialFile

FILM = b"\0\0\0\x18ftypmp42" + Random("film").randbytes(3 << 20)
packed = partial(gzip.compress, mtime=0)
PACKED = packed(FILM)


def fetched(root: Path, stored: bytes, name: str = "rec.mp4") -> PartialFile:
    partial = PartialFile(Layout(root), f"experiment_id=e/files/room_id=r/{name}", Modes())
    partial.append(stored)
    return partial


def digest(content: bytes) -> str:
    """What to compare films by: it would take minutes to show in what they differ."""
    return hashlib.sha256(content).hexdigest()


def left_beside(partial: PartialFile) -> set[str]:
    return {path.suffix for path in partial.path.parent.iterdir()}


@pytest.mark.parametrize(
    "stored",
    [
        PACKED,
        packed(FILM[:1_000_000]) + packed(FILM[1_000_000:]),
        PACKED + bytes(512),
        packed(FILM, compresslevel=0),
    ],
    ids=["one member", "two members", "padded", "not compressed"],
)
def test_fault_85_what_is_stored_packed_is_kept_unpacked(tmp_path: Path, stored: bytes) -> None:
    partial = fetched(tmp_path, stored)
    found = content_of(partial, None)
    assert (found.size_bytes, found.sha256, found.coding) == (len(FILM), digest(FILM), "gzip")
    assert digest(found.path.read_bytes()) == digest(FILM)
    assert digest(partial.path.read_bytes()) == digest(stored)


def test_a_file_that_is_called_packed_stays_so(tmp_path: Path) -> None:
    partial = fetched(tmp_path, PACKED, "rec.tgz")
    assert content_of(partial, None).path == partial.path


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (PACKED[:-1], "ends too early"),
        (PACKED[: len(PACKED) // 2], "ends too early"),
        (PACKED[:100], "ends too early"),
        (PACKED[:-8] + bytes(8), "cannot be unpacked"),
        (PACKED[:1000] + b"\xff" * 100 + PACKED[1100:], "cannot be unpacked"),
        (PACKED + b"more", "cannot be unpacked"),
        (packed(PACKED), "more than once"),
        (packed(b'{"error": "no"}'), "JSON instead"),
        (packed(b"<html><p>Sign in</p>"), "a page instead"),
        (b"not here\n", "text instead"),
    ],
)
def test_fault_85_what_does_not_unpack_to_a_recording_is_none(tmp_path: Path, stored: bytes, why: str) -> None:
    partial = fetched(tmp_path, stored)
    with pytest.raises(CorruptError, match=why):
        content_of(partial, None)
    assert left_beside(partial) == {".part"}


def test_fault_20_a_recording_that_unpacks_without_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_MOST_INFLATED_BYTES", 1 << 20)
    bomb = gzip.compress(FILM[:100] + bytes(20 << 20))
    partial = fetched(tmp_path, bomb)
    with pytest.raises(CorruptError, match="unpacks to more than"):
        content_of(partial, None)
    assert left_beside(partial) == {".part"}
    assert content_of(partial, 100 + (20 << 20)).size_bytes == 100 + (20 << 20)


def test_fault_88_a_playlist_is_kept_as_one_packed_or_not(tmp_path: Path) -> None:
    playlist = b"#EXTM3U\n#EXTINF:6,\nsegment0.ts\n"
    assert content_of(fetched(tmp_path / "plain", playlist), None).is_playlist
    assert content_of(fetched(tmp_path / "packed", gzip.compress(playlist)), None).is_playlist
    assert not content_of(fetched(tmp_path / "film", FILM), None).is_playlist
