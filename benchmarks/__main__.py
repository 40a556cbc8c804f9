"""`python -m benchmarks`: hsmirror and its peers in turn, on the same server and the same data."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import nginx
from benchmarks.dataset import Dataset
from benchmarks.installed import missing, module_versions, program_version
from benchmarks.jobs import FULL, SHORT, Job, Scale, jobs
from benchmarks.peers import PEERS, environment
from benchmarks.report import Report, machine
from benchmarks.results import write
from benchmarks.rounds import Stage, run_job, task_of
from benchmarks.server import Offer, Server, serving
from benchmarks.table import document

_TREE = Path(__file__).parent.parent
_RAM_DISK = Path("/dev/shm")
_ROW_BYTES = 500


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 where somebody's output was wrong or a run failed."""
    arguments = _parser().parse_args(argv)
    scale = SHORT if arguments.short else FULL
    chosen = [job for job in jobs(scale) if not arguments.job or job.key in arguments.job]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything it has started is ended, too
    try:
        with ExitStack() as stack:
            stage = _stage(stack, arguments, scale, chosen)
            if arguments.serve:
                _serve(stage, chosen, _chosen_peers(arguments))
                return 0
            report = _report(stage, arguments, chosen)
    except KeyboardInterrupt:
        return 130
    print(document(report))
    folder, drawing = _destination(arguments)
    if folder is not None:
        write(report, folder, drawing or folder / "speed.svg")
    return 1 if any(result.failures for result in report.results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--job", action="append", choices=[job.key for job in jobs(FULL)], help="only this one")
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="only this one")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after one to warm up (5)")
    parser.add_argument("--short", action="store_true", help="tiny data: a smoke test, no figures")
    parser.add_argument("--peers-python", default=sys.executable, metavar="PATH", help="runs the Python peers")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="keep the prepared data there for the next time"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="outputs go to a disk, not to memory")
    parser.add_argument("--results", type=Path, metavar="DIR", help="write the results there")
    parser.add_argument("--no-nginx", action="store_true", help="let the renderer serve alone")
    parser.add_argument("--serve", action="store_true", help="only serve, and print each command, until Ctrl-C")
    return parser


def _chosen_peers(arguments: argparse.Namespace) -> list[str]:
    return arguments.peer or list(PEERS)


def _stage(stack: ExitStack, arguments: argparse.Namespace, scale: Scale, chosen: Sequence[Job]) -> Stage:
    """Data prepared, server running, for as long as the stack is open."""
    work = _folder(stack, _RAM_DISK if _has_room(_RAM_DISK, scale) else Path(tempfile.gettempdir()))
    out = work if arguments.out is None else _folder(stack, arguments.out)
    dataset = Dataset((arguments.data or work / "data").resolve())
    experiments = tuple(dict.fromkeys(job.experiment for job in chosen))
    for experiment in experiments:
        _say(f"preparing {experiment.id}")
        dataset.prepare(experiment)
    offer = Offer(dataset.root, experiments, scale.page_cap, scale.delay_seconds)
    program = None if arguments.no_nginx else nginx.installed()
    server: Server = stack.enter_context(serving(offer, work / "server", program))
    return Stage(scale, dataset, server, out, arguments.peers_python, PEERS, _say)


def _folder(stack: ExitStack, parent: Path) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix="hsmirror-bench-")))


def _has_room(disk: Path, scale: Scale) -> bool:
    """For data, stored pages and outputs, each several times: containers often have a RAM disk of 64 MiB."""
    needed_bytes = 10 * scale.rows * _ROW_BYTES + 3 * scale.files * scale.file_bytes
    return os.access(disk, os.W_OK) and shutil.disk_usage(disk).free > needed_bytes


def _report(stage: Stage, arguments: argparse.Namespace, chosen: Sequence[Job]) -> Report:
    names = sorted({name for peer in PEERS.values() for name in peer.modules})
    versions = module_versions(stage.python, names)
    versions |= {name: program_version(name) for peer in PEERS.values() for name in peer.needs}
    lacking = missing(PEERS.values(), versions)
    began_at, load = datetime.now(UTC).strftime("%Y-%m-%d"), os.getloadavg()[0]
    peers = _chosen_peers(arguments)
    results = []
    for job in chosen:
        taking_part = [peer for peer in job.peers if peer in peers]
        if taking_part:
            results.append(run_job(stage, job, taking_part, lacking, arguments.rounds))
    return Report(
        began_at=began_at,
        command=_command(arguments),
        machine=machine(),
        server=stage.server.name,
        load=load,
        rounds=arguments.rounds,
        is_short=arguments.short,
        versions={name: version for name, version in versions.items() if version is not None},
        results=tuple(results),
    )


def _command(arguments: argparse.Namespace) -> str:
    """How this was started, as far as it bears on the figures."""
    flags = ["--short"] * arguments.short + ["--no-nginx"] * arguments.no_nginx
    chosen = [f"--{name} {key}" for name in ("job", "peer") for key in getattr(arguments, name) or ()]
    return " ".join(["python -m benchmarks", *flags, *chosen, f"--rounds {arguments.rounds}"])


def _serve(stage: Stage, chosen: Sequence[Job], peers: Sequence[str]) -> None:
    """Print how to run each peer by hand, and wait."""
    for job in chosen:
        for peer in (each for each in job.peers if each in peers):
            print(f"# {job.key}: {peer}\n{_by_hand(stage, job, peer)}", flush=True)
    _say("serving; Ctrl-C ends it")
    signal.pause()


def _by_hand(stage: Stage, job: Job, peer: str) -> str:
    out = stage.work / f"{job.key}-{peer}"
    out.mkdir()
    task = task_of(stage, job, out)
    command = stage.peers[peer].command(task)
    added = {name: value for name, value in environment(task).items() if os.environ.get(name) != value}
    return shlex.join(["env", *(f"{name}={value}" for name, value in added.items()), *command])


def _destination(arguments: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Where results and drawing go: a whole run's into the tree, a part's where it is told to."""
    if arguments.results is not None:
        return arguments.results, None
    is_whole = not (arguments.short or arguments.job or arguments.peer)
    return (_TREE / "benchmarks" / "results", _TREE / "docs" / "speed.svg") if is_whole else (None, None)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
