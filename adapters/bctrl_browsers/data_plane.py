"""The protocols of a browser: CDP and WebDriver, as Chromium and its driver speak them."""

from typing import Any, Final
from urllib.parse import urlsplit

from gateway.domain.runtime import Connection
from gateway.ports.data_plane import DataProtocol, Endpoint, Rewriting

_BROWSER_SOCKET: Final = "/devtools/browser/"
_LISTS: Final = frozenset({"/json", "/json/list", "/json/version", "/json/new"})
_SOCKET: Final = "webSocketDebuggerUrl"
_FRONTEND: Final = "devtoolsFrontendUrl"


class Cdp(DataProtocol):
    """The Chrome DevTools Protocol: a WebSocket, and JSON documents below ``/json`` that name more of them."""

    name = "cdp"

    def endpoint(self, connection: Connection) -> Endpoint:
        # The address may be that of the browser's WebSocket itself, whose server then has its documents at the root.
        base, query = _server(connection.url)
        before, found, browser = base.partition(_BROWSER_SOCKET)
        socket = _BROWSER_SOCKET + browser if found else None
        is_socket = connection.url.startswith("ws")
        return Endpoint(before, query, socket_path=socket if found else ("" if is_socket else None))

    def discovery(self) -> str | None:
        return "/json/version"

    def discovered(self, document: Any) -> str | None:
        address = document.get(_SOCKET) if isinstance(document, dict) else None
        return address if isinstance(address, str) else None

    def rewrites(self, method: str, path: str) -> bool:
        return method in {"GET", "PUT", "POST"} and path.rstrip("/") in _LISTS

    def rewrite(self, document: Any, rewriting: Rewriting) -> Any:
        targets = document if isinstance(document, list) else [document]
        return [_shown(target, rewriting) for target in targets] if targets is document else _shown(document, rewriting)


class WebDriver(DataProtocol):
    """WebDriver and BiDi. The response to a new session contains addresses."""

    name = "webdriver"

    def endpoint(self, connection: Connection) -> Endpoint:
        base, query = _server(connection.url)
        return Endpoint(base, query, socket_path="")

    def rewrites(self, method: str, path: str) -> bool:
        return method == "POST" and path.rstrip("/") == "/session"

    def rewrite(self, document: Any, rewriting: Rewriting) -> Any:
        value = document.get("value") if isinstance(document, dict) else None
        capabilities = value.get("capabilities") if isinstance(value, dict) else None
        if not isinstance(capabilities, dict):
            return document
        for name in ("webSocketUrl", "se:cdp", "se:bidi", "se:vnc"):
            _replace(capabilities, name, rewriting, WebDriver.name)
        for name in [name for name in capabilities if name.endswith(":chromeOptions") or name == "ms:edgeOptions"]:
            options = capabilities[name]
            if isinstance(options, dict) and "debuggerAddress" in options:
                # Clients put it between "http://" and "/json/version".
                options["debuggerAddress"] = rewriting.public(Cdp.name).http.partition("://")[2]
        return document


DATA_PROTOCOLS: Final[dict[str, DataProtocol]] = {"cdp": Cdp(), "webdriver": WebDriver()}


def _server(url: str) -> tuple[str, str]:
    """The http(s) URL of an address without its query, and the query."""
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("the address is not a web address")
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}", parts.query


def _replace(members: dict[str, Any], name: str, rewriting: Rewriting, protocol: str) -> None:
    """Replace an address; one that leads elsewhere is removed, because it would lead past the gateway."""
    if isinstance(address := members.get(name), str):
        own = rewriting.address(address, protocol)
        if own is None:
            del members[name]
        else:
            members[name] = own


def _shown(target: Any, rewriting: Rewriting) -> Any:
    if not isinstance(target, dict):
        return target
    _replace(target, _SOCKET, rewriting, Cdp.name)
    if isinstance(frontend := target.pop(_FRONTEND, None), str):
        socket = target.get(_SOCKET)
        if isinstance(socket, str):
            scheme, _, rest = socket.partition("://")
            target[_FRONTEND] = (
                f"{frontend.partition('?')[0]}?{scheme}={rest}"
                if "://" not in frontend
                else (f"/devtools/inspector.html?{scheme}={rest}")
            )
    return target
