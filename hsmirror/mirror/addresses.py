"""Fresh addresses for recordings whose own have expired, or that have none: minted, or read from their list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import anyio
import anyio.lowlevel

from hsmirror.api.addresses import SignedAddress, parse_address
from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page, parse_document, parse_page
from hsmirror.api.paging import Ask
from hsmirror.errors import (
    CorruptError,
    ForbiddenError,
    InvalidParameterError,
    NotFoundError,
    PermanentError,
    UnaffordableListError,
)
from hsmirror.mirror.context import Context
from hsmirror.mirror.fetch import Request
from hsmirror.mirror.lists import LARGEST_LIMIT, page_request
from hsmirror.mirror.recordings import Recording, parse_recording
from hsmirror.model import ListKey, Scope
from hsmirror.pace.address_pages import AddressPages, PageOfAddresses
from hsmirror.pace.agenda import Urgency
from hsmirror.pace.downloads import AddressLife, needs_fresh_address

_RECORDINGS = DATA_TYPES["recordings"]


@dataclass(frozen=True, slots=True)
class _Twins:
    """What the files of one recording have in common, so that it does not tell them apart."""

    kind: bool = False
    place: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A row with an address, and in which reading of a list it came."""

    recording: Recording
    life: AddressLife
    reading: int

    def is_beside(self, row: Recording, reading: int) -> bool:
        """Is it another row of this reading? Pages overlap."""
        own, other = self.recording, row
        is_again = (own.room, own.place, own.object_kind) == (other.room, other.place, other.object_kind)
        return self.reading == reading and not is_again


@dataclass(slots=True)
class _Listing:
    """One experiment's list of recordings, as a source of addresses."""

    pages: AddressPages = field(default_factory=AddressPages)
    found: dict[str, list[_Found]] = field(default_factory=dict)
    """Rows with addresses, by recording id; each is handed out once."""
    twins: dict[tuple[str | None, str], _Twins] = field(default_factory=dict)
    """By room and id: of recordings that have several files."""
    kinds: dict[int, int] = field(default_factory=dict)
    """The first kind that was listed of each room and id; both by their hashes."""
    under_way: anyio.Event | None = None
    readings: int = 0
    has_failed: bool = False
    """Its pages do not hold what they should."""
    unaffordable: dict[str | None, UnaffordableListError] = field(default_factory=dict)
    """By room: the limits do not leave as many requests as its list needs."""

    @contextmanager
    def being_read(self) -> Iterator[None]:
        """One page at a time: most who wait find what they need on the first."""
        done = self.under_way = anyio.Event()
        try:
            yield
        finally:
            self.under_way = None
            done.set()


class FreshAddresses:
    """Gives addresses as they are needed, just before a download.

    A recording that is minted costs a request. Where lists sign every row, a request gives a page of addresses:
    of the experiment's list, or, where what is wanted is not found in it, of the room's. A recording is found
    there by its id, and among several with the same id by its source and its kind: never by a path alone.
    """

    def __init__(self, context: Context, *, loopback_allowed: bool) -> None:
        self._context = context
        self._loopback_allowed = loopback_allowed
        self._listings: dict[str, _Listing] = {}
        self._arrived: dict[str, AddressLife] = {}

    def listed(self, recording: Recording) -> None:
        """Its row has come: where it stands in the list is where its next address will stand."""
        listing = self._listings.setdefault(recording.experiment, _Listing())
        listing.pages.listed(recording.recording_id if recording.address is not None else None)
        key, kind = (recording.room, recording.recording_id), hash(recording.object_kind)
        if listing.kinds.setdefault(hash(key), kind) != kind:
            listing.twins.setdefault(key, _Twins())

    def has_twins(self, recording: Recording, *, of_kind: bool, at_place: bool) -> None:
        """Other files have its id, and some of them its kind, or even its place but for a token."""
        twins = self._listings.setdefault(recording.experiment, _Listing()).twins
        key = (recording.room, recording.recording_id)
        known = twins.get(key, _Twins())
        twins[key] = _Twins(known.kind or of_kind, known.place or at_place)

    async def fresh(self, recording: Recording) -> Recording:
        """The same recording with a new address; another source where it has moved.

        Raises:
            NotFoundError: its list no longer has it.
            PermanentError: which of several rows is meant cannot be told.
            UnaffordableListError: the limits do not leave what its room's list needs.
            RefusedAddressError, UpstreamError: as its list or its mint answers.
        """
        if recording.mint_path is not None:
            return replace(recording, address=await self._mint(recording.mint_path))
        listing = self._listings.setdefault(recording.experiment, _Listing())
        try:
            while (found := self._handed_out(listing, recording)) is None:
                listing.pages.want(recording.recording_id)
                # Who needs an address in the same moment lines up first: the page begins with the first of all.
                await anyio.lowlevel.checkpoint()
                if listing.under_way is not None:
                    await listing.under_way.wait()
                elif await self._renew(listing, recording):
                    if (last := self._take(listing, recording)) is None:
                        raise NotFoundError("its row is no longer listed, or has no address any more")
                    return last  # it is new, whatever our clock says of it
        finally:
            listing.pages.drop(recording.recording_id)
        return found

    def arrived(self) -> Mapping[str, AddressLife]:
        """By recording id: addresses of others that have come along since this was last asked."""
        arrived, self._arrived = self._arrived, {}
        return arrived

    def _handed_out(self, listing: _Listing, recording: Recording) -> Recording | None:
        found = self._row_of(listing, recording)
        if found is None:
            return None
        fresh = self._take(listing, recording)
        if needs_fresh_address(found.life, now=self._context.clock.epoch()):
            return None
        listing.pages.used_one()
        return fresh

    def _take(self, listing: _Listing, recording: Recording) -> Recording | None:
        """The recording with the address of its row, out of the rows that came."""
        found = self._row_of(listing, recording)
        if found is None:
            return None
        listing.found[recording.recording_id].remove(found)
        row = found.recording
        if row.place == recording.place:  # it has not moved: what is there of it stays good
            return replace(recording, address=row.address)
        return replace(row, room=recording.room)

    def _row_of(self, listing: _Listing, recording: Recording) -> _Found | None:
        of_id = listing.found.get(recording.recording_id, [])
        rows = [
            each for each in of_id if recording.room is None or each.recording.room in {None, recording.room}
        ]
        twins = listing.twins.get((recording.room, recording.recording_id))
        row = _same(recording, [each.recording for each in rows], twins)
        return next((each for each in rows if each.recording is row), None)

    async def _mint(self, path: str) -> SignedAddress:
        request = Request("data/recordings", path.lstrip("/"), {}, urgency=Urgency.ADDRESS)
        minted, _ = await self._context.fetcher.get_parsed(request, parse_document)
        if isinstance(minted, list) and minted:
            minted = minted[0]
        url = minted.get("url") if isinstance(minted, dict) else None
        if not isinstance(url, str):
            raise CorruptError("the API minted no address")
        return parse_address(
            url,
            skew_seconds=self._context.fetcher.skew_seconds,
            loopback_allowed=self._loopback_allowed,
        )

    # --- addresses that lists hold -------------------------------------------------------------------
    async def _renew(self, listing: _Listing, recording: Recording) -> bool:
        """Read what is next; True where that tells all there is to tell of this recording's address."""
        largest = self._context.reader.page_rows(_RECORDINGS.name) or LARGEST_LIMIT
        page = None if listing.has_failed else listing.pages.next_page(most_rows=largest)
        with listing.being_read():
            if page is not None:
                has_come = recording.recording_id in await self._read_page(listing, recording.experiment, page)
                if not has_come or self._row_of(listing, recording) is not None:
                    return has_come
            await self._read_room(listing, recording)
            return True

    async def _read_page(self, listing: _Listing, experiment: str, page: PageOfAddresses) -> Sequence[str]:
        """A page of the experiment's list; gives its ids."""
        listing.readings += 1
        key = ListKey(experiment, _RECORDINGS, Scope.EXPERIMENT, experiment)
        asked = page_request(key, Ask(page.offset, page.rows))
        request = replace(asked, urgency=Urgency.ADDRESS, halves_on_timeout=False)
        try:
            rows = await self._context.fetcher.get_parsed(request, lambda body: parse_page(body, _RECORDINGS))
        except (NotFoundError, ForbiddenError, InvalidParameterError):
            listing.has_failed = True
            return ()
        ids = self.take(rows, listing, experiment)
        listing.has_failed = not listing.pages.received(page, ids)
        return ids

    async def _read_room(self, listing: _Listing, recording: Recording) -> None:
        experiment, room = recording.experiment, recording.room
        if room in listing.unaffordable:
            raise listing.unaffordable[room]  # to find out again would cost a request for each recording
        listing.readings += 1
        scope, scope_id = (Scope.EXPERIMENT, experiment) if room is None else (Scope.ROOM, room)
        try:
            await self._context.reader.read(
                ListKey(experiment, _RECORDINGS, scope, scope_id, room),
                _AddressSink(self, listing, recording),
                urgency=Urgency.ADDRESS,
            )
        except UnaffordableListError as error:
            listing.unaffordable[room] = error
            if self._row_of(listing, recording) is None:  # its first page has come
                raise

    def take(self, page: Page, listing: _Listing, experiment: str, room: str | None = None) -> list[str]:
        """Keep the addresses of a page of recordings in place of older ones; gives the rows' ids.

        Rows of a room's list are of that `room`, whatever they call it.
        """
        now = self._context.clock.epoch()
        for recording_id, found in list(listing.found.items()):
            living = [each for each in found if not needs_fresh_address(each.life, now=now)]
            if living:
                listing.found[recording_id] = living
            else:
                del listing.found[recording_id]
        ids: list[str] = []
        for named, row in zip(page.rooms, page.rows, strict=True):
            recording = parse_recording(
                row,
                experiment=experiment,
                room=named if room is None else room,
                skew_seconds=self._context.fetcher.skew_seconds,
                loopback_allowed=self._loopback_allowed,
            )
            ids.append(recording.recording_id if recording is not None else "")
            if recording is not None and recording.address is not None:
                life = AddressLife(now, recording.address.expires_at)
                before = listing.found.get(recording.recording_id, [])
                others = [each for each in before if each.is_beside(recording, listing.readings)]
                listing.found[recording.recording_id] = [*others, _Found(recording, life, listing.readings)]
                self._arrived[recording.recording_id] = life
        return ids


def _same(recording: Recording, rows: Sequence[Recording], twins: _Twins | None) -> Recording | None:
    """Which of the rows with its id is the recording's own; None where none is.

    Raises:
        PermanentError: more than one may be.
    """
    exact = [row for row in rows if row.source == recording.source]
    if exact:
        return next((row for row in exact if row.object_kind == recording.object_kind), exact[0])
    of_kind = [row for row in rows if row.object_kind == recording.object_kind]
    at_place = [row for row in of_kind if row.place == recording.place]
    if twins is None:
        may_be = at_place or of_kind or list(rows)
    elif twins.place:
        may_be = [recording, *rows]  # nothing tells them apart
    else:
        may_be = at_place or ([] if twins.kind else of_kind)
    if len(may_be) > 1:
        raise PermanentError(
            "several files are listed under its id, and which of them it is cannot be told: none was taken"
        )
    return may_be[0] if may_be else None


class _AddressSink:
    def __init__(self, addresses: FreshAddresses, listing: _Listing, recording: Recording) -> None:
        self._addresses = addresses
        self._listing = listing
        self._recording = recording

    async def write(self, page: Page) -> None:
        recording = self._recording
        self._addresses.take(page, self._listing, recording.experiment, recording.room)
