"""The limits of requests in flight, in total and per provider."""

import asyncio
from typing import cast

import pytest

from gateway.domain.errors import Overloaded
from gateway.http.in_flight import AdmissionTicket, InFlight, Task
from gateway.telemetry.metrics import Metrics


class Requests:
    """Requests, of which at most ``limit`` may be in flight."""

    def __init__(self, limit: int) -> None:
        self.in_flight = InFlight(limit, Metrics())
        self._numbers = iter(range(10_000))

    def begin(self) -> AdmissionTicket:
        self.in_flight.api.add(cast("Task", next(self._numbers)))
        return self.in_flight.admit()

    def end(self, ticket: AdmissionTicket) -> None:
        self.in_flight.api.pop()
        ticket.end()

    def fill(self, provider: str) -> list[AdmissionTicket]:
        """Requests for a provider, until one is refused."""
        begun = []
        while True:
            ticket = self.begin()
            try:
                ticket.enter(provider)
            except Overloaded as refused:
                assert refused.provider == provider  # noqa: PT017 (admitted requests are checked too)
                self.end(ticket)
                return begun
            begun.append(ticket)


@pytest.mark.parametrize(("limit", "shares"), [(100, (50, 25, 13)), (1500, (750, 375, 188))])
def test_each_provider_gets_at_most_half_of_the_free_capacity(limit: int, shares: tuple[int, ...]) -> None:
    requests = Requests(limit)
    assert [len(requests.fill(f"p{number}")) for number in range(len(shares))] == list(shares)


def test_two_providers_that_fill_up_concurrently_leave_a_third_free() -> None:
    requests, taken = Requests(90), {"a": 0, "b": 0}
    for _ in range(90):
        for provider in taken:
            ticket = requests.begin()
            try:
                ticket.enter(provider)
                taken[provider] += 1
            except Overloaded:
                requests.end(ticket)
    assert all(29 <= number <= 31 for number in taken.values())


def test_a_release_is_always_admitted() -> None:
    requests = Requests(10)
    requests.fill("a")
    ticket = requests.begin()
    assert ticket.enter("a", always=True)


def test_a_request_counts_once_and_not_after_its_end() -> None:
    requests = Requests(2)
    ticket = requests.begin()
    assert ticket.enter("a")
    assert not ticket.enter("a")
    requests.end(ticket)
    assert not ticket.enter("a"), "work that continues after the end is not counted"
    ticket.leave("a")
    assert len(requests.fill("a")) == 1


def test_a_request_that_leaves_a_provider_frees_capacity() -> None:
    requests = Requests(10)
    tickets = requests.fill("a")
    tickets[0].leave("a")
    tickets[1].leave("a")
    assert requests.begin().enter("a")


def test_requests_beyond_the_limit_are_refused() -> None:
    requests = Requests(1)
    assert requests.begin().enter("a")
    with pytest.raises(Overloaded):
        requests.begin()


async def test_the_end_of_a_request_is_awaited_although_its_connection_stays() -> None:
    in_flight = InFlight(10, Metrics())
    connection = asyncio.create_task(asyncio.Event().wait())
    in_flight.api.add(connection)
    waiting = [asyncio.create_task(in_flight.ended()), asyncio.create_task(in_flight.drain(60))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waiting)
    in_flight.done(in_flight.api, connection)
    assert await asyncio.gather(*waiting) == [None, 0]
    assert not connection.done()
    connection.cancel()
