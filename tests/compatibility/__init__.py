"""Which calls of a provider's own clients a dialect serves: one module per adapter, with the adapter's name.

docs/compatibility.md is generated from these declarations, and tests run the real clients against them.
"""

from dataclasses import dataclass
from enum import StrEnum


class Support(StrEnum):
    """Whether a client's call is served. ``different``: it works, with the difference that the note describes.
    ``forwardable``: refused, unless the settings forward it."""

    SERVED = "served"
    DIFFERENT = "different"
    REFUSED = "refused"
    FORWARDABLE = "forwardable"


@dataclass(frozen=True, slots=True)
class Client:
    """One client, in all versions that send the same requests.

    ``environment`` names the environment in which it is tested (``bctrl-0.1.5``: ``config/clients/bctrl-0.1.5.in``);
    None where the client cannot be installed. ``base_url`` and ``key`` say in Markdown how both are configured.
    """

    name: str
    environment: str | None
    base_url: str
    key: str


@dataclass(frozen=True, slots=True)
class ClientCall:
    """One call as users write it (``browsers.create``); ``*`` matches all calls that no earlier line names.

    ``routes`` are the dialect's operations that may serve it; empty where it is refused. ``forward`` are the presets of
    ``dialects.{prefix}.forward`` that contain it; ``*``: rules of one's own are needed. ``only`` are the environments
    of the clients that have the call; empty for all clients.
    """

    name: str
    routes: tuple[str, ...] = ()
    note: str = ""
    only: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()

    @property
    def support(self) -> Support:
        """Refused without ``routes``, or forwardable; otherwise different with a note, and served without one."""
        if not self.routes:
            return Support.FORWARDABLE if self.forward else Support.REFUSED
        return Support.DIFFERENT if self.note else Support.SERVED

    def exists_in(self, client: Client) -> bool:
        """Whether a client has this call."""
        return not self.only or client.environment in self.only


@dataclass(frozen=True, slots=True)
class Compatibility:
    """Clients that have the same calls, and those calls.

    ``era`` is the era of the routes that they use. ``error_members`` are the members of an error's body, as dotted
    paths, by which these clients distinguish errors.
    """

    title: str
    era: str | None
    clients: tuple[Client, ...]
    calls: tuple[ClientCall, ...]
    error_members: tuple[str, ...]
