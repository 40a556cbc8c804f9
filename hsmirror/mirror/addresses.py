"""Fresh addresses for recordings whose own have expired, or that have none: minted, or read from their list."""

from __future__ import annotations

import anyio

from hsmirror.api.addresses import SignedAddress, parse_address
from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import Page, parse_document
from hsmirror.errors import CorruptError, NotFoundError
from hsmirror.mirror.context import Context
from hsmirror.mirror.fetch import Request
from hsmirror.mirror.recordings import Recording, parse_recording
from hsmirror.model import ListKey, Scope
from hsmirror.pace.agenda import Urgency
from hsmirror.pace.downloads import AddressLife, needs_fresh_address

_RECORDINGS = DATA_TYPES["recordings"]


class FreshAddresses:
    """Gives addresses as they are needed, just before a download.

    A recording that is minted costs a request; one whose list signs every row costs one for its whole room, so
    that the other addresses of that answer are kept for as long as they are good.
    """

    def __init__(self, context: Context, *, loopback_allowed: bool) -> None:
        self._context = context
        self._loopback_allowed = loopback_allowed
        self._known: dict[tuple[str, str], tuple[SignedAddress, AddressLife]] = {}
        self._listings: dict[tuple[str, str | None], anyio.Event] = {}

    async def fresh(self, recording: Recording) -> SignedAddress:
        """A new address for a recording.

        Raises:
            NotFoundError: its list no longer has it.
            RefusedAddressError, UpstreamError: as its list or its mint answers.
        """
        if recording.mint_path is not None:
            return await self._mint(recording.mint_path)
        listing = (recording.experiment, recording.room)
        while (under_way := self._listings.get(listing)) is not None:
            await under_way.wait()
        known = self._known.pop((recording.path(), recording.source), None)
        if known is None or self._is_stale(known[1], recording):
            await self._list(listing)
            known = self._known.pop((recording.path(), recording.source), None)
        if known is None:
            raise NotFoundError("its row is no longer listed, or has no address any more")
        return known[0]

    def _is_stale(self, life: AddressLife, recording: Recording) -> bool:
        return needs_fresh_address(
            life, now=self._context.clock.epoch(), size_bytes=recording.size_bytes, bytes_per_second=None
        )

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

    async def _list(self, listing: tuple[str, str | None]) -> None:
        experiment, room = listing
        scope, scope_id = (Scope.EXPERIMENT, experiment) if room is None else (Scope.ROOM, room)
        done = self._listings[listing] = anyio.Event()
        try:
            await self._context.reader.read(
                ListKey(experiment, _RECORDINGS, scope, scope_id, room),
                _AddressSink(self, experiment, room),
                urgency=Urgency.ADDRESS,
            )
        finally:
            del self._listings[listing]
            done.set()

    def take(self, page: Page, experiment: str, room: str | None) -> None:
        """Keep the addresses of a page of recordings."""
        now = self._context.clock.epoch()
        for row in page.rows:
            recording = parse_recording(
                row,
                experiment=experiment,
                room=room,
                skew_seconds=self._context.fetcher.skew_seconds,
                loopback_allowed=self._loopback_allowed,
            )
            if recording is not None and recording.address is not None:
                life = AddressLife(now, recording.address.expires_at)
                self._known[recording.path(), recording.source] = (recording.address, life)


class _AddressSink:
    def __init__(self, addresses: FreshAddresses, experiment: str, room: str | None) -> None:
        self._addresses = addresses
        self._experiment = experiment
        self._room = room

    async def write(self, page: Page) -> None:
        self._addresses.take(page, self._experiment, self._room)
