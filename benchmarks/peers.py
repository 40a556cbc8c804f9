"""Who is measured: how each is started, what it needs, and the form of what it leaves."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.experiments import Experiment
from benchmarks.outputs import Form
from benchmarks.rows import ID_FIELDS

_TREE = Path(__file__).parent.parent
API_KEY = "hst_test_benchmark"
_CLIENTS = Path(__file__).parent / "clients"
_UNLIMITED = 1_000_000_000
_SIGNATURE = "X-Goog-Signature=" + "ab" * 128


class Work(Enum):
    """What is to be fetched."""

    LIST = auto()
    """One list of an experiment."""
    ROOMS = auto()
    """The lists of each room and data type."""
    FILES = auto()
    """The recording files."""


@dataclass(frozen=True, slots=True)
class Task:
    """One run of one peer. `out` is its empty folder; `python` runs the peers that are written in it."""

    work: Work
    experiment: Experiment
    origin: str
    out: Path
    connections: int
    page_rows: int
    gzip: bool
    python: str

    @property
    def base_url(self) -> str:
        """Of the API."""
        return f"{self.origin}/api/v3"

    def lists(self) -> list[tuple[str, str, str]]:
        """(data type, scope, id) of the lists to read, as a client has to that goes by the documentation."""
        if self.work is Work.LIST:
            return [("events", "experiment", self.experiment.id)]
        rooms = self.experiment.room_ids()
        return [(data_type, "room", room) for room in rooms for data_type in self.experiment.data_types]

    def fewest_lists(self) -> list[tuple[str, str, str]]:
        """The same rows in as few lists as there can be: whole ones, where rows name their rooms."""
        if not self.experiment.names_rooms:
            return self.lists()
        return [(data_type, "experiment", self.experiment.id) for data_type in self.experiment.data_types]

    def file_addresses(self) -> list[str]:
        """Addresses of the recording files, known beforehand."""
        names = self.experiment.file_names() if self.work is Work.FILES else ()
        return [f"{self.origin}/files/{self.experiment.id}/{name}?{_SIGNATURE}" for name in names]

    def as_json(self, **more: object) -> str:
        """What the clients written in Python are given."""
        facts = {
            "base_url": self.base_url,
            "out": str(self.out),
            "experiment": self.experiment.id,
            "lists": self.lists(),
            "files": self.file_addresses(),
            "rows": self.experiment.rows,
            "page_rows": self.page_rows,
            "connections": self.connections,
        }
        return json.dumps(facts | more)


@dataclass(frozen=True, slots=True)
class Peer:
    """One contender. `needs` are programs, `modules` distributions for Python that have to be there."""

    key: str
    title: str
    note: str
    command: Callable[[Task], Sequence[str]]
    forms: Mapping[Work, Form]
    needs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


def environment(task: Task) -> dict[str, str]:
    """The surroundings of a run: nothing of the user's configuration, state of its own."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HSMIRROR_", "HYPERSTUDY_", "PYTHON", "XDG_"))
    }
    folders = {f"XDG_{kind}_HOME": str(task.out / kind.lower()) for kind in ("STATE", "CONFIG", "CACHE")}
    # The hsmirror of this tree, wherever it is run from.
    return clean | folders | {"HYPERSTUDY_API_KEY": API_KEY, "PYTHONPATH": str(_TREE)}


# --- hsmirror --------------------------------------------------------------------------------------------
def _hsmirror(compression: str) -> Callable[[Task], Sequence[str]]:
    def command(task: Task) -> Sequence[str]:
        """Its own command line, everything on; the limits raised, as the server has none."""
        data_types = ("recordings",) if task.work is Work.FILES else task.experiment.data_types
        configuration = task.out / "hsmirror.toml"
        configuration.write_text(f"""[api]
base_url = "{task.base_url}"
[limits]
requests_per_hour = {_UNLIMITED}
requests_per_minute_per_endpoint = {_UNLIMITED}
max_concurrent_requests = {task.connections}
max_concurrent_downloads = {task.connections}
[archive]
compression = "{compression}"
[[experiments]]
id = "{task.experiment.id}"
data_types = {json.dumps(data_types)}
""")
        archive = str(task.out / "archive")
        return [sys.executable, "-m", "hsmirror", "sync", "-c", str(configuration), "--archive", archive]

    return command


# --- peers for lists -------------------------------------------------------------------------------------
def _curl(task: Task) -> Sequence[str]:
    if task.work is Work.FILES:
        transfers = [(url, Path(urlsplit(url).path).name) for url in task.file_addresses()]
    else:
        rows = task.experiment.rows if task.work is Work.LIST else 1
        urls = [
            f"{task.base_url}/data/{'/'.join(each)}?limit={task.page_rows}&offset={offset}"
            for each in task.lists()
            for offset in range(0, rows, task.page_rows)
        ]
        transfers = [(url, f"{number:06d}.json") for number, url in enumerate(urls)]
    listed = task.out / "transfers"
    listed.write_text("".join(f'url = "{url}"\noutput = "{task.out / name}"\n' for url, name in transfers))
    parallel = ["-Z", "--parallel-immediate", "--parallel-max", str(task.connections)]
    compressed = ["--compressed"] if task.gzip else []
    key = ["-H", f"X-API-Key: {API_KEY}"]
    return ["curl", "-sS", "--fail", "--http1.1", *parallel, *compressed, *key, "-K", str(listed)]


def _curl_hashed(task: Task) -> Sequence[str]:
    fetch = " ".join(f"'{word}'" for word in _curl(task))
    return ["sh", "-c", f"{fetch} && cd '{task.out}' && sha256sum *.mp4 > sums"]


def _client(name: str, **more: object) -> Callable[[Task], Sequence[str]]:
    return lambda task: [task.python, str(_CLIENTS / f"{name}.py"), task.as_json(**more)]


def _bare(task: Task) -> Sequence[str]:
    """By hsmirror's own Python, whose libraries it uses."""
    return [
        sys.executable,
        str(_CLIENTS / "bare_mirror.py"),
        task.as_json(lists=task.fewest_lists(), id_fields=ID_FIELDS),
    ]


# --- peers for files -------------------------------------------------------------------------------------
def _aria2c(task: Task) -> Sequence[str]:
    listed = task.out / "transfers"
    listed.write_text("\n".join(task.file_addresses()))
    how = ["--no-conf", "-q", f"-j{task.connections}", "-x1", "--file-allocation=none"]
    return ["aria2c", *how, "-d", str(task.out), "-i", str(listed)]


def _rclone(task: Task) -> Sequence[str]:
    source = ["--http-url", f"{task.origin}/files/{task.experiment.id}/", ":http:"]
    how = ["--config", "/dev/null", "-q", "--transfers", str(task.connections), "--multi-thread-streams", "0"]
    return ["rclone", *how, "copy", *source, str(task.out)]


def _wget2(task: Task) -> Sequence[str]:
    listed = task.out / "transfers"
    listed.write_text("\n".join(url.partition("?")[0] for url in task.file_addresses()))
    how = ["--no-config", "-q", f"--max-threads={task.connections}"]
    return ["wget2", *how, "-i", str(listed), "-P", str(task.out)]


_ROWS = {Work.LIST: Form.NDJSON, Work.ROOMS: Form.NDJSON}
_FILES = {Work.FILES: Form.FILES}
_ARCHIVE = {Work.LIST: Form.ARCHIVE, Work.ROOMS: Form.ARCHIVE, Work.FILES: Form.ARCHIVED_FILES}
_PAGES = {Work.LIST: Form.PAGES, Work.ROOMS: Form.PAGES}

_ALL = (
    Peer(
        "hsmirror",
        "hsmirror",
        "`hsmirror sync` with receipts, fsync, hashes and retries; shards in gzip, the default",
        _hsmirror("gzip"),
        _ARCHIVE,
    ),
    Peer(
        "hsmirror-none",
        "hsmirror, uncompressed",
        'the same with `compression = "none"`',
        _hsmirror("none"),
        _ARCHIVE,
    ),
    Peer(
        "curl",
        "curl",
        "`curl -Z`, all addresses known beforehand, nothing parsed",
        _curl,
        _PAGES | _FILES,
        needs=("curl",),
    ),
    Peer(
        "curl-sha256",
        "curl, then sha256sum",
        "the same, and the files hashed afterwards",
        _curl_hashed,
        _FILES,
        needs=("curl", "sha256sum"),
    ),
    Peer(
        "sdk",
        "official SDK",
        "`hyperstudy` from PyPI, lists as dictionaries, then NDJSON",
        _client("official_sdk"),
        _ROWS | _FILES,
        modules=("hyperstudy",),
    ),
    Peer(
        "dlt-tuned",
        "dlt, tuned",
        "REST API source into JSONL files: 8 slices at once, no compression, no nested tables",
        _client("dlt_pipeline", tuned=True),
        {Work.LIST: Form.DLT},
        modules=("dlt",),
    ),
    Peer(
        "dlt-default",
        "dlt, default",
        "the same as its first example has it",
        _client("dlt_pipeline", tuned=False),
        {Work.LIST: Form.DLT},
        modules=("dlt",),
    ),
    Peer(
        "minimal",
        "minimal client",
        "aiohttp and msgspec into one file; no retry, no check, no receipt",
        _client("minimal"),
        _ROWS,
        modules=("aiohttp", "msgspec"),
    ),
    Peer(
        "bare",
        "the same work, bare",
        "hsmirror's libraries in a straight line: rows checked, told apart, split by room, hashed, compressed, "
        "synced; no plan, limits or retries, no bound on memory, no order of writes that outlives a crash",
        _bare,
        {Work.LIST: Form.ARCHIVE, Work.ROOMS: Form.ARCHIVE},
    ),
    Peer(
        "threads-sha256",
        "threads, hashed",
        "blocking sockets, 1 MiB at a time, sha256 on the way",
        _client("minimal_files", threads=True, hashed=True),
        _FILES,
    ),
    Peer(
        "threads",
        "threads",
        "the same without the hash",
        _client("minimal_files", threads=True, hashed=False),
        _FILES,
    ),
    Peer(
        "async-sha256",
        "asyncio, hashed",
        "aiohttp, 1 MiB at a time, sha256 and write in a thread",
        _client("minimal_files", threads=False, hashed=True),
        _FILES,
        modules=("aiohttp",),
    ),
    Peer(
        "async",
        "asyncio",
        "the same without the hash",
        _client("minimal_files", threads=False, hashed=False),
        _FILES,
        modules=("aiohttp",),
    ),
    Peer("aria2c", "aria2c", "one connection a file", _aria2c, _FILES, needs=("aria2c",)),
    Peer("rclone", "rclone", "`rclone copy` from its HTTP backend", _rclone, _FILES, needs=("rclone",)),
    Peer("wget2", "wget2", "several files at once", _wget2, _FILES, needs=("wget2",)),
)

PEERS = {peer.key: peer for peer in _ALL}
"""By the key that `--peer` takes, in the order of the tables."""
