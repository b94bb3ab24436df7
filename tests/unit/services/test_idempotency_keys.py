"""The idempotency keys that are sent to providers."""

import re
from typing import Any

import pytest

from gateway.domain.access import Principal
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectTarget
from gateway.services.dialects import DialectService
from gateway.services.fleet import Fleet
from tests.unit.adapters.bctrl_browsers.fakes import adapter
from tests.unit.services.fakes import FakeClock, keyring, services_of


def key(principal: str = "shop", scope: str = "sp_1", mine: str = "mine", **settings: Any) -> str:
    """The provider key for a caller's key."""
    browsers, _ = adapter(**settings)
    fleet = Fleet([browsers], FakeClock())
    service = DialectService(fleet, services_of(fleet).create, {}, keyring())
    return service.provider_key(DialectTarget(browsers, scope, scope), RequestContext("r", Principal(principal)), mine)


def test_a_key_is_the_same_on_every_replica():
    assert key() == key(name="another-name-of-the-provider")
    assert re.fullmatch(r"rtgw-[0-9a-f]{40}", key())


@pytest.mark.parametrize(
    "other",
    [
        {"principal": "bank"},
        {"scope": "sp_2"},
        {"mine": "other"},
        {"base_url": "http://elsewhere.test"},
        {"principal": 'shop","', "mine": "mine"},
        {"principal": "", "mine": "shopmine"},
    ],
    ids=str,
)
def test_keys_differ_between_principals_providers_and_scopes(other: dict[str, str]):
    """Two principals with the same key create two runtimes, and neither receives the other's."""
    assert key(**other) != key()
