"""The server that everyone is measured against: nginx in front of the renderer, or the renderer alone."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks import nginx
from benchmarks.experiments import Experiment
from benchmarks.nginx import Nginx, Site
from benchmarks.renderer import SWITCHES, Switch, Task


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs. `requests_served` counts all that it has answered."""

    name: str
    origins: Mapping[Switch, str]
    """`http://host:port` by the way of answering; one that is lacking cannot be had here."""
    requests_served: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server is to serve. `page_cap`: rows in a page at the most."""

    data: Path
    experiments: tuple[Experiment, ...]
    page_cap: int
    delay_seconds: float


@contextmanager
def serving(offer: Offer, work: Path, program: Nginx | None) -> Iterator[Server]:
    """A server for the block; `work` is an empty folder of its own. `program` None: the renderer alone."""
    stored = work / "stored"
    stored.mkdir(parents=True)
    with ExitStack() as stack:
        ports = [_free_port() for _ in program.switches] if program is not None else []
        task = Task(
            data=str(offer.data),
            stored=str(stored),
            experiments=offer.experiments,
            page_cap=offer.page_cap,
            file_origin=_origin(ports[0]) if ports else "",
            delay_seconds=offer.delay_seconds,
        )
        renderer_ports = stack.enter_context(_renderer(task))
        if program is None:
            origins = dict(zip(SWITCHES, map(_origin, renderer_ports), strict=True))
            yield Server("the renderer alone", origins, lambda: _renderer_requests(renderer_ports[0]))
            return
        site = Site(work / "nginx", stored, offer.data, renderer_ports[0], ports, offer.delay_seconds)
        stack.enter_context(nginx.running(program, site))
        origins = dict(zip(program.switches, map(_origin, ports), strict=True))
        yield Server("nginx", origins, nginx.RequestCount(ports[0]))


@contextmanager
def _renderer(task: Task) -> Iterator[list[int]]:
    command = [sys.executable, "-m", "benchmarks.renderer", msgspec.json.encode(task).decode()]
    tree = Path(__file__).parent.parent
    with subprocess.Popen(
        command, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the renderer did not start")
            yield json.loads(line)
        finally:
            process.stdin.close()


def _origin(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _renderer_requests(port: int) -> int:
    with urllib.request.urlopen(f"{_origin(port)}/requests", timeout=10) as answer:
        return int(answer.read())
