"""Intents as the commands print them: all fields except the encrypted ones, with times in ISO 8601."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.output import age, table

if TYPE_CHECKING:
    from gateway.domain.intents import Intent, Look
    from gateway.ports.store import DecisionRecord

STATES: Final = ("open", "unknown", "done", "refused", "absent", "parked")

INTENT_COLUMNS: Final = table(
    "NAME, STATE, PROVIDER, PRINCIPAL, AGE",
    "ID, SCOPE, RUNTIME, SURPLUS, CREATED",
    {
        "RUNTIME": lambda item: item.get("runtime_id") or item.get("provider_runtime_id"),
        "SURPLUS": lambda item: len(item["surplus"]) if "surplus" in item else None,
    },
)
ATTEMPT_COLUMNS: Final = table(
    "ATTEMPT, FIRST SEND, LAST SEND, PHASE, STATUS, MADE", own={"ATTEMPT": lambda item: item["epoch"]}
)
LOOK_COLUMNS: Final = table(
    "LOOKED AT, WHEN, FOUND",
    own={"LOOKED AT": lambda item: item["at"], "FOUND": lambda item: ", ".join(item["found"]) or "nothing"},
)
DECISION_COLUMNS: Final = table(
    "INTENT, DECISION, OPERATOR, NOTE, AGE",
    "AT, RUNTIME",
    {"AGE": lambda item: age(item, "at"), "RUNTIME": lambda item: item["provider_runtime_id"]},
    name="intent",
)


_INTENT_FIELDS: Final = (
    *("id", "state", "reason", "provider", "scope", "kind", "name", "runtime_id", "surplus"),
    *("created_at", "updated_at", "settled_at", "due_at", "principal", "key", "operation", "pinned", "namespace"),
    *("target", "provider_key", "generation", "lifetime", "epoch", "holder", "lease_until", "superseded_by"),
    "digest_version",
)
_DECISION_FIELDS: Final = ("at", "operator", "decision", "intent_id", "runtime_id", "note")
_ATTEMPT_FIELDS: Final = ("epoch", "target", "first_send", "last_send", "phase", "status", "made")
_NAMES: Final = {"runtime_id": "provider_runtime_id", "intent_id": "intent"}
_TIMES: Final = frozenset(
    {"created_at", "updated_at", "settled_at", "due_at", "lease_until", "at", "first_send", "last_send"}
)


def intent_document(intent: "Intent") -> dict[str, Any]:
    """Return the fields of an intent. Encrypted fields are replaced by their size in bytes."""
    return {
        "object": "intent",
        **_fields(intent, _INTENT_FIELDS),
        "request_bytes": _size(intent.request),
        "outcome_bytes": _size(intent.outcome),
        "attempts": [_fields(attempt, _ATTEMPT_FIELDS) for attempt in intent.attempts],
        "looks": [
            *([_look(intent.before, "before the send")] if intent.before is not None else []),
            *(_look(look, "after the send") for look in intent.looks),
        ],
    }


def decision_document(decided: "DecisionRecord") -> dict[str, Any]:
    return {"object": "decision", **_fields(decided, _DECISION_FIELDS)}


def _fields(item: object, names: Iterable[str]) -> dict[str, Any]:
    from msgspec import to_builtins

    values = {name: getattr(item, name) for name in names}
    return {
        _NAMES.get(name, name): _time(value) if name in _TIMES else to_builtins(value) for name, value in values.items()
    }


def _look(look: "Look", when: str) -> dict[str, Any]:
    return {"at": _time(look.at), "when": when, "found": list(look.found)}


def _time(seconds: float | None) -> str | None:
    from gateway.services.intents.records import rfc3339

    return None if seconds is None else rfc3339(seconds)


def _size(sealed: bytes | None) -> int | None:
    return None if sealed is None else len(sealed)
