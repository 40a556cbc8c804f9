"""One request at a time through the gate: admitted by the budget, sent, tried again, or given up.

Deciding is synchronous (`pace`); what awaits here holds nothing while it waits: a request that backs off has
left its slot and its connection, and queues again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Protocol, TypeVar

import anyio

from hsmirror.api.words import ServerWords
from hsmirror.clock import Clock, iso_utc
from hsmirror.errors import (
    BudgetExhaustedError,
    CorruptError,
    IntermediaryError,
    KeyRefusedError,
    ThrottledError,
    TimedOutError,
    TransientError,
    UnaffordableListError,
    UpstreamError,
)
from hsmirror.pace.agenda import Agenda, Ticket, Urgency
from hsmirror.pace.answer_times import AnswerTimes
from hsmirror.pace.budget import Budget, BudgetStatistics
from hsmirror.pace.retry import CORRUPT, REQUESTS, THROTTLES, Backoff

Parsed = TypeVar("Parsed")


class AnswerLike(Protocol):
    """What the fetcher reads of an answer."""

    @property
    def body(self) -> bytes: ...
    @property
    def words(self) -> ServerWords: ...
    @property
    def skew_seconds(self) -> float: ...
    @property
    def remaining(self) -> int | None: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def age_seconds(self) -> int: ...
    @property
    def has_next_link(self) -> bool: ...


class Wire(Protocol):
    """What sends a request: `api.transport.Transport`, or a stand-in under a virtual clock."""

    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> AnswerLike: ...


class SharedBudget(Protocol):
    """How runs side by side know of each other's requests."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Between catching up and sending no other run may come in."""

    def catch_up(self, budget: Budget) -> None:
        """Count what other runs have sent since the last call."""

    def sent(self, endpoint: str) -> None:
        """Let the others know of a request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the API. `endpoint` is what the limit a minute counts by."""

    endpoint: str
    path: str
    params: Mapping[str, str]
    urgency: Urgency
    timeout_seconds: float = 120.0
    halves_on_timeout: bool = False
    """The caller asks for less after a timeout, so that asking for the same again is left to it."""


@dataclass(frozen=True, slots=True)
class FetchStatistics:
    """What the progress display and the run report read."""

    requests: int
    throttled: int
    retried: int
    in_flight: int
    waiting: int
    received_bytes: int
    budget: BudgetStatistics
    next_in_seconds: float | None
    """Seconds until the limits allow the next request; None where none waits for them."""
    resume_at: float | None
    """Where the limits have ended the run: when they allow the next request, epoch seconds."""


_ASKED_BEFOREHAND = 40


@dataclass(eq=False, slots=True)
class Reservation:
    """Requests of an endpoint that are kept for a list that has been begun."""

    endpoint: str
    requests: int

    def spend(self) -> None:
        """One of them has been answered."""
        self.requests = max(0, self.requests - 1)


class Gate:
    """Admits requests: at most `slots` at once, each as soon as the budget allows, the most urgent first.

    `longest_wait_seconds` is how long a run may stand still for the limits; beyond it, all that waits fails
    with `BudgetExhaustedError`, once what is under way has been answered. None: as long as it takes.
    """

    def __init__(
        self,
        budget: Budget,
        clock: Clock,
        *,
        slots: int,
        shared: SharedBudget,
        longest_wait_seconds: float | None = None,
    ) -> None:
        self._budget = budget
        self._agenda = Agenda(budget, self._to_come)
        self._clock = clock
        self._slots = slots
        self._shared = shared
        self._longest_wait = longest_wait_seconds
        self._admitted: dict[Ticket, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_about_to_admit = False
        self._closed_by: BaseException | None = None
        self._reservations: set[Reservation] = set()
        self._resume_at: float | None = None
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<Gate in_flight={self.in_flight} of {self._slots}, {self._agenda!r}>"

    @property
    def waiting(self) -> int:
        return len(self._agenda)

    @property
    def resume_at(self) -> float | None:
        error = self._closed_by
        return error.resume_at if isinstance(error, BudgetExhaustedError) else self._resume_at

    def next_in_seconds(self) -> float | None:
        wait = self._agenda.wait_seconds(self._clock.monotonic())
        return None if wait is None or wait == float("inf") else wait

    async def enter(self, endpoint: str, urgency: Urgency) -> None:
        """Wait for admission; `leave` must follow.

        Raises:
            BudgetExhaustedError, KeyRefusedError: nothing is admitted any more.
        """
        if self._closed_by is not None:
            raise self._closed_by
        ticket = self._agenda.add(endpoint, urgency)
        admission = asyncio.get_running_loop().create_future()
        self._admitted[ticket] = admission
        self._admit_soon()
        try:
            await admission
        except asyncio.CancelledError:
            if admission.done() and not admission.cancelled() and admission.exception() is None:
                self.leave(endpoint)  # admitted in the very moment of being cancelled
            else:
                self._agenda.withdraw(ticket)
                self._admitted.pop(ticket, None)
            raise

    @contextmanager
    def reserved(self, endpoint: str, requests: int) -> Iterator[Reservation]:
        """Keep `requests` for a list, where the run may not wait for the limits: it is begun only if the limits
        still allow all of it, so that several of them do not use up the budget and come to nothing together.

        Raises:
            UnaffordableListError: they do not.
        """
        reservation = Reservation(endpoint, requests)
        self._require_affordable(endpoint, requests)
        self._reservations.add(reservation)
        try:
            yield reservation
        finally:
            self._reservations.discard(reservation)

    def _to_come(self, endpoint: str) -> int:
        return sum(each.requests for each in self._reservations if each.endpoint == endpoint)

    def _require_affordable(self, endpoint: str, requests: int) -> None:
        limits = self._budget.limits
        if self._longest_wait is None or self._longest_wait >= limits.hour_seconds:
            return
        counted = endpoint if self._longest_wait < limits.minute_seconds else None
        now = self._clock.monotonic()
        with self._shared.exclusive():
            self._shared.catch_up(self._budget)
        left = self._budget.left(counted, now) - sum(other.requests for other in self._reservations)
        if requests <= left:
            return
        whole = limits.requests_per_hour
        if counted is not None:
            whole = min(whole, limits.requests_per_minute_per_endpoint)
        # The first page has been spent by then.
        exceeds_limits = requests + 1 > whole
        # The next run asks for more than this list before it gets there.
        to_be_free = min(requests + _ASKED_BEFOREHAND, whole)
        resume_at = self._clock.epoch() + self._budget.seconds_until_free(to_be_free, counted, now)
        self._resume_at = min(self._resume_at or resume_at, resume_at)
        advice = "run with --wait" if exceeds_limits else "run again then, or with --wait"
        raise UnaffordableListError(
            f"its list needs {requests} more requests, and the limits leave {max(0, left)} of them before "
            f"{iso_utc(ceil(resume_at))}; {advice}",
            resume_at=resume_at,
            exceeds_limits=exceeds_limits,
        )

    def leave(self, endpoint: str) -> None:
        """The request has been answered, or given up."""
        self.in_flight -= 1
        self._budget.answered(endpoint, self._clock.monotonic())
        self._admit_soon()

    def close(self, error: BaseException) -> None:
        """Admit nothing any more: what waits, and what comes, fails with `error`."""
        self._closed_by = self._closed_by or error
        self._agenda.clear()
        for admission in self._admitted.values():
            if not admission.done():
                admission.set_exception(error)
        self._admitted.clear()

    def _admit_soon(self) -> None:
        """Once for all who come and go in one turn of the loop: it takes a lock that other processes share."""
        if not self._is_about_to_admit:
            self._is_about_to_admit = True
            asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        self._is_about_to_admit = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not len(self._agenda):
            return
        try:
            self._admit_what_may(self._clock.monotonic())
        except BaseException as error:  # noqa: BLE001  # the loop calls this: raised here, it reaches nobody who waits
            self.close(error)

    def _admit_what_may(self, now: float) -> None:
        if self.in_flight < self._slots:
            with self._shared.exclusive():
                self._shared.catch_up(self._budget)
                self._admit_as_many_as_may(now)
        if self.in_flight < self._slots:
            self._wake_when_allowed(now)

    def _admit_as_many_as_may(self, now: float) -> None:
        while self.in_flight < self._slots and (ticket := self._agenda.take(now)) is not None:
            admission = self._admitted[ticket]
            if admission.done():  # cancelled, in this very moment
                self._budget.not_sent(ticket.endpoint)
            else:
                self._shared.sent(ticket.endpoint)
                self.in_flight += 1
                admission.set_result(None)
            del self._admitted[ticket]

    def _wake_when_allowed(self, now: float) -> None:
        wait = self._agenda.wait_seconds(now)
        if wait is None or wait == float("inf"):
            return  # nothing waits, or an answer will call
        if self._longest_wait is not None and wait > self._longest_wait:
            if self.in_flight == 0:
                resume_at = self._clock.epoch() + wait
                when = iso_utc(ceil(resume_at))
                self.close(
                    BudgetExhaustedError(
                        f"the limits allow no further request before {when}; run again then, or with --wait",
                        resume_at=resume_at,
                    )
                )
            return
        self._timer = asyncio.get_running_loop().call_later(wait, self._admit)


class Fetcher:
    """Requests with admission and retries; one for a run."""

    def __init__(
        self, wire: Wire, gate: Gate, budget: Budget, clock: Clock, random: Callable[[], float]
    ) -> None:
        self._wire = wire
        self._gate = gate
        self._budget = budget
        self._clock = clock
        self._random = random
        self._requests = 0
        self._throttled = 0
        self._retried = 0
        self._received_bytes = 0
        self._throttles_in_a_row = 0
        self._last_throttled_at = float("-inf")
        self.skew_seconds = 0.0
        self.answer_times = AnswerTimes()

    def __repr__(self) -> str:
        return f"<Fetcher requests={self._requests} {self._gate!r}>"

    def statistics(self) -> FetchStatistics:
        return FetchStatistics(
            requests=self._requests,
            throttled=self._throttled,
            retried=self._retried,
            in_flight=self._gate.in_flight,
            waiting=self._gate.waiting,
            received_bytes=self._received_bytes,
            budget=self._budget.statistics(self._clock.monotonic()),
            next_in_seconds=self._gate.next_in_seconds(),
            resume_at=self._gate.resume_at,
        )

    def reserved(self, endpoint: str, requests: int) -> AbstractContextManager[Reservation]:
        """As the gate's: requests kept for a list that is begun.

        Raises:
            UnaffordableListError: the limits do not leave as many, and the run may not wait.
        """
        return self._gate.reserved(endpoint, requests)

    async def get(self, request: Request) -> bytes:
        """The body of a 200. Transient trouble is tried again, 429s wait as asked for.

        Raises:
            PermanentError and its kinds, BudgetExhaustedError: as they came.
            TransientError, CorruptError, ThrottledError: still, after the last try.
            TimedOutError: at once where `halves_on_timeout`.
        """
        return await self.get_parsed(request, lambda body: body)

    async def get_parsed(self, request: Request, parse: Callable[[bytes], Parsed]) -> Parsed:
        """As `get`, its body parsed; a body that `parse` finds corrupt is asked for again."""
        return await self.get_answer(request, lambda answer: parse(answer.body))

    async def get_answer(self, request: Request, parse: Callable[[AnswerLike], Parsed]) -> Parsed:
        """As `get_parsed`, for what reads the answer's header, too."""
        failures: dict[Backoff, int] = {}
        while True:
            try:
                return parse(await self._once(request))
            except (ThrottledError, TransientError, CorruptError) as error:
                if isinstance(error, TimedOutError) and request.halves_on_timeout:
                    raise
                failure: UpstreamError = error
            policy = _policy(failure)
            failures[policy] = failures.get(policy, 0) + 1
            delay = policy.delay_seconds(failures[policy], self._random)
            if delay is None:
                raise failure
            self._retried += 1
            if policy is not THROTTLES:  # there the gate does the waiting
                await anyio.sleep(delay)

    async def _once(self, request: Request) -> AnswerLike:
        await self._gate.enter(request.endpoint, request.urgency)
        sent_at = self._clock.monotonic()
        try:
            self._requests += 1
            answer = await self._wire.get(request.path, request.params, timeout_seconds=request.timeout_seconds)
        except KeyRefusedError as error:
            self._gate.close(error)  # before its slot goes to the next
            raise
        except ThrottledError as error:
            self._rest(request.endpoint, error, sent_at)
            raise
        finally:
            self._gate.leave(request.endpoint)
        self._throttles_in_a_row = 0
        self._received_bytes += len(answer.body)
        self.answer_times.note(len(answer.body), self._clock.monotonic() - sent_at)
        self.skew_seconds = answer.skew_seconds
        # A limit of another size is of another window: the minute's, say.
        limits = self._budget.limits
        if answer.remaining is not None and answer.limit == (
            limits.announced_per_hour or limits.requests_per_hour
        ):
            self._budget.server_says_left(answer.remaining, self._clock.monotonic())
        return answer

    def _rest(self, endpoint: str, error: ThrottledError, sent_at: float) -> None:
        """After a 429: nothing goes for as long as the server asks; where it does not say, longer each time.

        Requests that were under way together are refused together: that is one time.
        """
        self._throttled += 1
        if sent_at >= self._last_throttled_at:
            self._throttles_in_a_row += 1
        self._last_throttled_at = self._clock.monotonic()
        pause = error.retry_after_seconds
        if pause is None:
            failures = min(self._throttles_in_a_row, THROTTLES.attempts - 1)
            pause = THROTTLES.delay_seconds(failures, self._random) or THROTTLES.longest_seconds
        self._budget.throttled(
            endpoint, now=self._clock.monotonic(), pause_seconds=pause + self._random() * 0.1
        )


def _policy(failure: UpstreamError) -> Backoff:
    if isinstance(failure, ThrottledError):
        return THROTTLES
    return CORRUPT if isinstance(failure, CorruptError | IntermediaryError) else REQUESTS
