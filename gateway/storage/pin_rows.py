"""The pins of creates that name no provider: each binds a principal, kind and name to one namespace."""

from typing import Final

from gateway.domain.intents import Intent, NewIntent
from gateway.storage.sql import COLUMNS, Part, Statement, intent_of

_OF_PIN: Final = (
    f"SELECT {COLUMNS} FROM intents WHERE principal = $1 AND kind = $2 AND name = $3 AND pinned = 1"
    " AND state <> 'refused' AND id <> $4 ORDER BY created_at DESC, id DESC LIMIT 1"
)
_PIN: Final = (
    "INSERT INTO pins (principal, kind, name, namespace) VALUES ($1, $2, $3, $4) ON CONFLICT (principal, kind, name)"
    " DO UPDATE SET namespace = excluded.namespace WHERE pins.namespace = excluded.namespace"
)
_REPIN: Final = "UPDATE pins SET namespace = $4 WHERE principal = $1 AND kind = $2 AND name = $3"
_LOCK_PIN: Final = "SELECT namespace FROM pins WHERE principal = $1 AND kind = $2 AND name = $3{locked}"
_UNPIN: Final = "DELETE FROM pins WHERE principal = $1 AND kind = $2 AND name = $3"


def pin(intent: NewIntent, namespace: str) -> Part[Intent | None]:
    """Pin creates of this principal, kind and name to a namespace. Returns the intent that pins them to another
    namespace; None if the pin is written."""
    key = (intent.principal, intent.kind, intent.name)
    if (yield Statement(_PIN, (*key, namespace), changed="1")):
        return None
    others = yield Statement(_OF_PIN, (*key, intent.id))  # _PIN has locked the pin
    if others:
        return intent_of(others[0])
    yield Statement(_REPIN, (*key, namespace))  # only this intent had the old pin
    return None


def lock(principal: str, kind: str, name: str) -> Part[None]:
    """Lock a pin until the end of the transaction: no other transaction can change it or insert an intent under it."""
    yield Statement(_LOCK_PIN, (principal, kind, name))


def unpin(principal: str, kind: str, name: str, intent_id: str) -> Part[None]:
    """Delete a pin unless another intent needs it. The caller has locked the pin."""
    key = (principal, kind, name)
    if not (yield Statement(_OF_PIN, (*key, intent_id))):
        yield Statement(_UNPIN, key)
