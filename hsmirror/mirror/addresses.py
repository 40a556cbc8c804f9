"""Fresh addresses for recordings whose own have expired, or that have none: minted, or read from their list."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import anyio

from hsmirror.api.addresses import SignedAddress, parse_address
from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page, parse_document, parse_page
from hsmirror.api.paging import Ask
from hsmirror.errors import CorruptError, ForbiddenError, InvalidParameterError, NotFoundError
from hsmirror.mirror.context import Context
from hsmirror.mirror.fetch import Request
from hsmirror.mirror.lists import LARGEST_LIMIT, page_request
from hsmirror.mirror.recordings import Recording, parse_recording
from hsmirror.model import ListKey, Scope
from hsmirror.pace.agenda import Urgency
from hsmirror.pace.downloads import AddressLife, needs_fresh_address

_RECORDINGS = DATA_TYPES["recordings"]

_FEWEST_ROWS = 64
"""Of a page that is read for its addresses: fewer would not make it come any sooner."""


@dataclass(slots=True)
class _Listing:
    """What is known of one experiment's list of recordings, and of the page last read for its addresses."""

    rows: int = 0
    places: dict[str, int] = field(default_factory=dict)
    """By source: how many rows came before it."""
    shift: int = 0
    """By how much rows stand further down by now."""
    has_failed: bool = False
    """Pages of it do not hold what they should."""
    addresses: dict[str, tuple[SignedAddress, AddressLife]] = field(default_factory=dict)
    """By source; handed out once."""
    used: int | None = None
    """How many addresses of the last page have been handed out; None before the first."""
    under_way: anyio.Event | None = None


class FreshAddresses:
    """Gives addresses as they are needed, just before a download.

    A recording that is minted costs a request. Where lists sign every row, a request gives a page of addresses,
    so that a page of the experiment's list is read, from the place of the recording on: files are fetched in
    about the order of that list. No more rows are asked for than twice what the last page was good for.
    """

    def __init__(self, context: Context, *, loopback_allowed: bool) -> None:
        self._context = context
        self._loopback_allowed = loopback_allowed
        self._listings: dict[str, _Listing] = {}

    def listed(self, recording: Recording) -> None:
        """Its row has come: where it stands in the list is where its next address will stand."""
        listing = self._listings.setdefault(recording.experiment, _Listing())
        if recording.address is not None:
            listing.places.setdefault(recording.source, listing.rows)
        listing.rows += 1

    async def fresh(self, recording: Recording) -> SignedAddress:
        """A new address for a recording.

        Raises:
            NotFoundError: its list no longer has it.
            RefusedAddressError, UpstreamError: as its list or its mint answers.
        """
        if recording.mint_path is not None:
            return await self._mint(recording.mint_path)
        listing = self._listings.setdefault(recording.experiment, _Listing())
        while listing.under_way is not None:
            await listing.under_way.wait()
        address = self._handed_out(listing, recording)
        if address is None:
            listing.under_way = anyio.Event()
            try:
                await self._renew(listing, recording)
            finally:
                listing.under_way.set()
                listing.under_way = None
            address = self._handed_out(listing, recording)
        if address is None:
            raise NotFoundError("its row is no longer listed, or has no address any more")
        return address

    def _handed_out(self, listing: _Listing, recording: Recording) -> SignedAddress | None:
        address, life = listing.addresses.pop(recording.source, (None, None))
        if needs_fresh_address(life, now=self._context.clock.epoch()):
            return None
        listing.used = (listing.used or 0) + 1
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
    async def _renew(self, listing: _Listing, recording: Recording) -> None:
        """Read where the address should be: in the experiment's list, else in that of its room."""
        if not listing.has_failed:
            if await self._read_page_of(listing, recording):
                return
            listing.has_failed = True
        experiment, room = recording.experiment, recording.room
        scope, scope_id = (Scope.EXPERIMENT, experiment) if room is None else (Scope.ROOM, room)
        await self._context.reader.read(
            ListKey(experiment, _RECORDINGS, scope, scope_id, room),
            _AddressSink(self, listing, experiment),
            urgency=Urgency.ADDRESS,
        )

    async def _read_page_of(self, listing: _Listing, recording: Recording) -> bool:
        """Read a page of the experiment's list that begins with a recording; was it there?

        Where other rows stand there, these tell how far it has moved.
        """
        if recording.source not in listing.places:
            return False
        for _ in range(2):
            offset = max(0, listing.places[recording.source] + listing.shift)
            limit = self._rows_to_ask_for(listing)
            try:
                sources = await self._read_page(listing, recording.experiment, Ask(offset, limit))
            except (NotFoundError, ForbiddenError, InvalidParameterError):
                return False
            if recording.source in sources:
                return True
            known = [(place, source) for place, source in enumerate(sources) if source in listing.places]
            if not known:
                return False
            place, source = known[0]
            listing.shift = offset + place - listing.places[source]
        return False

    def _rows_to_ask_for(self, listing: _Listing) -> int:
        largest = self._context.reader.page_rows(_RECORDINGS.name) or LARGEST_LIMIT
        return largest if listing.used is None else min(largest, max(_FEWEST_ROWS, 2 * listing.used))

    async def _read_page(self, listing: _Listing, experiment: str, ask: Ask) -> list[str]:
        key = ListKey(experiment, _RECORDINGS, Scope.EXPERIMENT, experiment)
        request = replace(page_request(key, ask), urgency=Urgency.ADDRESS, halves_on_timeout=False)
        page = await self._context.fetcher.get_parsed(request, lambda body: parse_page(body, _RECORDINGS))
        listing.used = 0
        return self.take(page, listing, experiment)

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
        return sources


class _AddressSink:
    def __init__(self, addresses: FreshAddresses, listing: _Listing, experiment: str) -> None:
        self._addresses = addresses
        self._listing = listing
        self._experiment = experiment

    async def write(self, page: Page) -> None:
        self._addresses.take(page, self._listing, self._experiment)
