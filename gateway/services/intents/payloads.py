"""The sealed payloads of an intent: the request as it is sent, and the response that was returned."""

import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import msgspec
from pydantic import ValidationError

from gateway.domain.digests import request_document
from gateway.domain.intents import Intent
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest
from gateway.domain.runtime import ENCODER, Runtime
from gateway.ports.provider import Created, WireCreate
from gateway.ports.sealing import Cell, Sealer, Unreadable

_TABLE: Final = "intents"


class SentCreate(msgspec.Struct, frozen=True):
    """A create as it is sent, and the caller's request as JSON, to compare with runtimes that are found. ``judged``:
    the gateway itself compares a runtime that already has the name, rather than the provider."""

    wire: WireCreate
    document: str
    judged: bool

    @classmethod
    def of(cls, wire: WireCreate, document: Mapping[str, Any], *, judged: bool) -> Self:
        """From the caller's request. Integers may have any size."""
        return cls(wire, json.dumps(document), judged)

    def __repr__(self) -> str:
        return f"SentCreate({self.wire!r})"

    def secret_values(self) -> Sequence[str]:
        """The values that must not appear in an error or a log."""
        request = self.request()
        return () if request is None else tuple(request.secret_values())

    def request(self) -> CreateRequest | None:
        """The caller's request, without members that this version does not know; None if it cannot be read."""
        document = json.loads(self.document)
        model = CREATE_REQUESTS.get(str(document.get("kind")))
        if model is None:
            return None
        known = {name: value for name, value in document.items() if name in model.model_fields}
        try:
            return model.model_validate(known).model_copy(update={"name": known.get("name", "")})
        except ValidationError:
            return None


class _Answer(msgspec.Struct, frozen=True):
    runtime: msgspec.Raw
    created: bool
    native: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # (not None: msgspec reads Raw | None as None)


_SENT: Final = msgspec.msgpack.Decoder(SentCreate)
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_RUNTIME: Final = msgspec.json.Decoder(Runtime)


class PayloadSealer:
    """Seals and unseals the payloads of intents."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal_request(self, intent_id: str, sent: SentCreate) -> bytes:
        """The sealed request, for the intent's row."""
        return self._sealer.seal(msgspec.msgpack.encode(sent), Cell(_TABLE, intent_id, "request"))

    def request(self, intent: Intent) -> SentCreate | None:
        """The request that was sent; None if it was dropped or cannot be unsealed."""
        return None if intent.request is None else self.unsealed_request(intent.id, intent.request)

    def unsealed_request(self, intent_id: str, sealed: bytes) -> SentCreate | None:
        """The request that :meth:`seal_request` sealed for an intent; None if it cannot be unsealed."""
        try:
            return _SENT.decode(self._sealer.unseal(sealed, Cell(_TABLE, intent_id, "request")))
        except (Unreadable, msgspec.MsgspecError):
            return None

    def seal_outcome(self, intent_id: str, created: Created) -> bytes:
        """The sealed response, for the intent's row."""
        native = msgspec.UNSET if created.native is None else msgspec.Raw(created.native)
        answer = _Answer(msgspec.Raw(ENCODER.encode(created.runtime)), created.created, native)
        return self._sealer.seal(msgspec.json.encode(answer), Cell(_TABLE, intent_id, "outcome"))

    def outcome(self, intent: Intent) -> Created | None:
        """The response that was returned; None before that. Raises :class:`Unreadable`."""
        if intent.outcome is None:
            return None
        unsealed = self._sealer.unseal(intent.outcome, Cell(_TABLE, intent.id, "outcome"))
        try:
            answer = _ANSWER.decode(unsealed)
            runtime = _RUNTIME.decode(answer.runtime)
        except msgspec.MsgspecError as exc:  # another version wrote it
            raise Unreadable from exc
        native = None if answer.native is msgspec.UNSET else bytes(answer.native)
        return Created(runtime, answer.created, native)

    def digest(self, operation: str, document: Mapping[str, Any]) -> tuple[bytes, str]:
        """The digest of a request to an operation, and its version."""
        version = self._sealer.digest_version
        return self._sealer.digest(operation, document, version), version

    def is_same(self, intent: Intent, operation: str, document: Mapping[str, Any]) -> bool:
        """Whether an intent belongs to an equal request. Raises :class:`Unreadable`."""
        digest = self._sealer.digest(operation, document, intent.digest_version)
        return hmac.compare_digest(digest, intent.digest)


def document_of(request: CreateRequest) -> dict[str, Any]:
    """The caller's request as plain JSON, for the digest and for comparison."""
    return request_document(request)
