"""Authentication of callers by gateway key."""

from hashlib import sha256

import pytest
from multidict import CIMultiDict

from gateway.api.auth import Authenticator
from gateway.domain.access import ANONYMOUS, Principal
from gateway.domain.errors import InvalidRequest, PermissionDenied, Unauthenticated
from gateway.services.access.directory import Directory
from tests.unit.services.fakes import FakeClock

KEYS = {
    sha256(b"shop-key").digest(): Principal("shop"),
    sha256(b"ops-key").digest(): Principal("ops"),
    sha256(b"next-ops-key").digest(): Principal("ops"),
}


def principal(**headers: str) -> str:
    sent = CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()})
    return Authenticator(KEYS).principal(sent).name


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer ops-key"},
        {"authorization": "bearer  ops-key "},
        {"X_API_Key": "ops-key"},
        {"Authorization": "Bearer ops-key", "X_API_Key": "ops-key"},
        {"Authorization": "Bearer ops-key", "X_API_Key": ""},
        {"Authorization": "Bearer", "X_API_Key": "ops-key"},
        {"Authorization": "", "X_API_Key": "ops-key"},
        {"Authorization": "Basic x", "X_API_Key": "ops-key"},
        {"Authorization": "Digest username=x, realm=y", "X_API_Key": "ops-key"},
        {"Authorization": "Bearer next-ops-key"},
    ],
)
def test_any_key_of_a_principal_identifies_it(headers: dict[str, str]) -> None:
    assert principal(**headers) == "ops"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_API_Key": ""},
        {"X_API_Key": "unknown"},
        {"Authorization": "Bearer unknown"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "ops-key"},
        {"Authorization": "Basic b3BzOmtleQ=="},
        {"Authorization": ""},
        {"Authorization": "Bearer \udcff\udcfe"},
        {"Authorization": "Basic x", "X_API_Key": "unknown"},
    ],
)
def test_a_request_without_a_known_key_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        principal(**headers)


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ([("Authorization", "Bearer ops-key"), ("X-API-Key", "shop-key")], "X-API-Key"),
        ([("Authorization", "Bearer ops-key"), ("authorization", "bearer shop-key")], "Authorization"),
        ([("Authorization", "Bearer ops-key"), ("Authorization", "Bearer unknown")], "Authorization"),
        ([("X-API-Key", "ops-key"), ("x-api-key", "shop-key")], "X-API-Key"),
        ([("Authorization", "Basic x"), ("X-API-Key", "ops-key"), ("X-API-Key", "unknown")], "X-API-Key"),
        ([("Authorization", "Bearer ops-key"), ("X-API-Key", "ops-key"), ("X-API-Key", "\udcff")], "X-API-Key"),
    ],
)
def test_different_keys_are_refused_with_the_header(headers: list[tuple[str, str]], named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Authenticator(KEYS).principal(CIMultiDict(headers))
    assert caught.value.errors[0].header == named


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer ops-key"), ("authorization", "bearer ops-key")],
        [("X-API-Key", "ops-key"), ("x-api-key", "ops-key")],
        [("Authorization", "Basic x"), ("Authorization", "Bearer ops-key"), ("X-API-Key", "ops-key")],
        [("X-API-Key", ""), ("X-API-Key", "ops-key")],
    ],
)
def test_equal_keys_are_one_key(headers: list[tuple[str, str]]) -> None:
    assert Authenticator(KEYS).principal(CIMultiDict(headers)).name == "ops"


def test_without_required_keys_every_caller_is_anonymous() -> None:
    assert Authenticator(None).principal(CIMultiDict({"Authorization": "whatever"})) == ANONYMOUS


def test_an_empty_set_of_keys_refuses_every_caller() -> None:
    with pytest.raises(Unauthenticated):
        Authenticator({}).principal(CIMultiDict({"X-API-Key": "x"}))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "localhost.:80", "a.localhost", "127.0.0.2:80", "[::1]:80"]
)
def test_without_required_keys_names_of_loopback_are_served(host: str) -> None:
    headers = CIMultiDict({"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"})
    Authenticator(None).admit(headers)
    assert Authenticator(None).principal(headers) == ANONYMOUS


@pytest.mark.parametrize("host", ["rebound.example", "localhost.example:80", "10.0.0.1", "[fe80::1]", "", "["])
def test_without_required_keys_other_hosts_are_refused(host: str) -> None:
    for headers in (CIMultiDict({"Host": host}), CIMultiDict([("Host", "localhost"), ("Host", host)])):
        with pytest.raises(PermissionDenied):
            Authenticator(None).admit(headers)
    Authenticator({}).admit(CIMultiDict({"Host": host}))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://page.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.example:80"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost:80", "Sec-Fetch-Site": "Cross-Site"},
    ],
)
def test_without_required_keys_requests_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(PermissionDenied):
        Authenticator(None).principal(CIMultiDict({"Host": "localhost:80", **headers}))
    headers = {"X-API-Key": "ops-key", **headers}
    assert Authenticator(KEYS).principal(CIMultiDict(headers)).name == "ops"


def test_key_of_a_principal_that_has_expired_is_refused() -> None:
    clock = FakeClock()
    keys = {sha256(b"shop-key").digest(): Principal("shop", expires=clock.time + 1)}
    authenticator = Authenticator(keys, Directory(clock))
    assert authenticator.principal(CIMultiDict({"X-API-Key": "shop-key"})).name == "shop"
    clock.time += 1
    with pytest.raises(Unauthenticated, match="expired"):
        authenticator.principal(CIMultiDict({"X-API-Key": "shop-key"}))
