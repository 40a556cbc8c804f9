"""The API as one aiohttp application, over any `Source`."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from hsmirror.clock import Clock, SystemClock
from hsmirror.serve.catalogue import CatalogueHandlers
from hsmirror.serve.data import DataHandlers
from hsmirror.serve.envelope import AnswerStyle
from hsmirror.serve.recordings import Addresses
from hsmirror.serve.refusals import envelope_errors
from hsmirror.serve.source import Source

PLAIN = AnswerStyle()


def api_application(
    source: Source,
    *,
    addresses: Addresses,
    style: AnswerStyle = PLAIN,
    clock: Clock | None = None,
    middlewares: Sequence[Middleware] = (),
) -> web.Application:
    """Every documented endpoint below `/api/v3`, answered from `source`.

    Keys, limits and faults are no part of it: they come as `middlewares`, outermost first, and refuse with
    the exceptions of `serve.refusals`. Read-only: there are GET (and HEAD) routes alone.
    """
    moments = clock or SystemClock()
    app = web.Application(middlewares=[envelope_errors, *middlewares])
    app.add_routes(CatalogueHandlers(source, style, moments).routes())
    app.add_routes(DataHandlers(source, addresses, style, moments).routes())
    return app
