"""The gate and the fetcher in virtual time: admission, back-off, pauses, giving up, and being cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from errno import EROFS
from typing import Any, TypeVar

import pytest
from virtual_time import (
    FakeAnswer,
    NoOtherRuns,
    ScriptedWire,
    VirtualClock,
    fetcher_over,
    gate_and_budget,
    run_in_virtual_time,
)

from hsmirror.errors import (
    BudgetExhaustedError,
    CorruptError,
    ForbiddenError,
    KeyRefusedError,
    NotFoundError,
    ThrottledError,
    TimedOutError,
    TransientError,
    UpstreamError,
)
from hsmirror.mirror.fetch import Fetcher, Gate, Request
from hsmirror.pace.agenda import Urgency
from hsmirror.pace.budget import Budget, Limits

T = TypeVar("T")


def request(endpoint: str = "data/events", urgency: Urgency = Urgency.DOCUMENTED, **options: Any) -> Request:
    return Request(endpoint, f"{endpoint}/room/r", {}, urgency, **options)


async def outcome_of(work: Coroutine[Any, Any, T]) -> T | Exception:
    try:
        return await work
    except Exception as error:  # noqa: BLE001  # handed to the assertion
        return error


def fetch(
    *script: FakeAnswer | Exception, **options: Any
) -> tuple[bytes | Exception, ScriptedWire, VirtualClock]:
    """One request against a script of answers: its outcome, what the wire saw, and the clock at the end."""

    async def main(clock: VirtualClock) -> tuple[bytes | Exception, ScriptedWire, VirtualClock]:
        wire = ScriptedWire(clock, script)
        return await outcome_of(fetcher_over(wire).get(request(**options))), wire, clock

    return run_in_virtual_time(main)


# --- trying again ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("failure", [TransientError("503"), CorruptError("HTML")])
def test_fault_15_and_18_trouble_that_passes_is_tried_again(failure: Exception) -> None:
    outcome, wire, _ = fetch(failure, failure, FakeAnswer(b"[]"))
    assert outcome == b"[]"
    assert len(wire.sent_at) == 3


@pytest.mark.parametrize(("failure", "attempts"), [(TransientError("503"), 6), (CorruptError("HTML"), 3)])
def test_fault_15_and_18_trouble_that_stays_is_given_up_after_a_bounded_number_of_tries(
    failure: Exception, attempts: int
) -> None:
    outcome, wire, _ = fetch(failure)
    assert outcome is failure
    assert len(wire.sent_at) == attempts


@pytest.mark.parametrize("failure", [KeyRefusedError("401"), ForbiddenError("403"), NotFoundError("404")])
def test_fault_16_what_cannot_get_better_is_asked_once(failure: Exception) -> None:
    outcome, wire, _ = fetch(failure)
    assert outcome is failure
    assert len(wire.sent_at) == 1


def test_pauses_between_tries_grow() -> None:
    _, wire, _ = fetch(TransientError("503"))
    gaps = [after - before for before, after in zip(wire.sent_at, wire.sent_at[1:], strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 4 * gaps[0]


def test_fault_10_a_timeout_is_the_callers_where_it_can_ask_for_less() -> None:
    failure = TimedOutError("504")
    outcome, wire, _ = fetch(failure, halves_on_timeout=True)
    assert outcome is failure
    assert len(wire.sent_at) == 1


def test_fault_10_a_timeout_is_tried_again_where_nobody_can_ask_for_less() -> None:
    outcome, wire, _ = fetch(TimedOutError("504"), FakeAnswer(b"[]"))
    assert outcome == b"[]"
    assert len(wire.sent_at) == 2


def test_fault_17_a_body_that_does_not_parse_is_asked_for_again() -> None:
    async def main(clock: VirtualClock) -> str:
        wire = ScriptedWire(clock, [FakeAnswer(b"cut sho"), FakeAnswer(b"whole")])

        def parse(body: bytes) -> str:
            if body != b"whole":
                raise CorruptError("cut short")
            return body.decode()

        return await fetcher_over(wire).get_parsed(request(), parse)

    assert run_in_virtual_time(main) == "whole"


def test_a_request_that_backs_off_holds_no_slot() -> None:
    """With one slot, others go while it waits."""

    async def main(clock: VirtualClock) -> list[float]:
        wire = ScriptedWire(clock, [TransientError("503"), FakeAnswer()], latency_seconds=0.01)
        fetcher = fetcher_over(wire, slots=1)
        await asyncio.gather(fetcher.get(request()), fetcher.get(request("data/chat")))
        return wire.sent_at

    first, second, third = run_in_virtual_time(main)
    assert second - first < 0.02
    assert third - first > 0.25


# --- 429 -------------------------------------------------------------------------------------------------
def test_fault_13_a_429_is_waited_out_as_long_as_the_server_asks_and_hardly_longer() -> None:
    outcome, wire, _ = fetch(ThrottledError("429", retry_after_seconds=30.0), FakeAnswer(b"[]"))
    assert outcome == b"[]"
    answered_at = wire.sent_at[0] + wire.latency_seconds
    assert 30.0 <= wire.sent_at[1] - answered_at <= 30.2


def test_fault_12_a_429_that_does_not_say_is_backed_off_from_longer_each_time() -> None:
    outcome, wire, _ = fetch(*[ThrottledError("429")] * 5, FakeAnswer(b"[]"))
    assert outcome == b"[]"
    gaps = [after - before for before, after in zip(wire.sent_at, wire.sent_at[1:], strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 5.0
    assert gaps[-1] > 15.0


def test_fault_12_429s_without_end_are_given_up_at_last() -> None:
    outcome, wire, _ = fetch(ThrottledError("429"))
    assert isinstance(outcome, ThrottledError)
    assert len(wire.sent_at) == 12


def test_fault_12_after_a_429_nothing_goes_with_that_key_until_the_pause_is_over() -> None:
    async def main(clock: VirtualClock) -> tuple[list[float], float]:
        wire = ScriptedWire(clock, [ThrottledError("429", retry_after_seconds=30.0), FakeAnswer()])
        fetcher = fetcher_over(wire, slots=1)
        await asyncio.gather(*(fetcher.get(request(f"data/{number}")) for number in range(5)))
        return wire.sent_at, wire.latency_seconds

    sent_at, latency = run_in_virtual_time(main)
    refused_at = sent_at[0] + latency
    assert [at for at in sent_at[1:] if at < refused_at + 30.0] == []


def test_fault_12_requests_that_were_refused_together_are_one_refusal() -> None:
    """Sixteen 429s of one burst must not make the pause as long as sixteen in a row would."""

    async def main(clock: VirtualClock) -> float:
        wire = ScriptedWire(clock, [*[ThrottledError("429")] * 16, FakeAnswer()])
        fetcher = fetcher_over(wire, slots=16)
        await asyncio.gather(*(fetcher.get(request()) for _ in range(16)))
        return clock.monotonic()

    assert run_in_virtual_time(main) < 10.0


# --- the key refused, the budget exhausted -----------------------------------------------------------------
def test_fault_16_a_refused_key_stops_all_that_waits_and_all_that_comes() -> None:
    async def main(clock: VirtualClock) -> tuple[list[bytes | Exception], int]:
        wire = ScriptedWire(clock, [KeyRefusedError("401")])
        fetcher = fetcher_over(wire, slots=2)
        outcomes = await asyncio.gather(*(outcome_of(fetcher.get(request())) for _ in range(50)))
        outcomes.append(await outcome_of(fetcher.get(request())))
        return outcomes, len(wire.sent_at)

    outcomes, sent = run_in_virtual_time(main)
    assert all(isinstance(outcome, KeyRefusedError) for outcome in outcomes)
    assert sent == 2


def test_a_run_that_may_not_wait_ends_when_the_budget_does_and_says_when_to_resume() -> None:
    async def main(clock: VirtualClock) -> tuple[list[bytes | Exception], VirtualClock]:
        wire = ScriptedWire(clock)
        gate, budget = gate_and_budget(clock, limits=Limits(requests_per_hour=3), longest_wait_seconds=60.0)
        fetcher = Fetcher(wire, gate, budget, clock, lambda: 0.5)
        return await asyncio.gather(*(outcome_of(fetcher.get(request())) for _ in range(5))), clock

    outcomes, clock = run_in_virtual_time(main)
    exhausted = [outcome for outcome in outcomes if isinstance(outcome, BudgetExhaustedError)]
    assert len(exhausted) == 2
    assert exhausted[0].resume_at == pytest.approx(clock.epoch_at_zero + 3600.1)
    assert clock.monotonic() < 1.0


def test_a_run_that_may_wait_goes_on_with_the_next_window() -> None:
    async def main(clock: VirtualClock) -> float:
        wire = ScriptedWire(clock)
        fetcher = fetcher_over(wire, limits=Limits(requests_per_hour=3))
        await asyncio.gather(*(fetcher.get(request()) for _ in range(5)))
        return wire.sent_at[-1]

    assert run_in_virtual_time(main) == pytest.approx(3600.1)


# --- slots, urgency, the others ------------------------------------------------------------------------------
def test_no_more_requests_than_slots_are_under_way() -> None:
    async def main(clock: VirtualClock) -> tuple[int, float]:
        wire = ScriptedWire(clock, latency_seconds=1.0)
        fetcher = fetcher_over(wire, slots=4)
        await asyncio.gather(*(fetcher.get(request()) for _ in range(20)))
        return wire.most_in_flight, clock.monotonic()

    most, took = run_in_virtual_time(main)
    assert most == 4
    assert took == pytest.approx(5.0)


def test_the_most_urgent_request_goes_first() -> None:
    async def main(clock: VirtualClock) -> list[str]:
        wire = ScriptedWire(clock)
        fetcher = fetcher_over(wire, slots=1)
        urgencies = {"a": Urgency.NEWER, "b": Urgency.NEWER, "c": Urgency.ADDRESS, "d": Urgency.CATALOGUE}
        await asyncio.gather(*(fetcher.get(request(name, urgency)) for name, urgency in urgencies.items()))
        return [path[0] for path in wire.paths]

    assert run_in_virtual_time(main) == ["c", "d", "a", "b"]


def test_fault_14_another_runs_requests_are_counted_before_each_admission_and_ours_are_told() -> None:
    class OtherRuns(NoOtherRuns):
        def __init__(self) -> None:
            self.told: list[str] = []
            self.caught_up = 0

        def catch_up(self, budget: Budget) -> None:
            if not self.caught_up:
                for _ in range(2):
                    budget.spent_elsewhere("data/chat", 0.0)
            self.caught_up += 1

        def sent(self, endpoint: str) -> None:
            self.told.append(endpoint)

    async def main(clock: VirtualClock) -> tuple[OtherRuns, list[float]]:
        others, budget, wire = OtherRuns(), Budget(Limits(requests_per_hour=3)), ScriptedWire(clock)
        gate = Gate(budget, clock, slots=4, shared=others)
        fetcher = Fetcher(wire, gate, budget, clock, lambda: 0.5)
        await asyncio.gather(*(fetcher.get(request()) for _ in range(2)))
        return others, wire.sent_at

    others, sent_at = run_in_virtual_time(main)
    assert others.told == ["data/events"] * 2
    assert sent_at == [0.0, pytest.approx(3600.0)]


def test_a_rate_limit_header_of_the_hour_corrects_the_budget_and_one_of_another_window_does_not() -> None:
    async def main(clock: VirtualClock) -> list[int]:
        wire = ScriptedWire(clock, [FakeAnswer(remaining=99, limit=100), FakeAnswer(remaining=5, limit=1000)])
        fetcher = fetcher_over(wire, limits=Limits(requests_per_hour=1000))
        left = []
        for _ in range(2):
            await fetcher.get(request())
            left.append(fetcher.statistics().budget.left_this_hour)
        return left

    assert run_in_virtual_time(main) == [999, 5]


def test_its_statistics_tell_what_happened() -> None:
    async def main(clock: VirtualClock) -> Any:
        script: list[FakeAnswer | Exception] = [
            ThrottledError("429", retry_after_seconds=1.0),
            TransientError("503"),
            FakeAnswer(b"12345", skew_seconds=9.0),
        ]
        fetcher = fetcher_over(ScriptedWire(clock, script))
        await fetcher.get(request())
        return fetcher.statistics(), fetcher.skew_seconds

    statistics, skew = run_in_virtual_time(main)
    assert (statistics.requests, statistics.throttled, statistics.retried) == (3, 1, 2)
    assert (statistics.in_flight, statistics.waiting, statistics.received_bytes) == (0, 0, 5)
    assert statistics.next_in_seconds is None
    assert skew == 9.0


# --- being cancelled -----------------------------------------------------------------------------------------
async def cancelled(tasks: list[asyncio.Task[bytes]]) -> list[bytes | BaseException]:
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_fault_48_cancelling_all_at_once_cancels_all_and_leaves_the_gate_in_order() -> None:
    """The one under way gives up its slot in the same moment in which those that wait are cancelled."""

    async def main(clock: VirtualClock) -> tuple[list[bytes | BaseException], bytes, int, int]:
        wire = ScriptedWire(clock, [FakeAnswer(b"[]")], latency_seconds=1.0)
        fetcher = fetcher_over(wire, slots=1)
        tasks = [asyncio.create_task(fetcher.get(request())) for _ in range(3)]
        await asyncio.sleep(0.5)
        outcomes = await cancelled(tasks)
        statistics = fetcher.statistics()
        return outcomes, await fetcher.get(request()), statistics.in_flight, statistics.waiting

    outcomes, body, in_flight, waiting = run_in_virtual_time(main)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
    assert body == b"[]"
    assert (in_flight, waiting) == (0, 0)


def test_fault_48_a_request_cancelled_while_it_waits_costs_nothing() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        wire = ScriptedWire(clock, latency_seconds=1.0)
        fetcher = fetcher_over(wire, slots=1)
        first, *others = (asyncio.create_task(fetcher.get(request())) for _ in range(4))
        await asyncio.sleep(0.5)
        await cancelled(others)
        await first
        return len(wire.sent_at), fetcher.statistics().budget.sent

    assert run_in_virtual_time(main) == (1, 1)


def test_fault_48_requests_cancelled_in_the_moment_of_admission_give_their_slots_back() -> None:
    async def main(clock: VirtualClock) -> tuple[bytes, int]:
        wire = ScriptedWire(clock, [FakeAnswer(b"[]")], latency_seconds=1.0)
        fetcher = fetcher_over(wire, slots=2)
        tasks = [asyncio.create_task(fetcher.get(request())) for _ in range(2)]
        await asyncio.sleep(0)  # they are admitted, and have not gone on yet
        await cancelled(tasks)
        return await fetcher.get(request()), fetcher.statistics().in_flight

    assert run_in_virtual_time(main) == (b"[]", 0)


def test_a_gate_that_is_closed_says_why_to_whoever_comes() -> None:
    async def main(clock: VirtualClock) -> Exception | None:
        gate, _ = gate_and_budget(clock)
        gate.close(UpstreamError("closed"))
        gate.close(UpstreamError("closed again"))
        return await outcome_of(gate.enter("data/events", Urgency.NEWER))

    assert str(run_in_virtual_time(main)) == "closed"


@pytest.mark.parametrize("where", ["exclusive", "catch_up", "sent"])
def test_where_other_runs_cannot_be_told_of_requests_all_that_waits_fails_rather_than_hangs(where: str) -> None:
    class UnwritableBudget(NoOtherRuns):
        def exclusive(self) -> AbstractContextManager[None]:
            return self.fail("exclusive") or super().exclusive()

        def catch_up(self, budget: Budget) -> None:
            self.fail("catch_up")

        def sent(self, endpoint: str) -> None:
            self.fail("sent")

        def fail(self, here: str) -> None:
            if here == where:
                raise OSError(EROFS, "Read-only file system")

    async def main(clock: VirtualClock) -> tuple[list[bytes | Exception], int]:
        budget, wire = Budget(Limits()), ScriptedWire(clock)
        gate = Gate(budget, clock, slots=2, shared=UnwritableBudget())
        fetcher = Fetcher(wire, gate, budget, clock, lambda: 0.5)
        outcomes = await asyncio.gather(*(outcome_of(fetcher.get(request())) for _ in range(3)))
        return [*outcomes, await outcome_of(fetcher.get(request()))], gate.in_flight

    outcomes, in_flight = run_in_virtual_time(main)
    assert [type(outcome) for outcome in outcomes] == [OSError] * 4
    assert in_flight == 0


def test_what_an_answer_takes_is_counted_from_its_sending() -> None:
    async def main(clock: VirtualClock) -> tuple[float, float]:
        gate, budget = gate_and_budget(clock, limits=Limits(requests_per_hour=1))
        wire = ScriptedWire(clock, [FakeAnswer(b"[]"), FakeAnswer(bytes(1_000_000))])
        fetcher = Fetcher(wire, gate, budget, clock, lambda: 0.5)
        for _ in range(2):
            await fetcher.get(request())
        return fetcher.answer_times.line_seconds(1e6), clock.monotonic()

    line_seconds, took = run_in_virtual_time(main)
    assert took >= 3600
    assert line_seconds == 0
