"""Where the data plane may connect to (docs/connect.md#what-is-forwarded): a provider's address is not trusted.

A provider's address could lead to the gateway's own network, for example to the metadata service of a cloud. So a host
has to be one of the provider's, and what its name resolves to is checked before the connection is opened.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Final

from cachetools import LRUCache
from pydantic import SecretStr
from yarl import URL

from gateway.ports.data_plane import Endpoint
from gateway.ports.provider_settings import ProviderSettings
from gateway.upstream.http1.connection import Http1Connection
from gateway.upstream.http1.origin import Origin
from gateway.upstream.http1.proxied import ProxiedConnector

_MOST_ORIGINS: Final = 4096
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""Of IPv6, only these addresses are on the internet; :mod:`ipaddress` calls others global too."""

_INSIDE: Final = (".internal", ".local", ".localhost", ".svc", ".home.arpa")
"""Endings of names that are resolved inside a network (RFC 6761, RFC 6762, RFC 8375, Kubernetes). Like a name without
a dot, they cannot be made to lead elsewhere from outside that network."""


class AddressRefused(OSError):
    """The data plane may not connect to this address."""


class DataHosts:
    """The hosts of one provider. ``allowed`` are names, ``*.`` at the start for any name below, IP addresses and
    networks. The host of ``base_url`` is always allowed."""

    def __init__(self, base_url: str, allowed: Iterable[str]) -> None:
        self._own = (URL(base_url).host or "").lower()
        own = address_of(self._own)
        inside = "." not in self._own or self._own.endswith(_INSIDE) if own is None else not _is_public(_plain(own))
        self._own_inside = self._own if inside else ""
        self._names: set[str] = set()
        self._below: list[str] = []
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for entry in map(str.lower, allowed):
            if entry.startswith("*."):
                self._below.append(entry[1:])
            elif (network := network_of(entry)) is not None:
                self._networks.append(network)
            else:
                self._names.add(entry)

    def allows(self, host: str) -> bool:
        """Whether a URL may have this host."""
        host = host.lower().rstrip(".")
        if (address := address_of(host)) is not None:
            return host == self._own or self._lists(address)
        return host == self._own or host in self._names or any(host.endswith(end) for end in self._below)

    def allows_address(self, host: str, address: IPAddress) -> bool:
        """Whether an allowed host may be at this address: any public one, and otherwise one that is listed. The host of
        ``base_url`` may be anywhere if it is itself such an address, or a name that is resolved inside a network."""
        plain = _plain(address)
        return _is_public(plain) or self._lists(plain) or host.lower() == self._own_inside

    def _lists(self, address: IPAddress) -> bool:
        return any(address in network for network in self._networks)


class CheckedConnector:
    """Connects to a host that a provider's address names, unless it resolves to an address that is not allowed. An
    outbound ``proxy`` resolves names itself, so only the host is checked then."""

    def __init__(self, url: URL, ca_file: str | None, hosts: DataHosts, proxy: SecretStr | None = None) -> None:
        self._host, self._port = url.host or "", url.port or 80
        self._hosts = hosts
        self._proxied = None
        if proxy is not None:
            self._proxied = ProxiedConnector(url, proxy.get_secret_value(), ca_file, tunnel=True)
        self._tls = ssl.create_default_context(cafile=ca_file) if url.scheme == "https" else None

    async def __call__(self, make: Callable[[], Http1Connection]) -> Http1Connection:
        loop = asyncio.get_running_loop()
        if not self._hosts.allows(self._host):
            raise AddressRefused("The host is not one of the provider.")
        if self._proxied is not None:
            return await self._proxied(make)
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
        if not all(self._hosts.allows_address(self._host, address) for address in addresses):
            raise AddressRefused("The host resolves to an address that is not allowed.")
        name = None if self._tls is None else self._host
        failure: OSError = AddressRefused("The host has no address.")
        for address in addresses:
            try:
                _, protocol = await loop.create_connection(
                    make, str(address), self._port, ssl=self._tls, server_hostname=name
                )
            except OSError as exc:
                failure = exc
            else:
                return protocol
        raise failure


class DataOrigins:
    """The servers of the runtimes of all providers. Those used least recently are forgotten; their connections end with
    the requests that use them."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._known: LRUCache[tuple[object, ...], Origin] = LRUCache(_MOST_ORIGINS)

    def of(self, settings: ProviderSettings, declared: tuple[str, ...], endpoint: Endpoint) -> Origin:
        """The server of an endpoint. ``declared`` are the hosts that the provider's adapter names."""
        url = URL(endpoint.url, encoded=True).origin()
        key = settings.name, settings.base_url, settings.proxy, str(url)
        found = self._known.get(key)
        if found is None:
            hosts = DataHosts(settings.base_url, (*declared, *settings.data_hosts))
            connect = CheckedConnector(url, settings.ca_file, hosts, settings.proxy)
            found = self._known[key] = Origin(settings, limit=self._limit, url=url, connect=connect)
        return found

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        origins = list(self._known.values())
        self._known.clear()
        for origin in origins:
            await origin.pool.close()


def address_of(text: str) -> IPAddress | None:
    """The IP address of a URL's host; None for a name."""
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network that an entry names, of one address without a prefix length; None for a name."""
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _is_public(address: IPAddress) -> bool:
    in_use = isinstance(address, ipaddress.IPv4Address) or address in _UNICAST
    return in_use and address.is_global and not address.is_multicast


def _plain(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 address embeds, else the address."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is None and address in _NAT64:
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return embedded or address
