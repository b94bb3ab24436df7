"""Where the requests of one provider go: the base URL, and the pool of connections to its host."""

from yarl import URL

from gateway.ports.provider_settings import ProviderSettings
from gateway.upstream.http1.heads import HeadLimits
from gateway.upstream.http1.pool import ConnectionPool, DirectConnector


class Origin:
    """The origin of a provider, with at most ``limit`` connections. Has to be made in a running event loop. Raises
    ``OSError`` for a ``ca_file`` that cannot be read.

    ``prefix`` is the path of the base URL without a slash at its end, ``host`` the value of the ``Host`` header."""

    def __init__(self, settings: ProviderSettings, *, limit: int) -> None:
        url = URL(settings.base_url, encoded=True)
        self.prefix = url.raw_path.rstrip("/")
        self.host = url.host_port_subcomponent or ""
        connector = DirectConnector(url, settings.ca_file)
        limits = HeadLimits(settings.max_response_header_bytes, settings.max_response_headers)
        self.pool = ConnectionPool(connector, limits, limit=limit, connect_timeout=settings.connect_timeout)
