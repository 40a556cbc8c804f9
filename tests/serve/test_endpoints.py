"""What counts as one endpoint, and the scope that it needs."""

from __future__ import annotations

import pytest

from hsmirror.serve.endpoints import endpoint_of, required_scope


@pytest.mark.parametrize(
    ("path", "endpoint", "scope"),
    [
        ("/api/v3/data/events/room/room_1", "data/events", "read:events"),
        ("/api/v3/data/ratings/sparse/room/room_1", "data/ratings/sparse", "read:ratings"),
        ("/api/v3/data/recordings/download/room_1/rec_1", "data/recordings", "read:recordings"),
        ("/api/v3/data/rooms/experiment/exp_1", "data/rooms", "read:events"),
        ("/api/v3/data/counts/participant/user_1", "data/counts", "read:events"),
        ("/api/v3/data/check-access/experiment/exp_1", "data/check-access", None),
        ("/api/v3/experiments/exp_1/config", "experiments", "read:experiments"),
        ("/api/v3/deployments", "deployments", "read:deployments"),
        ("/api/v3/health", "health", None),
        ("/api/v3/events", "events", None),
        ("/", "", None),
    ],
)
def test_a_path_has_its_endpoint_and_scope(path, endpoint, scope):
    assert endpoint_of(path) == endpoint
    assert required_scope(endpoint) == scope
