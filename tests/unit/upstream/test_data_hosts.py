"""Where an address of a provider may lead."""

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
from yarl import URL

from gateway.upstream.data_hosts import AddressRefused, CheckedConnector, DataHosts, address_of

LISTED = DataHosts("https://api.provider.example/v1", ["*.run.example", "node.example", "10.1.0.0/16", "192.168.7.7"])


@pytest.mark.parametrize(
    "host", ["api.provider.example", "API.provider.example", "a.run.example", "node.example", "10.1.2.3"]
)
def test_hosts_of_the_provider_and_listed_ones_are_allowed(host: str) -> None:
    assert LISTED.allows(host)


@pytest.mark.parametrize(
    "host",
    [
        *("run.example", "evil-run.example", "provider.example", "api.provider.example.evil.example", "localhost", ""),
        *("169.254.169.254", "127.0.0.1", "8.8.8.8", "[::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"),
        *(
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "127.1",
            "0",
            "169.254.169.254.nip.example",
        ),
    ],
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
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("::", False),
        ("::127.0.0.1", False),
        ("::a9fe:a9fe", False),
        ("64:ff9b:1::a9fe:a9fe", False),
        ("2001:0:a9fe:a9fe::", False),
        ("ff02::1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("255.255.255.255", False),
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


@pytest.mark.parametrize(
    ("base_url", "address", "allowed"),
    [
        ("http://10.0.0.7/api", "10.0.0.7", True),
        ("http://[fd00::7]/api", "fd00::7", True),
        ("http://durable:8080/api", "10.0.0.7", True),
        ("http://durable.team.svc/api", "10.0.0.7", True),
        ("http://localhost:8080", "127.0.0.1", True),
        ("https://api.provider.example", "10.0.0.7", False),
        ("https://api.provider.example", "169.254.169.254", False),
        ("https://8.8.8.8", "127.0.0.1", False),
    ],
)
def test_host_of_the_base_url_may_be_inside_if_nobody_outside_resolves_it(
    base_url: str, address: str, *, allowed: bool
) -> None:
    host = URL(base_url).host or ""
    assert DataHosts(base_url, []).allows_address(host, ipaddress.ip_address(address)) is allowed


class Dialled:
    """An event loop's way to resolve and to connect, without either. Each look-up returns the next answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.places: list[str] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", self._resolve)
        monkeypatch.setattr(loop, "create_connection", self._connect)

    async def _resolve(self, _host: str, port: int, **_options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.answers.pop(0)]

    async def _connect(self, make: Any, host: str, port: int, **options: Any) -> tuple[None, Any]:
        self.places.append(f"{host}:{port} {options['server_hostname']}")
        return None, make()


async def test_address_that_was_checked_is_the_one_that_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is resolved once per connection, so a second answer cannot lead elsewhere (DNS rebinding)."""
    dialled = Dialled(monkeypatch, ["93.184.216.34"], ["169.254.169.254"])
    connect, made = CheckedConnector(URL("https://a.run.example"), None, LISTED), object()
    given: Any = lambda: made  # noqa: E731
    assert await connect(given) is made
    assert dialled.places == ["93.184.216.34:443 a.run.example"]
    with pytest.raises(AddressRefused):
        await connect(given)
    assert len(dialled.places) == 1


@pytest.mark.parametrize("answer", [["93.184.216.34", "127.0.0.1"], ["::ffff:169.254.169.254"], []])
async def test_name_with_one_address_that_is_not_allowed_is_refused(
    monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    dialled = Dialled(monkeypatch, answer)
    nothing: Any = None
    with pytest.raises(AddressRefused):
        await CheckedConnector(URL("http://a.run.example"), None, LISTED)(nothing)
    assert dialled.places == []
