"""Everything that the gateway stores, in one database."""

from abc import ABC

from gateway.ports.owners import OwnerStore
from gateway.ports.principals import PrincipalStore
from gateway.ports.store import Store


class WholeStore(Store, PrincipalStore, OwnerStore, ABC):
    """A store of creates and of access data."""
