"""Tokens of the data plane: what one contains, and whether it is still valid (docs/connect.md#tokens)."""

from typing import Final

import msgspec

from gateway.domain.access import Principal
from gateway.domain.errors import GatewayError, PermissionDenied, StoreUnavailable, Unauthenticated
from gateway.domain.ids import b64url_bytes, bytes_from_b64url
from gateway.ports.clock import Clock
from gateway.ports.sealing import Cell, Sealer, Unreadable
from gateway.services.access.directory import Directory

MAX_TOKEN: Final = 6000
"""Characters of the longest token that is read."""

_CELL: Final = Cell("data_plane", "token", "grant")
_INVALID: Final = "The token of this address is not valid, or has expired; ask for a new one with POST …/connections."
_REVOKED: Final = "The token of this address was revoked."


class Grant(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a token permits: to use one protocol of one instance of a runtime, until ``expires_at`` (seconds since the
    epoch). ``generation`` and ``epoch`` are those of the store when it was made. ``ticket``: a ticket of the runtime's
    own server, which is sent in place of the credential. ``credential``: the URL and the token of the runtime's
    server, where its provider tells them at a start only."""

    runtime_id: str
    instance: str | None
    protocol: str
    principal: str
    key_id: str | None
    expires_at: float
    generation: int
    epoch: str
    ticket: str | None = None
    credential: tuple[str, str] | None = None


_DECODER: Final = msgspec.msgpack.Decoder(Grant)
_NO_GRANT: Final = msgspec.msgpack.encode(
    Grant(runtime_id="", instance=None, protocol="", principal="", key_id=None, expires_at=0.0, generation=0, epoch="")
)
"""Is checked in place of a text that is no token, so that all refused tokens cause the same work."""


class Grants:
    """Makes tokens, and reads them. A token is a grant, sealed: only the gateway can read or make one."""

    def __init__(self, sealer: Sealer, directory: Directory, clock: Clock) -> None:
        self._sealer = sealer
        self.directory = directory
        self._clock = clock

    def make(
        self,
        runtime_id: str,
        instance: str | None,
        protocol: str,
        principal: Principal,
        ttl: float,
        credential: tuple[str, str] | None = None,
    ) -> Grant:
        """A grant for a caller that may connect to a runtime, for ``ttl`` seconds. Raises :class:`StoreUnavailable`."""
        revoked = self.directory.revoked
        if not revoked.epoch:
            raise StoreUnavailable("No token can be made before the store was read.", retry_after=2.0)
        end = self._clock.now() + ttl
        return Grant(
            runtime_id=runtime_id,
            instance=instance,
            protocol=protocol,
            principal=principal.name,
            key_id=principal.key_id,
            expires_at=end if principal.expires is None else min(end, principal.expires),
            generation=revoked.generation(runtime_id, principal.name),
            epoch=revoked.epoch,
            credential=credential,
        )

    def token(self, grant: Grant) -> str:
        return b64url_bytes(self._sealer.seal(msgspec.msgpack.encode(grant), _CELL))

    def read(self, token: str) -> Grant:
        """The grant of a token. Raises :class:`Unauthenticated` for a text that is no token of this gateway and for one
        that has expired, and as :meth:`require`."""
        if len(token) > MAX_TOKEN:
            raise Unauthenticated(_INVALID)
        try:
            sealed = bytes_from_b64url(token)
        except ValueError:
            sealed = token.encode(errors="replace")
        try:
            grant = _DECODER.decode(self._sealer.unseal(sealed, _CELL))
        except (Unreadable, msgspec.MsgspecError):
            grant = _DECODER.decode(_NO_GRANT)
        refusal = self._refusal(grant)
        if grant.expires_at <= self._clock.now():
            raise Unauthenticated(_INVALID)
        if refusal is not None:
            raise refusal
        return grant

    def require(self, grant: Grant) -> None:
        """Raise :class:`PermissionDenied` for a grant that was revoked: itself, its key or its principal, and
        :class:`StoreUnavailable` while it is not known whether it was."""
        if (refusal := self._refusal(grant)) is not None:
            raise refusal

    def _refusal(self, grant: Grant) -> GatewayError | None:
        """Why a grant is not valid any longer. Everything is looked up, whatever is found first."""
        revoked = self.directory.revoked
        valid = grant.generation >= revoked.generation(grant.runtime_id, grant.principal)
        unknown = None
        try:
            calls = self.directory.still_calls(grant.principal, grant.key_id)
        except StoreUnavailable as error:
            calls, unknown = True, error
        return unknown if valid and calls and grant.epoch == revoked.epoch else PermissionDenied(_REVOKED)
