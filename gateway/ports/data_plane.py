"""The way into a runtime: what an adapter knows of the protocols that its runtimes speak (docs/connect.md).

The data plane forwards requests to the addresses that the adapter's ``connections`` returns. An adapter that
implements :class:`SupportsDataPlane` says how each protocol is addressed, and which of its responses contain addresses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable
from urllib.parse import SplitResult, urlsplit

import msgspec

from gateway.domain.runtime import Connection, Runtime


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a runtime at its provider, for one protocol.

    All paths of the protocol lie below ``url`` (http or https, without a query and a slash at its end). ``query`` is
    appended to every request, and ``headers`` are sent with it; both may be credentials. A WebSocket to the bare
    address goes to ``socket_path`` below ``url``; None: the provider has to be asked (:meth:`DataProtocol.discovery`).
    """

    url: str = field(repr=False)
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    socket_path: str | None = None

    def path_of(self, address: str) -> str | None:
        """The path below :attr:`url` of an address that the runtime's server returned; None for one that does not lead
        to the same server. The query is dropped."""
        try:
            base, found = urlsplit(self.url), urlsplit(address)
            same_host = found.hostname == base.hostname and _port(found) == _port(base)
        except ValueError:
            return None
        below = found.path == base.path or found.path.startswith(base.path + "/")
        return found.path[len(base.path) :] if same_host and below else None

    def target(self, path: str, *queries: str) -> str:
        """The request target of a path below :attr:`url`, with :attr:`query` and further ones."""
        query = "&".join(filter(None, (*queries, self.query)))
        return urlsplit(self.url).path + path + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """The gateway's address of a runtime for one protocol, as an http(s) URL without a slash at its end."""

    http: str = field(repr=False)

    @property
    def websocket(self) -> str:
        """The URL for a WebSocket."""
        return "ws" + self.http.removeprefix("http")


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What a response is rewritten with: ``public`` returns the gateway's address of the same runtime for a protocol,
    ``ticket`` makes a ticket of the gateway from one of the runtime's server."""

    endpoint: Endpoint
    public: Callable[[str], PublicAddress]
    ticket: Callable[[str], str]

    def address(self, url: str, protocol: str) -> str | None:
        """The gateway's form of a ws(s) or http(s) URL of the runtime's server; None where it leads elsewhere."""
        path = self.endpoint.path_of(url)
        if path is None:
            return None
        public = self.public(protocol)
        return (public.websocket if url.startswith("ws") else public.http) + path


class DataProtocol(ABC):
    """One protocol of the runtimes of an adapter.

    ``at_root``: clients send the token as ``Authorization: Bearer`` and paths start at the root of the listener;
    otherwise the path starts with the protocol and the token. ``credential_once``: the provider returns the
    connection's token only when an instance starts. The gateway's own tokens contain it, so that a request through the
    data plane never has to send a start, which could start a runtime that was stopped meanwhile.
    """

    name: ClassVar[str]
    at_root: ClassVar[bool] = False
    credential_once: ClassVar[bool] = False

    @abstractmethod
    def endpoint(self, connection: Connection) -> Endpoint:
        """The endpoint of a connection that the adapter returned. Raises ``ValueError`` for an address that this
        protocol cannot use. No I/O."""

    def discovery(self) -> str | None:
        """The path whose response names the WebSocket of the bare address."""
        return None

    def discovered(self, document: Any) -> str | None:  # noqa: ARG002
        """The WebSocket's URL in the response of :meth:`discovery`."""
        return None

    def rewrites(self, method: str, path: str) -> bool:  # noqa: ARG002
        """Whether the response to a request is JSON that contains addresses. ``path`` is below the endpoint."""
        return False

    def rewrite(self, document: Any, rewriting: Rewriting) -> Any:  # noqa: ARG002
        """The document of such a response without addresses of the provider."""
        return document


@runtime_checkable
class SupportsDataPlane(Protocol):
    """Has runtimes that the gateway's data plane can lead to.

    ``data_protocols`` by the ``protocol`` of the connections; a connection of any other protocol is not returned.
    ``data_hosts`` are the hosts, beside that of ``base_url``, that addresses may have; ``*.`` at the start stands for
    any name below.
    """

    data_protocols: ClassVar[Mapping[str, DataProtocol]]
    data_hosts: ClassVar[tuple[str, ...]]


class AddressIssuer(Protocol):
    """Makes addresses of the gateway for one caller and the runtimes of one adapter: dialects write them in place of
    the provider's. They are valid for a day, because the provider's own clients do not ask for new ones."""

    public_url: str
    """The address of protocols with the token in a header."""

    def issue(self, runtime: Runtime, protocol: str) -> Connection:
        """The gateway's connection to the current instance of a runtime that the caller may see. No I/O."""

    def keep(self, runtime: Runtime, connections: Sequence[Connection]) -> None:
        """Keep the provider's connections to the current instance, which only the response to a start contains."""

    async def revoke(self, runtime: Runtime) -> None:
        """Make all earlier addresses of a runtime void, because the provider has replaced its credentials."""


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """Connections of a principal to a runtime that were given before ``generation`` are void. ``principal`` empty:
    those of all principals."""

    runtime_id: str
    principal: str
    generation: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """This replica's copy of the revocations. ``epoch`` identifies the store: if it was lost, all tokens are void."""

    epoch: str = ""
    generations: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def generation(self, runtime_id: str, principal: str) -> int:
        """The generation that tokens must have at least."""
        known = self.generations
        return max(known.get((runtime_id, principal), 0), known.get((runtime_id, ""), 0)) if known else 0


class RevocationStore(ABC):
    """Stores revocations. They are a part of the access data (:mod:`gateway.ports.principals`)."""

    @abstractmethod
    async def revoke(self, runtime_id: str, principal: str) -> Revocation:
        """Make the connections void that a principal (empty: all) has to a runtime now."""


class ReleaseStore(ABC):
    """Shares between replicas which runtimes were stopped, paused, reset or deleted. The rules of
    :mod:`gateway.ports.store` apply."""

    @abstractmethod
    async def add_releases(self, runtime_ids: Collection[str], writer: str) -> None:
        """Record that the process ``writer`` may have ended the instances of these runtimes just now."""

    @abstractmethod
    async def releases(self, writer: str, within: float) -> Mapping[str, float]:
        """When runtimes were last released, if not by ``writer``, in the last ``within`` seconds (at most 60)."""


def _port(url: SplitResult) -> int | None:
    return url.port or {"http": 80, "ws": 80, "https": 443, "wss": 443}.get(url.scheme)
