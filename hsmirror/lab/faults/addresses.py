"""Faults of recordings' addresses: where they lead, how long they are good, how they are minted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from hsmirror.lab.faults.fault import Fault, Outcome, Strikes
from hsmirror.lab.faults.hooks import LabFaults
from hsmirror.lab.faults.members import members_of, object_of
from hsmirror.lab.faults.wire import before, data_type_of, editing

if TYPE_CHECKING:
    from hsmirror.lab.server import LabOptions

Make = Callable[[Strikes], LabFaults]

_SKEW_SECONDS = 2 * 3600.0
_ADDRESS_FIELDS = ("downloadUrl", "url", "downloadPath")
_ELSEWHERE = (
    "http://10.0.0.8/rec.mp4",
    "https://192.168.1.1/rec.mp4",
    "file:///etc/passwd",
    "ftp://example.com/r",
)
_PATHS_ELSEWHERE = ("https://example.com/rec", "//example.com/rec", "/../../rec", "/data/%2e%2e/%2e%2e/rec")


def _addresses(change: Callable[[dict[str, bytes], str], None]) -> Make:
    """Some recordings' rows lead elsewhere: about half of them, the same ones each time."""

    def make(strikes: Strikes) -> LabFaults:
        def edit(_request: web.Request, rows: list[bytes], _metadata: dict[str, Any]) -> None:
            if not strikes.switch.is_on:
                return
            for number, row in enumerate(rows):
                fields = members_of(row)
                name = fields.get("recordingId", b"").decode()
                if not set(fields).isdisjoint(_ADDRESS_FIELDS) and strikes.random(name).random() < 0.5:
                    change(fields, strikes.random(name, "where").choice(_ELSEWHERE))
                    rows[number] = object_of(fields)
                    strikes.always()

        return LabFaults(api=(_editing_recordings(edit),))

    return make


def _editing_recordings(edit: Callable[[web.Request, list[bytes], dict[str, Any]], None]) -> Middleware:
    return editing(edit, when=lambda request: data_type_of(request) == "recordings")


def _url_elsewhere(fields: dict[str, bytes], elsewhere: str) -> None:
    fields.pop("downloadPath", None)
    fields["downloadUrl"] = orjson.dumps(elsewhere)


def _path_elsewhere(fields: dict[str, bytes], elsewhere: str) -> None:
    for name in _ADDRESS_FIELDS:
        fields.pop(name, None)
    fields["downloadPath"] = orjson.dumps(_PATHS_ELSEWHERE[_ELSEWHERE.index(elsewhere)])


def _clock_ahead(seconds: float) -> Make:
    return lambda _strikes: LabFaults(clock_ahead_seconds=seconds)


def _short_lives(_strikes: Strikes) -> LabFaults:
    def adjust(options: LabOptions) -> LabOptions:
        storage = replace(options.storage, address_seconds=5, bytes_per_second=8_000.0)
        return replace(options, storage=storage)

    return LabFaults(adjustments=(adjust,))


def _still_recording(_strikes: Strikes) -> LabFaults:
    def adjust(options: LabOptions) -> LabOptions:
        return replace(options, shape=replace(options.shape, last_room_active=True))

    return LabFaults(adjustments=(adjust,))


def _minting(answer: Callable[[web.Request], Awaitable[web.StreamResponse]], *, once: bool = False) -> Make:
    """Addresses have to be asked for, and asking goes wrong."""

    def adjust(options: LabOptions) -> LabOptions:
        return replace(options, storage=replace(options.storage, addresses="minted"))

    def make(strikes: Strikes) -> LabFaults:
        def strikes_mint(request: web.Request) -> bool:
            is_mint = "/recordings/download/" in request.path
            return is_mint and (strikes.once(request) if once else strikes.on(request))

        return LabFaults(api=(before(strikes_mint, answer),), adjustments=(adjust,))

    return make


async def _minted_nothing(_request: web.Request) -> web.Response:
    return web.Response(body=orjson.dumps({"status": "success", "data": {}}), content_type="application/json")


async def _too_many(_request: web.Request) -> web.Response:
    text = '{"status":"error","error":{"code":"RATE_LIMIT_EXCEEDED","message":"Too many addresses"}}'
    return web.Response(status=429, text=text, headers={"Retry-After": "4"}, content_type="application/json")


HEALS, MUST_STOP = Outcome.HEALS, Outcome.MUST_STOP

ADDRESSES = (
    Fault("addresses-short-lived", "addresses live 5 s, downloads take as long", HEALS, _short_lives),
    Fault("clock-ahead", "the servers' clock is two hours ahead", HEALS, _clock_ahead(_SKEW_SECONDS)),
    Fault("clock-behind", "the servers' clock is two hours behind", HEALS, _clock_ahead(-_SKEW_SECONDS)),
    Fault("address-elsewhere", "rows lead to private hosts and files", MUST_STOP, _addresses(_url_elsewhere)),
    Fault(
        "mint-path-elsewhere", "rows lead away from the API for minting", MUST_STOP, _addresses(_path_elsewhere)
    ),
    Fault("minting-limited", "429 for minting an address", HEALS, _minting(_too_many), rate=0.4),
    Fault(
        "mint-empty",
        "minting answers without an address",
        HEALS,
        _minting(_minted_nothing, once=True),
        rate=0.4,
    ),
    Fault("still-recording", "the last room's last recording goes on", HEALS, _still_recording),
)
