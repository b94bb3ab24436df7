"""Where the requests of one provider go: the base URL, and the pool of connections to its host."""

from collections.abc import Iterable
from typing import Final

from yarl import URL

from gateway.ports.provider_settings import ProviderSettings
from gateway.upstream.deadlines import Deadlines
from gateway.upstream.http1.pool import ConnectionPool, Connector, DirectConnector
from gateway.upstream.http1.proxied import ProxiedConnector
from gateway.upstream.http1.response import HeadLimits

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class Origin:
    """The server of a base URL, with at most ``limit`` connections, made when they are needed. ``deadlines`` are those
    of the requests to it. ``url`` replaces the provider's base URL, and ``connect`` how connections are made; otherwise
    they go through the provider's outbound proxy if it has one."""

    def __init__(
        self, settings: ProviderSettings, *, limit: int, url: URL | None = None, connect: Connector | None = None
    ) -> None:
        url = url or URL(settings.base_url, encoded=True)
        self._prefix = url.raw_path.rstrip("/")
        self._host = url.host_port_subcomponent or ""
        self._root, self._for_proxy = "", list[str]()
        if connect is None and settings.proxy is not None:
            connect = proxied = ProxiedConnector(url, settings.proxy.get_secret_value(), settings.ca_file)
            self._root, self._for_proxy = proxied.root, proxied.headers
        self.deadlines = Deadlines()
        self.pool = ConnectionPool(
            connect or DirectConnector(url, settings.ca_file),
            HeadLimits(settings.max_response_header_bytes, settings.max_response_headers),
            limit=limit,
            connect_timeout=settings.connect_timeout,
        )

    def head(self, method: str, target: str, headers: Iterable[tuple[str, str]], length: int | None) -> bytes:
        """The head of a request to a target below the base URL, whose body has ``length`` bytes; None if ``headers``
        frame it. Raises ``ValueError`` for a line break or a zero byte in a name or value."""
        target = self._prefix + target
        target = self._root + (target if target.startswith("/") else "/" + target)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", *self._for_proxy]
        lines += [f"{name}: {value}" for name, value in headers]
        if length or (length == 0 and method in _WITH_BODY):
            lines.append(f"Content-Length: {length}")
        text = "".join(lines)
        if "\r" in text or "\n" in text or "\0" in text:
            raise ValueError("a header has a line break or a zero byte")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")
