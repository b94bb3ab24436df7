"""Addresses to listen on."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import ListenAddress, parse_listen


@given(st.one_of(st.text(max_size=60), st.from_regex(r"[\[\]0-9a-f:.%-]{0,40}:[0-9]{0,6}", fullmatch=True)))
def test_any_text_is_an_address_that_parses_back_or_a_value_error(text: str) -> None:
    try:
        address = parse_listen(text)
    except ValueError:
        return
    assert parse_listen(str(address)) == address
    assert 0 <= address.port <= 65535


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_with_every_port_is_accepted(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    text = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    address = parse_listen(text)
    assert address == ListenAddress(str(ip), port)
    assert address.is_loopback is ip.is_loopback


@pytest.mark.parametrize(
    ("text", "host", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", True),
        ("127.8.9.10:8080", "127.8.9.10", True),
        ("[::1]:8080", "::1", True),
        ("LOCALHOST:8080", "localhost", True),
        ("0.0.0.0:8080", "0.0.0.0", False),  # noqa: S104 (the address under test)
        ("[::]:8080", "::", False),
        ("gateway.internal:8080", "gateway.internal", False),
        ("localhost.example.com:8080", "localhost.example.com", False),
    ],
)
def test_loopback_addresses_are_recognised(text: str, host: str, loopback: bool) -> None:
    address = parse_listen(text)
    assert (address.host, address.port, address.is_loopback) == (host, 8080, loopback)


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1: 80"),
        *("::1:8080", "[::1]", "[127.0.0.1]:80", "[::1]:80x", "127.1:80", "2130706433:80", "a b:80"),
        *("http://h:80", "h:80\n", "h:８０", "-h:80", "h..i:80", "*:80"),
    ],
)
def test_text_that_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host|port|brackets"):
        parse_listen(text)
