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
        self._root, for_proxy = "", list[str]()
        if connect is None and settings.proxy is not None:
            connect = proxied = ProxiedConnector(url, settings.proxy.get_secret_value(), settings.ca_file)
            self._root, for_proxy = proxied.root, proxied.headers
        self._own = "\r\n".join([f"Host: {url.host_port_subcomponent or ''}", *for_proxy, ""])
        self.deadlines = Deadlines()
        self.pool = ConnectionPool(
            connect or DirectConnector(url, settings.ca_file),
            HeadLimits(settings.max_response_header_bytes, settings.max_response_headers),
            limit=limit,
            connect_timeout=settings.connect_timeout,
        )

    @staticmethod
    def lines(headers: Iterable[tuple[str, str]]) -> str:
        """Headers as lines of a head. Raises ``ValueError`` for a line break or a zero byte in a name or value."""
        lines = [_checked(f"{name}: {value}") for name, value in headers]
        return "\r\n".join([*lines, ""])

    def head(self, method: str, target: str, lines: str, length: int | None) -> bytes:
        """The head of a request to a target below the base URL, with the ``lines`` of its headers, whose body has
        ``length`` bytes; None if the headers frame it. Raises as :meth:`lines`."""
        target = self._prefix + target
        if not target.startswith("/"):
            target = "/" + target
        first = _checked(f"{method} {self._root}{target} HTTP/1.1")
        framing = f"Content-Length: {length}\r\n" if length or (length == 0 and method in _WITH_BODY) else ""
        return f"{first}\r\n{self._own}{lines}{framing}\r\n".encode("utf-8", "surrogateescape")


def _checked(line: str) -> str:
    if "\r" in line or "\n" in line or "\0" in line:
        raise ValueError("a header has a line break or a zero byte")
    return line
