"""The least that a Python downloader can do, with threads or with asyncio, hashing on the way or not."""

import asyncio
import hashlib
import json
import os
import sys
import threading
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 20


def download_in_threads(task: dict[str, Any]) -> None:
    waiting, lock = iter(task["files"]), threading.Lock()

    def work() -> None:
        connection = HTTPConnection(urlsplit(task["base_url"]).netloc)
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while True:
            with lock:
                url = next(waiting, None)
            if url is None:
                return
            parts = urlsplit(url)
            connection.request("GET", f"{parts.path}?{parts.query}")
            answer = connection.getresponse()
            digest = hashlib.sha256()
            with open(destination(task, url), "wb", buffering=0) as file:
                while read := answer.readinto(buffer):
                    if task["hashed"]:
                        digest.update(buffer[:read])
                    file.write(buffer[:read])

    threads = [threading.Thread(target=work) for _ in range(task["connections"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def download_async(task: dict[str, Any]) -> None:
    import aiohttp

    waiting = iter(task["files"])
    connector = aiohttp.TCPConnector(limit=task["connections"])
    async with aiohttp.ClientSession(connector=connector, read_bufsize=CHUNK_BYTES) as session:

        async def work() -> None:
            for url in waiting:
                digest = hashlib.sha256()
                async with session.get(url, raise_for_status=True) as answer:
                    with open(destination(task, url), "wb", buffering=0) as file:
                        async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                            await asyncio.to_thread(keep, file, digest, chunk)

        def keep(file: Any, digest: Any, chunk: bytes) -> None:
            if task["hashed"]:
                digest.update(chunk)
            file.write(chunk)

        await asyncio.gather(*(work() for _ in range(task["connections"])))


def destination(task: dict[str, Any], url: str) -> str:
    return os.path.join(task["out"], os.path.basename(urlsplit(url).path))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if given["threads"]:
        download_in_threads(given)
    else:
        asyncio.run(download_async(given))
