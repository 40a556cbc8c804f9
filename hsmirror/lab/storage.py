"""The storage origin: recording files behind signed addresses, on a port of its own, as in real life.

It imitates what Google Cloud Storage and Amazon S3 answer: the XML codes of refused addresses, hashes,
entity tags and ranges.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web
from aiohttp.typedefs import Middleware

from hsmirror.clock import Clock, iso_utc
from hsmirror.errors import UsageError
from hsmirror.lab.faults.hooks import AT_ONCE
from hsmirror.lab.signing import LONGEST_LIFE_SECONDS, AddressSigner, Dialect, Verdict
from hsmirror.serve.files import Sending, entity_tag, file_answer
from hsmirror.serve.ranges import selection
from hsmirror.serve.recordings import RecordingRef
from hsmirror.serve.source import RecordingFile, Source

_BUCKET = "hyperstudy-lab"


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """Where files are and how their addresses are given out.

    `addresses`: `inline` signs a `downloadUrl` into each row; `minted` gives a `downloadPath`, at which each
    file's address has to be asked for; `url` signs the one old field. `bytes_per_second` slows each download.
    Raises UsageError for lives and rates that cannot be.
    """

    dialect: Dialect = "gcs"
    addresses: Literal["inline", "minted", "url"] = "inline"
    address_seconds: int = LONGEST_LIFE_SECONDS
    bytes_per_second: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.address_seconds <= LONGEST_LIFE_SECONDS:
            raise UsageError(f"the lab's addresses can live 1 to {LONGEST_LIFE_SECONDS} s")
        if self.bytes_per_second is not None and self.bytes_per_second <= 0:
            raise UsageError("the lab's bytes_per_second must be above 0; for no throttle, give none")


@dataclass(frozen=True, slots=True)
class LabAddresses:
    """Addresses at the storage origin; implements `serve.recordings.Addresses`."""

    origin: str
    signer: AddressSigner
    options: StorageOptions
    clock: Clock

    def fields(self, recording: RecordingRef) -> Mapping[str, str]:
        """What a row says of where its file is."""
        if self.options.addresses == "minted":
            room, name = quote(recording.room_id, safe=""), quote(recording.recording_id, safe="")
            return {"downloadPath": f"/data/recordings/download/{room}/{name}"}
        if self.options.addresses == "url":
            return {"url": self.mint(recording)}
        return {"url": self._unsigned(recording), "downloadUrl": self.mint(recording)}

    def mint(self, recording: RecordingRef) -> str:
        """A signed address, good from now."""
        query = self.signer.query(
            _path(recording), now=self.clock.epoch(), life_seconds=self.options.address_seconds
        )
        return f"{self._unsigned(recording)}?{query}"

    def _unsigned(self, recording: RecordingRef) -> str:
        return self.origin + _path(recording, quoted=True)


def _path(recording: RecordingRef, *, quoted: bool = False) -> str:
    parts = (recording.room_id, f"{recording.recording_id}.{recording.suffix}")
    named = [quote(part, safe="") for part in parts] if quoted else parts
    return f"/{_BUCKET}/recordings/{named[0]}/{named[1]}"


def storage_application(
    source: Source,
    signer: AddressSigner,
    *,
    clock: Clock,
    bytes_per_second: float | None = None,
    on_sent: Callable[[int], None],
    middlewares: Sequence[Middleware] = (),
) -> web.Application:
    """The origin as an aiohttp application; `on_sent` hears of every piece's size."""
    handlers = _StorageHandlers(source, signer, clock, Sending(bytes_per_second, on_sent))
    app = web.Application(middlewares=list(middlewares))
    app.router.add_get(f"/{_BUCKET}/recordings/{{room}}/{{name}}", handlers.file)
    return app


@dataclass(frozen=True, slots=True)
class _StorageHandlers:
    source: Source
    signer: AddressSigner
    clock: Clock
    sending: Sending

    async def file(self, request: web.Request) -> web.StreamResponse:
        now = self.clock.epoch()
        verdict = self.signer.verdict(request.method, request.path, request.query, now=now)
        if verdict is not Verdict.GOOD:
            return self._refused(verdict, request.query, now)
        recording_id = posixpath.splitext(request.match_info["name"])[0]
        file = await self.source.recording_file(request.match_info["room"], recording_id)
        if file is None:
            return _xml(404, "NoSuchKey", "The specified key does not exist.")
        send = _file_at_once if request.get(AT_ONCE, False) else file_answer
        answer = await send(request, file, headers=self._object_headers(file), sending=self.sending)
        if answer.status == 412:
            return _xml(412, "PreconditionFailed", "At least one of the pre-conditions did not hold.")
        return answer

    def _object_headers(self, file: RecordingFile) -> dict[str, str]:
        if self.signer.dialect == "s3":
            # Amazon names every request; by that its answers, and so the meaning of their ETag, are known.
            return {
                "x-amz-request-id": hashlib.sha256(file.recording_id.encode()).hexdigest()[:16].upper(),
                "x-amz-version-id": str(file.generation),
            }
        return {
            "x-goog-generation": str(file.generation),
            "x-goog-hash": f"crc32c={file.crc32c_base64},md5={file.md5_base64}",
            "x-goog-stored-content-encoding": "identity",
            "x-goog-stored-content-length": str(file.size_bytes),
        }

    def _refused(self, verdict: Verdict, given: Mapping[str, str], now: float) -> web.Response:
        if verdict is Verdict.UNSIGNED:
            return _xml(403, "AccessDenied", "Access denied.")
        if verdict is Verdict.WRONG:
            return _xml(403, "SignatureDoesNotMatch", "The signature does not match the one calculated.")
        expired_at = iso_utc(self.signer.expires_at(given))
        if self.signer.dialect == "s3":
            times = {"Expires": expired_at, "ServerTime": iso_utc(now)}
            return _xml(403, "AccessDenied", "Request has expired", times)
        details = f"The provided token has expired. Request signature expired at: {expired_at}"
        return _xml(400, "ExpiredToken", "Invalid argument.", {"Details": details})


async def _file_at_once(
    request: web.Request, file: RecordingFile, *, headers: Mapping[str, str], sending: Sending
) -> web.Response:
    """As `file_answer`, but as one body, which what stands around can change before it is sent."""
    etag = entity_tag(file)
    chosen = selection(request.headers, size_bytes=file.size_bytes, etag=etag)
    if chosen.status in {412, 416}:
        return web.Response(status=chosen.status, headers={"Content-Range": f"bytes */{file.size_bytes}"})
    body = await asyncio.to_thread(file.path.read_bytes)
    sending.on_sent(chosen.length_bytes)
    named = {"Content-Type": file.media_type, "ETag": etag, **headers}
    if chosen.status == 206:
        named["Content-Range"] = f"bytes {chosen.first}-{chosen.stop - 1}/{file.size_bytes}"
    return web.Response(status=chosen.status, headers=named, body=body[chosen.first : chosen.stop])


def _xml(status: int, code: str, message: str, more: Mapping[str, str] | None = None) -> web.Response:
    elements = {"Code": code, "Message": message, **(more or {})}
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error>{inner}</Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
