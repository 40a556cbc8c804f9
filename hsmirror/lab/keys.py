"""The keys that the lab knows, and what it answers to others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hsmirror.serve.endpoints import endpoint_of, required_scope
from hsmirror.serve.refusals import refusal

KEY_HEADER = "X-API-Key"

_KEYLESS_ENDPOINTS = frozenset({"health"})


@dataclass(frozen=True, slots=True)
class LabKey:
    """One key; `scopes` are what it may do (`read:events`), None: everything."""

    text: str = field(default="hst_test_" + "0123456789abcdef" * 4, repr=False)
    scopes: frozenset[str] | None = None

    @property
    def key_id(self) -> str:
        """A short name for the key that gives nothing of it away; the request log and the limits go by it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]


LAB_KEY: web.RequestKey[LabKey] = web.RequestKey("lab_key", LabKey)
"""Where a request holds the key that it came with, once that is known to be good."""


def by_text(keys: Sequence[LabKey]) -> Mapping[str, LabKey]:
    """The keys by what stands in the header."""
    return {key.text: key for key in keys}


def key_required(keys: Sequence[LabKey]) -> Middleware:
    """401 without a key, or with an unknown one; the health endpoint needs none."""
    known = by_text(keys)

    @web.middleware
    async def check_key(request: web.Request, handler: Handler) -> web.StreamResponse:
        if endpoint_of(request.path) in _KEYLESS_ENDPOINTS:
            return await handler(request)
        given = request.headers.get(KEY_HEADER)
        if given is None:
            raise refusal(401, "AUTHENTICATION_ERROR", f"Missing API key: send it as {KEY_HEADER}")
        if given not in known:
            raise refusal(401, "AUTHENTICATION_ERROR", "Invalid or expired API key")
        request[LAB_KEY] = known[given]
        return await handler(request)

    return check_key


def scopes_required() -> Middleware:
    """403 where the endpoint needs a scope that the key lacks. Stands behind `key_required`."""

    @web.middleware
    async def check_scope(request: web.Request, handler: Handler) -> web.StreamResponse:
        key = request.get(LAB_KEY)
        needed = required_scope(endpoint_of(request.path))
        if key is not None and key.scopes is not None and needed is not None and needed not in key.scopes:
            details = {"required": [needed], "provided": sorted(key.scopes)}
            raise refusal(403, "FORBIDDEN", f"Insufficient scopes. Required: {needed}", details)
        return await handler(request)

    return check_scope
