"""The settings of issuers of tokens."""

from typing import Any

import pytest

from gateway.settings import AuthSettings
from tests.unit.settings.conftest import PROVIDERS, Faults, Load

ENTRY = {
    "issuer": "https://login.test",
    "audience": "gateway",
    "jwks": "https://login.test/jwks",
    "name": "login",
    "template": "shop",
}


def text(*entries: dict[str, Any], own_only: bool = True) -> str:
    """A settings file with these issuers."""
    shop = {"keys": ["0123456789abcdef-shop"], "own_only": own_only}
    auth = {"principals": {"shop": shop}, "keys": {"ci": {"key": "0123456789abcdef-ci"}}, "jwt": list(entries)}
    return f"version: 1\nauth: {auth!r}\n".replace("True", "true").replace("False", "false") + PROVIDERS


def test_issuer_is_read(load: Load) -> None:
    auth = load(
        text({**ENTRY, "own_group": "tenant", "leeway": 5}, {**ENTRY, "name": "ci", "audience": "x"})
    ).settings.auth
    assert isinstance(auth, AuthSettings)
    one, other = auth.jwt
    assert (one.principal, one.scopes, one.own_group, one.leeway) == ("sub", None, "tenant", 5)
    assert (other.own_group, other.leeway) == (None, 30)


@pytest.mark.parametrize(
    "address",
    [
        "https://login.test",
        "https://login.test/a/b?p=1",
        "http://127.0.0.1:8000/jwks",
        "http://localhost/jwks",
        "http://[::1]/jwks",
    ],
)
def test_address_of_a_key_set_is_accepted(load: Load, address: str) -> None:
    load(text({**ENTRY, "jwks": address}))


@pytest.mark.parametrize(
    "address",
    ["http://login.test/jwks", "ftp://login.test", "login.test", "https://me:pw@login.test/", "https://a.test/#b", 7],
)
def test_address_of_a_key_set_that_cannot_be_used_is_a_fault(faults: Faults, address: Any) -> None:
    assert list(faults(text({**ENTRY, "jwks": address}))) == ["auth.jwt.0.jwks"]


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"template": "absent"}, "auth.jwt.0.template"),
        ({"template": "ci", "own_group": "tenant"}, "auth.jwt.0.own_group"),
        ({"name": "a/b"}, "auth.jwt.0.name"),
        ({"leeway": 301}, "auth.jwt.0.leeway"),
        ({"issuer": ""}, "auth.jwt.0.issuer"),
        ({"algorithms": ["none"]}, "auth.jwt.0.algorithms"),
    ],
)
def test_entry_that_cannot_work_is_a_fault(faults: Faults, changed: dict[str, Any], path: str) -> None:
    assert list(faults(text({**ENTRY, **changed}))) == [path]


def test_entries_that_cannot_be_told_apart_are_a_fault(faults: Faults) -> None:
    found = faults(text(ENTRY, {**ENTRY, "audience": "other"}, {**ENTRY, "name": "second"}))
    assert list(found) == ["auth.jwt.1.name", "auth.jwt.2"]


def test_issuer_alone_is_no_principal(faults: Faults) -> None:
    found = faults(f"version: 1\nauth: {{jwt: [{ENTRY!r}]}}\n" + PROVIDERS)
    assert list(found) == ["auth"]
