"""Which experiments the key may read."""

from __future__ import annotations

from contextlib import suppress

from hsmirror.api.envelope import parse_page
from hsmirror.api.paging import Cursor
from hsmirror.errors import ForbiddenError, NotFoundError
from hsmirror.mirror.fetch import Fetcher, Request
from hsmirror.model import DataType
from hsmirror.pace.agenda import Urgency

_EXPERIMENTS = DataType("experiments", "read:experiments", ("id",), ())
_LARGEST_LIMIT = 500


async def all_experiments(fetcher: Fetcher) -> list[str]:
    """The ids of all experiments that the key may read, own and shared, in the server's order.

    Raises:
        NotFoundError: the server does not list experiments: they have to be named.
        UpstreamError: as the fetcher's.
    """
    try:
        found = dict.fromkeys(await _listed(fetcher, "experiments"))
    except NotFoundError:
        raise NotFoundError(
            'the server does not list experiments, so that "*" means nothing to it; name them'
        ) from None
    with suppress(NotFoundError, ForbiddenError):  # nothing is shared, or the server is older
        found.update(dict.fromkeys(await _listed(fetcher, "experiments/shared")))
    return list(found)


async def _listed(fetcher: Fetcher, path: str) -> list[str]:
    cursor = Cursor(limit=_LARGEST_LIMIT)
    found: list[str] = []
    while asks := cursor.asks(1):
        ask = asks[0]
        params = {"limit": str(ask.limit), "offset": str(ask.offset)}
        request = Request("experiments", path, params, Urgency.CATALOGUE)
        page = await fetcher.get_parsed(request, lambda body: parse_page(body, _EXPERIMENTS))
        found += [each for each in cursor.received(ask, page).ids if each is not None]
    return found
