"""A lab, its mirror, and everything that may happen to them in any order, held against a dictionary.

The dictionary is the upstream's own memory (`GrowingLab.ever`, `.now`): what is there, and what ever was, by
data type, room and id. Real runs go over it in virtual time; they are killed at steps of the disk, refused by
the server, and find files damaged.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from oracle import state_of_files
from virtual_time import VirtualClock

from hsmirror.archive.verify import VerifyReport, verify
from hsmirror.mirror.forget import forget
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, load
from reliability.figures import Figures
from reliability.growing_lab import EXPERIMENT, HOUR, GrowingLab, Shelf
from reliability.jumping_time import run_jumping
from reliability.model_steps import (
    Killed,
    damage,
    failures_of,
    files_with,
    folder_of,
    killed_at,
    receipts_of,
    rows_of_folder,
    shelf_of,
)

KINDS = ("events", "ratings/sparse", "variables", "rooms")
"""Read as one list and split; room by room with a total; room by room without one; the rooms themselves."""

_MOVING = st.sampled_from(KINDS[:3])
_SETTLE_SECONDS, _RECHECK_SECONDS = 48 * HOUR, 720 * HOUR
_PEOPLE = ("person_one", "person_two", "person_three")
"""Whose rows come in turn; every fourth row is nobody's."""


class ArchiveMachine(RuleBasedStateMachine):
    """Rules change the upstream, run the mirror, or break something; invariants hold after each."""

    tried: ClassVar[Counter[str]] = Counter()
    """Over all examples: what was done how often."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="model-"))
        self.archive = self.folder / "archive"
        self.clock = VirtualClock()
        self.lab = GrowingLab(self.clock, page_rows=5, kinds=KINDS, people=_PEOPLE)
        self.ended_at: dict[str, float] = {}
        self.changed_at: dict[str, float] = {}
        self.committed: dict[Shelf, set[bytes]] = {}
        """Rows that were held after a run, and must never be lost."""
        self.damaged: set[str] = set()
        self.salvaged: set[Shelf] = set()
        """What was damaged once: a row of which only the damaged bytes are left is kept as they are."""
        self.surely_damaged: set[str] = set()
        """Nothing has run since that could have mended it."""
        self.leaving: set[str] = set()
        """People whose removal was begun, and perhaps came to nothing."""
        self.gone: set[str] = set()
        """People who are forgotten for good."""
        self.was_killed = False
        """Nothing has run to its end since that could have cleared up."""
        self.has_been_killed = False

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

    def change(self, room: str) -> None:
        """A room that has been quiet for so long that it is settled is not looked at because of what comes."""
        if not self._may_be_settled(room):
            self.changed_at[room] = self.clock.epoch()

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
        self.change(room)

    @rule(kind=_MOVING, data=st.data(), count=st.integers(1, 4))
    def rows_go(self, kind: str, data: st.DataObject, count: int) -> None:
        room = data.draw(st.sampled_from(self.lab.rooms))
        self.lab.delete_rows(kind, room, count)
        self.change(room)

    @rule(kind=_MOVING, data=st.data())
    def a_row_is_edited(self, kind: str, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.lab.rooms))
        if self.lab.now[kind].get(room):
            self.lab.edit_row(kind, room)
            self.change(room)

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
        self._require_success(report, may_doubt=not full and self._is_a_list_empty())
        self._look_at(report, before, full=full)

    def _require_success(self, report: RunReport, *, may_doubt: bool) -> None:
        is_excused = may_doubt or bool(self.damaged)
        assert report.exit_status == 0 or is_excused, f"nothing was in its way, and still: {report.problems}"

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
        if has_failed:
            assert report.exit_status == 3, "a list cannot be read, and the run is called complete"
        else:
            self._require_success(report, may_doubt=self._is_a_list_empty())
        self._look_at(report, before)

    @rule(step=st.integers(1, 120), full=st.booleans())
    def sync_that_is_killed(self, step: int, full: bool) -> None:
        self.was_killed = self.has_been_killed = True
        with suppress(Killed), killed_at(step):
            self.run(full=full)
            self.was_killed = False
        self.tried["syncs that were killed"] += self.was_killed

    @precondition(lambda self: not self.was_killed and (self.archive / "receipts").exists())
    @rule(data=st.data(), how=st.sampled_from(["cut", "flipped", "gone"]))
    def a_shard_is_damaged(self, data: st.DataObject, how: str) -> None:
        # What a killed run has published and not noted is nothing yet, whatever its bytes.
        noted = {self.archive / receipt["path"] for receipt in self._receipts() if "sha256" in receipt}
        shards = sorted(noted & set(self.archive.glob("experiment_id=*/data_type=*/*/*.ndjson.gz")))
        if not shards:
            return
        self.tried["shards damaged"] += 1
        shard = data.draw(st.sampled_from(shards))
        damage(shard, how)
        path = shard.relative_to(self.archive).as_posix()
        # A bit that is flipped twice is as it was.
        (self.surely_damaged.discard if path in self.damaged else self.surely_damaged.add)(path)
        self.damaged.add(path)
        self.committed.pop(shelf_of(shard), None)
        self.salvaged.add(shelf_of(shard))

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

    @precondition(lambda self: not self.was_killed and (self.archive / "archive.json").exists())
    @rule()
    def verify(self) -> None:
        before = state_of_files(self.archive)
        found = verify(self.archive)
        self.tried["checks by verify"] += 1
        assert self.surely_damaged <= set(found.broken_paths) <= self.damaged, f"{found}: {self.damaged}"
        assert state_of_files(self.archive) == before, "verify has changed something"

    @precondition(lambda self: (self.archive / "archive.json").exists())
    @rule(person=st.sampled_from(_PEOPLE))
    def a_person_is_forgotten(self, person: str) -> None:
        self.tried["people forgotten"] += person not in self.gone
        self.forget(person)

    @precondition(lambda self: (self.archive / "archive.json").exists())
    @rule(person=st.sampled_from(_PEOPLE), step=st.integers(1, 60), again=st.booleans())
    def a_person_is_forgotten_and_that_is_killed(self, person: str, step: int, again: bool) -> None:
        was_killed = True
        with suppress(Killed), killed_at(step):
            self.forget(person)
            was_killed = False
        self.tried["removals of people that were killed"] += was_killed
        self.was_killed |= was_killed
        self.has_been_killed |= was_killed
        if was_killed and again:
            self.forget(person)

    def forget(self, person: str) -> None:
        """Of the person nothing is left; of anybody else nothing changes."""
        before = {shelf: self._others(self._rows(shelf)) for shelf in self.lab.shelves_ever()}
        had_been_killed = self.was_killed
        if person not in self.gone:
            self.leaving.add(person)
        self.surely_damaged = set()
        report = asyncio.run(forget(self.archive, person, clock=self.clock))
        self.was_killed = False
        self._note_what_is_sound()
        assert report.is_finished or self.damaged, f"nothing is damaged, and still: {report}"
        if report.is_finished:
            self.leaving.discard(person)
            self.gone.add(person)
        for shelf, rows in before.items():
            lost = self._others(rows) - self._rows(shelf)
            assert had_been_killed or not lost, f"{person} was forgotten, and {shelf} has lost {min(lost)!r}"

    def _others(self, rows: set[bytes]) -> set[bytes]:
        """Those that are not of people who are forgotten, or perhaps so."""
        people = [person.encode() for person in self.leaving | self.gone]
        return {row for row in rows if not any(person in row for person in people)}

    # --- what must hold --------------------------------------------------------------------------------
    @invariant()
    def every_receipt_has_its_bytes(self) -> None:
        if not self.was_killed and (self.archive / "archive.json").exists():
            found: VerifyReport = verify(self.archive)
            assert set(found.broken_paths) <= self.damaged, f"{found}, and damaged were {self.damaged}"

    @invariant()
    def nothing_that_was_held_is_lost(self) -> None:
        for shelf, rows in self.committed.items():
            lost = self._others(rows) - self._rows(shelf) - self._older_rows(shelf)
            assert not lost, f"{len(lost)} rows of {shelf} are lost, such as {min(lost)!r}"

    @invariant()
    def nothing_is_held_that_never_was(self) -> None:
        for shelf in self.lab.shelves_ever():
            made_up = self._rows(shelf) - self._ever(shelf)
            assert not made_up or shelf in self.salvaged, f"{shelf} holds {min(made_up)!r}, which never was"

    @invariant()
    def nobody_who_is_forgotten_is_in_any_byte(self) -> None:
        for person in self.gone:
            assert not (found := files_with(self.archive, person.encode())), f"{person} is in {found}"

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
                there = self._others(set(self.lab.now[kind.data_type].get(room, {}).values()))
                missing = there - self._rows(shelf)
                assert not missing, f"{shelf} is called complete, and lacks {min(missing)!r}"
            if full and not self.leaving:
                self._require_gone_rows(kind.data_type)

    def _is_a_list_empty(self) -> bool:
        """Where rows were, none are: they may be gone, or a server may have failed. A full run takes it so."""
        return any(
            not self._others(set(self.lab.now[kind].get(room, {}).values()))
            for kind, room in self.lab.shelves_ever()
        )

    def _may_be_hidden(self, kind: str, deltas: dict[Shelf, int | None]) -> set[Shelf]:
        """Settled rooms whose changes the total need not show."""
        read = {shelf for shelf, delta in deltas.items() if delta is not None and shelf[0] == kind}
        of_kind = {shelf for shelf in read if self._may_be_settled(shelf[1])}
        moved = {shelf for shelf in of_kind if deltas[shelf]}
        # The total counts rows of people who are forgotten, too: theirs may balance what moved.
        if kind != "variables" and len(moved) == 1 and not self.leaving | self.gone:
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
                now = len(self._others(set(self.lab.now[kind].get(receipt["room"], {}).values())))
                there = receipt.get("rows", 0) - receipt.get("gone_rows", 0)
                assert there == now, (
                    f"{kind} of {receipt['room']}: {there} rows are said to be there, not {now}"
                )

    def _receipts(self) -> list[dict[str, Any]]:
        return receipts_of(self.archive, "shard", may_be_cut=self.has_been_killed)

    def _note_what_is_sound(self) -> None:
        broken = set(verify(self.archive).broken_paths)
        assert broken <= self.damaged
        self.damaged = broken
        for shelf in self.lab.shelves_ever():
            if not self._is_damaged(shelf):
                self.committed.setdefault(shelf, set()).update(self._rows(shelf))

    def _is_damaged(self, shelf: Shelf) -> bool:
        return any(shelf_of(self.archive / path) == shelf for path in self.damaged)

    def _ever(self, shelf: Shelf) -> set[bytes]:
        kind, room = shelf
        return {*self.lab.ever[kind].get(room, {}).values(), *self.lab.older_versions.get(shelf, ())}

    def _rows(self, shelf: Shelf) -> set[bytes]:
        return rows_of_folder(self.archive / folder_of(EXPERIMENT, shelf))

    def _older_rows(self, shelf: Shelf) -> set[bytes]:
        superseded = self.archive / ".hsmirror" / "superseded"
        runs = list(superseded.iterdir()) if superseded.is_dir() else []
        return {row for run in runs for row in rows_of_folder(run / folder_of(EXPERIMENT, shelf))}

    def run(self, *, full: bool = False, damaged: frozenset[str] = frozenset()) -> RunReport:
        self.surely_damaged = set()
        given = {"api.base_url": "http://127.0.0.1:9/api/v3", "archive.path": str(self.archive)}
        configured = load(
            config=None, environ={}, overrides=given, cwd=self.folder, user_config_dir=self.folder
        )
        options = RunOptions(full=full, damaged=damaged, state_folder=self.folder / "state", wire=self.lab)
        chosen = [ExperimentSettings(id=EXPERIMENT, data_types=KINDS, files=False)]

        async def run(clock: VirtualClock) -> RunReport:
            return await sync(configured, Secret("hst_test_model"), chosen, options=options, clock=clock)

        return run_jumping(run, clock=self.clock)


def measure(*, long: bool = False, workdir: Path) -> Figures:
    """Random orders of what may happen; long: more of them, and what fails is made as short as it can be."""
    ArchiveMachine.tried = Counter()
    examples, steps = (2_000, 40) if long else (110, 30)
    failures = failures_of(ArchiveMachine, examples=examples, steps=steps, long=long, workdir=workdir)
    return Figures(
        title="Model",
        says="Everything that may happen to a lab and its mirror, in random orders, held against a dictionary.",
        counts=(("orders", examples), ("steps in each, at most", steps), *sorted(ArchiveMachine.tried.items())),
        failures=failures,
    )
