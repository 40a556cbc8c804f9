"""A whole run against a server whose every text is hostile: a true report, an archive that holds, and no more.

The server is well-behaved HTTP on loopback; what is hostile are its ids, names, addresses, header fields and
error texts, so that a run gets far enough to write them down. What it waits between tries takes no time.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from reliability.skipping_time import SkippingClock, run_skipping

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.segments import Receipts
from hsmirror.archive.status import status
from hsmirror.archive.verify import verify
from hsmirror.errors import Exit, HsmirrorError
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, load

KEY = "hst_test_" + "k" * 64
EXPERIMENT = "exp_1"

TEXTS = st.one_of(
    st.sampled_from(
        [
            "\ud800",
            "a\udc80b",
            "../../outside",
            "/etc/passwd",
            "a\x00b",
            "\x1b]0;x\x07",
            "\u202e\u2028",
            "CON",
            "",
            ".",
            "..",
            "x" * 5000,
            "é" * 200,
            "line\r\nbreak",
            "%2e%2e/",
            "a\\b",
        ]
    ),
    st.text(max_size=6),
)
VALUES = st.one_of(
    TEXTS,
    st.sampled_from([None, True, 0, -1, 1.5, 10**30, 10**400, [], {}, ["x"], {"roomName": "\ud800"}]),
)
ADDRESSES = st.sampled_from(
    [
        "http://{host}/file?X-Goog-Signature=s",
        "http://{host}/\ud800?X-Goog-Signature=s",
        "http://{host}/a b\r\nX-Evil: 1?X-Goog-Signature=s",
        "http://{host}/%zz?X-Amz-Date=20260101T000000Z&X-Amz-Expires=9999999999999",
        "http://\u24dbocalhost/",
        "http://a" + "a" * 300 + ".localhost/",
        "http://a..localhost/",
        "http://[::1",
        "file:///etc/passwd",
        "\ud800",
        "",
    ]
)
FIELDS = st.sampled_from(
    [
        "id",
        "roomId",
        "sessionId",
        "participantId",
        "recordingId",
        "egressId",
        "messageId",
        "format",
        "status",
        "startTime",
        "endedAt",
        "updatedAt",
        "fileSize",
        "metadata",
        "name",
        "downloadPath",
        "url",
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries({"id": VALUES, "roomId": VALUES}) | st.dictionaries(FIELDS, VALUES, max_size=5),
    max_size=3,
)
RECORDINGS = st.lists(
    st.builds(
        lambda fields, link: fields | {"downloadUrl": link},
        st.dictionaries(FIELDS.filter(lambda name: name not in {"url", "downloadPath"}), VALUES, max_size=4),
        ADDRESSES,
    ),
    max_size=2,
)
HEADER_VALUES = st.binary(max_size=12).map(
    lambda value: bytes(byte for byte in value if byte not in b"\r\n\x00")
) | st.sampled_from([b'"\xff\xfe"', b"\xc2\x9b31m", b"99999999999999999999", b"-1", b"bytes 0-0/0", b"gzip;"])
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *(
                "ETag",
                "Last-Modified",
                "x-goog-generation",
                "x-amz-version-id",
                "x-goog-hash",
                "x-amz-request-id",
            ),
            *("Content-Type", "Content-Encoding", "Date", "X-RateLimit-Remaining", "X-RateLimit-Limit"),
        ]
    ),
    HEADER_VALUES,
    max_size=3,
)
METADATA = st.dictionaries(
    st.sampled_from(["total", "hasMore", "limit", "_warnings", "pagination", "truncated", "timeline"]),
    VALUES | st.dictionaries(st.sampled_from(["total", "hasMore", "limit", "nextOffset"]), VALUES, max_size=3),
    max_size=2,
)
REFUSALS = st.tuples(
    st.sampled_from([400, 401, 403, 404, 410, 418, 451]),
    st.sampled_from([b"", b"\xff\xfe", b"\xc2\x9b31mred", b"fine"]),
    st.fixed_dictionaries(
        {
            "error": VALUES
            | st.fixed_dictionaries({"message": VALUES, "details": st.fixed_dictionaries({"required": VALUES})})
        }
    ),
)


class HostileServer:
    """Answers as it is told, by the beginning of the path; whatever it was not told about is a 404."""

    def __init__(
        self, bodies: Mapping[str, Any], refusals: Mapping[str, Any], headers: Mapping[str, bytes]
    ) -> None:
        self.bodies, self.refusals, self.headers = bodies, refusals, headers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self._answer(head.split(b" ")[1].decode("latin-1")))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has what it wants
        finally:
            writer.close()

    def _answer(self, target: str) -> bytes:
        path = target.partition("?")[0].removeprefix("/api/v3/")
        if not target.startswith("/api/"):
            return self._whole(200, b"OK", b"the bytes of a recording", self.headers)
        for name, (status_code, reason, body) in self.refusals.items():
            if path.startswith(name):
                return self._whole(status_code, reason, json.dumps(body).encode(), {})
        for name, body in self.bodies.items():
            if path.startswith(name):
                return self._whole(200, b"OK", json.dumps(body).encode(), self.headers)
        return self._whole(404, b"Not Found", b"{}", {})

    @staticmethod
    def _whole(status_code: int, reason: bytes, body: bytes, headers: Mapping[str, bytes]) -> bytes:
        lines = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in headers.items())
        return (
            b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %d\r\n" % (status_code, reason, len(body))
            + lines
            + b"\r\n"
            + body
        )


async def mirrored(server: HostileServer, folder: Path, clock: SkippingClock) -> int:
    """One run; gives its exit status, and raises whatever is no error of ours."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    server.bodies = {
        name: json.loads(json.dumps(body).replace("{host}", host)) for name, body in server.bodies.items()
    }
    overrides = {"api.base_url": f"http://{host}/api/v3", "archive.path": str(folder / "archive")}
    given_settings = load(config=None, environ={}, overrides=overrides, cwd=folder, user_config_dir=folder)
    try:
        report = await sync(
            given_settings,
            Secret(KEY),
            [ExperimentSettings(id=EXPERIMENT)],
            options=RunOptions(state_folder=folder / "state", longest_wait_seconds=0),
            clock=clock,
        )
    except HsmirrorError as error:
        return int(error.exit_status)
    finally:
        listening.close()
    msgspec.json.encode(report)
    return report.exit_status


@given(
    name=VALUES,
    rows=ROWS,
    recordings=RECORDINGS,
    headers=HEADERS,
    metadata=METADATA,
    refusals=st.dictionaries(
        st.sampled_from(["data/chat", "data/sync", "data/rooms", "experiments/"]), REFUSALS, max_size=1
    ),
)
@example({}, [], [{"downloadUrl": "http://[::1"}], {}, {}, {})
@example({}, [], [{"downloadUrl": "http://{host}/a", "status": {}}], {}, {}, {})
@example({}, [{"id": "r", "status": "ended", "endedAt": 10**400}], [], {}, {}, {})
@example({}, [], [{"id": "a", "downloadUrl": "http://{host}/a?sig=s"}], {"x-goog-generation": b"\xff"}, {}, {})
@example({}, [], [{"id": "a", "downloadUrl": "http://{host}/a?sig=s"}], {"x-amz-version-id": b"\xff"}, {}, {})
@example({}, [], [{"id": "a", "downloadUrl": "http://{host}/a?sig=s"}], {"Content-Type": b"\x9b\xff"}, {}, {})
@example("\ud800", [{"id": "\ud800"}], [], {"ETag": b'"\xff"'}, {"_warnings": ["\ud800"]}, {})
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_fault_45_and_58_no_text_of_a_server_breaks_a_run_or_leaves_the_archive(
    name: Any, rows: Any, recordings: Any, headers: Any, metadata: Any, refusals: Any
) -> None:
    bodies = {
        "experiments/exp_1/": {"status": "success", "data": {"x": name}},
        "experiments/exp_1": {"status": "success", "data": {"id": EXPERIMENT, "name": name}},
        "data/recordings": {"status": "success", "data": recordings, "metadata": {}},
        "data/events": {"status": "success", "data": rows, "metadata": metadata},
        "data/rooms": {"status": "success", "data": rows[:1], "metadata": {}},
        "data/": {"status": "success", "data": rows[:1], "metadata": {}},
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ended = run_skipping(partial(mirrored, HostileServer(bodies, refusals, headers), folder))
        assert ended not in {Exit.BUG, Exit.STORAGE, Exit.DAMAGED}
        assert {path.name for path in folder.iterdir()} <= {"archive", "state"}
        archive = folder / "archive"
        receipts = Receipts(Layout(archive), Modes(), "reader")
        assert receipts.unreadable_lines == []
        assert verify(archive).is_sound
        assert status(archive).upstream
        assert all(KEY.encode() not in path.read_bytes() for path in archive.rglob("*") if path.is_file())
