"""Files that wait to be fetched, and the next one's address that is asked for ahead."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from virtual_time import VirtualClock, run_in_virtual_time

from hsmirror.mirror.addresses import FreshAddresses
from hsmirror.mirror.lineup import LineUp
from hsmirror.pace.downloads import AddressLife


class BrokenAddresses:
    def arrived(self) -> Mapping[str, AddressLife]:
        """Fails."""
        raise ValueError("broken")


def test_what_goes_wrong_while_the_next_file_is_prepared_ahead_ends_the_run() -> None:
    """A timer prepares it, and what is raised there would reach nobody."""
    seconds = 0.0

    async def main(clock: VirtualClock) -> None:
        nonlocal seconds
        lineup: LineUp[Any] = LineUp(cast(FreshAddresses, BrokenAddresses()), clock)
        try:
            async with anyio.create_task_group() as tasks:
                lineup.begin(tasks)
                with lineup.under_way(SimpleNamespace(life=None)) as under_way:
                    under_way.expect(1000)
                    await anyio.sleep(1)
                    under_way.received(100)
                    await anyio.sleep(3600)
        finally:
            seconds = clock.monotonic()

    with pytest.raises(ExceptionGroup) as failed:
        run_in_virtual_time(main)
    assert "broken" in repr(failed.value.exceptions)
    assert seconds == pytest.approx(10)
