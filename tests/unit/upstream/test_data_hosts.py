"""Where an address of a provider may lead."""

import ipaddress

import pytest

from gateway.upstream.data_hosts import DataHosts, address_of

LISTED = DataHosts("https://api.provider.example/v1", ["*.run.example", "node.example", "10.1.0.0/16", "192.168.7.7"])


@pytest.mark.parametrize(
    "host",
    ["api.provider.example", "API.provider.example", "a.run.example", "node.example", "10.1.2.3"],
)
def test_hosts_of_the_provider_and_listed_ones_are_allowed(host: str) -> None:
    assert LISTED.allows(host)


@pytest.mark.parametrize(
    "host",
    ["run.example", "evil-run.example", "provider.example", "169.254.169.254", "127.0.0.1", "8.8.8.8", "[::1]"],
)
def test_other_hosts_are_refused(host: str) -> None:
    assert not LISTED.allows(host)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.216.34", True),
        ("10.1.9.9", True),
        ("10.2.9.9", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::ffff:169.254.169.254", False),
        ("::ffff:10.1.0.9", True),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("fd00::1", False),
        ("2606:4700::1111", True),
    ],
)
def test_name_may_resolve_to_public_and_listed_addresses_only(address: str, allowed: bool) -> None:
    assert LISTED.allows_address("a.run.example", ipaddress.ip_address(address)) is allowed


def test_host_of_the_base_url_may_be_on_loopback() -> None:
    own = DataHosts("http://127.0.0.1:8090", [])
    loopback = address_of("127.0.0.1")
    assert own.allows("127.0.0.1")
    assert loopback is not None
    assert own.allows_address("127.0.0.1", loopback)
    assert not own.allows("127.0.0.2")
