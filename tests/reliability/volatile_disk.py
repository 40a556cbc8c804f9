"""A file system that may lose whatever was not synced, and a recorder of what a run does to one.

The model is harsher than the file systems in use: the name of a new file is not on disk when the file is
synced, only when its folder is; names reach the disk in any order, and one folder's without another's. One
thing is granted, as every journal does: a rename never takes the old name away before the new one is there.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, TypeAlias

Tree: TypeAlias = "Mapping[str, bytes | None]"
"""What is there by path; None: a folder."""

_MOST_EXHAUSTIVE = 24
"""Where no more states than these are possible at a point, all of them are tried."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One change, or one sync; paths are relative to the recorder's root."""

    kind: str
    path: str
    target: str = ""
    content: bytes = b""
    size_bytes: int = 0


def tree_of(root: Path) -> Tree:
    """What is below `root` now."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def put_tree(tree: Tree, root: Path) -> None:
    """Make a tree below `root`, which is made."""
    root.mkdir(parents=True)
    for path, content in sorted(tree.items()):
        if content is None:
            (root / path).mkdir(mode=0o700)
        else:
            (root / path).write_bytes(content)


def digest(tree: Tree) -> bytes:
    """Equal for equal trees."""
    whole = hashlib.sha256()
    for path, content in sorted(tree.items()):
        whole.update(hashlib.sha256(path.encode()).digest())
        whole.update(b"folder" if content is None else hashlib.sha256(content).digest())
    return whole.digest()


# --- the model -------------------------------------------------------------------------------------------
@dataclass(eq=False, slots=True)
class _File:
    content: bytes = b""
    synced: bytes = b""

    def remains(self) -> list[bytes]:
        """What a power loss may leave: first all of it, then only what was synced, then what lies between."""
        if self.content == self.synced:
            return [self.content]
        if not self.content.startswith(self.synced):
            return [self.content, self.synced]
        tail = self.content[len(self.synced) :]
        half = len(tail) // 2
        tails = [tail, b"", tail[:half], bytes(len(tail)), bytes(half) + tail[half:]]
        return list(dict.fromkeys(self.synced + each for each in tails))


@dataclass(eq=False, slots=True)
class _Folder:
    now: dict[str, _File | _Folder] = field(default_factory=dict)
    on_disk: dict[str, _File | _Folder] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class _Change:
    """A name set or taken away (None) in a folder that was not synced since; `needs` reaches the disk first."""

    folder: _Folder
    name: str
    node: _File | _Folder | None
    needs: _Change | None = None


class Disk:
    """Holds `tree`, all of it safely, and takes operations after that."""

    def __init__(self, tree: Tree) -> None:
        self._root = _Folder()
        self._pending: list[_Change] = []
        self._files: list[_File] = []
        for path, content in sorted(tree.items()):
            folder, name = self._place(path)
            node = _Folder() if content is None else _File(content, content)
            if isinstance(node, _File):
                self._files.append(node)
            folder.now[name] = folder.on_disk[name] = node

    def __repr__(self) -> str:
        return f"<Disk pending={len(self._pending)} unsynced={len(self._unsynced())}>"

    def apply(self, operation: Operation) -> None:
        """Carry out an operation that succeeded."""
        getattr(self, f"_{operation.kind}")(operation)

    def everything(self) -> Tree:
        """As it is now: what a process that is killed leaves."""
        return self._tree(frozenset(self._pending), {})

    def nothing_unsynced(self) -> Tree:
        """What is there for certain."""
        return self._tree(frozenset(), {file: file.synced for file in self._unsynced()})

    def after_power_loss(self, chance: Random, samples: int) -> Iterator[Tree]:
        """What a power loss may leave now: everything possible where that is little, else the extremes, what
        a journal that keeps its order leaves, and `samples` at random.
        """
        files = self._unsynced()
        contents = [file.remains() for file in files]
        count = 2 ** len(self._pending)
        for each in contents:
            count *= len(each)
        if count <= _MOST_EXHAUSTIVE:
            for mask in range(2 ** len(self._pending)):
                chosen = {change for at, change in enumerate(self._pending) if mask >> at & 1}
                for choice in product(*contents):
                    yield self._tree(chosen, dict(zip(files, choice, strict=True)))
            return
        for names in ([], self._pending, *(self._pending[:at] for at in range(1, len(self._pending)))):
            yield self._tree(set(names), {file: file.synced for file in files})
            yield self._tree(set(names), {})
        for _ in range(samples):
            share = chance.choice((0.2, 0.5, 0.8))
            chosen = {change for change in self._pending if chance.random() < share}
            yield self._tree(chosen, {file: chance.choice(file.remains()) for file in files})

    def _unsynced(self) -> list[_File]:
        return [file for file in self._files if file.content != file.synced]

    def _tree(self, chosen: Collection[_Change], contents: Mapping[_File, bytes]) -> Tree:
        closed = set(chosen)
        closed.update(change.needs for change in chosen if change.needs is not None)
        tree: dict[str, bytes | None] = {}

        def visit(folder: _Folder, prefix: str) -> None:
            entries: dict[str, _File | _Folder | None] = dict(folder.on_disk)
            for change in self._pending:
                if change.folder is folder and change in closed:
                    entries[change.name] = change.node
            for name, node in entries.items():
                if isinstance(node, _File):
                    tree[prefix + name] = contents.get(node, node.content)
                elif node is not None:
                    tree[prefix + name] = None
                    visit(node, f"{prefix}{name}/")

        visit(self._root, "")
        return tree

    # --- operations ------------------------------------------------------------------------------------
    def _create(self, operation: Operation) -> None:
        folder, name = self._place(operation.path)
        if name not in folder.now:
            node = _File()
            self._files.append(node)
            self._name(folder, name, node)

    def _make_folder(self, operation: Operation) -> None:
        self._name(*self._place(operation.path), _Folder())

    def _write(self, operation: Operation) -> None:
        file = self._file(operation.path)
        file.content += operation.content

    def _truncate(self, operation: Operation) -> None:
        file = self._file(operation.path)
        file.content = file.content[: operation.size_bytes]

    def _rename(self, operation: Operation) -> None:
        folder, name = self._place(operation.path)
        added = self._name(*self._place(operation.target), folder.now[name])
        self._name(folder, name, None, needs=added)

    def _link(self, operation: Operation) -> None:
        self._name(*self._place(operation.target), self._file(operation.path))

    def _remove(self, operation: Operation) -> None:
        self._name(*self._place(operation.path), None)

    def _sync(self, operation: Operation) -> None:
        node: _File | _Folder = self._root
        if operation.path:
            folder, name = self._place(operation.path)
            node = folder.now[name]
        if isinstance(node, _File):
            node.synced = node.content
            return
        for change in [each for each in self._pending if each.folder is node]:
            self._reach_disk(change)

    def _reach_disk(self, change: _Change) -> None:
        if change not in self._pending:
            return
        if change.needs is not None:
            self._reach_disk(change.needs)
        for earlier in self._pending[: self._pending.index(change)]:
            if earlier.folder is change.folder and earlier.name == change.name:
                self._reach_disk(earlier)
        self._pending.remove(change)
        if change.node is None:
            change.folder.on_disk.pop(change.name, None)
        else:
            change.folder.on_disk[change.name] = change.node

    def _name(
        self, folder: _Folder, name: str, node: _File | _Folder | None, *, needs: _Change | None = None
    ) -> _Change:
        if node is None:
            del folder.now[name]
        else:
            folder.now[name] = node
        change = _Change(folder, name, node, needs)
        self._pending.append(change)
        return change

    def _place(self, path: str) -> tuple[_Folder, str]:
        *parents, name = path.split("/")
        folder = self._root
        for parent in parents:
            node = folder.now[parent]
            assert isinstance(node, _Folder)
            folder = node
        return folder, name

    def _file(self, path: str) -> _File:
        folder, name = self._place(path)
        node = folder.now[name]
        assert isinstance(node, _File)
        return node


# --- the recorder ----------------------------------------------------------------------------------------
class Recorder(AbstractContextManager["Recorder"]):
    """Writes down what this process does to files below `root`, in the order in which it happens.

    It stands at the door to the system, in place of functions of `os`: there is no other place that all writes
    pass. That none was missed shows at the end: the model's tree must be the true one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._paths: dict[int, str] = {}
        self._true: dict[str, Callable[..., Any]] = {}
        self._lock = threading.RLock()
        self.operations: list[Operation] = []

    def __enter__(self) -> Recorder:
        for name in _WATCHED:
            self._true[name] = getattr(os, name)
            setattr(os, name, getattr(self, f"_{name}"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, true in self._true.items():
            setattr(os, name, true)

    def _inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The path below the root; None for one that lies elsewhere."""
        if isinstance(path, int):
            return self._paths.get(path)
        text = os.fsdecode(path)
        if dir_fd is not None:
            folder = self._paths.get(dir_fd)
            return None if folder is None else f"{folder}/{text}"
        whole = Path(text)
        if whole == self._root:
            return ""
        return whole.relative_to(self._root).as_posix() if self._root in whole.parents else None

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        return self._true[name](*arguments, **options)

    def _note(self, kind: str, path: str | None, **details: Any) -> None:
        if path is not None:
            self.operations.append(Operation(kind, path, **details))

    def _open(self, path: Any, flags: int, *arguments: Any, dir_fd: int | None = None, **options: Any) -> int:
        with self._lock:
            descriptor: int = self._call("open", path, flags, *arguments, dir_fd=dir_fd, **options)
            inside = self._inside(path, dir_fd)
            if inside is not None:
                self._paths[descriptor] = inside
                if flags & os.O_CREAT:
                    self._note("create", inside)
            return descriptor

    def _close(self, descriptor: int) -> None:
        with self._lock:
            self._paths.pop(descriptor, None)
            self._call("close", descriptor)

    def _write(self, descriptor: int, content: Any) -> int:
        with self._lock:
            count: int = self._call("write", descriptor, content)
            self._note("write", self._inside(descriptor), content=bytes(content[:count]))
            return count

    def _fsync(self, descriptor: int) -> None:
        with self._lock:
            self._call("fsync", descriptor)
            self._note("sync", self._inside(descriptor))

    def _truncate(self, path: Any, size_bytes: int) -> None:
        with self._lock:
            self._call("truncate", path, size_bytes)
            self._note("truncate", self._inside(path), size_bytes=size_bytes)

    def _ftruncate(self, descriptor: int, size_bytes: int) -> None:
        with self._lock:
            self._call("ftruncate", descriptor, size_bytes)
            self._note("truncate", self._inside(descriptor), size_bytes=size_bytes)

    def _mkdir(self, path: Any, *arguments: Any, **options: Any) -> None:
        with self._lock:
            self._call("mkdir", path, *arguments, **options)
            self._note("make_folder", self._inside(path))

    def _replace(self, source: Any, target: Any, **options: Any) -> None:
        with self._lock:
            self._call("replace", source, target, **options)
            self._note("rename", self._inside(source), target=self._inside(target) or "")

    def _rename(self, source: Any, target: Any, **options: Any) -> None:
        self._replace(source, target, **options)

    def _link(self, source: Any, target: Any, **options: Any) -> None:
        with self._lock:
            self._call("link", source, target, **options)
            self._note("link", self._inside(source), target=self._inside(target) or "")

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        with self._lock:
            self._call("unlink", path, dir_fd=dir_fd)
            self._note("remove", self._inside(path, dir_fd))

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        with self._lock:
            self._call("rmdir", path, dir_fd=dir_fd)
            self._note("remove", self._inside(path, dir_fd))


_WATCHED = (
    "close",
    "fsync",
    "ftruncate",
    "link",
    "mkdir",
    "open",
    "rename",
    "replace",
    "rmdir",
    "truncate",
    "unlink",
    "write",
)
