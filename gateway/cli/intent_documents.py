"""Intents as the commands print them: all fields except the encrypted ones, with times in ISO 8601."""

from typing import TYPE_CHECKING, Any, Final

from gateway.cli.output import Columns, members

if TYPE_CHECKING:
    from gateway.domain.intents import Intent, IntentAttempt, Look
    from gateway.ports.store import DecisionRecord

STATES: Final = ("open", "unknown", "done", "refused", "absent", "parked")

INTENT_COLUMNS: Final[Columns] = {
    **members("ID", "STATE", "PROVIDER", "SCOPE", "NAME"),
    "RUNTIME": lambda item: item.get("runtime_id") or item.get("provider_runtime_id"),
    "SURPLUS": lambda item: len(item["surplus"]) if "surplus" in item else None,
    "CREATED": lambda item: item["created_at"],
}
ATTEMPT_COLUMNS: Final[Columns] = {
    "ATTEMPT": lambda item: item["epoch"],
    **members("FIRST SEND", "LAST SEND", "PHASE", "STATUS", "MADE"),
}
LOOK_COLUMNS: Final[Columns] = {
    "LOOKED AT": lambda item: item["at"],
    "WHEN": lambda item: item["when"],
    "FOUND": lambda item: ", ".join(item["found"]) or "nothing",
}
DECISION_COLUMNS: Final[Columns] = {
    **members("AT", "OPERATOR", "DECISION", "INTENT"),
    "RUNTIME": lambda item: item["provider_runtime_id"],
    "NOTE": lambda item: item["note"],
}


def intent_document(intent: "Intent") -> dict[str, Any]:
    """Return the fields of an intent. Encrypted fields are replaced by their size in bytes."""
    return {
        "object": "intent",
        "id": intent.id,
        "state": str(intent.state),
        "reason": intent.reason,
        "provider": intent.provider,
        "scope": intent.scope,
        "kind": intent.kind,
        "name": intent.name,
        "provider_runtime_id": intent.runtime_id,
        "surplus": list(intent.surplus),
        "created_at": _time(intent.created_at),
        "updated_at": _time(intent.updated_at),
        "settled_at": _time(intent.settled_at),
        "due_at": _time(intent.due_at),
        "principal": intent.principal,
        "key": intent.key,
        "operation": intent.operation,
        "pinned": intent.pinned,
        "namespace": intent.namespace,
        "target": intent.target,
        "provider_key": intent.provider_key,
        "generation": intent.generation,
        "lifetime": intent.lifetime,
        "epoch": intent.epoch,
        "holder": intent.holder,
        "lease_until": _time(intent.lease_until),
        "superseded_by": intent.superseded_by,
        "digest_version": intent.digest_version,
        "request_bytes": _size(intent.request),
        "outcome_bytes": _size(intent.outcome),
        "attempts": [_attempt(attempt) for attempt in intent.attempts],
        "looks": [
            *([_look(intent.before, "before the send")] if intent.before is not None else []),
            *(_look(look, "after the send") for look in intent.looks),
        ],
    }


def decision_document(decided: "DecisionRecord") -> dict[str, Any]:
    return {
        "object": "decision",
        "at": _time(decided.at),
        "operator": decided.operator,
        "decision": str(decided.decision),
        "intent": decided.intent_id,
        "provider_runtime_id": decided.runtime_id,
        "note": decided.note,
    }


def _attempt(attempt: "IntentAttempt") -> dict[str, Any]:
    return {
        "epoch": attempt.epoch,
        "target": attempt.target,
        "first_send": _time(attempt.first_send),
        "last_send": _time(attempt.last_send),
        "phase": attempt.phase,
        "status": attempt.status,
        "made": attempt.made,
    }


def _look(look: "Look", when: str) -> dict[str, Any]:
    return {"at": _time(look.at), "when": when, "found": list(look.found)}


def _time(seconds: float | None) -> str | None:
    from gateway.services.intents.records import rfc3339

    return None if seconds is None else rfc3339(seconds)


def _size(sealed: bytes | None) -> int | None:
    return None if sealed is None else len(sealed)
