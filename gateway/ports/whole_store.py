"""Everything that the gateway stores, in one database."""

from abc import ABC

from gateway.ports.audit import AuditStore
from gateway.ports.data_plane import ReleaseStore, RevocationStore
from gateway.ports.moves import KeptCreateStore, MoveStore
from gateway.ports.places import EndStore, PlaceStore
from gateway.ports.principals import OwnerStore, PrincipalStore
from gateway.ports.store import Store


class WholeStore(
    Store,
    PrincipalStore,
    OwnerStore,
    EndStore,
    PlaceStore,
    RevocationStore,
    ReleaseStore,
    AuditStore,
    MoveStore,
    KeptCreateStore,
    ABC,
):
    """A store of creates, of access data, of planned ends, of places, of revocations, of releases, of audit events,
    of moves, and of kept creates."""
