"""The protocol of a durable runtime's own server: HTTP and two WebSockets at the root, with a bearer token."""

from typing import Any, Final
from urllib.parse import urlsplit

from gateway.domain.runtime import Connection
from gateway.ports.data_plane import DataProtocol, Endpoint, Rewriting

_TICKET: Final = "/api/ws/ticket"


class RuntimeServer(DataProtocol):
    """Its clients join ``/api/…`` to the scheme and host of the address, so the token cannot be in the path."""

    name = "runtime_server"
    at_root = True
    credential_once = True

    def endpoint(self, connection: Connection) -> Endpoint:
        parts = urlsplit(connection.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not connection.token:
            raise ValueError("the address is not a web address with a token")
        url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        return Endpoint(url, headers={"Authorization": f"Bearer {connection.token}"}, socket_path="")

    def rewrites(self, method: str, path: str) -> bool:
        return method == "POST" and path.rstrip("/") == _TICKET

    def rewrite(self, document: Any, rewriting: Rewriting) -> Any:
        if isinstance(document, dict) and isinstance(ticket := document.get("ticket"), str):
            return {**document, "ticket": rewriting.ticket(ticket)}
        return document


DATA_PROTOCOLS: Final[dict[str, DataProtocol]] = {"runtime_server": RuntimeServer()}
