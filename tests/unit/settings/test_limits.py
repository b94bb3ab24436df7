"""The settings of limits: rates, and the address of their storage."""

import pytest

from gateway.domain.access import Limits, Rate
from gateway.settings import AuthSettings, effective

from .conftest import AUTH, GOOD, Faults, Load

PRINCIPAL = "auth: {principals: {shop: {keys: [0123456789abcdef], limits: {LIMITS}}}}\n"


def with_limits(limits: str) -> str:
    return GOOD.replace(AUTH, PRINCIPAL.replace("LIMITS", limits))


def test_limits_of_a_principal_are_read(load: Load) -> None:
    auth = load(with_limits("requests: 600/minute")).settings.auth
    assert isinstance(auth, AuthSettings)
    (principal,) = auth.digests_by_principal()
    assert principal.limits == Limits(requests=Rate(600, 60))


@pytest.mark.parametrize("rate", ["600", "many", "0/minute", "5/minute;9/hour", "[]"])
def test_rate_that_cannot_be_read_is_refused_at_its_path(faults: Faults, rate: str) -> None:
    ((path, message),) = faults(with_limits(f"requests: {rate!r}")).items()
    assert path == "auth.principals.shop.limits.requests"
    assert "600/minute" in message


def test_limit_that_does_not_exist_is_refused(faults: Faults) -> None:
    assert faults(with_limits("streams: 5")).keys() == {"auth.principals.shop.limits.streams"}


@pytest.mark.parametrize(
    ("address", "used"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1"),
        (
            "rediss://u:s3cr3t@cache.test:6380/2?ssl_ca_certs=/ca.pem",
            "rediss://u:s3cr3t@cache.test:6380/2?ssl_ca_certs=/ca.pem",
        ),
        ("valkey://:s3cr3t@127.0.0.1:6379", "redis://:s3cr3t@127.0.0.1:6379"),
        ("valkeys://127.0.0.1:6379", "rediss://127.0.0.1:6379"),
        ("redis+unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_address_of_the_storage_is_a_secret(load: Load, address: str, used: str) -> None:
    loaded = load(GOOD + "limits: {storage: '${ADDRESS}'}\n", {"ADDRESS": address})
    storage = loaded.settings.limits.storage
    assert storage is not None
    assert storage.get_secret_value() == used
    shown = effective(loaded)
    assert [item.value for item in shown if item.path == "limits.storage"] == ["**********"]
    assert "s3cr3t" not in f"{shown} {loaded!r} {loaded.settings.model_dump_json()}"


@pytest.mark.parametrize(
    "address", ["", "localhost:6379", "http://h", "redis://", "redis://h:x", "redis://h:0", "unix://"]
)
def test_address_that_is_not_of_a_redis_is_refused_without_being_shown(faults: Faults, address: str) -> None:
    ((path, message),) = faults(GOOD + f"limits: {{storage: {address!r}}}\n").items()
    assert path == "limits.storage"
    assert "redis://HOST" in message
