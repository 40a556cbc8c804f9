"""What a verified copy costs at the least in one Python process: hsmirror's own libraries, and a straight line.

Rows are checked for UTF-8 and for signatures, told apart by room and id, split by room, hashed, compressed and
hashed again; files and folders are synced; a receipt says what each file holds. No plan, no limits, no retries,
no bound on memory, no order of writes that outlives a crash: whatever else a mirror does comes on top of this.
"""

import asyncio
import gc
import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from operator import attrgetter
from types import GenericAlias
from typing import Any

import aiohttp
import msgspec
from isal import isal_zlib

PIECE_BYTES = 1 << 20
SMALL_BYTES = 1 << 16
GZIP = 31
THREADS = ThreadPoolExecutor(2)


class Pagination(msgspec.Struct):
    total: int


class Metadata(msgspec.Struct):
    pagination: Pagination


class Envelope(msgspec.Struct):
    metadata: Metadata
    data: list[msgspec.Raw]


decode_envelope = msgspec.json.Decoder(Envelope).decode


@cache
def columns_decoder(fields: tuple[str, ...]) -> Callable[[bytes], Any]:
    """Decodes just these fields of each row."""
    row = msgspec.defstruct("Row", [(field, str) for field in fields], gc=False)
    return msgspec.json.Decoder(msgspec.defstruct("Rows", [("data", GenericAlias(list, (row,)))])).decode


class Shard:
    """The rows of one room; less than a piece of them waits."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.rows = 0
        self.waiting: list[bytes] = []
        self.waiting_bytes = 0
        self.pieces: list[bytes] = []
        self.content_hash, self.hash = hashlib.sha256(), hashlib.sha256()

    def add(self, rows: Sequence[Any]) -> None:
        lines = b"\n".join((*rows, b""))
        self.rows += len(rows)
        self.waiting.append(lines)
        self.waiting_bytes += len(lines)

    def take(self) -> bytes:
        content, self.waiting, self.waiting_bytes = b"".join(self.waiting), [], 0
        return content

    def write(self, content: bytes) -> None:
        piece = isal_zlib.compress(content, 1, GZIP)
        self.content_hash.update(content)
        self.hash.update(piece)
        self.pieces.append(piece)

    def publish(self, content: bytes) -> dict[str, Any]:
        self.write(content)
        folder = os.path.dirname(self.path)
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, b"".join(self.pieces))
        os.fsync(descriptor)
        os.close(descriptor)
        sync_folder(folder)
        digests = {"sha256": self.hash.hexdigest(), "content_sha256": self.content_hash.hexdigest()}
        return {"path": self.path, "rows": self.rows, **digests}


def sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def require_sound(body: bytes) -> None:
    """UTF-8, and no signed address; in pieces that stay in a core's cache."""
    if b"X-Goog-Signature=" in body:
        raise ValueError("a signed address")
    if body.isascii():
        return
    view, start = memoryview(body), 0
    while start < len(body):
        end = body.find(b'"', start + SMALL_BYTES)
        end = end if end >= 0 else len(body)
        str(view[start:end], "utf-8")
        start = end


class List:
    """One list: its first page tells how many more there are; all of it is published at its end."""

    def __init__(self, task: dict[str, Any], session: aiohttp.ClientSession, key: tuple[str, str, str]) -> None:
        data_type, scope, scope_id = key
        self.session = session
        self.page_rows, self.connections = task["page_rows"], task["connections"]
        self.url = f"{task['base_url']}/data/{data_type}/{scope}/{scope_id}"
        name = data_type.replace("/", "_")
        self.folder = f"{task['out']}/archive/experiment_id={task['experiment']}/data_type={name}"
        self.room = scope_id if scope == "room" else None
        self.id_field = task["id_fields"].get(data_type)
        self.seen: set[int] = set()
        self.shards: dict[str, Shard] = {}
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self) -> list[dict[str, Any]]:
        async def work(offsets: Iterator[int]) -> None:
            for offset in offsets:
                await self.take(offset)

        total = await self.take(0)
        offsets = iter(range(self.page_rows, total, self.page_rows))
        workers = min(self.connections, total // self.page_rows)
        await asyncio.gather(*(work(offsets) for _ in range(workers)))
        if self.id_field and len(self.seen) != total:
            raise ValueError(f"{len(self.seen)} of {total} rows of {self.url}")
        return [await self.published(shard, shard.take()) for shard in self.shards.values()]

    async def take(self, offset: int) -> int:
        """One page; how many rows there are in all."""
        async with self.session.get(
            f"{self.url}?limit={self.page_rows}&offset={offset}", raise_for_status=True
        ) as answer:
            body = await answer.read()
            if "Content-Encoding" in answer.headers:
                body = isal_zlib.decompress(body, GZIP)
        require_sound(body)
        envelope = decode_envelope(body)
        self.add(body, envelope.data)
        for shard in [shard for shard in self.shards.values() if shard.waiting_bytes >= PIECE_BYTES]:
            content = shard.take()
            async with self.turns[shard.path]:
                await asyncio.get_running_loop().run_in_executor(THREADS, shard.write, content)
        return envelope.metadata.pagination.total

    def add(self, body: bytes, rows: Sequence[Any]) -> None:
        fields = tuple(field for field in (self.id_field, None if self.room else "roomId") if field)
        keys = columns_decoder(fields)(body).data if fields else []
        ids = map(attrgetter(self.id_field), keys) if self.id_field else map(bytes, rows)
        if self.room is not None:
            self.seen.update(map(hash, ids))
            self.shard(self.room).add(rows)
            return
        rooms = [key.roomId for key in keys]
        self.seen.update(map(hash, zip(rooms, ids, strict=True)))
        by_room = defaultdict(list)
        for room, row in zip(rooms, rows, strict=True):
            by_room[room].append(row)
        for room, of_room in by_room.items():
            self.shard(room).add(of_room)

    def shard(self, room: str) -> Shard:
        if room not in self.shards:
            self.shards[room] = Shard(f"{self.folder}/room_id={room}/part-00000.ndjson.gz")
        return self.shards[room]

    async def published(self, shard: Shard, content: bytes) -> dict[str, Any]:
        if len(content) <= SMALL_BYTES:
            return shard.publish(content)
        return await asyncio.get_running_loop().run_in_executor(THREADS, shard.publish, content)


async def mirror(task: dict[str, Any]) -> None:
    headers = {"X-API-Key": os.environ["HYPERSTUDY_API_KEY"], "Accept-Encoding": "gzip"}
    connector = aiohttp.TCPConnector(limit=task["connections"])
    receipts: list[dict[str, Any]] = []
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, read_bufsize=2 << 20, auto_decompress=False
    ) as session:

        async def work(lists: Iterator[tuple[str, str, str]]) -> None:
            for key in lists:
                receipts.extend(await List(task, session, key).read())

        waiting = iter(task["lists"])
        await asyncio.gather(*(work(waiting) for _ in range(task["connections"])))
    with open(f"{task['out']}/archive/receipts.jsonl", "wb") as file:
        file.write(b"\n".join(map(msgspec.json.encode, receipts)))
        os.fsync(file.fileno())
    sync_folder(f"{task['out']}/archive")


if __name__ == "__main__":
    gc.disable()
    sys.setswitchinterval(0.0005)
    asyncio.run(mirror(json.loads(sys.argv[1])))
    os._exit(0)
