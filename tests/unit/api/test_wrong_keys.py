"""Wrong keys are limited per client address."""

from hashlib import sha256

import pytest
from multidict import CIMultiDict

from gateway.api.auth import ADDRESSES, MOST, WINDOW, Authenticator, WrongKeys
from gateway.domain.access import Principal
from gateway.domain.errors import RateLimited, Unauthenticated
from gateway.services.access.directory import Directory
from gateway.telemetry.metrics import Metrics
from tests.unit.services.fakes import FakeClock

RIGHT = "a-key-of-a-shop-1234"


class From:
    """The sender of a request."""

    def __init__(self, remote: str | None) -> None:
        self.remote = remote


class World:
    def __init__(self) -> None:
        self.clock, self.metrics = FakeClock(), Metrics()
        self.wrong = WrongKeys(self.metrics, self.clock)
        keys = {sha256(RIGHT.encode()).digest(): Principal("shop")}
        self.authenticator = Authenticator(keys, Directory.without_store(), self.wrong)

    def call(self, key: str | None, remote: str | None = "10.0.0.1") -> str:
        headers = CIMultiDict({} if key is None else {"X-API-Key": key})
        return self.authenticator.principal(headers, From(remote)).name


@pytest.fixture
def world() -> World:
    made = World()
    for _ in range(MOST):
        with pytest.raises(Unauthenticated):
            made.call("wrong")
    return made


def test_wrong_key_after_20_in_a_minute_is_refused_until_the_minute_is_over(world: World) -> None:
    assert (MOST, WINDOW) == (20, 60)
    world.clock.time += 20
    with pytest.raises(RateLimited) as refused:
        world.call("wrong")
    assert refused.value.retry_after == 40
    assert world.metrics.registry.get_sample_value("rtgw_wrong_keys_total") == MOST + 1
    world.clock.time += 40
    with pytest.raises(Unauthenticated):
        world.call("wrong")


def test_right_key_from_the_same_address_works(world: World) -> None:
    assert world.call(RIGHT) == "shop"


def test_missing_key_is_not_counted(world: World) -> None:
    for _ in range(2 * MOST):
        with pytest.raises(Unauthenticated):
            world.call(None, "10.0.0.2")
    with pytest.raises(Unauthenticated):
        world.call("wrong", "10.0.0.2")


def test_another_address_is_counted_on_its_own(world: World) -> None:
    with pytest.raises(Unauthenticated):
        world.call("wrong", "10.0.0.2")


def test_number_of_counted_addresses_is_bounded(world: World) -> None:
    for number in range(ADDRESSES + 5):
        world.wrong.count(str(number))
    assert len(world.wrong._seen) == ADDRESSES
