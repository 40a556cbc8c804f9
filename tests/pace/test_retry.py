"""Back-off: growing, jittered, capped, and with an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.pace.retry import CORRUPT, REQUESTS, THROTTLES, Backoff

POLICIES = st.sampled_from([REQUESTS, THROTTLES, CORRUPT, Backoff(0.1, 5.0, 3)])


def test_delays_double_up_to_the_longest() -> None:
    backoff = Backoff(first_seconds=1.0, longest_seconds=5.0, attempts=6)
    assert [backoff.delay_seconds(failures, lambda: 1.0) for failures in range(1, 6)] == [
        1.0,
        2.0,
        4.0,
        5.0,
        5.0,
    ]


@given(policy=POLICIES, failures=st.integers(1, 20), chance=st.floats(0, 1))
def test_each_delay_lies_between_half_of_its_whole_and_the_whole(
    policy: Backoff, failures: int, chance: float
) -> None:
    delay = policy.delay_seconds(failures, lambda: chance)
    if failures >= policy.attempts:
        assert delay is None
        return
    whole = min(policy.first_seconds * 2 ** (failures - 1), policy.longest_seconds)
    assert delay is not None
    assert whole / 2 <= delay <= whole


@pytest.mark.parametrize("policy", [REQUESTS, THROTTLES, CORRUPT])
def test_every_policy_gives_up_after_its_attempts(policy: Backoff) -> None:
    delays = [policy.delay_seconds(failures, lambda: 0.5) for failures in range(1, policy.attempts + 1)]
    assert delays[-1] is None
    assert None not in delays[:-1]
