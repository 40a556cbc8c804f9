"""A lab, its mirror, and everything that may happen to them in any order, held against a dictionary.

The dictionary is the upstream's own memory (`GrowingLab.ever`, `.now`): what is there, and what ever was, by
data type, room and id. Real runs go over it in virtual time; they are killed at steps of the disk, refused by
the server, and find files damaged.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import orjson
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from virtual_time import VirtualClock

from hsmirror.archive.verify import VerifyReport, verify
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, load
from reliability.figures import Figures
from reliability.growing_lab import EXPERIMENT, HOUR, GrowingLab, Shelf
from reliability.jumping_time import run_jumping

KINDS = ("events", "ratings/sparse", "variables", "rooms")
"""Read as one list and split; room by room with a total; room by room without one; the rooms themselves."""

_MOVING = st.sampled_from(KINDS[:3])
_SETTLE_SECONDS, _RECHECK_SECONDS = 48 * HOUR, 720 * HOUR
_STEPS = ("replace", "link", "write", "fsync", "unlink", "mkdir")


class Killed(BaseException):
    """Stands in for the end of the process: nothing that handles errors may catch it."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """The process ends at its n-th change of the disk, a write after half of it, and changes nothing after."""
    left = step

    def watched(name: str, true: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and name == "write":
                true(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            if left <= 0:
                raise Killed(name)
            return true(*arguments, **options)

        return call

    with mock.patch.multiple(os, **{name: watched(name, getattr(os, name)) for name in _STEPS}):
        yield


class ArchiveMachine(RuleBasedStateMachine):
    """Rules change the upstream, run the mirror, or break something; invariants hold after each."""

    tried: ClassVar[Counter[str]] = Counter()
    """Over all examples: what was done how often."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="model-"))
        self.archive = self.folder / "archive"
        self.clock = VirtualClock()
        self.lab = GrowingLab(self.clock, page_rows=5, kinds=KINDS)
        self.ended_at: dict[str, float] = {}
        self.changed_at: dict[str, float] = {}
        self.committed: dict[Shelf, set[bytes]] = {}
        """Rows that were held after a run, and must never be lost."""
        self.damaged: set[str] = set()
        self.salvaged: set[Shelf] = set()
        """What was damaged once: a row of which only the damaged bytes are left is kept as they are."""
        self.was_killed = False

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # --- the upstream ----------------------------------------------------------------------------------
    @initialize()
    def two_rooms(self) -> None:
        for room in ("room_1", "room_2"):
            self.lab.open_room(room)
            self.changed_at[room] = self.clock.epoch()
        self.finish("room_1")

    def finish(self, room: str) -> None:
        self.lab.finish_room(room)
        self.ended_at[room] = self.changed_at[room] = self.clock.epoch()

    @precondition(lambda self: len(self.changed_at) < 4)
    @rule()
    def a_room_opens(self) -> None:
        room = f"room_{len(self.changed_at) + 1}"
        self.lab.open_room(room)
        self.changed_at[room] = self.clock.epoch()

    @rule(data=st.data())
    def a_room_ends(self, data: st.DataObject) -> None:
        if running := [room for room in self.lab.rooms if room not in self.ended_at]:
            self.finish(data.draw(st.sampled_from(running)))

    @precondition(lambda self: len(self.lab.rooms) > 1)
    @rule(data=st.data())
    def a_room_vanishes(self, data: st.DataObject) -> None:
        self.lab.remove_room(data.draw(st.sampled_from(self.lab.rooms)))

    @rule(kind=_MOVING, data=st.data(), count=st.integers(1, 7))
    def rows_come(self, kind: str, data: st.DataObject, count: int) -> None:
        room = data.draw(st.sampled_from(self.lab.rooms))
        self.lab.add_rows(kind, room, count)
        self.changed_at[room] = self.clock.epoch()

    @rule(kind=_MOVING, data=st.data(), count=st.integers(1, 4))
    def rows_go(self, kind: str, data: st.DataObject, count: int) -> None:
        room = data.draw(st.sampled_from(self.lab.rooms))
        self.lab.delete_rows(kind, room, count)
        self.changed_at[room] = self.clock.epoch()

    @rule(kind=_MOVING, data=st.data())
    def a_row_is_edited(self, kind: str, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.lab.rooms))
        if self.lab.now[kind].get(room):
            self.lab.edit_row(kind, room)
            self.changed_at[room] = self.clock.epoch()

    @rule(hours=st.sampled_from([1, 24, 49, 24 * 31]))
    def time_passes(self, hours: int) -> None:
        self.clock.advance(hours * HOUR)

    # --- the mirror ------------------------------------------------------------------------------------
    @rule(full=st.booleans())
    def sync(self, full: bool) -> None:
        self.tried["syncs"] += 1
        before = self._deltas()
        report = self.run(full=full)
        self.was_killed = False
        self._look_at(report, before, full=full)

    @rule(broken=st.sets(st.sampled_from(KINDS), min_size=1))
    def sync_while_the_server_fails(self, broken: set[str]) -> None:
        self.tried["syncs while the server failed"] += 1
        before = self._deltas()
        self.lab.broken = broken
        failed_before = self.lab.failed_requests
        report = self.run()
        self.lab.broken = set()
        self.was_killed = False
        # What is settled is not asked for, broken or not.
        has_failed = self.lab.failed_requests > failed_before
        assert (report.exit_status == 3) == has_failed, "a list cannot be read, and the run is called complete"
        self._look_at(report, before)

    @rule(step=st.integers(1, 120), full=st.booleans())
    def sync_that_is_killed(self, step: int, full: bool) -> None:
        self.was_killed = True
        with suppress(Killed), killed_at(step):
            self.run(full=full)
            self.was_killed = False
        self.tried["syncs that were killed"] += self.was_killed

    @precondition(lambda self: not self.was_killed and (self.archive / "receipts").exists())
    @rule(data=st.data(), how=st.sampled_from(["cut", "flipped", "gone"]))
    def a_shard_is_damaged(self, data: st.DataObject, how: str) -> None:
        shards = sorted(self.archive.glob("experiment_id=*/data_type=*/*/*.ndjson.gz"))
        if not shards:
            return
        self.tried["shards damaged"] += 1
        shard = data.draw(st.sampled_from(shards))
        content = shard.read_bytes()
        shard.unlink()  # an older generation may share its bytes by a hard link
        if how != "gone":
            middle = len(content) // 2
            flipped = content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]
            shard.write_bytes(content[:middle] if how == "cut" else flipped)
        self.damaged.add(shard.relative_to(self.archive).as_posix())
        self.committed.pop(_shelf(shard), None)
        self.salvaged.add(_shelf(shard))

    @precondition(lambda self: not self.was_killed and (self.archive / "archive.json").exists())
    @rule()
    def what_verify_finds_is_repaired(self) -> None:
        found = verify(self.archive)
        assert set(found.broken_paths) <= self.damaged  # a run that was killed may have mended some
        report = self.run(damaged=frozenset(found.broken_paths))
        self.tried["repairs"] += bool(self.damaged)
        self._note_what_is_sound()
        if report.exit_status == 0:
            left = verify(self.archive)
            assert left.is_sound, f"repaired, and still: {left}"

    # --- what must hold --------------------------------------------------------------------------------
    @invariant()
    def every_receipt_has_its_bytes(self) -> None:
        if not self.was_killed and (self.archive / "archive.json").exists():
            found: VerifyReport = verify(self.archive)
            assert set(found.broken_paths) <= self.damaged, f"{found}, and damaged were {self.damaged}"

    @invariant()
    def nothing_that_was_held_is_lost(self) -> None:
        for shelf, rows in self.committed.items():
            lost = rows - self._rows(shelf) - self._older_rows(shelf)
            assert not lost, f"{len(lost)} rows of {shelf} are lost, such as {min(lost)!r}"

    @invariant()
    def nothing_is_held_that_never_was(self) -> None:
        for shelf in self.lab.shelves_ever():
            made_up = self._rows(shelf) - self._ever(shelf)
            assert not made_up or shelf in self.salvaged, f"{shelf} holds {min(made_up)!r}, which never was"

    def _look_at(self, report: RunReport, deltas: dict[Shelf, int | None], *, full: bool = False) -> None:
        """Whatever is called complete holds all that is upstream, but for what no total can show."""
        self._note_what_is_sound()
        for kind in report.experiments[0].types:
            if not kind.is_complete:
                continue
            hidden = set() if full else self._may_be_hidden(kind.data_type, deltas)
            for room in self.lab.rooms:
                shelf = (kind.data_type, room)
                if shelf in hidden or self._is_damaged(shelf):
                    continue
                missing = set(self.lab.now[kind.data_type].get(room, {}).values()) - self._rows(shelf)
                assert not missing, f"{shelf} is called complete, and lacks {min(missing)!r}"
            if full:
                self._require_gone_rows(kind.data_type)

    def _may_be_hidden(self, kind: str, deltas: dict[Shelf, int | None]) -> set[Shelf]:
        """Settled rooms whose changes the total need not show."""
        read = {shelf for shelf, delta in deltas.items() if delta is not None and shelf[0] == kind}
        of_kind = {shelf for shelf in read if self._may_be_settled(shelf[1])}
        moved = {shelf for shelf in of_kind if deltas[shelf]}
        if kind != "variables" and len(moved) == 1:
            return of_kind - moved
        return of_kind

    def _may_be_settled(self, room: str) -> bool:
        if room not in self.lab.rooms:
            return True
        ended_at = self.ended_at.get(room)
        if ended_at is None:
            return self.clock.epoch() - self.changed_at[room] >= _RECHECK_SECONDS
        return self.clock.epoch() - ended_at >= _SETTLE_SECONDS

    def _deltas(self) -> dict[Shelf, int | None]:
        """How many rows each shelf has more upstream than are held; None where it was never read."""
        held = {(each["data_type"], each["room"]): each for each in self._receipts()}
        deltas: dict[Shelf, int | None] = {}
        for shelf in [(kind, room) for kind in KINDS for room in self.lab.ever[kind]]:
            receipt = held.get(shelf)
            now = len(self.lab.now[shelf[0]].get(shelf[1], {}))
            if receipt is not None:
                deltas[shelf] = now - receipt.get("rows", 0) + receipt.get("gone_rows", 0)
            else:
                deltas[shelf] = None
        return deltas

    def _require_gone_rows(self, kind: str) -> None:
        for receipt in self._receipts():
            if receipt["data_type"] == kind:
                now = len(self.lab.now[kind].get(receipt["room"], {}))
                there = receipt.get("rows", 0) - receipt.get("gone_rows", 0)
                assert there == now, (
                    f"{kind} of {receipt['room']}: {there} rows are said to be there, not {now}"
                )

    def _receipts(self) -> list[dict[str, Any]]:
        """The receipts of shards that count. A line that a kill cut short is the last one of its segment."""
        found: dict[str, dict[str, Any]] = {}
        for segment in sorted((self.archive / "receipts").glob("*.jsonl")):
            *lines, last = segment.read_bytes().split(b"\n")
            assert not last or self.tried["syncs that were killed"]
            for receipt in map(orjson.loads, lines):
                if receipt["kind"] == "shard":
                    found[receipt["path"]] = receipt
        return list(found.values())

    def _note_what_is_sound(self) -> None:
        broken = set(verify(self.archive).broken_paths)
        assert broken <= self.damaged
        self.damaged = broken
        for shelf in self.lab.shelves_ever():
            if not self._is_damaged(shelf):
                self.committed.setdefault(shelf, set()).update(self._rows(shelf))

    def _is_damaged(self, shelf: Shelf) -> bool:
        return any(_shelf(self.archive / path) == shelf for path in self.damaged)

    def _ever(self, shelf: Shelf) -> set[bytes]:
        kind, room = shelf
        return {*self.lab.ever[kind].get(room, {}).values(), *self.lab.older_versions.get(shelf, ())}

    def _rows(self, shelf: Shelf) -> set[bytes]:
        return _rows_below(self.archive, shelf)

    def _older_rows(self, shelf: Shelf) -> set[bytes]:
        superseded = self.archive / ".hsmirror" / "superseded"
        runs = list(superseded.iterdir()) if superseded.is_dir() else []
        return {row for run in runs for row in _rows_below(run, shelf)}

    def run(self, *, full: bool = False, damaged: frozenset[str] = frozenset()) -> RunReport:
        given = {"api.base_url": "http://127.0.0.1:9/api/v3", "archive.path": str(self.archive)}
        configured = load(
            config=None, environ={}, overrides=given, cwd=self.folder, user_config_dir=self.folder
        )
        options = RunOptions(full=full, damaged=damaged, state_folder=self.folder / "state", wire=self.lab)
        chosen = [ExperimentSettings(id=EXPERIMENT, data_types=KINDS, files=False)]

        async def run(clock: VirtualClock) -> RunReport:
            return await sync(configured, Secret("hst_test_model"), chosen, options=options, clock=clock)

        return run_jumping(run, clock=self.clock)


def _rows_below(root: Path, shelf: Shelf) -> set[bytes]:
    kind, room = shelf
    folder = root / f"experiment_id={EXPERIMENT}" / f"data_type={kind.replace('/', '_')}" / f"room_id={room}"
    rows: set[bytes] = set()
    for path in folder.glob("*.ndjson.gz*"):
        with suppress(OSError, EOFError, zlib.error):  # damaged: `verify` tells
            rows.update(gzip.decompress(path.read_bytes()).splitlines())
    return rows


def _shelf(shard: Path) -> Shelf:
    data_type, room = shard.parent.parent.name, shard.parent.name
    return data_type.removeprefix("data_type=").replace("_", "/"), room.removeprefix("room_id=")


def measure(*, long: bool = False, workdir: Path) -> Figures:
    """Random orders of what may happen; long: more of them, and what fails is made as short as it can be."""
    ArchiveMachine.tried = Counter()
    examples, steps = (2_000, 40) if long else (150, 30)
    failures: tuple[str, ...] = ()
    with mock.patch.object(tempfile, "tempdir", str(workdir)):
        try:
            run_state_machine_as_test(  # type: ignore[no-untyped-call]
                ArchiveMachine,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=steps,
                    deadline=None,
                    derandomize=not long,
                    database=None,
                    phases=[Phase.generate, Phase.shrink] if long else [Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except Exception as error:  # noqa: BLE001  # whatever breaks is a finding
            notes = "; ".join(getattr(error, "__notes__", ()))
            failures = (f"{type(error).__name__}: {error} {notes}",)
    return Figures(
        title="Model",
        says="Everything that may happen to a lab and its mirror, in random orders, held against a dictionary.",
        counts=(("orders", examples), ("steps in each, at most", steps), *sorted(ArchiveMachine.tried.items())),
        failures=failures,
    )
