"""Odd data: rows that are right, but not as rows usually are; so they stay when faults are switched off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from hsmirror.lab.faults.fault import Fault, Outcome, Strikes
from hsmirror.lab.faults.hooks import LabFaults
from hsmirror.lab.faults.members import members_of, object_of
from hsmirror.lab.faults.wire import data_type_of, editing
from hsmirror.lab.plans import RoomPlan
from hsmirror.lab.row import Row

if TYPE_CHECKING:
    from hsmirror.lab.server import LabOptions

_IDS = {"events": "id", "chat": "messageId", "ratings/sparse": "ratingId", "sync": "metricId"}
_ROOMS = {"events": "sessionId", "chat": "roomId", "ratings/sparse": "roomId"}
_HUGE_BYTES = 1 << 20
_DEPTH = 200
_PICTURE = b"https://media.example.com/stimulus.png"
_ODD = (
    rb'{"numbers":[1e400,-0.0,1.10,1E+2,123456789012345678901234567890],"texts":["\ud800","a\nb\u2028c","\u0000"],'
    b'"separators":"\xe2\x80\xa8\xe2\x80\xa9\xc2\x85","empty":{},"":null}'
)

Change = Callable[[str, int, Row], Iterator[Row]]
"""A row of a data type and its number in the room → the rows in its place."""


def _altered(change: Change) -> Callable[[Strikes], LabFaults]:
    def make(strikes: Strikes) -> LabFaults:
        def alter(_room: RoomPlan, data_type: str, rows: Sequence[Row]) -> list[Row]:
            altered = [other for number, row in enumerate(rows) for other in change(data_type, number, row)]
            strikes.struck[strikes.name] += altered != list(rows)
            return altered

        return LabFaults(alterations=(alter,))

    return make


def _with(row: Row, name: str, value: bytes) -> Row:
    """The row with one member more, at its end."""
    return replace(row, text=b'%s,"%s":%s}' % (row.text[:-1], name.encode(), value))


def _set(row: Row, name: str, value: bytes | None) -> Row:
    """The row with another value of a member that it has, or without it."""
    fields = members_of(row.text)
    if name not in fields:
        return row
    if value is None:
        del fields[name]
    else:
        fields[name] = value
    return replace(row, text=object_of(fields))


def _ids_absent(data_type: str, number: int, row: Row) -> Iterator[Row]:
    yield _set(row, _IDS[data_type], None) if data_type in _IDS and number % 2 else row


def _ids_shared(data_type: str, _number: int, row: Row) -> Iterator[Row]:
    yield _set(row, _IDS[data_type], b'"the-same"') if data_type in _IDS else row


def _ids_twice(data_type: str, number: int, row: Row) -> Iterator[Row]:
    yield row
    if data_type in _IDS and number % 7 == 3:
        yield _with(row, "editedAt", b'"2024-10-21T00:00:00.000Z"')


def _alike(data_type: str, number: int, row: Row) -> Iterator[Row]:
    yield row
    if data_type in {"components", "eyetracking"} and number % 4 == 1:
        yield row


def _new_fields(_data_type: str, number: int, row: Row) -> Iterator[Row]:
    yield _with(row, f"newField{number % 3}", b'{"nested":[1,{"deeper":true}],"total":7,"data":[]}')


def _odd_json(data_type: str, _number: int, row: Row) -> Iterator[Row]:
    yield _with(row, "odd", _ODD) if data_type in _IDS or data_type == "components" else row


def _deep(data_type: str, number: int, row: Row) -> Iterator[Row]:
    is_one = data_type == "events" and number % 5 == 0
    yield _with(row, "deep", b"[" * _DEPTH + b"]" * _DEPTH) if is_one else row


def _huge(data_type: str, number: int, row: Row) -> Iterator[Row]:
    yield (
        _with(row, "huge", b'"%s"' % (b"0123456789abcdef" * (_HUGE_BYTES // 16)))
        if (data_type == "events" and number == 2)
        else row
    )


def _roomless(data_type: str, number: int, row: Row) -> Iterator[Row]:
    yield _set(row, _ROOMS[data_type], None) if data_type in _ROOMS and number % 3 == 0 else row


def _signed_inside(strikes: Strikes) -> LabFaults:
    """Rows hold an address that is signed anew for every answer; all but the signature has to be kept."""

    def place(_room: RoomPlan, data_type: str, rows: Sequence[Row]) -> list[Row]:
        if data_type not in _IDS:
            return list(rows)
        return [_with(row, "stimulus", b'{"src":"%s"}' % _PICTURE) for row in rows]

    def edit(request: web.Request, rows: list[bytes], _metadata: dict[str, Any]) -> None:
        if data_type_of(request) not in _IDS or not strikes.always():
            return
        fresh = strikes.random_for(request)
        for number, row in enumerate(rows):
            query = b"?X-Goog-Credential=lab%%40example.com&X-Goog-Signature=%064x" % fresh.getrandbits(256)
            rows[number] = row.replace(_PICTURE, _PICTURE + query)

    return LabFaults(api=(editing(edit),), alterations=(place,))


def _broken_lines(strikes: Strikes) -> LabFaults:
    def edit(_request: web.Request, rows: list[bytes], _metadata: dict[str, Any]) -> None:
        if strikes.always():
            rows[:] = [b"{\r\n" + row[1:-1] + b"\n}" for row in rows]

    return LabFaults(api=(editing(edit),))


def _big_numbers(_strikes: Strikes) -> LabFaults:
    def adjust(options: LabOptions) -> LabOptions:
        return replace(options, shape=replace(options.shape, big_numbers=True))

    return LabFaults(adjustments=(adjust,))


HEALS = Outcome.HEALS

ROWS = (
    Fault("ids-absent", "every other row has no id", HEALS, _altered(_ids_absent)),
    Fault("ids-shared", "all rows of a room have one id", HEALS, _altered(_ids_shared)),
    Fault("ids-twice", "some ids come twice, with other contents", HEALS, _altered(_ids_twice)),
    Fault("rows-alike", "rows without an id repeat, byte for byte, and are all real", HEALS, _altered(_alike)),
    Fault("new-fields", "rows have fields that nobody knows", HEALS, _altered(_new_fields)),
    Fault("odd-json", "numbers and texts that careless parsers change", HEALS, _altered(_odd_json)),
    Fault("big-numbers", "odd numbers and texts in the fields themselves", HEALS, _big_numbers),
    Fault("rows-deep", f"rows nested {_DEPTH} deep", HEALS, _altered(_deep)),
    Fault("row-huge", "a row of 1 MiB in each room", HEALS, _altered(_huge)),
    Fault("rows-without-room", "some rows do not name their room", HEALS, _altered(_roomless)),
    Fault("lines-broken", "rows come on several lines", HEALS, _broken_lines),
    Fault("addresses-in-rows", "rows hold addresses that are signed anew each time", HEALS, _signed_inside),
)
