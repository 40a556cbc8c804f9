"""Durable writes: old or new at any moment, private by default, and never through a planted link."""

from __future__ import annotations

import errno
import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hsmirror.archive.durable import (
    Modes,
    Move,
    append,
    clear_staged,
    disk_errors,
    keep,
    make_folder,
    publish,
    retire,
    sync_file,
    sync_folder,
    sync_staged,
    sync_tree,
    write_whole,
)
from hsmirror.errors import Exit, StorageError

MODES = Modes()
SUPERSEDED = Path(".hsmirror/superseded/run")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    make_folder(folder, folder, MODES)
    return folder


@pytest.fixture(autouse=True)
def permissive_umask() -> Iterator[None]:
    """So that what is private is so by our doing."""
    before = os.umask(0)
    yield
    os.umask(before)


def not_foreign(name: str) -> bool:
    return name != "foreign"


def staged(root: Path, content: bytes) -> Path:
    path = root / ".hsmirror" / "staging" / "one"
    make_folder(root, path.parent, MODES)
    append(path, content, MODES)
    return path


def put(root: Path, name: str, content: bytes) -> None:
    move = Move(staged(root, content), root / name, root / SUPERSEDED / f"{name}.superseded")
    publish(root, [move], MODES)


# --- publishing ------------------------------------------------------------------------------------------
def test_a_published_file_is_in_its_place_and_no_longer_staged(root: Path) -> None:
    put(root, "a/b/part", b"new")
    assert (root / "a/b/part").read_bytes() == b"new"
    assert not (root / ".hsmirror/staging/one").exists()


def test_the_older_generation_is_kept(root: Path) -> None:
    put(root, "a/part", b"old")
    put(root, "a/part", b"new")
    assert (root / "a/part").read_bytes() == b"new"
    assert (root / SUPERSEDED / "a/part.superseded").read_bytes() == b"old"


def test_the_older_file_stands_until_the_newer_one_takes_its_place(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checked at the moment of the replacement, for which there is no other seam."""
    put(root, "part", b"old")
    seen: list[bytes] = []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        seen.append((root / "part").read_bytes())
        assert (root / SUPERSEDED / "part.superseded").read_bytes() == b"old"
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    put(root, "part", b"new")
    assert seen == [b"old"]


@pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is of is read from /proc")
def test_fault_43_names_are_synced_after_they_are_in_place(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder that got a new name, made folders' parents included. Watched at the system's own door."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().relative_to(root)}")
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        done.append(f"place {target.relative_to(root)}")
        replace(source, target)

    put(root, "a/part", b"old")
    source = staged(root, b"new")
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    superseded = root / SUPERSEDED / "a/part.superseded"
    publish(root, [Move(source, root / "a/part", superseded)], MODES)
    placed = done.index("place a/part")
    assert {"sync .hsmirror/superseded/run", "sync .hsmirror/superseded"} <= set(done[:placed])
    assert (
        f"sync {superseded.parent.relative_to(root)}" in done[:placed]
    )  # the older has its name before it goes
    assert "sync a" in done[placed:]
    done.clear()
    write_whole(root, root / "SUMS", b"x", MODES)
    assert done == ["sync SUMS.staged", "place SUMS", "sync ."]


def test_a_retired_file_leaves_the_tree_and_is_kept(root: Path) -> None:
    put(root, "part", b"old")
    superseded = root / SUPERSEDED / "part.superseded"
    retire(root, root / "part", superseded, MODES)
    assert not (root / "part").exists()
    assert superseded.read_bytes() == b"old"
    retire(root, root / "part", superseded, MODES)
    assert superseded.read_bytes() == b"old"


def test_where_links_cannot_be_made_the_older_file_is_copied_and_as_private(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for SMB and FAT, which have no hard links."""
    put(root, "part", b"old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    superseded = root / SUPERSEDED / "part.superseded"
    keep(root, root / "part", superseded, MODES)
    assert superseded.read_bytes() == b"old"
    assert mode_of(superseded) == 0o600


def test_a_full_disk_while_the_older_file_is_kept_leaves_it_in_place(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, "part", b"old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match="disk is full"):
        put(root, "part", b"new")
    assert (root / "part").read_bytes() == b"old"


def test_a_staged_file_that_is_missing_is_a_storage_error(root: Path) -> None:
    with pytest.raises(StorageError):
        publish(root, [Move(root / "nowhere", root / "part", root / SUPERSEDED / "part")], MODES)


# --- private by default ----------------------------------------------------------------------------------
def test_fault_63_folders_and_files_are_private_by_default(root: Path) -> None:
    put(root, "a/part", b"x")
    write_whole(root, root / "b/SUMS", b"x", MODES)
    assert {mode_of(root), mode_of(root / "a"), mode_of(root / "b"), mode_of(root / ".hsmirror")} == {0o700}
    assert {mode_of(root / "a/part"), mode_of(root / "b/SUMS")} == {0o600}


def test_fault_63_other_modes_hold_whatever_the_umask(root: Path) -> None:
    modes = Modes(folder=0o2770, file=0o660)
    os.umask(0o077)
    write_whole(root, root / "shared/file", b"x", modes)
    assert mode_of(root / "shared") == 0o2770
    assert mode_of(root / "shared/file") == 0o660


# --- planted links ---------------------------------------------------------------------------------------
def test_fault_64_a_link_planted_for_a_folder_is_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (root / "a").symlink_to(outside)
    for folder in (root / "a", root / "a/b", root / "a/b/c", root / "a/new"):
        with pytest.raises(StorageError, match="link"):
            make_folder(root, folder, MODES)
    assert list(outside.rglob("*")) == [outside / "b"]


def test_fault_64_a_link_planted_for_a_file_is_not_written_through(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (root / "segment").symlink_to(outside)
    with pytest.raises(StorageError):
        append(root / "segment", b"x", MODES)
    put(root, "segment", b"new")
    assert outside.read_bytes() == b"mine"
    assert not (root / "segment").is_symlink()


def test_fault_64_a_dangling_link_is_replaced_too(root: Path, tmp_path: Path) -> None:
    (root / "part").symlink_to(tmp_path / "nowhere")
    put(root, "part", b"new")
    assert (root / "part").read_bytes() == b"new"
    assert not (tmp_path / "nowhere").exists()


def test_fault_64_a_link_to_itself_is_a_storage_error(root: Path) -> None:
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(StorageError):
        make_folder(root, root / "loop/b", MODES)


def test_a_file_that_stands_where_a_folder_belongs_is_a_storage_error(root: Path) -> None:
    (root / "a").write_bytes(b"")
    for folder in (root / "a", root / "a/b", root / "a/b/c"):
        with pytest.raises(StorageError):
            make_folder(root, folder, MODES)


def test_a_folder_that_is_there_already_is_left_as_it_is(root: Path) -> None:
    make_folder(root, root / "a/b", MODES)
    (root / "a/b/file").write_bytes(b"x")
    make_folder(root, root / "a/b", Modes(folder=0o777))
    assert mode_of(root / "a/b") == 0o700


# --- small files -----------------------------------------------------------------------------------------
def test_a_small_file_is_replaced_in_one_step_and_leaves_nothing_beside_it(root: Path) -> None:
    for content in (b"one", b"two", b""):
        write_whole(root, root / "SUMS", content, MODES)
        assert (root / "SUMS").read_bytes() == content
    assert [path.name for path in root.iterdir()] == ["SUMS"]


def test_fault_47_a_staged_copy_left_by_a_crash_is_no_obstacle(root: Path) -> None:
    (root / "SUMS.staged").write_bytes(b"half of someth")
    write_whole(root, root / "SUMS", b"whole", MODES)
    assert (root / "SUMS").read_bytes() == b"whole"


def test_appending_adds_at_the_end(root: Path) -> None:
    append(root / "log", b"a\n", MODES)
    append(root / "log", b"b\n", MODES)
    sync_file(root / "log")
    sync_folder(root)
    assert (root / "log").read_bytes() == b"a\nb\n"


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """The system refuses files beyond that size, after writing as much as fits: a real short write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_fault_42_a_short_write_is_noticed(root: Path) -> None:
    with largest_file(4096), pytest.raises(StorageError, match="files this large"):
        append(root / "part", bytes(10_000), MODES)


def test_fault_40_a_write_that_fails_leaves_the_older_file_and_nothing_beside_it(root: Path) -> None:
    write_whole(root, root / "SUMS", b"old", MODES)
    with largest_file(4096), pytest.raises(StorageError):
        write_whole(root, root / "SUMS", bytes(10_000), MODES)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == {"SUMS": b"old"}


@pytest.mark.parametrize("is_new", [True, False])
def test_fault_42_what_could_not_be_written_whole_is_cut_off_again(root: Path, is_new: bool) -> None:
    before = b"" if is_new else b"a line\n"
    append(root / "log", before, MODES)
    with largest_file(4096), pytest.raises(StorageError):
        append(root / "log", bytes(10_000), MODES)
    assert (root / "log").read_bytes() == before


@pytest.mark.parametrize("claimed", [1, 5])
def test_fault_42_a_write_that_claims_more_than_it_did_is_noticed(
    root: Path, monkeypatch: pytest.MonkeyPatch, claimed: int
) -> None:
    """Stands in for a file system that lies."""
    append(root / "log", b"a line\n", MODES)
    write = os.write
    left = [claimed]

    def lie(descriptor: int, content: bytes) -> int:
        return left.pop() if left else write(descriptor, content)

    monkeypatch.setattr(os, "write", lie)
    with pytest.raises(StorageError, match="input/output error"):
        append(root / "log", b"12345", MODES)
    assert (root / "log").read_bytes() == b"a line\n"


def refuse_to_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "bad disk")

    monkeypatch.setattr(os, "fsync", refuse)


def test_fault_41_what_was_appended_and_could_not_be_synced_is_cut_off_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next run would read it, and take it for safe."""
    append(root / "log", b"safe\n", MODES, synced=True)
    refuse_to_sync(monkeypatch)
    with pytest.raises(StorageError, match="input/output error"):
        append(root / "log", b"not safe\n", MODES, synced=True)
    assert (root / "log").read_bytes() == b"safe\n"


def test_fault_41_a_staged_file_that_could_not_be_synced_is_not_used_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = staged(root, b"x")
    sync_staged(path)
    assert path.exists()
    refuse_to_sync(monkeypatch)
    with pytest.raises(StorageError, match="input/output error"):
        sync_staged(path)
    assert not path.exists()


# --- after a crash ---------------------------------------------------------------------------------------
def synced_folders(monkeypatch: pytest.MonkeyPatch, below: Path) -> list[str]:
    """The folders that are synced from now on, by their paths below the one given."""
    done: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(below).as_posix())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    return done


@pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is of is read from /proc")
def test_fault_43_the_name_of_the_archive_itself_is_synced_and_of_what_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = synced_folders(monkeypatch, tmp_path)
    root = tmp_path / "backups" / "lab" / "archive"
    make_folder(root, root, MODES)
    assert sorted(done) == [".", "backups", "backups/lab"]
    assert mode_of(root) == 0o700
    make_folder(root, root, MODES)
    assert len(done) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is of is read from /proc")
def test_fault_43_folders_that_a_dead_run_has_made_are_synced_by_the_next(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a" / "b" / "c" / "d").mkdir(parents=True)
    (root / "file").write_bytes(b"")
    (tmp_path / "elsewhere" / "inside").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "elsewhere")
    done = synced_folders(monkeypatch, tmp_path)
    sync_tree(root, levels=2, is_own=not_foreign)
    assert sorted(done) == [".", "archive", "archive/a", "archive/a/b"]


def test_a_foreign_folder_in_the_archive_need_not_be_readable(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `lost+found` is not, where the archive is a disk of its own."""
    (root / "foreign" / "inside").mkdir(parents=True)
    (root / "ours" / "foreign").mkdir(parents=True)
    done = opened_folders(monkeypatch, root)
    sync_tree(root, levels=2, is_own=not_foreign)
    assert done == {".", "ours", "ours/foreign"}


def opened_folders(monkeypatch: pytest.MonkeyPatch, below: Path) -> set[str]:
    """Folders that are opened or looked into from now on, as they lie below another."""
    done: set[str] = set()

    def watched(call: Callable[..., object]) -> Callable[..., object]:
        def watch(path: Path, *arguments: object, **options: object) -> object:
            if path.is_relative_to(below):
                done.add(path.relative_to(below).as_posix())
            return call(path, *arguments, **options)

        return watch

    monkeypatch.setattr(os, "open", watched(os.open))
    monkeypatch.setattr(os, "scandir", watched(os.scandir))
    return done


def test_a_folder_above_the_archive_need_not_be_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on machines whose shared folders may be passed through and not listed."""
    opened = os.open
    refused: list[int] = [errno.EACCES]

    def refuse(path: Path, *arguments: object, **options: object) -> int:
        if path == tmp_path:
            raise OSError(refused[0], "refused")
        return opened(path, *arguments, **options)  # type: ignore[arg-type]  # whatever was given

    monkeypatch.setattr(os, "open", refuse)
    root = tmp_path / "archive"
    make_folder(root, root, MODES)
    sync_tree(root, levels=2, is_own=not_foreign)
    refused[0] = errno.EIO
    with pytest.raises(StorageError, match="input/output error"):
        sync_tree(root, levels=2, is_own=not_foreign)


def test_fault_47_staged_copies_of_small_files_are_removed_and_nothing_else(root: Path) -> None:
    for name in ("SUMS", "SUMS.staged", "one.json.staged"):
        (root / name).write_bytes(b"x")
    (root / "folder.staged").mkdir()
    clear_staged(root)
    clear_staged(root / "nowhere")
    assert sorted(path.name for path in root.iterdir()) == ["SUMS", "folder.staged"]


# --- errors ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "input/output error"),
        (errno.EBUSY, os.strerror(errno.EBUSY)),
    ],
)
def test_fault_40_an_error_of_the_disk_says_what_was_being_done_and_what_to_do(
    number: int, advice: str
) -> None:
    with pytest.raises(StorageError, match=advice) as caught, disk_errors("write the moon"):
        raise OSError(number, os.strerror(number))
    assert "cannot write the moon" in str(caught.value)
    assert caught.value.exit_status is Exit.STORAGE


def test_other_errors_pass_the_disk_by() -> None:
    with pytest.raises(KeyError), disk_errors("look"):
        raise KeyError("x")
