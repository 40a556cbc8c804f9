"""Error answers in the API's envelope: `{"status": "error", "error": {code, message, details}}`.

They are aiohttp's own HTTP exceptions, raised wherever a request turns out not to be answerable.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from hsmirror.model import Scope

_log = logging.getLogger(__name__)

_BY_STATUS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    401: web.HTTPUnauthorized,
    403: web.HTTPForbidden,
    404: web.HTTPNotFound,
    429: web.HTTPTooManyRequests,
    500: web.HTTPInternalServerError,
}


def error_text(code: str, message: str, details: Mapping[str, Any] | None = None) -> str:
    """The error envelope as JSON."""
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["details"] = dict(details)
    return orjson.dumps({"status": "error", "error": error}).decode()


def refusal(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.HTTPException:
    """An answer to be raised; `status` is one of 400, 401, 403, 404, 429 and 500."""
    return _BY_STATUS[status](
        text=error_text(code, message, details), headers=headers, content_type="application/json"
    )


def invalid_parameter(name: str, value: str | None, expected: str) -> web.HTTPException:
    """400 for one query parameter: which, and what it should have been."""
    message = f"Missing parameter '{name}': {expected}" if value is None else f"Invalid '{name}': {expected}"
    details = {"parameter": name} if value is None else {"parameter": name, "value": value[:200]}
    return refusal(400, "INVALID_PARAMETER", message, details)


def not_found(what: str) -> web.HTTPException:
    """404 for a thing that is not there; `what` opens the sentence, as in "Room"."""
    return refusal(404, "NOT_FOUND", f"{what} not found")


def scope_not_found(scope: Scope) -> web.HTTPException:
    """404 for an unknown experiment, room or participant."""
    return not_found(scope.value.capitalize())


def route_not_found(request: web.Request) -> web.HTTPException:
    """404 for a path that this server does not serve."""
    return refusal(404, "ROUTE_NOT_FOUND", f"Route {request.method} {request.path} not found")


@web.middleware
async def envelope_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the router's own 404 and 405, and every failure inside, the API's envelope."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as answer:
        text = error_text("METHOD_NOT_ALLOWED", f"Method {request.method} is not allowed here")
        headers = {"Allow": answer.headers["Allow"]}
        return web.Response(status=405, text=text, headers=headers, content_type="application/json")
    except web.HTTPNotFound as answer:
        if answer.content_type == "application/json":
            raise
        raise route_not_found(request) from None
    except web.HTTPException:
        raise
    except Exception:  # noqa: BLE001 - the edge of the server: whatever breaks, the client gets an answer
        _log.exception("%s %s failed", request.method, request.path)
        raise refusal(500, "INTERNAL_ERROR", "The server could not answer this request") from None
