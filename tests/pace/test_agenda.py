"""The agenda: the most urgent request that the budget lets go, and none behind one that it holds back."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from hsmirror.pace.agenda import Agenda, Urgency
from hsmirror.pace.budget import Budget, Limits

NOW = 1_000.0


def test_an_empty_agenda_gives_nothing_and_waits_for_nothing() -> None:
    agenda = Agenda(Budget(Limits()))
    assert agenda.take(NOW) is None
    assert agenda.wait_seconds(NOW) is None
    assert len(agenda) == 0


def test_the_most_urgent_goes_first_then_the_one_that_waited_longest() -> None:
    agenda = Agenda(Budget(Limits()))
    newer = agenda.add("a", Urgency.NEWER)
    documented = agenda.add("b", Urgency.DOCUMENTED)
    later = agenda.add("a", Urgency.DOCUMENTED)
    address = agenda.add("c", Urgency.ADDRESS)
    assert [agenda.take(NOW) for _ in range(5)] == [address, documented, later, newer, None]


def test_of_those_as_urgent_one_of_the_endpoint_with_the_most_to_come_goes_first() -> None:
    agenda = Agenda(Budget(Limits()), {"a": 3, "b": 200, "c": 50}.__getitem__)
    short, long = agenda.add("a", Urgency.DOCUMENTED), agenda.add("b", Urgency.DOCUMENTED)
    urgent, between = agenda.add("a", Urgency.CATALOGUE), agenda.add("c", Urgency.DOCUMENTED)
    assert [agenda.take(NOW) for _ in range(4)] == [urgent, long, between, short]


def test_no_request_waits_behind_one_that_the_limits_hold_back() -> None:
    agenda = Agenda(Budget(Limits(requests_per_minute_per_endpoint=1)))
    first, held = agenda.add("a", Urgency.ADDRESS), agenda.add("a", Urgency.ADDRESS)
    free = agenda.add("b", Urgency.NEWER)
    assert agenda.take(NOW) is first
    assert agenda.take(NOW) is free
    assert agenda.take(NOW) is None
    assert not held.is_withdrawn


def test_taking_counts_as_sent() -> None:
    budget = Budget(Limits(requests_per_hour=1))
    agenda = Agenda(budget)
    agenda.add("a", Urgency.NEWER)
    agenda.add("b", Urgency.NEWER)
    agenda.take(NOW)
    assert budget.statistics(NOW).sent == 1
    assert agenda.wait_seconds(NOW) == math.inf


def test_it_says_how_long_until_the_first_may_go() -> None:
    budget = Budget(Limits(requests_per_minute_per_endpoint=1))
    agenda = Agenda(budget)
    for endpoint, at in (("a", NOW - 10), ("b", NOW - 50)):
        budget.spent_elsewhere(endpoint, at)
        agenda.add(endpoint, Urgency.NEWER)
    assert agenda.wait_seconds(NOW) == 10.0


def test_a_withdrawn_request_is_never_taken() -> None:
    agenda = Agenda(Budget(Limits()))
    tickets = [agenda.add("a", Urgency.NEWER) for _ in range(3)]
    agenda.withdraw(tickets[0])
    agenda.withdraw(tickets[2])
    assert [agenda.take(NOW), agenda.take(NOW)] == [tickets[1], None]
    assert len(agenda) == 0


def test_nothing_waits_in_an_agenda_that_was_cleared() -> None:
    agenda = Agenda(Budget(Limits()))
    agenda.add("a", Urgency.NEWER)
    agenda.clear()
    assert agenda.take(NOW) is None
    assert len(agenda) == 0


@given(
    adds=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Urgency)))),
    withdrawn=st.sets(st.integers(0, 30)),
)
def test_everything_added_and_not_withdrawn_is_taken_once_in_order(
    adds: list[tuple[str, Urgency]], withdrawn: set[int]
) -> None:
    agenda = Agenda(Budget(Limits(10_000, 10_000)))
    tickets = [agenda.add(endpoint, urgency) for endpoint, urgency in adds]
    for number in withdrawn:
        if number < len(tickets):
            agenda.withdraw(tickets[number])
    taken = []
    while (ticket := agenda.take(NOW)) is not None:
        taken.append((ticket.urgency, ticket.number))
    expected = [ticket for ticket in tickets if ticket.number not in withdrawn]
    assert taken == sorted((ticket.urgency, ticket.number) for ticket in expected)
