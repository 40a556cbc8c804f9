"""A storage host that misbehaves at random: what is held of it is one whole generation, or nothing.

It is honest: what it says of an answer is true of that answer's bytes. But it cuts, shortens and ignores
ranges, leaves out validators, refuses `If-Match`, sends no lengths, and may replace the object before any
request.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from random import Random

import pytest
from canned_server import talking_to
from hypothesis import event, given, settings
from hypothesis import strategies as st

from hsmirror.api.addresses import parse_address
from hsmirror.api.transport import Transport
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.clock import SystemClock
from hsmirror.errors import UpstreamError
from hsmirror.mirror.ahead import OnceAhead
from hsmirror.mirror.files import PartialFile
from hsmirror.mirror.lineup import Pace, UnderWay
from hsmirror.mirror.recordings import Recording
from hsmirror.mirror.transfer import Fetched, Transfers
from hsmirror.pace.downloads import RateLimit

PATH = "experiment_id=e/files/room_id=r/rec.mp4"
WRITTEN_AT = 1_700_000_000
SIZE = 9_000
TROUBLED, CALM = 10, 12
"""How many requests it misbehaves for, and after how many tries more a file must have been had."""


_ARRIVAL_SECONDS = 0.003
"""A client that sees a connection end before it has read what came passes over that."""


@dataclass(frozen=True, slots=True)
class Nature:
    """What a host always does."""

    validators: frozenset[str]
    is_packed: bool
    inflates: bool
    knows_lengths: bool
    knows_ranges: bool
    matches: bool
    range_bytes: int
    listed: str


@dataclass(slots=True)
class Host:
    """One object, and its generations so far; `chance` decides what goes wrong."""

    nature: Nature
    chance: Random
    generations: list[bytes] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self.replace()

    @property
    def is_calm(self) -> bool:
        return self.requests > TROUBLED

    def replace(self) -> None:
        size = SIZE if self.chance.random() < 0.9 else SIZE + len(self.generations) + 1
        pattern = Random(f"{len(self.generations)}").randbytes(size // 4)  # so it can be packed
        self.generations.append((b"\0\0\0\x18ftypmp42" + 5 * pattern)[:size])

    def stored(self) -> bytes:
        film = self.generations[-1]
        return gzip.compress(film, mtime=0) if self.nature.is_packed else film

    def said(self, stored: bytes) -> dict[str, str]:
        """The validators of this answer, some of them left out."""
        number = len(self.generations)
        all_of_them = {
            "etag": ("ETag", f'"{number}"'),
            "weak etag": ("ETag", 'W/"ever the same"'),
            "generation": ("x-goog-generation", str(number)),
            "version": ("x-amz-version-id", f"v{number}"),
            "no version": ("x-amz-version-id", "null"),
            "modified": ("Last-Modified", formatdate(WRITTEN_AT + 100 * number, usegmt=True)),
            "just modified": ("Last-Modified", formatdate(WRITTEN_AT, usegmt=True)),
            "hash": ("x-goog-hash", "md5=" + base64.b64encode(hashlib.md5(stored).digest()).decode()),
        }
        named = sorted(self.nature.validators)
        if not self.is_calm:
            named = [name for name in named if self.chance.random() < 0.8]
        fields = dict(all_of_them[name] for name in named)
        at = WRITTEN_AT + (0 if "just modified" in named else 1_000_000)
        return {"Date": formatdate(at, usegmt=True), **fields}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            asked = {name.lower(): text for name, text in re.findall(r"([\w-]+): (.*)\r\n", head)}
            self.requests += 1
            if not self.is_calm and self.chance.random() < 0.4:
                self.replace()
            for piece in self.answer(asked):
                writer.write(piece)
                await writer.drain()
            await asyncio.sleep(_ARRIVAL_SECONDS)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def answer(self, asked: Mapping[str, str]) -> list[bytes]:
        nature, stored = self.nature, self.stored()
        fields = self.said(stored)
        start = int(asked.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if (
            start
            and "if-match" in asked
            and (not nature.matches or asked["if-match"] != f'"{len(self.generations)}"')
        ):
            return [head_of("412 Precondition Failed", {"Content-Length": "0"})]
        if nature.is_packed and nature.inflates:
            fields["x-goog-stored-content-encoding"] = "gzip"
            if "gzip" not in asked["accept-encoding"]:
                return self.body("200 OK", fields, self.generations[-1], knows_length=False)
        if nature.is_packed:
            fields["Content-Encoding"] = "gzip"
        if not nature.knows_ranges or "range" not in asked:
            return self.body("200 OK", fields, stored, knows_length=nature.knows_lengths)
        total = str(len(stored)) if nature.knows_lengths else "*"
        if start >= len(stored):
            fields |= {"Content-Range": f"bytes */{len(stored)}", "Content-Length": "0"}
            return [head_of("416 Range Not Satisfiable", fields)]
        part = stored[start : start + nature.range_bytes]
        fields["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{total}"
        return self.body("206 Partial Content", fields, part, knows_length=True)

    def body(self, status: str, fields: Mapping[str, str], body: bytes, *, knows_length: bool) -> list[bytes]:
        is_cut = not self.is_calm and self.chance.random() < 0.6
        sent = body[: self.chance.randrange(len(body))] if is_cut else body
        if knows_length:
            return [head_of(status, {**fields, "Content-Length": str(len(body))}), sent]
        end = b"" if is_cut else b"0\r\n\r\n"
        chunk = b"%x\r\n%s\r\n" % (len(sent), sent) if sent else b""
        return [head_of(status, {**fields, "Transfer-Encoding": "chunked"}), chunk, end]


def head_of(status: str, fields: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
    return f"HTTP/1.1 {status}\r\nConnection: close\r\n{lines}\r\n".encode()


async def tries(wire: Transport, url: str, root: Path, recording: Recording, chance: Random) -> Fetched | None:
    """As the downloader does: each try takes up what an earlier one left, now and then in a new process."""
    clock = SystemClock()
    transfers = Transfers(wire, RateLimit(None), clock, downloads_at_once=1)
    for _ in range(TROUBLED + CALM):
        if chance.random() < 0.2:
            transfers = Transfers(wire, RateLimit(None), clock, downloads_at_once=1)
        partial = PartialFile(Layout(root), PATH, Modes())
        partial.open(recording.source)
        with OnceAhead(lambda: None) as ahead:
            under_way = UnderWay(Pace(clock), clock, None, ahead)
            try:
                address = parse_address(url, loopback_allowed=True)
                return await transfers.fetch(recording, address, partial, under_way)
            except UpstreamError:
                continue
    return None


async def mirrored(host: Host, root: Path) -> bytes | None:
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sizes = {"none": None, "film": len(host.generations[0]), "stored": len(host.stored()), "small": 1}
    recording = Recording("e", "r", "rec", "mp4", "/rec.mp4", sizes[host.nature.listed], "")
    try:
        async with talking_to(f"{url}/api/v3") as wire:
            fetched = await tries(wire, f"{url}/rec.mp4?sig=s", root, recording, host.chance)
    finally:
        server.close()
    return None if fetched is None else fetched.content.path.read_bytes()


NATURES = st.builds(
    Nature,
    validators=st.frozensets(
        st.sampled_from(
            ["etag", "weak etag", "generation", "version", "no version", "modified", "just modified", "hash"]
        ),
        max_size=2,
    ),
    is_packed=st.booleans(),
    inflates=st.booleans(),
    knows_lengths=st.booleans(),
    knows_ranges=st.booleans(),
    matches=st.booleans(),
    range_bytes=st.sampled_from([700, 4_000, 1 << 30]),
    listed=st.sampled_from(["none", "film", "stored", "small"]),
)


@pytest.mark.parametrize("examples", [60, pytest.param(3_000, marks=pytest.mark.long)])
def test_fault_82_whatever_a_host_does_one_whole_generation_is_held_or_nothing(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(nature=NATURES, seed=st.integers(0, 1 << 32))
    def try_it(nature: Nature, seed: int) -> None:
        host = Host(nature, Random(seed))
        with tempfile.TemporaryDirectory() as folder:
            held = asyncio.run(mirrored(host, Path(folder)))
        event("held" if held is not None else "given up")
        assert held is None or held in host.generations, "a mixture of generations is held"
        is_of_size = nature.listed in {"none", "small"} or len(set(map(len, host.generations))) == 1
        assert held is not None or not is_of_size, "what could be had was given up"

    try_it()
