"""A recording file is what every size and hash says; a part is gone on with only if it is of that object."""

from __future__ import annotations

import hashlib
from pathlib import Path

import google_crc32c
import pytest

from hsmirror.api.headers import OfferedHashes
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.errors import CorruptError
from hsmirror.mirror.files import PartialFile, PartialNote

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
    proven_by = part(tmp_path, ALL).prove(len(CONTENT), None, len(CONTENT))
    assert sorted(proven_by.split(",")) == ["crc32c", "md5", "sha256"]


def test_where_nothing_is_offered_the_size_is_all_that_proves_it(tmp_path: Path) -> None:
    assert part(tmp_path).prove(len(CONTENT)) == "size"
    assert part(tmp_path / "other").prove(None) == ""


@pytest.mark.parametrize("offered", [NOTHING, ALL], ids=["no hash", "right hashes"])
@pytest.mark.parametrize("size", [0, len(CONTENT) - 1, len(CONTENT) + 1])
def test_fault_33_another_size_is_corrupt_whatever_the_hashes(
    tmp_path: Path, size: int, offered: OfferedHashes
) -> None:
    with pytest.raises(CorruptError, match="bytes instead of"):
        part(tmp_path, offered).prove(None, size)


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


def test_fault_35_nothing_at_all_is_corrupt_where_something_is_due(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="empty"):
        part(tmp_path, content=b"").prove(None, at_least=1)


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
