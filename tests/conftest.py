"""What the tests share: labs to talk to, and answers that no real server gives."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientResponse
from aioresponses import aioresponses
from hypothesis import settings

from hsmirror.clock import Clock
from hsmirror.lab.data import LabShape, MadeUpSource
from hsmirror.lab.server import Lab, LabOptions, running_lab

# On a busy machine the first example of a test can take long. What CI tries is the same each time, so that a
# change is not stopped by what it did not cause; everybody else's examples are new ones.
settings.register_profile("hsmirror", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("hsmirror")

StartLab = Callable[..., Awaitable[Lab[MadeUpSource]]]
StartLabInThread = Callable[..., Lab[MadeUpSource]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that take minutes, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: give --long to run it"))


def lab_options(**given: Any) -> LabOptions:
    """Options from the fields of `LabShape` (`rooms=3`) and of `LabOptions` (`storage=…`), mixed.

    Unlike in a real lab there are no limits unless `limits` is given.
    """
    shape_fields = {field.name for field in dataclasses.fields(LabShape)}
    shape = LabShape(**{name: value for name, value in given.items() if name in shape_fields})
    pieces = {name: value for name, value in given.items() if name not in shape_fields}
    return LabOptions(**{"shape": shape, "limits": None} | pieces)


@pytest.fixture
async def start_lab(tmp_path: Path) -> AsyncIterator[StartLab]:
    """`lab = await start_lab(rooms=3, limits=LimitOptions(), clock=…)`; every lab ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(*, clock: Clock | None = None, **given: Any) -> Lab[MadeUpSource]:
            files_dir = tmp_path / f"lab-{len(list(tmp_path.glob('lab-*')))}"
            files_dir.mkdir()
            lab = running_lab(lab_options(**given), files_dir=files_dir, clock=clock)
            return await stack.enter_async_context(lab)

        yield start


@pytest.fixture(scope="module")
def start_lab_in_thread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartLabInThread]:
    """The same for clients that block (the official SDK, curl), on threads that end with the test module."""
    with ExitStack() as stack:

        def start(**given: Any) -> Lab[MadeUpSource]:
            files_dir = tmp_path_factory.mktemp("lab")
            return stack.enter_context(lab_in_thread(lab_options(**given), files_dir))

        yield start


@contextmanager
def lab_in_thread(options: LabOptions, files_dir: Path) -> Iterator[Lab[MadeUpSource]]:
    """A lab whose event loop runs on another thread until the block is left."""
    started = threading.Event()
    running: list[Lab[MadeUpSource]] = []
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with running_lab(options, files_dir=files_dir) as lab:
            running.append(lab)
            stop.append(lambda: loop.call_soon_threadsafe(stopping.set) and None)
            started.set()
            await stopping.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            started.set()

    thread = threading.Thread(target=run, name="lab")
    thread.start()
    started.wait()
    assert running, "the lab did not start: see the thread's traceback"
    try:
        yield running[0]
    finally:
        stop[0]()
        thread.join()


class _ResponseWithoutWriter(ClientResponse):
    """aioresponses 0.7.9 makes its responses without `stream_writer`, which aiohttp asks for since 3.14."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture
def faked_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    """aioresponses in place of the network, fit for the aiohttp in use; loopback still goes through."""
    monkeypatch.setattr("aioresponses.core.ClientResponse", _ResponseWithoutWriter)
    with aioresponses(passthrough=["http://127.0.0.1:"]) as answers:
        yield answers
