"""The servers that the data plane connects to, each with its pool of connections."""

from typing import Final

from cachetools import LRUCache
from yarl import URL

from gateway.ports.data_plane import Endpoint
from gateway.ports.provider_settings import ProviderSettings
from gateway.upstream.data_hosts import CheckedConnector, DataHosts
from gateway.upstream.http1.origin import Origin

_MOST: Final = 4096


class DataOrigins:
    """The servers of the runtimes of all providers. Those used least recently are forgotten; their connections end with
    the requests that use them."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._known: LRUCache[tuple[str, str, str], Origin] = LRUCache(_MOST)

    def of(self, settings: ProviderSettings, declared: tuple[str, ...], endpoint: Endpoint) -> Origin:
        """The server of an endpoint. ``declared`` are the hosts that the provider's adapter names."""
        url = URL(endpoint.url, encoded=True).origin()
        key = settings.name, settings.base_url, str(url)
        found = self._known.get(key)
        if found is None:
            hosts = DataHosts(settings.base_url, (*declared, *settings.data_hosts))
            connect = CheckedConnector(url, settings.ca_file, hosts)
            found = self._known[key] = Origin(settings, limit=self._limit, url=url, connect=connect)
        return found

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        origins = list(self._known.values())
        self._known.clear()
        for origin in origins:
            await origin.pool.close()
