"""Durable writes: the only place that makes folders, publishes files and syncs them.

What each step is worth: a file's bytes survive a power loss once the file is synced; its name, once its folder
is. So the order is always bytes, name, folder, and only then the receipt. Errors of the disk become
`StorageError` here, with what to do.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hsmirror.errors import StorageError

_STAGED = ".staged"
_WHAT_TO_DO = {
    errno.ENOSPC: "the disk is full: make room and run again",
    errno.EDQUOT: "the quota is used up: make room and run again",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied: check the owner of the archive",
    errno.EPERM: "not permitted: check the owner of the archive",
    errno.EIO: "the disk reports an input/output error: check it",
    errno.EFBIG: "the file system does not take files this large",
    errno.ENAMETOOLONG: "the file system does not take names this long",
}


@dataclass(frozen=True, slots=True)
class Modes:
    """Permissions of what is created; participants' data are private by default."""

    folder: int = 0o700
    file: int = 0o600


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn the disk's errors into `StorageError`; `what` says what was being done, and to what."""
    try:
        yield
    except OSError as error:
        advice = _WHAT_TO_DO.get(error.errno or 0, error.strerror or type(error).__name__)
        raise StorageError(f"cannot {what}: {advice}") from error


def make_folder(root: Path, folder: Path, modes: Modes) -> None:
    """Make `folder` and what leads to it below `root`, each new name synced; never through a planted link.

    Raises:
        StorageError: cannot be made, or a symbolic link stands where a folder of the archive belongs.
    """
    if folder == root:
        _make_root(root, modes)
    elif _is_folder(folder):
        _require_real_folders(root, folder.parent)
    else:
        make_folder(root, folder.parent, modes)
        _make(folder, modes)
        sync_folder(folder.parent)


def _make_folders(root: Path, folders: Sequence[Path], modes: Modes) -> None:
    """As `make_folder` for each: what they share is looked at once, and their names are synced together."""
    for parent in dict.fromkeys(folder.parent for folder in folders if folder != root):
        make_folder(root, parent, modes)
    new = [folder for folder in folders if folder != root and not _is_folder(folder)]
    for folder in new:
        _make(folder, modes)
    for parent in dict.fromkeys(folder.parent for folder in new):
        sync_folder(parent)


def _is_folder(folder: Path) -> bool:
    """Is it there?

    Raises:
        StorageError: something else stands there.
    """
    try:
        kind = os.lstat(folder).st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"cannot use {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(kind):
        raise StorageError(f"cannot use {folder}: it is not a folder (a link is not followed); remove it")
    return True


def _make(folder: Path, modes: Modes) -> None:
    with disk_errors(f"make the folder {folder}"):
        folder.mkdir(mode=modes.folder, exist_ok=True)
        folder.chmod(modes.folder)  # mkdir's mode goes through the umask


def _make_root(root: Path, modes: Modes) -> None:
    """The archive's own folder and what leads to it: a name that is not synced, a power loss takes with all
    that lies behind it.
    """
    missing: list[Path] = []
    with disk_errors(f"make the folder {root}"):
        folder = root
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            if folder == root:
                folder.mkdir(mode=modes.folder, exist_ok=True)
                folder.chmod(modes.folder)  # mkdir's mode goes through the umask
            else:
                folder.mkdir(exist_ok=True)
    for folder in reversed(missing):
        _sync_name_of(folder)


def _sync_name_of(root: Path) -> None:
    """What lies above the archive is not ours: where it may not be read, somebody else answers for it."""
    try:
        sync_folder(root.parent)
    except StorageError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise


def _require_real_folders(root: Path, folder: Path) -> None:
    """Every folder from `root` down to `folder` is a folder of its own, not a link to another place."""
    while folder != root and root in folder.parents:
        if folder.is_symlink():
            raise StorageError(f"cannot use {folder}: it is a link, and links are not followed; remove it")
        folder = folder.parent


def has_size(path: Path | str, size_bytes: int) -> bool:
    """Is a file of that size there? A look that costs nothing; its hash is for `verify` to check."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size_bytes


def sync_file(path: Path) -> None:
    """Have the file's bytes on the disk."""
    with disk_errors(f"sync {path}"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_staged(path: Path) -> None:
    """Have a staged file's bytes on the disk. One that cannot be synced is removed, to be written anew: the
    system may call the next sync of the same bytes a success.
    """
    try:
        sync_file(path)
    except StorageError:
        with suppress(OSError):
            path.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Have the folder's names on the disk. Windows cannot, and orders its own metadata."""
    if os.name == "nt":
        return
    with disk_errors(f"sync the folder {folder}"):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
                raise
        finally:
            os.close(descriptor)


SyncFolders: TypeAlias = Callable[[Sequence[Path]], None]


@dataclass(frozen=True, slots=True)
class Move:
    """A synced file on its way to `final`; what stands there already gets the name `superseded` first."""

    staged: Path
    final: Path
    superseded: Path


def publish(
    root: Path, moves: Sequence[Move], modes: Modes, *, sync_folders: SyncFolders | None = None
) -> None:
    """Put synced files in their places, older generations kept, and sync the folders: one group, in order.

    Each place holds the older or the newer file at any moment, never neither. `sync_folders` may sync several
    folders at once.
    """
    kept: dict[Path, None] = {}
    folders = list(dict.fromkeys(move.final.parent for move in moves))
    _make_folders(root, folders, modes)
    for move in moves:
        if os.path.lexists(move.final):
            keep(root, move.final, move.superseded, modes)
            kept[move.superseded.parent] = None
    for folder in kept:
        sync_folder(folder)
    for move in moves:
        with disk_errors(f"put {move.final} in place"):
            os.replace(move.staged, move.final)  # noqa: PTH105  # the one call of it, easily searched for
    (sync_folders or _sync_folders)(folders)


def _sync_folders(folders: Sequence[Path]) -> None:
    for folder in folders:
        sync_folder(folder)


def keep(root: Path, current: Path, superseded: Path, modes: Modes) -> None:
    """Give the current file a second name below `superseded/`; copied where links cannot be made."""
    make_folder(root, superseded.parent, modes)
    if os.path.lexists(superseded):
        return
    with disk_errors(f"keep the older {current}"):
        try:
            os.link(current, superseded, follow_symlinks=False)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}:
                raise
            shutil.copyfile(current, superseded, follow_symlinks=False)
            superseded.chmod(modes.file)
            sync_file(superseded)


def retire(root: Path, current: Path, superseded: Path, modes: Modes) -> None:
    """Take a file that has no successor out of the tree; it stays below `superseded/`."""
    if not os.path.lexists(current):
        return
    _require_real_folders(root, current.parent)
    keep(root, current, superseded, modes)
    sync_folder(superseded.parent)
    with disk_errors(f"retire {current}"):
        current.unlink()
    sync_folder(current.parent)


def staged_beside(final: Path) -> Path:
    """Where a small file's next content lies before it takes its place."""
    return final.with_name(f"{final.name}{_STAGED}")


def write_whole(root: Path, final: Path, content: bytes | Iterable[bytes], modes: Modes) -> None:
    """A file, replaced in one step: its old content or its new, after any crash; a large one, in pieces."""
    make_folder(root, final.parent, modes)
    staged = staged_beside(final)
    with disk_errors(f"write {final}"):
        staged.unlink(missing_ok=True)
    try:
        for piece in [content] if isinstance(content, bytes) else content:
            append(staged, piece, modes)
        sync_file(staged)
    except StorageError:
        with suppress(OSError):
            staged.unlink()
        raise
    with disk_errors(f"put {final} in place"):
        os.replace(staged, final)  # noqa: PTH105  # see publish
    sync_folder(final.parent)


def clear_folder(root: Path, folder: Path) -> None:
    """Remove a folder of staging with all that is in it; what cannot be removed is the next run's to try.

    Raises:
        StorageError: a link leads there.
    """
    _require_real_folders(root, folder)
    shutil.rmtree(folder, ignore_errors=True)


def clear_staged(folder: Path) -> None:
    """Remove what `write_whole` has left in a folder when it was cut off; as far as it can be removed."""
    found: list[Path] = []
    with suppress(OSError):
        found = list(folder.glob(f"*{_STAGED}"))
    for staged in found:
        with suppress(OSError):
            staged.unlink()


def sync_tree(root: Path, levels: int, is_own: Callable[[str], bool]) -> None:
    """Have the names in a folder on the disk, its own too, and those in the folders down to `levels` below.

    A run that died may have made some of them, and a run that finds a folder relies on it. Of the folders in
    the root only those whose name `is_own` are looked into: others are not ours, and may not be readable.
    """
    _sync_name_of(root)
    sync_folder(root)
    folders = [folder for folder in _folders_in(root) if is_own(folder.name)]
    for _ in range(levels - 1):
        for folder in folders:
            sync_folder(folder)
        folders = [each for folder in folders for each in _folders_in(folder)]
    for folder in folders:
        sync_folder(folder)


def _folders_in(folder: Path) -> list[Path]:
    with disk_errors(f"look into {folder}"), os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def open_private(path: Path) -> int:
    """A file that this run alone appends to and reads, and no crash need survive; made if need be.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _NO_FOLLOW, _PRIVATE)


def append(path: Path, content: bytes | memoryview, modes: Modes, *, synced: bool = False) -> None:
    """Append to a file that is ours alone, made if need be: all of `content`, or nothing of it.

    `synced`: it is on the disk when this returns. What could not be written or synced is cut off again: after
    a failed sync the system may hand out bytes that it never wrote, and call the next sync a success.

    Raises:
        StorageError: as its text says; fewer bytes arrived than were given, too.
    """
    with disk_errors(f"write {path}"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_FOLLOW, modes.file)
        try:
            before_bytes = os.fstat(descriptor).st_size
            if before_bytes == 0 and os.name != "nt":
                os.fchmod(descriptor, modes.file)
            try:
                write_all(descriptor, content)
                _require_size(descriptor, before_bytes + len(content))
                if synced:
                    os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, before_bytes)
                raise
        finally:
            os.close(descriptor)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """However many calls it takes.

    Raises:
        OSError: the disk did not take all of it.
    """
    left = memoryview(content)
    while left:
        written = os.write(descriptor, left)
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        left = left[written:]


def _require_size(descriptor: int, size_bytes: int) -> None:
    if os.fstat(descriptor).st_size != size_bytes:
        raise OSError(errno.EIO, "another number of bytes arrived than was written")


_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_PRIVATE = 0o600
