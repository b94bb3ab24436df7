"""Where the requests of one provider go: the base URL, and the pool of connections to its host."""

from typing import Self

from yarl import URL

from gateway.ports.provider_settings import ProviderSettings
from gateway.upstream.http1.heads import HeadLimits
from gateway.upstream.http1.pool import ConnectionPool, DirectConnector


class Origin:
    """``prefix`` is the path of the base URL without a slash at its end, ``host`` the value of the ``Host`` header."""

    def __init__(self, base_url: str, pool: ConnectionPool) -> None:
        url = URL(base_url, encoded=True)
        self.prefix = url.raw_path.rstrip("/")
        self.host = url.host_port_subcomponent or ""
        self.pool = pool

    @classmethod
    def of(cls, settings: ProviderSettings, *, limit: int) -> Self:
        """The origin of a provider, with at most ``limit`` connections. Has to be called in a running event loop.

        Raises ``OSError`` for a ``ca_file`` that cannot be read."""
        connector = DirectConnector(URL(settings.base_url, encoded=True), settings.ca_file)
        limits = HeadLimits(settings.max_response_header_bytes, settings.max_response_headers)
        pool = ConnectionPool(connector, limits, limit=limit, connect_timeout=settings.connect_timeout)
        return cls(settings.base_url, pool)
