"""A power loss at any step of a sync loses nothing that was held; and the model of a disk that shows it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from reliability.power_loss import measure
from reliability.volatile_disk import Disk, Operation, Recorder, Tree, digest, put_tree, tree_of

CHANCE = Random(1)


@pytest.mark.timeout(400)
def test_fault_43_a_power_loss_at_any_step_loses_nothing_and_the_next_sync_mends_it(tmp_path: Path) -> None:
    figures = measure(workdir=tmp_path)
    assert figures.failures == ()
    counts = Counter({name: int(count) for name, count in figures.counts})
    assert counts["steps at which the power was lost"] > 250
    assert counts["distinct states that are possible there"] > 1_000
    assert counts["of them tried"] > 400
    assert counts["power losses right after a recovery from a kill"] > 60


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_fault_43_so_it_is_for_thousands_of_states(tmp_path: Path) -> None:
    assert measure(long=True, workdir=tmp_path).failures == ()


# --- the model -------------------------------------------------------------------------------------------
def states(tree: Tree, *operations: Operation) -> list[Tree]:
    """What a power loss may leave after these."""
    disk = Disk(tree)
    for operation in operations:
        disk.apply(operation)
    found = {digest(each): each for each in disk.after_power_loss(CHANCE, samples=20)}
    return list(found.values())


def written(path: str, content: bytes) -> tuple[Operation, ...]:
    return (Operation("create", path), Operation("write", path, content=content))


def test_a_file_that_is_not_synced_may_be_gone_or_empty_or_cut_off_or_zeroed() -> None:
    found = states({}, *written("a", b"abcd"))
    assert {} in found
    for content in (b"", b"ab", b"\0\0\0\0", b"\0\0cd", b"abcd"):
        assert {"a": content} in found
    assert len(found) == 6


def test_a_synced_file_in_a_folder_that_is_not_synced_may_be_gone() -> None:
    assert states({}, *written("a", b"x"), Operation("sync", "a")) == [{}, {"a": b"x"}]


def test_a_synced_file_in_a_synced_folder_is_certain() -> None:
    assert states({}, *written("a", b"x"), Operation("sync", "a"), Operation("sync", "")) == [{"a": b"x"}]


def test_a_rename_never_leaves_neither_name() -> None:
    found = states({"a": b"x"}, Operation("rename", "a", "b"))
    assert sorted(map(sorted, found)) == [["a"], ["a", "b"], ["b"]]


def test_a_renamed_file_whose_bytes_were_not_synced_may_be_empty() -> None:
    operations = (*written("new", b"x"), Operation("rename", "new", "old"), Operation("sync", ""))
    assert states({"old": b"o"}, *operations) == [{"old": b"x"}, {"old": b""}, {"old": b"\0"}]


def test_one_of_two_folders_may_be_on_the_disk_without_the_other() -> None:
    tree = {"p": None, "q": None}
    found = states(tree, Operation("make_folder", "p/a"), Operation("make_folder", "q/b"))
    assert [sorted(set(each) - set(tree)) for each in found] == [[], ["p/a"], ["q/b"], ["p/a", "q/b"]]


def test_a_folder_whose_own_name_is_lost_takes_all_that_was_synced_in_it() -> None:
    inside = (*written("f/a", b"x"), Operation("sync", "f/a"), Operation("sync", "f"))
    assert {} in states({}, Operation("make_folder", "f"), *inside)


def test_the_recorder_misses_nothing_that_this_process_does_below_its_folder(tmp_path: Path) -> None:
    put_tree({"archive": None, "archive/old": b"old"}, tmp_path / "watched")
    before = tree_of(tmp_path / "watched")
    folder = tmp_path / "watched" / "archive"
    with Recorder(tmp_path / "watched") as recorder:
        (folder / "sub").mkdir()
        descriptor = os.open(folder / "sub" / "a", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, b"content")
        os.ftruncate(descriptor, 4)
        os.fsync(descriptor)
        os.close(descriptor)
        os.link(folder / "sub" / "a", folder / "b")
        (folder / "b").replace(folder / "old")
        (folder / "sub" / "a").unlink()
        (folder / "sub").rmdir()
        (tmp_path / "elsewhere").mkdir()
    disk = Disk(before)
    for operation in recorder.operations:
        disk.apply(operation)
    assert disk.everything() == tree_of(tmp_path / "watched") == {"archive": None, "archive/old": b"cont"}
    assert {operation.kind for operation in recorder.operations} >= {"sync", "link", "rename", "truncate"}
