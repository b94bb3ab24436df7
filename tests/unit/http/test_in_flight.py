"""How many requests may be worked on at once, and how many of them for one provider."""

from typing import cast

import pytest

from gateway.domain.errors import Overloaded
from gateway.http.in_flight import AdmissionTicket, InFlight, Task
from gateway.telemetry.metrics import Metrics


class Requests:
    """Requests of which at most ``most`` may be in flight."""

    def __init__(self, most: int) -> None:
        self.in_flight = InFlight(most, Metrics())
        self._numbers = iter(range(10_000))

    def begin(self) -> AdmissionTicket:
        self.in_flight.api.add(cast("Task", next(self._numbers)))
        return self.in_flight.admit()

    def end(self, visit: AdmissionTicket) -> None:
        self.in_flight.api.pop()
        visit.end()

    def fill(self, provider: str) -> list[AdmissionTicket]:
        """As many for a provider as are let in."""
        begun = []
        while True:
            visit = self.begin()
            try:
                visit.enter(provider)
            except Overloaded as refused:
                assert refused.provider == provider  # noqa: PT017 (what is let in is looked at, too)
                self.end(visit)
                return begun
            begun.append(visit)


@pytest.mark.parametrize(("most", "shares"), [(100, (50, 25, 13)), (1500, (750, 375, 188))])
def test_each_provider_gets_at_most_half_of_the_free_capacity(most: int, shares: tuple[int, ...]) -> None:
    requests = Requests(most)
    assert [len(requests.fill(f"p{number}")) for number in range(len(shares))] == list(shares)


def test_two_providers_that_fill_up_concurrently_leave_a_third_free() -> None:
    requests, taken = Requests(90), {"a": 0, "b": 0}
    for _ in range(90):
        for provider in taken:
            visit = requests.begin()
            try:
                visit.enter(provider)
                taken[provider] += 1
            except Overloaded:
                requests.end(visit)
    assert all(29 <= number <= 31 for number in taken.values())


def test_a_release_is_always_admitted() -> None:
    requests = Requests(10)
    requests.fill("a")
    visit = requests.begin()
    assert visit.enter("a", always=True)


def test_a_request_counts_once_and_not_after_its_end() -> None:
    requests = Requests(2)
    visit = requests.begin()
    assert visit.enter("a")
    assert not visit.enter("a")
    requests.end(visit)
    assert not visit.enter("a"), "what goes on without it holds nobody's place"
    visit.leave("a")
    assert len(requests.fill("a")) == 1


def test_a_request_that_leaves_a_provider_frees_capacity() -> None:
    requests = Requests(10)
    visits = requests.fill("a")
    visits[0].leave("a")
    visits[1].leave("a")
    assert requests.begin().enter("a")


def test_requests_beyond_the_limit_are_refused() -> None:
    requests = Requests(1)
    assert requests.begin().enter("a")
    with pytest.raises(Overloaded):
        requests.begin()
