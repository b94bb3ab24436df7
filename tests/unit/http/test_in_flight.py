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
def test_whatever_is_taken_for_providers_leaves_room_for_another(most: int, shares: tuple[int, ...]) -> None:
    requests = Requests(most)
    assert [len(requests.fill(f"p{number}")) for number in range(len(shares))] == list(shares)


def test_two_that_fill_up_together_leave_a_third() -> None:
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


def test_what_ends_a_runtime_is_let_in_always() -> None:
    requests = Requests(10)
    requests.fill("a")
    visit = requests.begin()
    assert visit.enter("a", always=True)


def test_a_request_counts_once_and_no_more_after_its_end() -> None:
    requests = Requests(2)
    visit = requests.begin()
    assert visit.enter("a")
    assert not visit.enter("a")
    requests.end(visit)
    assert not visit.enter("a"), "what goes on without it holds nobody's place"
    visit.leave("a")
    assert len(requests.fill("a")) == 1


def test_who_leaves_a_provider_makes_room_for_another_request() -> None:
    requests = Requests(10)
    visits = requests.fill("a")
    visits[0].leave("a")
    visits[1].leave("a")
    assert requests.begin().enter("a")


def test_requests_beyond_all_places_are_refused() -> None:
    requests = Requests(1)
    assert requests.begin().enter("a")
    with pytest.raises(Overloaded):
        requests.begin()
