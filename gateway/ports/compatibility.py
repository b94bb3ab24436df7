"""What a dialect answers to the clients that it is spoken to: declared beside it, in its folder's ``compatibility.py``.

The documentation shows it, and tests hold the clients themselves to it. A gateway that runs loads nothing of this.
"""

from dataclasses import dataclass
from enum import StrEnum


class Support(StrEnum):
    """How far a call of a client is served. ``different`` works too, but its user will notice what the note says."""

    SERVED = "served"
    DIFFERENT = "different"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Client:
    """One client in the versions that make the same requests.

    ``environment`` names what it is tested with (``bctrl-0.1.5``: ``config/clients/bctrl-0.1.5.in``), None where there
    is none to be had. ``base_url`` and ``key`` say in Markdown how it is told both.
    """

    name: str
    environment: str | None
    base_url: str
    key: str


@dataclass(frozen=True, slots=True)
class ClientCall:
    """One call as its users write it (``browsers.create``); ``*`` stands for all that no line before it names.

    ``routes`` are the dialect's operations that it may end at; none where it is refused. ``only`` are the environments
    of the clients that have it, empty for all.
    """

    name: str
    routes: tuple[str, ...] = ()
    note: str = ""
    only: tuple[str, ...] = ()

    @property
    def support(self) -> Support:
        """Follows from what there is to say."""
        if not self.routes:
            return Support.REFUSED
        return Support.DIFFERENT if self.note else Support.SERVED

    def exists_in(self, client: Client) -> bool:
        """Whether a client has this call."""
        return not self.only or client.environment in self.only


@dataclass(frozen=True, slots=True)
class Compatibility:
    """Clients that have the same calls, and those calls.

    ``era`` is that of the routes which they use. ``error_members`` are the members of an error's body, dotted, by which
    these clients tell one error from another.
    """

    title: str
    era: str | None
    clients: tuple[Client, ...]
    calls: tuple[ClientCall, ...]
    error_members: tuple[str, ...]
