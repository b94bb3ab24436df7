"""Authentication of callers by gateway key."""

from hashlib import sha256

import pytest
from multidict import CIMultiDict

from gateway.api.auth import ANONYMOUS, Authenticator
from gateway.domain.errors import InvalidRequest, Unauthenticated

KEYS = {"shop": sha256(b"shop-key").digest(), "ops": sha256(b"ops-key").digest()}


def principal(**headers: str) -> str:
    return Authenticator(KEYS).principal(CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()}))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer ops-key"},
        {"authorization": "bearer  ops-key "},
        {"X_API_Key": "ops-key"},
        {"Authorization": "Bearer ops-key", "X_API_Key": "ops-key"},
    ],
)
def test_a_known_key_gives_its_name(headers: dict[str, str]) -> None:
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
        {"Authorization": "Basic x", "X_API_Key": "ops-key"},
    ],
)
def test_a_request_without_a_known_key_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        principal(**headers)


def test_two_different_keys_are_refused_even_if_both_are_known() -> None:
    with pytest.raises(InvalidRequest) as caught:
        principal(Authorization="Bearer ops-key", X_API_Key="shop-key")
    assert caught.value.errors[0].header == "X-API-Key"


def test_without_required_keys_every_caller_is_anonymous() -> None:
    assert Authenticator(None).principal({"Authorization": "whatever"}) == ANONYMOUS


def test_an_empty_set_of_keys_refuses_every_caller() -> None:
    with pytest.raises(Unauthenticated):
        Authenticator({}).principal({"X-API-Key": "x"})
