"""The servers that the data plane connects to, each with its pool of connections."""

from typing import Final

from cachetools import LRUCache
from yarl import URL

from gateway.ports.data_plane import Endpoint
from gateway.ports.provider_settings import ProviderSettings
from gateway.upstream.data_hosts import CheckedConnector, DataHosts
from gateway.upstream.http1.heads import HeadLimits
from gateway.upstream.http1.origin import Origin
from gateway.upstream.http1.pool import ConnectionPool

_MOST: Final = 4096


class DataOrigin(Origin):
    """One server. Has to be made in a running event loop."""

    def __init__(self, settings: ProviderSettings, url: URL, hosts: DataHosts, *, limit: int) -> None:
        self.prefix = ""
        self.host = url.host_port_subcomponent or ""
        self.pool = ConnectionPool(
            CheckedConnector(url, settings.ca_file, hosts),
            HeadLimits(settings.max_response_header_bytes, settings.max_response_headers),
            limit=limit,
            connect_timeout=settings.connect_timeout,
        )


class DataOrigins:
    """The servers of the runtimes of all providers. Those used least recently are forgotten; their connections end with
    the requests that use them."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._known: LRUCache[tuple[str, str, str], DataOrigin] = LRUCache(_MOST)

    def of(self, settings: ProviderSettings, declared: tuple[str, ...], endpoint: Endpoint) -> DataOrigin:
        """The server of an endpoint. ``declared`` are the hosts that the provider's adapter names."""
        url = URL(endpoint.url, encoded=True).origin()
        key = settings.name, settings.base_url, str(url)
        found = self._known.get(key)
        if found is None:
            hosts = DataHosts(settings.base_url, (*declared, *settings.data_hosts))
            found = self._known[key] = DataOrigin(settings, url, hosts, limit=self._limit)
        return found

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        origins = list(self._known.values())
        self._known.clear()
        for origin in origins:
            await origin.pool.close()
