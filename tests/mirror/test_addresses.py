"""Fresh addresses: whole pages of them for one request, from wherever the server lists them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from virtual_time import FakeAnswer, VirtualClock, gate_and_budget, run_in_virtual_time

from hsmirror.errors import ForbiddenError, NotFoundError, PermanentError, UnaffordableListError
from hsmirror.mirror.addresses import FreshAddresses
from hsmirror.mirror.context import Context
from hsmirror.mirror.fetch import Fetcher
from hsmirror.mirror.listed_files import ListedFiles, Task
from hsmirror.mirror.lists import ListReader, PageSizes
from hsmirror.mirror.recordings import Recording, parse_recording
from hsmirror.pace.budget import Limits
from hsmirror.serve.envelope import PageFacts, document_paging, rows_envelope

EXPERIMENT = "exp_one"
FILES = 40
FILES_A_ROOM = 4
LIFE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class OfOneRun:
    """The parts of a context that addresses are got by."""

    fetcher: Fetcher
    reader: ListReader
    clock: VirtualClock
    receipts: object = field(default_factory=partial(SimpleNamespace, file=lambda _: None, get=lambda _: None))
    """None are held."""


@dataclass(slots=True)
class Server:
    """Lists recordings, each row with an address that lives for a minute."""

    clock: VirtualClock
    files: list[int] = field(default_factory=lambda: list(range(FILES)))
    lists_experiments: bool = True
    without_address: set[int] = field(default_factory=set)
    most_rows: int = 1000
    """Of a page."""
    asked: list[str] = field(default_factory=list)

    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
        await asyncio.sleep(0.2)
        scope, scope_id = path.split("/")[-2:]
        self.asked.append(scope)
        if scope == "experiment" and not self.lists_experiments:
            raise ForbiddenError("403")
        files = [each for each in self.files if scope == "experiment" or room_of(each) == scope_id]
        offset, limit = int(params["offset"]), min(int(params["limit"]), self.most_rows)
        page = files[offset : offset + limit]
        facts = PageFacts(len(files), len(page), offset, limit)
        return FakeAnswer(rows_envelope([self._row(each) for each in page], document_paging(facts)))

    def _row(self, number: int) -> bytes:
        address = {} if number in self.without_address else {"downloadUrl": self.url(number)}
        return orjson.dumps({"recordingId": f"rec_{number}", "roomId": room_of(number), **address})

    def url(self, number: int) -> str:
        return f"https://storage.example.org/rec_{number}.mp4?Expires={int(self.clock.epoch()) + LIFE_SECONDS}"


def room_of(number: int) -> str:
    return f"room_{number // FILES_A_ROOM}"


def recording(number: int) -> Recording:
    """As it was listed first; its address has expired."""
    url = f"https://storage.example.org/rec_{number}.mp4?Expires=1"
    row = {"recordingId": f"rec_{number}", "roomId": room_of(number), "downloadUrl": url}
    return listed_as(row, room_of(number))


def listed_as(row: Mapping[str, object], room: str | None) -> Recording:
    found = parse_recording(
        orjson.dumps(row), experiment=EXPERIMENT, room=room, skew_seconds=0.0, loopback_allowed=False
    )
    assert found is not None
    return found


def ask(
    script: Callable[[Server, FreshAddresses], Awaitable[None]],
    *,
    listed: bool = True,
    requests_left: int | None = None,
    **server: Any,
) -> Server:
    """Run a script against a server whose list has been read before, unless not `listed`.

    `requests_left` is what the limits allow of a run that may not wait for more.
    """

    async def main(clock: VirtualClock) -> Server:
        upstream = Server(clock, **server)
        if requests_left is None:
            gate, budget = gate_and_budget(clock)
        else:
            limits = Limits(requests_per_hour=requests_left)
            gate, budget = gate_and_budget(clock, limits=limits, longest_wait_seconds=0)
        fetcher = Fetcher(upstream, gate, budget, clock, lambda: 0.5)
        context = OfOneRun(fetcher, ListReader(fetcher, PageSizes(), concurrent_pages=4), clock)
        addresses = FreshAddresses(cast(Context, context), loopback_allowed=False)
        if listed:
            for number in range(FILES):
                addresses.listed(recording(number))
        await script(upstream, addresses)
        return upstream

    return run_in_virtual_time(main)


def leads_to(found: Recording, number: int) -> bool:
    return f"/rec_{number}.mp4?" in revealed(found)


def revealed(found: Recording) -> str:
    assert found.address is not None
    return found.address.url.reveal()


def test_one_request_renews_a_whole_page_of_addresses() -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        for number in range(3, FILES):
            assert leads_to(await addresses.fresh(recording(number)), number)

    assert ask(script).asked == ["experiment"]


def test_one_page_serves_all_who_wait_in_the_same_moment() -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        numbers = (9, 5, 30, 7)
        found = await asyncio.gather(*(addresses.fresh(recording(number)) for number in numbers))
        assert all(leads_to(address, number) for address, number in zip(found, numbers, strict=True))

    assert ask(script).asked == ["experiment"]


def test_an_address_that_came_with_others_is_not_given_once_it_has_expired() -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        await addresses.fresh(recording(3))
        await asyncio.sleep(LIFE_SECONDS)
        address = (await addresses.fresh(recording(4))).address
        assert address is not None
        assert address.remaining_seconds(server.clock.epoch()) > LIFE_SECONDS - 2

    assert ask(script).asked == ["experiment", "experiment"]


def test_no_address_is_given_twice() -> None:
    """Whoever comes back for another one was told that the first does not work."""

    async def script(server: Server, addresses: FreshAddresses) -> None:
        first = await addresses.fresh(recording(3))
        await asyncio.sleep(2)
        assert revealed(await addresses.fresh(recording(3))) != revealed(first)

    assert ask(script).asked == ["experiment", "experiment"]


def test_what_arrived_with_the_others_is_told_once() -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        await addresses.fresh(recording(30))
        assert addresses.arrived().keys() == {f"rec_{number}" for number in range(FILES)}
        assert not addresses.arrived()

    ask(script)


@pytest.mark.parametrize("moved_by", [-3, 3])
def test_rows_that_have_moved_since_are_found(moved_by: int) -> None:
    files = list(range(100, 100 + moved_by)) + list(range(max(0, -moved_by), FILES))

    async def script(server: Server, addresses: FreshAddresses) -> None:
        for number in range(10, FILES):
            assert leads_to(await addresses.fresh(recording(number)), number)

    assert set(ask(script, files=files).asked) == {"experiment"}


def test_where_the_experiment_is_not_listed_the_rooms_are() -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        for number in range(2 * FILES_A_ROOM):
            assert leads_to(await addresses.fresh(recording(number)), number)

    assert ask(script, lists_experiments=False).asked == ["experiment", "room", "room"]


def test_what_was_never_seen_in_the_list_is_looked_for_in_its_room() -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        assert leads_to(await addresses.fresh(recording(7)), 7)

    assert ask(script, listed=False).asked == ["room"]


@pytest.mark.parametrize("lists_experiments", [True, False])
def test_a_row_that_has_no_address_any_more_is_an_error_of_its_own(lists_experiments: bool) -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        with pytest.raises(NotFoundError):
            await addresses.fresh(recording(7))
        assert leads_to(await addresses.fresh(recording(8)), 8)

    ask(script, without_address={7}, lists_experiments=lists_experiments)


def test_a_row_that_is_gone_is_an_error_of_its_own() -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        with pytest.raises(NotFoundError):
            await addresses.fresh(recording(7))
        for number in range(8, FILES):
            assert leads_to(await addresses.fresh(recording(number)), number)

    asked = ask(script, files=[number for number in range(FILES) if number != 7]).asked
    assert asked == ["experiment", "room"]


UNAFFORDABLE = {"listed": False, "most_rows": 1, "requests_left": FILES_A_ROOM - 1}
"""The room's list has a page a file, one more than may be asked for."""


def test_a_room_whose_list_the_limits_do_not_leave_is_asked_for_once() -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        for number in (3, 2):
            with pytest.raises(UnaffordableListError):
                await addresses.fresh(recording(number))

    assert ask(script, **UNAFFORDABLE).asked == ["room"]


@pytest.mark.parametrize("before", [(), (3,)])
def test_what_the_first_page_of_such_a_list_tells_is_used(before: tuple[int, ...]) -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        for number in before:
            with pytest.raises(UnaffordableListError):
                await addresses.fresh(recording(number))
        assert leads_to(await addresses.fresh(recording(0)), 0)

    assert ask(script, **UNAFFORDABLE).asked == ["room"]


def test_another_room_is_asked_for_all_the_same() -> None:
    async def script(server: Server, addresses: FreshAddresses) -> None:
        with pytest.raises(UnaffordableListError):
            await addresses.fresh(recording(3))
        first_of_another = FILES_A_ROOM
        assert leads_to(await addresses.fresh(recording(first_of_another)), first_of_another)

    assert ask(script, **UNAFFORDABLE).asked == ["room", "room"]


# --- which of the rows it is ---------------------------------------------------------------------------
@dataclass
class Signing:
    """A server whose rows are `rows`, each with a URL that `urls` makes anew."""

    clock: VirtualClock
    rows: list[dict[str, object]] = field(default_factory=list)

    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
        facts = PageFacts(len(self.rows), len(self.rows), 0, 1000)
        until = int(self.clock.epoch()) + LIFE_SECONDS
        texts = (orjson.dumps(row).replace(b"UNTIL", str(until).encode()) for row in self.rows)
        fresh = (text.replace(b"TOKEN", secrets.token_hex(6).encode()) for text in texts)
        return FakeAnswer(rows_envelope(list(fresh), document_paging(facts)))


def row_of(recording_id: str, url: str, **fields: object) -> dict[str, object]:
    signed = f"{HOST}{url}{'&' if '?' in url else '?'}Expires=UNTIL&Signature=ab"
    return {"recordingId": recording_id, "roomId": "room_0", "downloadUrl": signed, **fields}


def found_anew(listed: list[dict[str, object]], now: list[dict[str, object]]) -> list[str]:
    """For each row that was listed with a URL that has expired since, the URL that it gets; or the error."""

    async def main(clock: VirtualClock) -> list[str]:
        gate, budget = gate_and_budget(clock)
        fetcher = Fetcher(Signing(clock, now), gate, budget, clock, lambda: 0.5)
        context = OfOneRun(fetcher, ListReader(fetcher, PageSizes(), concurrent_pages=4), clock)
        downloads = Waiting()
        addresses = FreshAddresses(cast(Context, context), loopback_allowed=False)
        files = ListedFiles(cast(Context, context), downloads, addresses)
        files.begin_page()
        for row in listed:
            expired = orjson.dumps(row).replace(b"UNTIL", b"1").replace(b"TOKEN", b"0123456789ab")
            files.add(listed_as(orjson.loads(expired), "room_0"))
        urls = []
        for task in downloads.tasks:
            try:
                urls.append(revealed(await addresses.fresh(task.recording)).partition("Expires")[0].strip("?&"))
            except (PermanentError, NotFoundError) as error:
                urls.append(type(error).__name__)
        return urls

    return run_in_virtual_time(main)


@dataclass
class Waiting:
    """What is to be fetched."""

    tasks: list[Task] = field(default_factory=list)

    def fetch(self, task: Task) -> None:
        self.tasks.append(task)

    def is_there(self, path: str, recording: Recording) -> None: ...
    def pends(self, path: str, recording: Recording, why: str) -> None: ...
    def fails(self, path: str, recording: Recording, why: str) -> None: ...
    def has_none(self, path: str, recording: Recording) -> None: ...


HOST = "https://storage.example.org"


def test_recordings_behind_one_path_each_get_their_own_url() -> None:
    rows = [row_of(f"rec_{number}", f"/download?file=rec_{number}") for number in range(3)]
    assert found_anew(rows, rows[::-1]) == [f"{HOST}/download?file=rec_{number}" for number in range(3)]


def test_files_of_one_recording_are_told_apart_by_their_sources_and_kinds() -> None:
    rows = [
        row_of("rec", "/download?file=speaker"),
        row_of("rec", "/download?file=gallery"),
        row_of("rec", "/download?file=sound", format="webm", metadata={"type": "audio"}),
    ]
    found = [f"{HOST}/download?file={name}" for name in ("speaker", "gallery", "sound")]
    assert found_anew(rows, [rows[2], rows[1], rows[0]]) == found
    assert found_anew(rows, rows[:1]) == [found[0], "NotFoundError", "NotFoundError"]


def test_files_of_one_recording_whose_urls_have_all_moved_are_told_apart_by_kind_or_not_at_all() -> None:
    kinds = ({"format": "mp4"}, {"format": "webm", "metadata": {"type": "audio"}})
    listed = [row_of("rec", f"/old/{number}", **kind) for number, kind in enumerate(kinds)]
    now = [row_of("rec", f"/new/{number}", **kind) for number, kind in enumerate(kinds)]
    assert found_anew(listed, now[::-1]) == [f"{HOST}/new/0", f"{HOST}/new/1"]
    assert found_anew(listed, now[1:]) == ["NotFoundError", f"{HOST}/new/1"]
    alike = [row_of("rec", f"/old/{name}") for name in ("speaker", "gallery")]
    moved = [row_of("rec", f"/new/{name}") for name in ("speaker", "gallery")]
    assert found_anew(alike, moved) == ["NotFoundError", "NotFoundError"]


def test_a_recording_is_found_by_its_id_whatever_token_its_path_has() -> None:
    rows = [row_of(f"rec_{number}", f"/t/TOKEN/rec_{number}.mp4") for number in range(3)]
    assert [url.rpartition("/")[2] for url in found_anew(rows, rows[::-1])] == [
        f"rec_{number}.mp4" for number in range(3)
    ]


def test_where_several_rows_may_be_meant_none_is_taken() -> None:
    listed, now = [row_of("rec", "/old/film")], [row_of("rec", f"/new/{name}") for name in ("one", "two")]
    assert found_anew(listed, now) == ["PermanentError"]
