"""Real runs against a lab in which faults strike, one alone or several at once, each seeded.

After every run a stranger's eye compares archive and ledger; then the faults are switched off, and a second run
has to make good what the first could not. `python -m reliability.chaos --seed 7 body-cut total-high` (from the
folder `tests`) tries one again.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import io
import logging
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from oracle import DOCUMENTED, EXPERIMENT, NEWER, out_of_bounds, receipts, state_of_files
from sync_runs import settings_for

from hsmirror.api.words import redacted
from hsmirror.archive.verify import verify
from hsmirror.cli.output import Output
from hsmirror.cli.summary import show_summary
from hsmirror.errors import HsmirrorError, KeyRefusedError
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.chronicle import Chronicle
from hsmirror.lab.data import LabShape, MadeUpSource
from hsmirror.lab.faults import FAULTS, LabFaults, Outcome, lab_faults
from hsmirror.lab.keys import LabKey
from hsmirror.lab.server import Lab, LabOptions, running_lab
from hsmirror.lab.storage import StorageOptions
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings
from reliability.figures import Figures
from reliability.skipping_time import SkippingClock, run_skipping

MIXES = 200
LONG_MIXES = 1_200

_KEY = "hst_live_" + "c4nary" * 10 + "c4na"
_DEADLINE_SECONDS = 12 * 3600.0
"""Of a run, by its own clock: each absurd Retry-After may cost an hour."""

_MOST_REQUESTS = 4_000
_EVERY_TYPE = frozenset((*DOCUMENTED, *NEWER))
_SIGNATURE_MARKS = (b"Goog-Signature=", b"Amz-Signature=", b"lab%40example.com")
_LAB_LOGGERS = ("aiohttp.server", "aiohttp.access", "hsmirror.serve", "hsmirror.lab")

_COSTLY = frozenset({"gzip-bomb"})
"""Left out of mixes: a second of CPU each time."""

_UNSEEN_IN_TOTALS = frozenset({"rows-replaced", "rows-edited"})
"""What leaves every total as it was is found by reading all again, not by looking for what has moved."""


@dataclass(slots=True)
class Trial:
    """What became of one lab with its faults: three or four runs."""

    faults: tuple[str, ...]
    seed: int
    violations: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    was_complete: bool = False
    rows_compared: int = 0
    searched_bytes: int = 0
    requests: int = 0

    def __str__(self) -> str:
        return f"--seed {self.seed} {' '.join(self.faults)}"


def run_chaos(faults: Sequence[str], seed: int, workdir: Path) -> list[str]:
    """What went wrong with these faults; empty where all held."""
    return try_out(faults, seed, workdir).violations


def try_out(faults: Sequence[str], seed: int, workdir: Path) -> Trial:
    """The same, with figures. `workdir` must be empty; it is left as it is afterwards."""
    trial = Trial(tuple(faults), seed)

    async def main(clock: SkippingClock) -> None:
        options = _lab_options(faults, seed)
        trial.struck = options.faults.struck
        files_dir = workdir / "lab"
        async with running_lab(options, files_dir=files_dir, clock=clock) as lab:
            await _Session(trial, lab, options.faults, clock, workdir).play()

    try:
        run_skipping(main)
    except Exception as error:  # noqa: BLE001 - whatever breaks is a finding, and the next trial goes on
        trial.violations.append(f"broke: {''.join(traceback.format_exception(error))[-1500:]}")
    return trial


def _lab_options(faults: Sequence[str], seed: int) -> LabOptions:
    rng = Random(f"lab/{seed}")
    return LabOptions(
        shape=LabShape(
            seed=seed,
            rooms=rng.randrange(2, 5),
            participants=2,
            events_per_room=rng.randrange(20, 36),
            recordings_per_room=rng.randrange(1, 3),
            recording_seconds=0.2,
            room_field=rng.choice(("document", "newer")),
        ),
        keys=(LabKey(_KEY),),
        limits=None,
        storage=StorageOptions(
            dialect=rng.choice(("gcs", "s3")), addresses=rng.choice(("inline", "minted", "url"))
        ),
        answers=AnswerOptions(page_cap=rng.choice((11, 25, 60)), gzip=rng.random() < 0.5),
        faults=lab_faults(faults, seed=seed),
    )


class _Session:
    """The runs against one lab, and what is looked at after each."""

    def __init__(
        self, trial: Trial, lab: Lab[MadeUpSource], faults: LabFaults, clock: SkippingClock, workdir: Path
    ) -> None:
        self._trial = trial
        self._lab = lab
        self._faults = faults
        self._clock = clock
        self._workdir = workdir
        self._archive = workdir / "archive"
        self._chronicle = Chronicle(lab.source)
        self._printed: list[str] = []

    async def play(self) -> None:
        if any(FAULTS[name.partition("=")[0]].needs_held for name in self._trial.faults):
            self._faults.switch.is_on = False
            await self._run("a first run without faults")
            self._faults.switch.is_on = True
            self._chronicle.begin_again()
        await self._run_with_faults()
        self._faults.switch.is_on = False
        self._chronicle.begin_again()
        is_unseen = not _UNSEEN_IN_TOTALS.isdisjoint(self._trial.faults)
        report = await self._run("the run after the faults", full=is_unseen)
        if report is not None and report.exit_status != 0:
            self._violated(f"the run after the faults ends with {report.exit_status}: {_why(report)}")
        self._compare("after the faults", _EVERY_TYPE | {"files"})
        before = state_of_files(self._archive)
        report = await self._run("the run over unchanged data")
        if report is not None and report.exit_status != 0:
            self._violated(f"the run over unchanged data ends with {report.exit_status}: {_why(report)}")
        after = state_of_files(self._archive)
        if changed := {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}:
            self._violated(f"a run over unchanged data changed {sorted(changed)[:5]}")
        self._search_for_secrets()

    async def _run_with_faults(self) -> None:
        report = await self._run("the run with faults")
        complete: set[str] = set()
        if report is not None:
            self._trial.was_complete = report.exit_status == 0
            complete = _called_complete(report)
            self._require_missing_files_told(report)
        self._compare("with faults", complete)
        outcomes = {FAULTS[name].outcome for name in self._faults.struck if self._faults.struck[name]}
        if Outcome.MUST_STOP in outcomes and self._trial.was_complete:
            self._violated("the run with faults calls itself complete, and cannot be")
        wanted = {FAULTS[name.partition("=")[0]].outcome for name in self._trial.faults}
        is_alone = len(self._trial.faults) == 1
        if is_alone and wanted == {Outcome.HEALS} and not self._trial.was_complete:
            why = _why(report) if report else "it raised"
            self._violated(f"the run with a fault that heals is not complete: {why}")

    async def _run(self, what: str, *, full: bool = False) -> RunReport | None:
        with self._listening():
            try:
                async with asyncio.timeout(_DEADLINE_SECONDS):
                    report = await self._sync(full=full)
            except TimeoutError:
                self._violated(f"{what} does not end within {_DEADLINE_SECONDS:.0f} s")
                return None
            except KeyRefusedError as error:
                self._heard(error)
                if "key-refused" not in self._trial.faults:
                    self._violated(f"{what} says that the key is refused: {error}")
                return None
            except HsmirrorError as error:
                self._heard(error)
                self._violated(f"{what} raises {type(error).__name__}: {error}")
                return None
        self._print(report)
        requests = self._lab.statistics().requests - self._trial.requests
        self._trial.requests += requests
        if requests > _MOST_REQUESTS:
            self._violated(f"{what} needs {requests} requests")
        found = verify(self._archive)
        if not found.is_sound or found.unexpected:
            self._violated(f"{what} leaves what verify finds: {found}")
        return report

    async def _sync(self, *, full: bool) -> RunReport:
        return await sync(
            settings_for(self._lab, self._workdir),
            Secret(_KEY),
            [ExperimentSettings(id=EXPERIMENT)],
            options=RunOptions(full=full, state_folder=self._workdir / "state"),
            clock=self._clock,
        )

    # --- what is looked at ----------------------------------------------------------------------------
    def _compare(self, when: str, complete: set[str] | frozenset[str]) -> None:
        found = out_of_bounds(self._archive, self._chronicle, complete=complete)
        for violation in found:
            self._violated(f"{when}: {violation}")
        for data_type in _EVERY_TYPE:
            self._trial.rows_compared += self._chronicle.rows_ever(EXPERIMENT, data_type).total()

    def _require_missing_files_told(self, report: RunReport) -> None:
        """A file that is not held is spoken of, unless the list of recordings itself is not complete."""
        if "recordings" not in _called_complete(report):
            return
        held = {each["recording_id"] for each in receipts(self._archive, kind="file")}
        told = {each["recording_id"] for each in receipts(self._archive, kind="pending") if each["why"]}
        for _, recording_id, _ in self._chronicle.files_throughout(EXPERIMENT):
            if recording_id not in held | told:
                self._violated(f"the file of {recording_id} is not held, and nothing says so")

    def _search_for_secrets(self) -> None:
        secrets = [_KEY.encode(), *_SIGNATURE_MARKS]
        for where, content in self._written():
            self._trial.searched_bytes += len(content)
            for secret in secrets:
                if secret in content:
                    at = content.index(secret)
                    self._violated(f"a secret stands in {where}: …{content[max(0, at - 60) : at + 30]!r}")
        if self._lab.statistics().storage_requests_with_key:
            self._violated("the key was brought to the storage host")

    def _written(self) -> Iterator[tuple[str, bytes]]:
        printed = "\n".join(self._printed).encode("utf-8", "replace")
        yield "what was printed", printed
        if b"\x1b" in printed or b"\x07" in printed:
            self._violated("a terminal escape was printed")
        for path in sorted(self._workdir.rglob("*")):
            if path.is_file() and "lab" not in path.relative_to(self._workdir).parts[:1]:
                content = path.read_bytes()
                yield path.relative_to(self._workdir).as_posix(), content
                if content[:2] == b"\x1f\x8b":
                    yield f"{path.name}, unpacked", gzip.decompress(content)

    # --- what is heard --------------------------------------------------------------------------------
    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Everything that is logged at any level, as `-vv` would show it."""
        handler = _Listener(self._printed.append, self._violated)
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)

    def _print(self, report: RunReport) -> None:
        for is_json in (True, False):
            out, err = io.StringIO(), io.StringIO()
            output = Output(stdout=out, stderr=err, is_json=is_json, verbosity=2)
            show_summary(report, output)
            if is_json:
                output.document(report)
            self._printed += [out.getvalue(), err.getvalue()]

    def _heard(self, error: HsmirrorError) -> None:
        self._printed += [str(error), redacted("".join(traceback.format_exception(error)))]

    def _violated(self, what: str) -> None:
        self._trial.violations.append(what)


class _Listener(logging.Handler):
    def __init__(self, hear: Callable[[str], None], violated: Callable[[str], None]) -> None:
        super().__init__()
        self._hear = hear
        self._violated = violated

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_LAB_LOGGERS):
            if record.levelno >= logging.ERROR:
                self._violated(f"the lab itself fails: {self.format(record)[-600:]}")
            return
        text = self.format(record)
        self._hear(text if record.name.startswith("hsmirror") else redacted(text))


def _called_complete(report: RunReport) -> set[str]:
    if report.exit_status == 0:
        return {*_EVERY_TYPE, "files"}
    kinds = [kind for experiment in report.experiments for kind in experiment.types]
    return {kind.data_type for kind in kinds if kind.is_complete}


def _why(report: RunReport) -> str:
    return "; ".join(f"{problem.data_type} {problem.what}" for problem in report.problems[:3])


# --- many ---------------------------------------------------------------------------------------------
def mixes(count: int, *, first_seed: int = 1) -> Iterator[tuple[tuple[str, ...], int]]:
    """`count` mixes of two to four faults, each with its seed."""
    names = sorted(FAULTS.keys() - _COSTLY)
    for seed in range(first_seed, first_seed + count):
        rng = Random(f"mix/{seed}")
        yield tuple(rng.sample(names, rng.randrange(2, 5))), seed


def measure(*, long: bool = False, workdir: Path) -> Figures:
    """Every fault alone, then mixes of them."""
    singles = [tried((name,), 1, workdir) for name in FAULTS]
    return figures_of(singles, [tried(*mix, workdir) for mix in mixes(LONG_MIXES if long else MIXES)])


def figures_of(singles: Sequence[Trial], mixed: Sequence[Trial]) -> Figures:
    """The figures of these trials."""
    trials = [*singles, *mixed]
    return Figures(
        title="Chaos",
        says="Real runs against a server on which faults strike; afterwards every row and file is compared "
        "with what was there, a second run without the faults has to be complete, a third to change nothing.",
        counts=(
            ("faults tried alone", len(singles)),
            ("of them survived", sum(not trial.violations for trial in singles)),
            ("mixes of two to four faults tried", len(mixed)),
            ("of them survived", sum(not trial.violations for trial in mixed)),
            (
                "mixes in which the first run was complete all the same",
                sum(each.was_complete for each in mixed),
            ),
            ("times that a fault struck", sum(trial.struck.total() for trial in trials)),
            ("requests answered", sum(trial.requests for trial in trials)),
            ("rows compared", sum(trial.rows_compared for trial in trials)),
            ("bytes searched for key and signatures", sum(trial.searched_bytes for trial in trials)),
        ),
        failures=tuple(f"{trial}: {violation}" for trial in trials for violation in trial.violations),
        table=_table(singles, trials),
    )


def tried(faults: Sequence[str], seed: int, workdir: Path) -> Trial:
    """One trial in a folder of its own below `workdir`, which is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-", dir=workdir))
    try:
        return try_out(faults, seed, folder)
    finally:
        shutil.rmtree(folder)


def _table(singles: Sequence[Trial], trials: Sequence[Trial]) -> tuple[tuple[str, ...], ...]:
    struck: Counter[str] = Counter()
    for trial in trials:
        struck.update(trial.struck)
    head = ("fault", "what it does", "struck", "must", "first run")
    rows = []
    for trial in singles:
        fault = FAULTS[trial.faults[0]]
        ended = "failed" if trial.violations else "complete" if trial.was_complete else "said incomplete"
        rows.append((fault.name, fault.does, f"{struck[fault.name]:,}", fault.outcome.value, ended))
    return (head, *rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reliability.chaos", description=__doc__)
    parser.add_argument("faults", nargs="*", help="names; none: the mix of the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new folder to work in, which is kept")
    given = parser.parse_args()
    faults = given.faults or next(mixes(1, first_seed=given.seed))[0]
    with tempfile.TemporaryDirectory() as folder:
        workdir = given.keep or Path(folder)
        workdir.mkdir(parents=True, exist_ok=True)
        trial = try_out(faults, given.seed, workdir)
    told = [f"{trial}: complete={trial.was_complete}, {trial.requests} requests, struck {dict(trial.struck)}"]
    sys.stdout.write("\n".join([*told, *(trial.violations or ["all held"])]) + "\n")
    return bool(trial.violations)


if __name__ == "__main__":
    sys.exit(main())
