"""Recording files on a real port, their mirror, and what may happen to both, held against a dictionary.

The dictionary has the bytes of every version that a file ever had. Storage hosts refuse, break off in the
middle of a file, and find addresses expired; files change upstream and are damaged here; runs are killed at
steps of the disk; people are forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import unquote

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from oracle import EXPERIMENT
from sync_runs import settings_for

from hsmirror.archive.verify import verify
from hsmirror.lab.data import LabShape
from hsmirror.lab.faults.hooks import AT_ONCE
from hsmirror.lab.server import LabFaults, LabOptions, running_lab
from hsmirror.lab.storage import StorageOptions
from hsmirror.mirror.forget import forget
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings
from reliability.figures import Figures
from reliability.model_steps import Killed, damage, failures_of, files_with, killed_at, receipts_of
from reliability.skipping_time import SkippingClock, SkippingLoop

Result = TypeVar("Result")

_ADDRESS_SECONDS = 60
_SHAPE = LabShape(rooms=2, events_per_room=2, recordings_per_room=3, recording_seconds=0.2)
_PLANS = st.lists(st.sampled_from(["well", "unavailable", "broken off", "expired"]), max_size=8)
_PATTERN = "experiment_id=*/files/*/*"


@dataclass(slots=True)
class EpochAhead:
    """The loop's clock, whose epoch can be set ahead: addresses expire, and no timer runs out."""

    clock: SkippingClock
    seconds: float = 0.0

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def epoch(self) -> float:
        return self.clock.epoch() + self.seconds


class FilesMachine(RuleBasedStateMachine):
    """Rules change the upstream, run the mirror, or break something; invariants hold after each.

    Whether a run outlives its kill differs from time to time: a rule that cannot be followed then does nothing,
    for a rule that may not even be chosen would lead elsewhere when its choice is repeated.
    """

    tried: ClassVar[Counter[str]] = Counter()
    """Over all examples: what was done how often."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="model-files-"))
        self.archive = self.folder / "archive"
        skipping = SkippingClock()
        self.clock = EpochAhead(skipping)
        self.runner = asyncio.Runner(loop_factory=lambda: SkippingLoop(skipping))
        self.stack = AsyncExitStack()
        self.plan: list[str] = []
        """What the storage does with the next requests; with all others, what `otherwise` says."""
        self.otherwise = "well"
        self.versions: dict[str, dict[str, bytes]] = {}
        """By recording: every content that it ever had, by its hash."""
        self.committed: dict[str, set[str]] = {}
        """By recording: the versions that were held after a run, and must never be lost."""
        self.damaged: set[str] = set()
        self.gone: set[str] = set()
        self.leaving: set[str] = set()
        self.was_killed = False
        self.has_been_killed = False

    def teardown(self) -> None:
        try:
            self.wait_for(self.stack.aclose())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    def wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(_watching(work))

    # --- the upstream ----------------------------------------------------------------------------------
    @initialize(addresses=st.sampled_from(["inline", "minted", "url"]), dialect=st.sampled_from(["gcs", "s3"]))
    def a_lab(self, addresses: Any, dialect: Any) -> None:
        storage = StorageOptions(dialect=dialect, addresses=addresses, address_seconds=_ADDRESS_SECONDS)
        faults = LabFaults(storage=(self._storage(),))
        options = LabOptions(shape=_SHAPE, limits=None, storage=storage, faults=faults)
        lab = running_lab(options, files_dir=self.folder / "lab", clock=self.clock)
        self.lab = self.wait_for(self.stack.enter_async_context(lab))
        rows = [orjson.loads(row) for _, row in self.lab.source.ledger_rows(EXPERIMENT, "recordings")]
        self.people = {row["recordingId"]: row["participantId"] for row in rows}
        self._note_versions()

    def _storage(self) -> Middleware:
        @web.middleware
        async def as_planned(request: web.Request, handler: Handler) -> web.StreamResponse:
            what = self.plan.pop(0) if self.plan else self.otherwise
            if what == "unavailable":
                return web.Response(status=503, text="<Error><Code>SlowDown</Code></Error>")
            if what == "expired":
                self.tried["addresses that expired"] += 1
                self.clock.seconds += _ADDRESS_SECONDS + 10
            if what != "broken off":
                return await handler(request)
            request[AT_ONCE] = True
            whole = await handler(request)
            if whole.status not in (200, 206):
                return whole
            self.tried["downloads broken off"] += 1
            return await _half(request, whole)

        return as_planned

    def _note_versions(self) -> None:
        """Makes the files, too: their making is none of the mirror's steps."""
        for file in self.lab.source.ledger_files(EXPERIMENT):
            if file.sha256 not in self.versions.get(file.recording_id, {}):
                served = self.wait_for(self.lab.source.recording_file(file.room_id, file.recording_id))
                assert served is not None
                content = served.path.read_bytes()
                self.versions.setdefault(file.recording_id, {})[file.sha256] = content

    @rule(pick=st.integers(0, 5))
    def a_file_is_revised(self, pick: int) -> None:
        files = list(self.lab.source.ledger_files(EXPERIMENT))
        file = files[pick % len(files)]
        self.lab.source.revise_recording(file.room_id, file.recording_id)
        self._note_versions()

    @rule(hours=st.sampled_from([1, 49, 24 * 31]))
    def time_passes(self, hours: int) -> None:
        self.clock.seconds += hours * 3600

    # --- the mirror ------------------------------------------------------------------------------------
    @rule(plan=_PLANS, full=st.booleans())
    def sync(self, plan: list[str], full: bool) -> None:
        self.tried["syncs"] += 1
        self._look_at(self.run(plan=plan, full=full), plan)

    @rule()
    def sync_while_the_storage_fails(self) -> None:
        self.tried["syncs while the storage failed"] += 1
        self._look_at(self.run(otherwise="unavailable"), ["unavailable"])

    @rule(plan=_PLANS, step=st.integers(1, 150))
    def sync_that_is_killed(self, plan: list[str], step: int) -> None:
        self.was_killed = True
        with suppress(Killed), killed_at(step):
            self.run(plan=plan)
            self._note_what_is_sound()
        self.has_been_killed |= self.was_killed
        self.tried["syncs that were killed"] += self.was_killed

    @rule(pick=st.integers(0, 5), how=st.sampled_from(["cut", "flipped", "gone"]))
    def a_file_is_damaged(self, pick: int, how: str) -> None:
        files = [path for path in self._held() if self._name(path) not in self.damaged]
        if self.was_killed or not files:
            return
        path = files[pick % len(files)]
        damage(path, how)
        self.tried["files damaged"] += 1
        self.damaged.add(self._name(path))
        self.committed.pop(_recording(path), None)  # an older generation may have shared the bytes

    @rule(plan=_PLANS)
    def what_verify_finds_is_repaired(self, plan: list[str]) -> None:
        if self.was_killed or not self._is_there():
            return
        found = frozenset(verify(self.archive).broken_paths)
        assert found <= self.damaged, f"{found - self.damaged} broke by itself"
        self.tried["repairs"] += bool(found)
        report = self.run(plan=plan, damaged=found)
        self._look_at(report, plan)
        assert report.exit_status != 0 or verify(self.archive).is_sound, "repaired, and still damaged"

    @rule(pick=st.integers(0, 3), step=st.none() | st.integers(1, 60))
    def a_person_is_forgotten(self, pick: int, step: int | None) -> None:
        if not self._is_there():
            return
        people = sorted(set(self.people.values()))
        person = people[pick % len(people)]
        self.tried["people forgotten"] += person not in self.gone
        if person not in self.gone:
            self.leaving.add(person)
        if step is not None:
            with suppress(Killed), killed_at(step):
                self.forget(person)
                return
            self.has_been_killed = True
            self.tried["removals of people that were killed"] += 1
        self.forget(person)

    def forget(self, person: str) -> None:
        report = self.wait_for(forget(self.archive, person, clock=self.clock))
        self.was_killed = False
        assert report.is_finished, f"no row is damaged, and still: {report}"
        self.leaving.discard(person)
        self.gone.add(person)
        self._note_what_is_sound()

    # --- what must hold --------------------------------------------------------------------------------
    @invariant()
    def every_file_is_to_the_byte_one_that_was(self) -> None:
        for path in self._held():
            if self._name(path) not in self.damaged:
                assert _hash(path) in self.versions[_recording(path)], f"{path.name} never was so"

    @invariant()
    def every_receipt_has_its_file(self) -> None:
        if self.was_killed:
            return
        receipts = {each["path"]: each for each in self._receipts()}
        for path in self._held():
            assert self._name(path) in receipts, f"{path} has no receipt"
        for name, receipt in receipts.items():
            path = self.archive / name
            if name not in self.damaged:
                assert (path.stat().st_size, _hash(path)) == (receipt["size_bytes"], receipt["sha256"]), name
        if self._is_there():
            broken = set(verify(self.archive).broken_paths)
            assert broken == self.damaged, f"damaged are {self.damaged}, found are {broken}"

    @invariant()
    def nothing_that_was_held_is_lost(self) -> None:
        held = {_hash(path) for path in self.archive.rglob("*") if path.is_file()}
        for recording, hashes in self.committed.items():
            if self.people[recording] not in self.leaving | self.gone:
                assert hashes <= held, f"a version of {recording} is lost"

    @invariant()
    def nothing_is_left_of_who_is_forgotten(self) -> None:
        for person in self.gone:
            assert not (found := files_with(self.archive, person.encode())), f"{person} is in {found}"
        theirs = [recording for recording, person in self.people.items() if person in self.gone]
        contents = [each for recording in theirs for each in self.versions[recording].values()]
        for path in self.archive.rglob("*") if contents else ():
            content = path.read_bytes() if path.is_file() else b""
            assert not _is_begun(content, contents), f"{path} is a forgotten person's"

    def _look_at(self, report: RunReport, plan: Sequence[str]) -> None:
        self._note_what_is_sound()
        lacking = self._lacking()
        assert report.exit_status != 0 or not lacking, f"called complete, and lacks {lacking}"
        if not {"unavailable", "broken off"} & set(plan) and plan.count("expired") <= 1:
            assert report.exit_status == 0, f"nothing was in its way, and still: {report.problems}"

    def _lacking(self) -> set[str]:
        held = {_recording(path) for path in self._held()}
        damaged = {_recording(self.archive / name) for name in self.damaged}
        absent = self.versions.keys() - held - damaged
        return {each for each in absent if self.people[each] not in self.leaving | self.gone}

    def _note_what_is_sound(self) -> None:
        broken = set(verify(self.archive).broken_paths)
        assert broken <= self.damaged
        self.damaged = broken
        for path in self._held():
            if self._name(path) not in broken:
                self.committed.setdefault(_recording(path), set()).add(_hash(path))

    def _is_there(self) -> bool:
        return (self.archive / "archive.json").exists()

    def _held(self) -> list[Path]:
        return sorted(self.archive.glob(_PATTERN))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.archive).as_posix()

    def _receipts(self) -> list[dict[str, Any]]:
        return receipts_of(self.archive, "file", may_be_cut=self.has_been_killed)

    def run(
        self,
        *,
        plan: Sequence[str] = (),
        otherwise: str = "well",
        full: bool = False,
        damaged: frozenset[str] = frozenset(),
    ) -> RunReport:
        self.plan, self.otherwise = list(plan), otherwise
        configured = settings_for(self.lab, self.folder)
        options = RunOptions(full=full, damaged=damaged, state_folder=self.folder / "state")
        chosen = [ExperimentSettings(id=EXPERIMENT, data_types=("recordings",))]
        key = Secret(self.lab.key)
        report = self.wait_for(sync(configured, key, chosen, options=options, clock=self.clock))
        self.was_killed = False
        return report


async def _watching(work: Coroutine[Any, Any, Result]) -> Result:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    loop.watch_threads()
    return await work


async def _half(request: web.Request, whole: web.StreamResponse) -> web.StreamResponse:
    """The answer's head, half of its body, and the end of the connection."""
    assert isinstance(whole, web.Response)
    assert isinstance(whole.body, bytes)
    half = web.StreamResponse(status=whole.status, headers=whole.headers)
    half.content_length = len(whole.body)
    await half.prepare(request)
    await half.write(whole.body[: len(whole.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return half


def _recording(path: Path) -> str:
    return unquote(path.name.partition(".")[0])


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_begun(content: bytes, wholes: Sequence[bytes]) -> bool:
    """Is it the beginning of one of these, long enough to be no other's?"""
    return len(content) > 1000 and any(whole.startswith(content) for whole in wholes)


def measure(*, long: bool = False, workdir: Path) -> Figures:
    """Random orders of what may happen; long: more of them, and what fails is made as short as it can be."""
    FilesMachine.tried = Counter()
    examples, steps = (600, 30) if long else (30, 20)
    failures = failures_of(FilesMachine, examples=examples, steps=steps, long=long, workdir=workdir)
    return Figures(
        title="Model of files",
        says="Everything that may happen to recording files, upstream, on the way and in the archive, in "
        "random orders over real connections; every version that ever was is known.",
        counts=(("orders", examples), ("steps in each, at most", steps), *sorted(FilesMachine.tried.items())),
        failures=failures,
    )
