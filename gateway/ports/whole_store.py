"""Everything that the gateway stores, in one database."""

from abc import ABC

from gateway.ports.ends import EndStore
from gateway.ports.owners import OwnerStore
from gateway.ports.principals import PrincipalStore
from gateway.ports.store import Store


class WholeStore(Store, PrincipalStore, OwnerStore, EndStore, ABC):
    """A store of creates, of access data, and of planned ends."""
