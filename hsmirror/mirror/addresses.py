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


@dataclass(slots=True)
class _Listing:
    """One experiment's list of recordings, as a source of addresses."""

    pages: AddressPages = field(default_factory=AddressPages)
    addresses: dict[str, tuple[SignedAddress, AddressLife]] = field(default_factory=dict)
    """By source; handed out once."""
    under_way: anyio.Event | None = None
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
    of the experiment's list, or, where what is wanted is not found in it, of the room's.
    """

    def __init__(self, context: Context, *, loopback_allowed: bool) -> None:
        self._context = context
        self._loopback_allowed = loopback_allowed
        self._listings: dict[str, _Listing] = {}
        self._arrived: dict[str, AddressLife] = {}

    def listed(self, recording: Recording) -> None:
        """Its row has come: where it stands in the list is where its next address will stand."""
        listing = self._listings.setdefault(recording.experiment, _Listing())
        listing.pages.listed(recording.source if recording.address is not None else None)

    async def fresh(self, recording: Recording) -> SignedAddress:
        """A new address for a recording.

        Raises:
            NotFoundError: its list no longer has it.
            UnaffordableListError: the limits do not leave what its room's list needs.
            RefusedAddressError, UpstreamError: as its list or its mint answers.
        """
        if recording.mint_path is not None:
            return await self._mint(recording.mint_path)
        listing = self._listings.setdefault(recording.experiment, _Listing())
        source = recording.source
        try:
            while (address := self._handed_out(listing, source)) is None:
                listing.pages.want(source)
                # Who needs an address in the same moment lines up first: the page begins with the first of all.
                await anyio.lowlevel.checkpoint()
                if listing.under_way is not None:
                    await listing.under_way.wait()
                elif await self._renew(listing, recording):
                    if source not in listing.addresses:
                        raise NotFoundError("its row is no longer listed, or has no address any more")
                    return listing.addresses.pop(source)[0]  # it is new, whatever our clock says of it
        finally:
            listing.pages.drop(source)
        return address

    def arrived(self) -> Mapping[str, AddressLife]:
        """By source: addresses of others that have come along since this was last asked."""
        arrived, self._arrived = self._arrived, {}
        return arrived

    def _handed_out(self, listing: _Listing, source: str) -> SignedAddress | None:
        address, life = listing.addresses.pop(source, (None, None))
        if needs_fresh_address(life, now=self._context.clock.epoch()):
            return None
        listing.pages.used_one()
        return address

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
                return recording.source in await self._read_page(listing, recording.experiment, page)
            await self._read_room(listing, recording)
            return True

    async def _read_page(self, listing: _Listing, experiment: str, page: PageOfAddresses) -> Sequence[str]:
        """A page of the experiment's list; gives its sources."""
        key = ListKey(experiment, _RECORDINGS, Scope.EXPERIMENT, experiment)
        asked = page_request(key, Ask(page.offset, page.rows))
        request = replace(asked, urgency=Urgency.ADDRESS, halves_on_timeout=False)
        try:
            rows = await self._context.fetcher.get_parsed(request, lambda body: parse_page(body, _RECORDINGS))
        except (NotFoundError, ForbiddenError, InvalidParameterError):
            listing.has_failed = True
            return ()
        sources = self.take(rows, listing, experiment)
        listing.has_failed = not listing.pages.received(page, sources)
        return sources

    async def _read_room(self, listing: _Listing, recording: Recording) -> None:
        experiment, room = recording.experiment, recording.room
        if room in listing.unaffordable:
            raise listing.unaffordable[room]  # to find out again would cost a request for each recording
        scope, scope_id = (Scope.EXPERIMENT, experiment) if room is None else (Scope.ROOM, room)
        try:
            await self._context.reader.read(
                ListKey(experiment, _RECORDINGS, scope, scope_id, room),
                _AddressSink(self, listing, experiment),
                urgency=Urgency.ADDRESS,
            )
        except UnaffordableListError as error:
            listing.unaffordable[room] = error
            if recording.source not in listing.addresses:  # its first page has come
                raise

    def take(self, page: Page, listing: _Listing, experiment: str) -> list[str]:
        """Keep the addresses of a page of recordings in place of those that have expired; gives its sources."""
        now = self._context.clock.epoch()
        for source, (_, life) in list(listing.addresses.items()):
            if needs_fresh_address(life, now=now):
                del listing.addresses[source]
        sources: list[str] = []
        for row in page.rows:
            recording = parse_recording(
                row,
                experiment=experiment,
                room=None,
                skew_seconds=self._context.fetcher.skew_seconds,
                loopback_allowed=self._loopback_allowed,
            )
            sources.append(recording.source if recording is not None else "")
            if recording is not None and recording.address is not None:
                life = AddressLife(now, recording.address.expires_at)
                listing.addresses[recording.source] = (recording.address, life)
                self._arrived[recording.source] = life
        return sources


class _AddressSink:
    def __init__(self, addresses: FreshAddresses, listing: _Listing, experiment: str) -> None:
        self._addresses = addresses
        self._listing = listing
        self._experiment = experiment

    async def write(self, page: Page) -> None:
        self._addresses.take(page, self._listing, self._experiment)
