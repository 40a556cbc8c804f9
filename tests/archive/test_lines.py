"""Lines of JSON: decoded many at a time as one by one, and found again by where they begin."""

from __future__ import annotations

import os
from errno import EIO
from pathlib import Path
from unittest import mock

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsmirror.archive.lines import HeldFile, LineDecoder, LineFiles
from hsmirror.errors import StorageError


class Number(msgspec.Struct):
    n: int


def require_even(_: bytes, number: Number) -> None:
    if number.n % 2:
        raise ValueError("odd")


EVEN = LineDecoder(msgspec.json.Decoder(Number), require_even)
ANY = LineDecoder(msgspec.json.Decoder(Number))

PIECES = st.sampled_from(
    [
        b'{"n":2}',
        b'{"n":1}',
        b'{"n":',
        b"4}",
        b"\n",
        b"\n\n",
        b" ",
        b"{",
        b"}",
        b'{"n":"}\\n{"}',
        b"\xff",
        b"\0",
        b"[" * 3000,
    ]
)


@given(pieces=st.lists(PIECES, max_size=12))
@example(pieces=[b'{"n":2}', b'{"n":4}', b"\n", b'{"n":', b"\n", b"6}", b"\n"])
@example(pieces=[b'{"n":2}', b"\n", b'{"n":4}'])
def test_many_lines_are_decoded_as_each_of_them_alone(pieces: list[bytes]) -> None:
    """Two values on a line and one on two lines are as many values as lines, and no line has one."""
    chunk = b"".join(pieces)
    for decoder in (EVEN, ANY):
        found = decoder.each(chunk)
        assert b"\n".join(line for line, _ in found) == chunk.removesuffix(b"\n")
        assert [value for _, value in found] == [decoder.one(line) for line, _ in found]


def test_a_value_that_is_not_to_be_taken_for_one_is_none() -> None:
    assert EVEN.one(b'{"n":1}') is None
    assert EVEN.each(b'{"n":1}\n{"n":2}\n') == [(b'{"n":1}', None), (b'{"n":2}', Number(2))]


# --- files end to end --------------------------------------------------------------------------------------
def taken_in(files: LineFiles, path: Path, content: bytes) -> list[tuple[int, bytes]]:
    """The lines of a new file, with their addresses."""
    path.write_bytes(content)
    found = []
    for begin, chunk in files.take_in(HeldFile(path)):
        address = begin
        for line in chunk.splitlines(keepends=True):
            found.append((address, line))
            address += len(line)
    return found


def test_a_line_is_found_again_by_its_address(tmp_path: Path) -> None:
    files = LineFiles()
    lines = [
        *taken_in(files, tmp_path / "one", b"".join(b"%d\n" % number for number in range(50_000))),
        *taken_in(files, tmp_path / "long", b"x" * 200_000 + b"\nshort\n"),
        *taken_in(files, tmp_path / "torn", b"first\nlast"),
    ]
    assert len(lines) == len({address for address, _ in lines}) == 50_004
    for address, line in lines[::997] + lines[-5:]:
        assert files.line(address) == line


def test_what_is_written_while_a_file_is_taken_in_never_passes_for_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(b"first\nsec")
    files = LineFiles()
    taking_in = files.take_in(HeldFile(path))
    _, chunk = next(taking_in)
    with path.open("ab") as file:
        file.write(b"ond\nthird\n")
    assert (chunk, list(taking_in)) == (b"first\nsec", [])
    ((address, line),) = taken_in(files, tmp_path / "next", b"next\n")
    assert files.line(address) == line


def test_an_extent_whose_last_line_was_half_written_gives_no_more_than_it_had(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    files = LineFiles()
    ((begin, _), (half, _)) = taken_in(files, path, b"first\nsec")
    with path.open("ab") as file:
        file.write(b"ond\nthird\n")
    assert list(files.read([(begin, half + 3)])) == [(begin, b"first\nsec")]


def test_extents_give_their_own_lines_and_no_others(tmp_path: Path) -> None:
    files = LineFiles()
    lines = [
        *taken_in(files, tmp_path / "one", b"".join(b"%d\n" % number for number in range(30_000))),
        *taken_in(files, tmp_path / "two", b"a\nb\n"),
    ]
    wanted = [*lines[10:20], *lines[20_000:29_000], lines[-1]]
    ranges = [(10, 20), (20_000, 29_000)]
    extents = [(lines[begin][0], lines[end][0]) for begin, end in ranges]
    extents.append((lines[-1][0], lines[-1][0] + 2))
    found = b"".join(chunk for _, chunk in files.read(extents))
    assert found == b"".join(line for _, line in wanted)


def test_what_is_appended_to_a_file_has_addresses_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    files = LineFiles()
    ((before, _),) = taken_in(files, path, b"before\n")
    with path.open("ab") as file:
        file.write(b"first\nsecond\n")
    first, second = files.add(path, 7, 6), files.add(path, 13, 7)
    assert [files.line(address) for address in (before, first, second)] == [
        b"before\n",
        b"first\n",
        b"second\n",
    ]
    assert list(files.read([(first, second + 7)])) == [(first, b"first\nsecond\n")]


def test_lines_are_named_for_people(tmp_path: Path) -> None:
    files = LineFiles()
    one = taken_in(files, tmp_path / "one.jsonl", b"".join(b"%d\n" % number for number in range(30_000)))
    two = taken_in(files, tmp_path / "two.jsonl", b"a\nb\n")
    named = files.names([two[1][0], one[0][0], one[29_999][0], one[7][0]])
    assert list(named) == [
        "one.jsonl, line 1",
        "one.jsonl, line 8",
        "one.jsonl, line 30000",
        "two.jsonl, line 2",
    ]
    assert list(files.names([])) == []


def test_a_file_that_was_removed_meanwhile_is_read_on(tmp_path: Path) -> None:
    files = LineFiles()
    ((address, _),) = taken_in(files, tmp_path / "one.jsonl", b"line\n")
    (tmp_path / "one.jsonl").unlink()
    assert files.line(address) == b"line\n"
    assert list(files.read([(address, address + 5)])) == [(address, b"line\n")]
    assert list(files.names([address])) == ["one.jsonl, line 1"]


def test_several_read_the_same_file_side_by_side(tmp_path: Path) -> None:
    files = LineFiles()
    lines = taken_in(files, tmp_path / "one.jsonl", b"".join(b"%d\n" % number for number in range(100_000)))
    extent = (lines[0][0], lines[-1][0] + len(lines[-1][1]))
    one, other = files.read([extent]), files.read([extent])
    chunks = [(next(one), next(other), files.line(lines[-1][0])) for _ in range(5)]
    assert all(first == second and last == b"99999\n" for first, second, last in chunks)


def test_a_disk_that_fails_is_an_error_of_the_disk(tmp_path: Path) -> None:
    files = LineFiles()
    ((address, _),) = taken_in(files, tmp_path / "one.jsonl", b"line\n")
    with (
        mock.patch.object(os, "preadv", side_effect=OSError(EIO, "Input/output error")),
        pytest.raises(StorageError, match=r"one\.jsonl: the disk reports"),
    ):
        files.line(address)


def test_a_file_is_closed_when_nobody_wants_it_any_more(tmp_path: Path) -> None:
    files = LineFiles()
    taken_in(files, tmp_path / "one.jsonl", b"line\n")
    before = len(list(Path("/dev/fd").iterdir()))
    del files
    assert len(list(Path("/dev/fd").iterdir())) == before - 1
