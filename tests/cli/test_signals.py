from __future__ import annotations

import os
import signal
import threading

import anyio
import pytest

from hsmirror.cli import signals
from hsmirror.errors import Exit, StorageError


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_work_that_ends_gives_its_result() -> None:
    async def work() -> int:
        return 7

    assert signals.run(work) == 7


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)]
)
def test_a_signal_cancels_the_work_which_saves_its_state_first(number: signal.Signals, status: Exit) -> None:
    saved = []

    async def work() -> None:
        try:
            send(number)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                saved.append(True)

    with pytest.raises(signals.Interruption) as caught:
        signals.run(work)

    assert caught.value.exit_status == status
    assert saved


def test_state_that_cannot_be_saved_is_the_error_that_counts() -> None:
    async def work() -> None:
        try:
            send(signal.SIGTERM)
            await anyio.sleep_forever()
        finally:
            raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        signals.run(work)


def test_a_second_signal_ends_the_process_at_once() -> None:
    ended: list[int] = []

    async def work() -> None:
        send(signal.SIGINT)
        send(signal.SIGINT)

    with pytest.raises(signals.Interruption):
        signals.run(work, end_process=ended.append)

    assert ended == [130]


def test_a_work_that_does_not_come_out_is_ended_after_a_while() -> None:
    over = threading.Event()
    ended: list[int] = []

    def end_process(status: int) -> None:
        ended.append(status)
        over.set()

    async def work() -> None:
        send(signal.SIGTERM)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(over.wait)  # a write to a file server that is gone

    with pytest.raises(signals.Interruption):
        signals.run(work, longest_goodbye_seconds=0.01, end_process=end_process)

    assert ended == [143]


def test_afterwards_signals_are_handled_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.interruptions():
        inside = signal.getsignal(signal.SIGTERM)

    assert inside is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_without_an_event_loop_raises() -> None:
    with pytest.raises(signals.Interruption) as caught, signals.interruptions():
        send(signal.SIGTERM)

    assert caught.value.exit_status == Exit.TERMINATED


def test_another_thread_may_run_the_command_but_sees_no_signals() -> None:
    results: list[int] = []

    async def work() -> int:
        return 7

    def on_thread() -> None:
        with signals.interruptions():
            results.append(signals.run(work))

    thread = threading.Thread(target=on_thread)
    thread.start()
    thread.join()

    assert results == [7]
